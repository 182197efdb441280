//! The one error type of the library: what happened, where, and what to do about it.

#![forbid(unsafe_code)]

use std::fmt;
use std::path::{Path, PathBuf};

use crate::kernels;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an [`Error`] reports. The C ABI has one status code per kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file or directory that was asked for does not exist.
    NotFound,
    /// Reading or writing a file failed.
    Io,
    /// A model file is damaged or contradicts itself.
    InvalidModel,
    /// The model is well formed but uses something this engine does not implement; or the system refuses what an option asks of it.
    Unsupported,
    /// An argument is outside its documented range.
    InvalidArgument,
    /// The work would need more memory than the stated budget.
    MemoryBudget,
    /// The prompt and the answer do not fit the model's context.
    ContextLength,
    /// The tokenizer file is damaged, or a text cannot be tokenised.
    Tokenizer,
    /// The chat template is damaged, raised an error, or ran for too long.
    Template,
    /// A grammar or JSON schema is damaged, cannot be satisfied, or is beyond the limits; or a text does not follow it.
    Grammar,
    /// The caller cancelled the work.
    Cancelled,
    /// The deadline passed.
    DeadlineExceeded,
    /// The object is in use by another thread.
    Busy,
    /// A defect in this library.
    Internal,
    /// The engine or execution provider that was asked for is missing, too old or cannot run here.
    EngineUnavailable,
}

impl ErrorKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 15] = [
        Self::NotFound,
        Self::Io,
        Self::InvalidModel,
        Self::Unsupported,
        Self::InvalidArgument,
        Self::MemoryBudget,
        Self::ContextLength,
        Self::Tokenizer,
        Self::Template,
        Self::Grammar,
        Self::Cancelled,
        Self::DeadlineExceeded,
        Self::Busy,
        Self::Internal,
        Self::EngineUnavailable,
    ];

    /// The kind's name in lower case with underscores, as logs and bindings show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Io => "io",
            Self::InvalidModel => "invalid_model",
            Self::Unsupported => "unsupported",
            Self::InvalidArgument => "invalid_argument",
            Self::MemoryBudget => "memory_budget",
            Self::ContextLength => "context_length",
            Self::Tokenizer => "tokenizer",
            Self::Template => "template",
            Self::Grammar => "grammar",
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Busy => "busy",
            Self::Internal => "internal",
            Self::EngineUnavailable => "engine_unavailable",
        }
    }
}

/// An error with its kind, a message, and where known the file, the graph node and a hint.
///
/// ```
/// let error = edgeslm::Error::new(edgeslm::ErrorKind::Unsupported, "attribute bits is 3")
///     .with_node("MatMulNBits /lm_head/MatMul")
///     .with_hint("the CPU engine reads 4 and 8 bits");
/// assert_eq!(error.kind(), edgeslm::ErrorKind::Unsupported);
/// assert!(error.to_string().contains("/lm_head/MatMul"));
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    file: Option<PathBuf>,
    node: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            file: None,
            node: None,
            hint: None,
            source: None,
        }))
    }

    /// An [`ErrorKind::Io`] or [`ErrorKind::NotFound`] error about `file`.
    #[must_use]
    pub fn io(file: &Path, error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Self::new(kind, error.to_string()).with_file(file).with_source(error)
    }

    /// Names the file in which the error is.
    #[must_use]
    pub fn with_file(mut self, file: impl AsRef<Path>) -> Self {
        self.0.file.get_or_insert_with(|| file.as_ref().to_path_buf());
        self
    }

    /// Names the graph node, tensor or other place inside the file.
    #[must_use]
    pub fn with_node(mut self, node: impl Into<String>) -> Self {
        self.0.node.get_or_insert_with(|| node.into());
        self
    }

    /// Says what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error once more, without its source.
    pub(crate) fn again(&self) -> Self {
        let Inner { kind, message, file, node, hint, source: _ } = &*self.0;
        Self(Box::new(Inner {
            kind: *kind,
            message: message.clone(),
            file: file.clone(),
            node: node.clone(),
            hint: hint.clone(),
            source: None,
        }))
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened, without place and hint.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The file in which the error is, where known.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The graph node, tensor or other place inside the file, where known.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    /// What the reader can do about it, where known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl From<kernels::Error> for Error {
    fn from(error: kernels::Error) -> Self {
        let kind = match error.kind() {
            kernels::ErrorKind::InvalidArgument => ErrorKind::InvalidArgument,
            kernels::ErrorKind::InvalidMatrix => ErrorKind::InvalidModel,
            kernels::ErrorKind::Unsupported => ErrorKind::Unsupported,
            kernels::ErrorKind::Threads => ErrorKind::Io,
            _ => ErrorKind::Internal,
        };
        let converted = Self::new(kind, error.message());
        let hint = error.hint().map(str::to_owned);
        let converted = converted.with_source(error);
        match hint {
            Some(hint) => converted.with_hint(hint),
            None => converted,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { message, file, node, hint, .. } = &*self.0;
        if let Some(file) = file {
            write!(f, "{}: ", file.display())?;
        }
        if let Some(node) = node {
            write!(f, "{node}: ")?;
        }
        f.write_str(message)?;
        if let Some(hint) = hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_place_message_and_hint() {
        let error = Error::new(ErrorKind::InvalidModel, "truncated")
            .with_file("m.onnx")
            .with_node("lm_head")
            .with_hint("copy it again");
        assert_eq!(error.to_string(), "m.onnx: lm_head: truncated (copy it again)");
    }

    #[test]
    fn all_lists_every_kind() {
        assert!(ErrorKind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
        assert_eq!(ErrorKind::ALL.len(), ErrorKind::EngineUnavailable as usize + 1, "the last kind");
    }

    #[test]
    fn the_first_place_named_is_kept() {
        let error = Error::new(ErrorKind::Io, "x")
            .with_file("inner")
            .with_file("outer")
            .with_node("a")
            .with_node("b");
        assert_eq!((error.file(), error.node()), (Some(Path::new("inner")), Some("a")));
    }
}
