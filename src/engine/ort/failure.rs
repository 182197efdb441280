//! What ONNX Runtime's failures mean to a caller.

#![forbid(unsafe_code)]

use crate::error::{Error, ErrorKind};

/// ONNX Runtime or its provider cannot be used.
pub(super) fn unavailable(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::EngineUnavailable, message)
}

/// An error's text and its causes'.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// A failed run or allocation.
pub(super) fn of_run<R>(error: &ort::Error<R>) -> Error {
    let message = error.message().trim().to_owned();
    let lower = message.to_lowercase();
    let kind = if ["out of memory", "failed to allocate", "bad_alloc", "bad allocation", "alloc_failed"]
        .iter()
        .any(|sign| lower.contains(sign))
    {
        ErrorKind::MemoryBudget
    } else {
        match error.code() {
            ort::ErrorCode::InvalidGraph | ort::ErrorCode::InvalidProtobuf | ort::ErrorCode::NoModel => {
                ErrorKind::InvalidModel
            }
            ort::ErrorCode::NotImplemented => ErrorKind::Unsupported,
            _ => ErrorKind::EngineUnavailable,
        }
    };
    let error = Error::new(kind, format!("ONNX Runtime: {message}"));
    match kind {
        ErrorKind::MemoryBudget => {
            error.with_hint("use a smaller model, a shorter context or another provider")
        }
        _ => error,
    }
}

/// A session that could not be made of a graph that this library's own reader has accepted.
pub(super) fn of_session<R>(error: &ort::Error<R>) -> Error {
    let found = of_run(error);
    let lower = error.message().to_lowercase();
    let says = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    let kind = match found.kind() {
        ErrorKind::EngineUnavailable
            if says(&["is not a registered function/op", "not implemented", "unsupported"]) =>
        {
            ErrorKind::Unsupported
        }
        ErrorKind::EngineUnavailable
            if says(&[
                "type error",
                "shape",
                "invalid graph",
                "this is an invalid model",
                "protobuf",
                "initializer",
                "must be",
                "attribute",
            ]) =>
        {
            ErrorKind::InvalidModel
        }
        kind => kind,
    };
    Error::new(kind, found.message())
}
