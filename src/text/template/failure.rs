//! What can go wrong in a template.

/// Why a template cannot be read or rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    /// Line of the template, from 1; 0 where unknown.
    pub(crate) line: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The template is not valid.
    Syntax,
    /// The template called `raise_exception`.
    Raised,
    /// An operation does not fit its values.
    Runtime,
    /// The template runs or grows without end.
    Limit,
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub(super) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), line: 0 }
    }

    pub(super) fn runtime(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Runtime, message)
    }

    /// A value that is needed is missing.
    pub(super) fn undefined(name: &str) -> Self {
        Self::runtime(format!("'{name}' is undefined"))
    }

    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Limit, message)
    }

    pub(super) fn syntax(line: u32, message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Syntax, message: message.into(), line }
    }
}
