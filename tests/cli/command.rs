//! Running the command.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a run of the command left behind.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Outcome {
    /// Fails unless the command succeeded.
    #[track_caller]
    pub(super) fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Fails unless the command failed with `code`, one line that begins with `error:` and no sign of a panic.
    #[track_caller]
    pub(super) fn failure(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }

    #[track_caller]
    pub(super) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(
                self.stdout.contains(text) || self.stderr.contains(text),
                "{text:?} is missing: {self:?}"
            );
        }
        self
    }

    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(super) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A small golden directory with a tied table and a chat template.
pub(super) fn model() -> PathBuf {
    data("models/llama-3.2-1b-int4")
}

/// The names of the directories in `tests/data/NAME`.
pub(super) fn directories(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.is_dir() && !path.ends_with("__pycache__")).collect();
    paths.sort();
    paths
}

/// A copy of a golden directory that a test may damage.
pub(super) fn copy(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// Starts the command with plain settings, whatever the environment of the tests.
pub(super) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeslm"));
    command.env_remove("EDGESLM_KERNELS").env("RUST_BACKTRACE", "1").env("TERM", "dumb").stdin(Stdio::null());
    command
}

pub(super) fn edgeslm<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Outcome {
    finish(command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Runs the command with `input` on standard input.
pub(super) fn edgeslm_with<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, input: &[u8]) -> Outcome {
    let mut child = command()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that has seen enough closes its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    finish(child)
}

fn finish(child: std::process::Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Arguments of different types in one array.
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => {
        [$(std::ffi::OsString::from($argument)),*]
    };
}
pub(super) use arguments;
