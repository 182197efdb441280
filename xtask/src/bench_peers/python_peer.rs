//! A peer that a Python program measures.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::contestant::Work;
use crate::demo::workspace;

pub(super) struct PythonPeer {
    /// The Python that has the peer.
    pub(super) python: PathBuf,
    /// The program's name in `benches/peers`.
    pub(super) script: &'static str,
}

impl PythonPeer {
    /// Measures the model that `path` leads to.
    pub(super) fn command(&self, path: &Path, work: Work) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(workspace().join("benches/peers").join(self.script)).arg(path);
        let numbers = [work.threads, work.prompt_tokens, work.generate];
        command.args(numbers.map(|number| number.to_string()));
        command
    }
}
