//! onnxruntime-genai, which reads the same directories.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::contestant::{Class, Contestant, Program, Work};
use crate::demo::workspace;
use crate::python;

/// The Python that has it.
pub(super) struct Genai {
    python: PathBuf,
}

impl Genai {
    pub(super) fn command(&self, directory: &Path, work: Work) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(workspace().join("benches/peers/measure_genai.py")).arg(directory);
        let numbers = [work.threads, work.prompt_tokens, work.generate];
        command.args(numbers.map(|number| number.to_string()));
        command
    }
}

/// Sets it up.
pub(super) fn contestants() -> Vec<Contestant> {
    let program = python::environment().map(|python| Program::Genai(Genai { python }));
    let version = python::pinned(python::REQUIREMENTS, "onnxruntime-genai");
    vec![Contestant {
        name: format!("onnxruntime-genai {version}"),
        class: Class::Best,
        program: program.map_err(|error| format!("{error:#}")),
    }]
}
