//! What is measured beside each other: edgeslm with one of its kernels, or a peer as it was built.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::edgeslm::Edgeslm;
use super::figures::Figures;
use super::llama::Llama;
use super::model::{Model, last_line};
use super::processor::Instructions;
use super::python_peer::PythonPeer;

/// The size of the work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    pub(super) prompt_tokens: usize,
    pub(super) generate: usize,
    pub(super) threads: usize,
}

/// What a contestant may use of the processor. A peer is compared with edgeslm of the same class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// All that it has kernels for.
    Best,
    /// These instructions at most, though the processor has better ones.
    Limited(Instructions),
}

/// A program to measure, under the name that tables give it.
pub(super) struct Contestant {
    pub(super) name: String,
    pub(super) class: Class,
    /// The program, or why there is none.
    pub(super) program: Result<Program, String>,
}

/// A runtime that is set up.
pub(super) enum Program {
    Edgeslm(Edgeslm),
    Genai(PythonPeer),
    Llama(Llama),
    OpenVino(PythonPeer),
}

impl Contestant {
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.program, Ok(Program::Edgeslm(_)))
    }
}

impl Program {
    /// The file or directory that it reads the model from.
    pub(super) fn reads<'model>(&self, model: &'model Model) -> Result<&'model Path, String> {
        match self {
            Self::Edgeslm(_) | Self::Genai(_) => Ok(&model.directory),
            Self::Llama(_) | Self::OpenVino(_) => model.gguf.as_deref().map_err(Clone::clone),
        }
    }

    /// Measures once, in a process of its own: the figures and all of its JSON; on failure says why.
    pub(super) fn measure(&self, model: &Model, work: Work) -> Result<(Figures, Value), String> {
        let path = self.reads(model)?;
        let (mut command, read): (_, fn(&Value) -> anyhow::Result<Figures>) = match self {
            Self::Edgeslm(edgeslm) => (edgeslm.command(path, work), Figures::of_edgeslm),
            Self::Genai(peer) | Self::OpenVino(peer) => (peer.command(path, work), Figures::of_peer),
            Self::Llama(llama) => (llama.command(path, work), Figures::of_peer),
        };
        let output = json_of(&mut command)?;
        let figures = read(&output).map_err(|error| format!("{error:#}"))?;
        Ok((figures, output))
    }
}

/// The JSON that a command prints, or why there is none.
pub(super) fn json_of(command: &mut Command) -> Result<Value, String> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("starting {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, last_line(&output.stderr)));
    }
    // Libraries may have printed something before.
    let text = String::from_utf8_lossy(&output.stdout);
    let start = text.rfind("\n{\"").map_or(0, |at| at + 1);
    serde_json::from_str(&text[start..]).map_err(|error| format!("the output of {command:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Value, String> {
        json_of(Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn failures_say_why() {
        assert_eq!(shell("echo noise; echo '{\"load_s\": 2}'").unwrap()["load_s"], 2);
        assert_eq!(shell("echo '{}'").unwrap(), Value::Object(serde_json::Map::new()));
        let error = shell("echo 'no such file' >&2; exit 3").unwrap_err();
        assert_eq!(error, "exit status: 3: no such file");
        assert!(shell("echo 'nothing'").unwrap_err().starts_with("the output of \"sh\""));
        let error = json_of(&mut Command::new("/absent")).unwrap_err();
        assert!(error.starts_with("starting \"/absent\": "), "{error}");
    }
}
