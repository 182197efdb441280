//! How a command ends.

use std::io::{self, Write};
use std::process::ExitCode;

use edgeslm::{Error, ErrorKind};

use crate::output::printable;

/// How a command that did its work ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    /// The work was done and the result is bad news, which was printed.
    Failed,
    /// The work was done and the result is not as good as was asked for, which was printed.
    GateFailed,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    Library(Error),
    /// The arguments do not make sense together: what is wrong, and what to write.
    Usage(String, String),
    /// Writing the result failed.
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}

/// Reports a failure on standard error and returns the process's exit status.
pub(crate) fn exit_code(result: Result<Exit, Failure>) -> ExitCode {
    let code = match &result {
        Ok(Exit::Success) => 0,
        Ok(Exit::Failed) => 1,
        Ok(Exit::GateFailed) => 3,
        Ok(Exit::Interrupted) => crate::interrupt::EXIT_STATUS,
        Err(Failure::Library(error)) if error.kind() == ErrorKind::InvalidArgument => 2,
        Err(Failure::Usage(..)) => 2,
        // Who reads the output has seen enough, as `head` has.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(_) => 1,
    };
    if let Err(failure) = &result
        && code != 0
    {
        // With standard error closed there is nobody to tell.
        let _ = io::stderr().write_all(message(failure).as_bytes());
    }
    ExitCode::from(code)
}

fn message(failure: &Failure) -> String {
    let (text, hint) = match failure {
        Failure::Library(error) => {
            let mut text = String::new();
            if let Some(file) = error.file() {
                text += &format!("{}: ", file.display());
            }
            if let Some(node) = error.node() {
                text += &format!("{node}: ");
            }
            (text + error.message(), error.hint().map(str::to_owned))
        }
        Failure::Usage(text, hint) => (text.clone(), Some(hint.clone())),
        Failure::Output(error) => (format!("writing the output: {error}"), None),
    };
    let mut lines = format!("error: {}\n", printable(&text));
    if let Some(hint) = hint {
        lines += &format!("hint: {}\n", printable(&hint));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_place_on_one_line_and_the_hint_on_the_next() {
        let error = Error::new(ErrorKind::Unsupported, "bits is 3").with_file("m.onnx").with_node("Mul /a");
        assert_eq!(message(&error.into()), "error: m.onnx: Mul /a: bits is 3\n");
        let error = Error::new(ErrorKind::Io, "x").with_hint("copy it again");
        assert_eq!(message(&error.into()), "error: x\nhint: copy it again\n");
    }

    #[test]
    fn names_from_files_cannot_drive_the_terminal() {
        let error = Error::new(ErrorKind::InvalidModel, "bad").with_node("\u{1b}[2J\u{7}node\nerror: fake");
        assert_eq!(message(&error.into()), "error: \u{fffd}[2J\u{fffd}node\u{fffd}error: fake: bad\n");
    }
}
