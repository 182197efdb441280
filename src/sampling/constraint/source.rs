//! What a grammar is written in.

use serde_json::Value;

use super::{limits, schema};
use crate::error::{Error, ErrorKind, Result};

/// What a [`Grammar`](super::Grammar) is made from.
///
/// ```
/// use edgeslm::sampling::constraint::GrammarSource;
///
/// let urgency = GrammarSource::choices(["emergency", "urgent", "routine"]);
/// let date = GrammarSource::regex("[0-9]{4}-[01][0-9]-[0-3][0-9]");
/// let person = GrammarSource::json_schema(r#"{
///     "type": "object",
///     "properties": {"name": {"type": "string"}, "age": {"type": ["integer", "null"]}},
///     "required": ["name", "age"],
///     "additionalProperties": false
/// }"#);
/// # let _ = (urgency, date, person);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrammarSource {
    /// A JSON schema (drafts 4 to 2020-12) as JSON text; the answer is a JSON value that it accepts.
    ///
    /// Properties come in the order in which the schema names them. A keyword that cannot be kept is refused with
    /// [`ErrorKind::Unsupported`], never ignored: `not`, `if`, `contains`, `uniqueItems`, `propertyNames`,
    /// `dependentRequired`, `unevaluatedProperties` and their kin, `oneOf` of which two branches may both hold, references out
    /// of the schema, and values of `format` other than `date-time`, `time`, `date`, `duration`, `email`, `hostname`, `ipv4`,
    /// `ipv6`, `uuid` and `uri`.
    JsonSchema(String),
    /// A regular expression in the syntax of the crate `regex`, without `\b`, anchors and captures; the whole answer matches it.
    Regex(String),
    /// A grammar in llguidance's variant of Lark, whose rule `start` is the answer. It cannot name tokens (`<|end|>`).
    Lark(String),
    /// The answer is one of these texts.
    Choices(Vec<String>),
}

impl GrammarSource {
    /// A JSON schema as JSON text.
    #[must_use]
    pub fn json_schema(schema: impl Into<String>) -> Self {
        Self::JsonSchema(schema.into())
    }

    /// A regular expression.
    #[must_use]
    pub fn regex(pattern: impl Into<String>) -> Self {
        Self::Regex(pattern.into())
    }

    /// A Lark grammar.
    #[must_use]
    pub fn lark(grammar: impl Into<String>) -> Self {
        Self::Lark(grammar.into())
    }

    /// A list of choices.
    #[must_use]
    pub fn choices<T: Into<String>>(choices: impl IntoIterator<Item = T>) -> Self {
        Self::Choices(choices.into_iter().map(Into::into).collect())
    }

    /// Any JSON value.
    #[must_use]
    pub fn json() -> Self {
        Self::JsonSchema("true".to_owned())
    }

    /// What llguidance is given, after everything that can be refused by looking at the source alone.
    pub(super) fn prepare(&self) -> Result<Prepared> {
        match self {
            Self::JsonSchema(text) => schema::prepare(text).map(Prepared::JsonSchema),
            Self::Regex(pattern) => {
                check_source("the regular expression", pattern)?;
                Ok(Prepared::Regex(pattern.clone()))
            }
            Self::Lark(grammar) => {
                check_source("the Lark grammar", grammar)?;
                if grammar.contains("allow_invalid_utf8") {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "the Lark grammar asks for texts that are not UTF-8",
                    )
                    .with_hint("leave out allow_invalid_utf8"));
                }
                Ok(Prepared::Lark(grammar.clone()))
            }
            Self::Choices(choices) => prepare_choices(choices).map(Prepared::Regex),
        }
    }
}

/// A source that is within the limits that can be seen from outside.
#[derive(Debug)]
pub(super) enum Prepared {
    JsonSchema(Value),
    Regex(String),
    Lark(String),
}

fn prepare_choices(choices: &[String]) -> Result<String> {
    if choices.is_empty() {
        return Err(refused("the list of choices is empty"));
    }
    if choices.iter().any(String::is_empty) {
        return Err(refused("a choice is empty"));
    }
    if choices.len() > limits::CHOICES {
        return Err(refused(format!("{} choices are more than {}", choices.len(), limits::CHOICES)));
    }
    let escaped: Vec<String> = choices.iter().map(|choice| regex::escape(choice)).collect();
    let pattern = escaped.join("|");
    check_length("the list of choices", &pattern)?;
    Ok(pattern)
}

fn check_source(what: &str, text: &str) -> Result<()> {
    if text.trim().is_empty() {
        return Err(refused(format!("{what} is empty")));
    }
    check_length(what, text)?;
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if deepest > limits::SOURCE_DEPTH {
        return Err(refused(format!("{what} nests {deepest} brackets, more than {}", limits::SOURCE_DEPTH)));
    }
    Ok(())
}

fn check_length(what: &str, text: &str) -> Result<()> {
    if text.len() > limits::SOURCE_BYTES {
        return Err(refused(format!("{what} has {} bytes, more than {}", text.len(), limits::SOURCE_BYTES)));
    }
    Ok(())
}

pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Grammar, message)
}
