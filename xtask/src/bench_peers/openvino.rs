//! OpenVINO GenAI, in a Python environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::contestant::{Class, Contestant, Program, Work};
use crate::demo::workspace;
use crate::python;

const FOLDER: &str = "target/peers/openvino";
const REQUIREMENTS: &str = "benches/peers/openvino.txt";

/// The Python that has it.
pub(super) struct OpenVino {
    python: PathBuf,
}

impl OpenVino {
    pub(super) fn command(&self, gguf: &Path, work: Work) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(workspace().join("benches/peers/measure_openvino.py")).arg(gguf);
        let numbers = [work.threads, work.prompt_tokens, work.generate];
        command.args(numbers.map(|number| number.to_string()));
        command
    }
}

/// Sets it up.
pub(super) fn contestants() -> Vec<Contestant> {
    let program = python::environment_with(FOLDER, REQUIREMENTS);
    let program = program.map(|python| Program::OpenVino(OpenVino { python }));
    let version = python::pinned(REQUIREMENTS, "openvino-genai");
    vec![Contestant {
        name: format!("openvino-genai {version}"),
        class: Class::Best,
        program: program.map_err(|error| format!("{error:#}")),
    }]
}
