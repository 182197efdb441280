//! OpenVINO GenAI, in a Python environment of its own.

use super::contestant::{Class, Contestant, Program};
use super::python_peer::PythonPeer;
use crate::python;

const FOLDER: &str = "target/peers/openvino";
const REQUIREMENTS: &str = "benches/peers/openvino.txt";

/// Sets it up.
pub(super) fn contestants() -> Vec<Contestant> {
    let program = python::environment_with(FOLDER, REQUIREMENTS)
        .map(|python| Program::OpenVino(PythonPeer { python, script: "measure_openvino.py" }));
    let version = python::pinned(REQUIREMENTS, "openvino-genai");
    vec![Contestant {
        name: format!("openvino-genai {version}"),
        class: Class::Best,
        program: program.map_err(|error| format!("{error:#}")),
    }]
}
