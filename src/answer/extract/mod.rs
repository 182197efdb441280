//! Values out of a text: the model chooses them, the text has to contain them.

mod dates;
mod evidence;
mod numbers;
mod schema;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Range;

use serde::de::DeserializeOwned;
use serde_json::Value;

use self::evidence::Source;
use crate::answer::classify::invalid;
use crate::error::{Error, ErrorKind, Result};
use crate::sampling::constraint::{Grammar, GrammarSource};
use crate::session::{Completion, FinishReason, GenerateOptions, Outcome, Prompt, Session};
use crate::text::{Message, SpecialTokens, Text};

/// What the model is asked, unless the caller says it in other words.
const INSTRUCTIONS: &str = "Extract these fields from the text as JSON. Copy what the text says. \
    Write null for every field that the text does not contain.";

/// Which fields are wanted, for one model. Immutable, and shared between sessions and threads.
///
/// The model is offered the schema with null among the values of every field, so that it need not invent one. The prompt begins
/// with instructions, a list of the fields with their descriptions, and the examples; sessions keep it in their KV cache and
/// compute only the text.
#[derive(Debug, Clone)]
pub struct Extractor {
    grammar: Grammar,
    fields: String,
    /// Places whose values the schema names.
    chosen: BTreeSet<String>,
    instructions: String,
    examples: Vec<(String, String)>,
}

impl Extractor {
    /// For the JSON schema of an object with properties.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for another schema, and as [`Grammar::compile`].
    pub fn new(schema: &str, text: &Text) -> Result<Self> {
        let parsed: Value = serde_json::from_str(schema).map_err(|error| {
            Error::new(ErrorKind::Grammar, format!("the JSON schema is not valid JSON: {error}"))
                .with_source(error)
        })?;
        let offered = schema::offered(&parsed)?;
        let grammar = Grammar::compile(&GrammarSource::json_schema(offered.to_string()), text)?;
        Ok(Self {
            grammar,
            fields: schema::described(&parsed),
            chosen: schema::chosen(&parsed),
            instructions: INSTRUCTIONS.to_owned(),
            examples: Vec::new(),
        })
    }

    /// For the schema of a Rust type.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[cfg(feature = "schemars")]
    pub fn of<T: schemars::JsonSchema>(text: &Text) -> Result<Self> {
        let schema = schemars::SchemaGenerator::default().into_root_schema_for::<T>();
        Self::new(&schema.to_value().to_string(), text)
    }

    /// Asks in other words.
    #[must_use]
    pub fn with_instructions(mut self, instructions: impl Into<String>) -> Self {
        self.instructions = instructions.into();
        self
    }

    /// Shows the model a text and what is wanted of it. Small models need one or two.
    #[must_use]
    pub fn with_example(mut self, source: impl Into<String>, value: &Value) -> Self {
        self.examples.push((source.into(), value.to_string()));
        self
    }

    /// What the answer has to look like: the schema in which every field may be null.
    #[must_use]
    pub fn grammar(&self) -> &Grammar {
        &self.grammar
    }

    fn prompt(&self, source: &str, text: &Text) -> Result<Prompt> {
        let head = format!("{}\n\nFields:\n{}", self.instructions, self.fields);
        if text.chat_template().is_none() {
            // What a stranger wrote stays plain text, also in a raw prompt.
            let mut prompt = head;
            for (source, value) in &self.examples {
                prompt.push_str(&format!("\nText:\n{source}\n\nJSON:\n{value}\n"));
            }
            prompt.push_str(&format!("\nText:\n{source}\n\nJSON:\n"));
            let tokenizer = text.tokenizer();
            let mut tokens = tokenizer.encode("", SpecialTokens::Add)?;
            tokens.extend(tokenizer.encode_plain(&prompt)?);
            return Ok(Prompt::Tokens(tokens));
        }
        let mut messages = Vec::with_capacity(1 + 2 * self.examples.len());
        let sources = self.examples.iter().map(|(source, _)| source.as_str()).chain([source]);
        for (index, source) in sources.enumerate() {
            let text = format!("Text:\n{source}");
            messages.push(Message::user(if index == 0 { format!("{head}\n{text}") } else { text }));
            if let Some((_, value)) = self.examples.get(index) {
                messages.push(Message::assistant(value.clone()));
            }
        }
        Ok(Prompt::Chat(messages))
    }
}

/// Whether a value stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Support {
    /// It does.
    Found,
    /// The model says that the text does not contain the field.
    Missing,
    /// The model gave a value that is not in the text; it is not in [`Extraction::value`] either.
    Unsupported,
    /// A value that the schema names, or true or false. It need not be spelled in the text and was not checked.
    Chosen,
}

impl Support {
    /// In lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Missing => "missing",
            Self::Unsupported => "unsupported",
            Self::Chosen => "chosen",
        }
    }
}

/// A field of an extraction.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Field {
    /// Where the value was in the model's answer, as a JSON pointer (RFC 6901).
    pub path: String,
    /// What the model gave.
    pub value: Value,
    /// Whether it stands in the text.
    pub support: Support,
    /// Where: bytes of the text, with [`Support::Found`].
    pub place: Option<Range<usize>>,
}

/// What was found in a text.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Extraction {
    /// The object, with null for every field that the text does not contain. List entries of which nothing is left are
    /// dropped.
    pub value: Value,
    /// Every single value of the model's answer and its support.
    pub fields: Vec<Field>,
    /// The model's answer as it was.
    pub text: String,
    /// How it ended and what it cost.
    pub outcome: Outcome,
}

impl Extraction {
    /// The value as a Rust type. Fields that the text may lack are an [`Option`] or have a default for null.
    ///
    /// # Errors
    /// [`ErrorKind::Grammar`] naming what does not fit, with the fields that are missing or unsupported.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.value.clone()).map_err(|error| {
            let lacking = |field: &&Field| matches!(field.support, Support::Missing | Support::Unsupported);
            let lacking: Vec<&str> =
                self.fields.iter().filter(lacking).map(|field| field.path.as_str()).collect();
            Error::new(ErrorKind::Grammar, format!("what the text contains does not fit the type: {error}"))
                .with_hint(format!("the text lacks {}; make them optional", lacking.join(", ")))
                .with_source(error)
        })
    }

    /// The fields whose values are not in the text.
    pub fn unsupported(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.support == Support::Unsupported)
    }
}

impl Session {
    /// Takes the fields of `extractor` out of `source`.
    ///
    /// The model answers with JSON that the schema accepts, in which every field may be null. Then every value is looked up:
    ///
    /// - Numbers in the formats of many countries: `1,234.50`, `1.234,50`, `1 234,50`, `1'234.50`, `12,34,567`; with signs,
    ///   currency signs, round brackets for negative ones, and percentages also as parts of 1.
    /// - Dates (`2025-03-04`) as `4.3.2025`, `03/04/25`, `4 March 2025`, `March 4th, 2025` and the like, with month names of
    ///   seven languages; where day and month could be either, both count. Times of a `date-time` on a clock of 12 or 24 hours,
    ///   whatever their time zone.
    /// - Other texts as the same words in a row, whatever their case, white space, quotes and dashes.
    /// - Values that the schema names (`enum`, `const`) and booleans are not looked up: [`Support::Chosen`].
    ///
    /// What is not found becomes null and is reported as [`Support::Unsupported`]. That a value stands in the text does not
    /// say that it is the right one.
    ///
    /// The history is neither read nor changed. `options.grammar` must be `None`.
    ///
    /// ```no_run
    /// # fn example(model: &edgeslm::Model, receipt: &str) -> edgeslm::Result<()> {
    /// use edgeslm::answer::Extractor;
    /// use edgeslm::session::{GenerateOptions, SessionOptions};
    ///
    /// let schema = r#"{"type": "object", "properties": {
    ///     "shop": {"type": "string"}, "date": {"type": "string", "format": "date"}, "total": {"type": "number"}}}"#;
    /// let extractor = Extractor::new(schema, model.text())?;
    /// let mut session = model.session(SessionOptions::default())?;
    /// let found = session.extract(&extractor, receipt, &GenerateOptions::default())?;
    /// println!("{}", found.value);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::generate`]; [`ErrorKind::DeadlineExceeded`] and [`ErrorKind::Cancelled`] where there was no whole answer.
    pub fn extract(
        &mut self,
        extractor: &Extractor,
        source: &str,
        options: &GenerateOptions,
    ) -> Result<Extraction> {
        if options.grammar.is_some() {
            return Err(invalid("the options of an extraction have a grammar")
                .with_hint("leave it out; the extractor has its own"));
        }
        let prompt = extractor.prompt(source, &self.text)?;
        let options = GenerateOptions { grammar: Some(extractor.grammar.clone()), ..options.clone() };
        let answer = self.generate(prompt, &options)?;
        if !matches!(answer.outcome.completion, Completion::Complete | Completion::Shortened) {
            return Err(cut(&answer.outcome));
        }
        let value: Value = serde_json::from_str(&answer.text).map_err(|error| {
            Error::new(ErrorKind::Grammar, format!("the answer is not JSON: {error}"))
                .with_hint("stop strings may have cut it")
                .with_source(error)
        })?;
        let mut fields = Vec::new();
        let is_chosen = |path: &str| extractor.chosen.contains(&schema::general_place(path));
        let value = Source::new(source).check(value, "", &is_chosen, &mut fields);
        Ok(Extraction { value, fields, text: answer.text, outcome: answer.outcome })
    }
}

/// The error for an answer that is not whole.
fn cut(outcome: &Outcome) -> Error {
    match outcome.reason {
        FinishReason::Cancelled => Error::new(ErrorKind::Cancelled, "cancelled by the caller"),
        FinishReason::Deadline => {
            Error::new(ErrorKind::DeadlineExceeded, "the deadline has passed before there was an answer")
        }
        _ => {
            Error::new(ErrorKind::Grammar, "the answer was cut before its end").with_hint("allow more tokens")
        }
    }
}
