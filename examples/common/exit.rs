//! How an application ends.

use std::process::ExitCode;

use edgeslm::{Error, ErrorKind, Result};

/// Says what went wrong. Texts without a result make the status 1.
pub(crate) fn finish(failures: Result<usize>) -> ExitCode {
    let error = match failures {
        Ok(0) => return ExitCode::SUCCESS,
        Ok(count) => Error::new(ErrorKind::InvalidArgument, format!("{count} texts had no result")),
        Err(error) => error,
    };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
