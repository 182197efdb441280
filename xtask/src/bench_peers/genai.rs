//! onnxruntime-genai, which reads the same directories.

use super::contestant::{Class, Contestant, Program};
use super::python_peer::PythonPeer;
use crate::python;

/// Sets it up.
pub(super) fn contestants() -> Vec<Contestant> {
    let program =
        python::environment().map(|python| Program::Genai(PythonPeer { python, script: "measure_genai.py" }));
    let version = python::pinned(python::REQUIREMENTS, "onnxruntime-genai");
    vec![Contestant {
        name: format!("onnxruntime-genai {version}"),
        class: Class::Best,
        program: program.map_err(|error| format!("{error:#}")),
    }]
}
