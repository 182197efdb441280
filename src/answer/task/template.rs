//! Texts with places for the fields of an example.

use serde_json::{Map, Value};

use crate::answer::classify::invalid;
use crate::error::{Error, Result};
use crate::text::TextPart;

/// A text with places: `{name}` for a field as it is, `{name:line}` for a field on one line, `{{` and `}}` for braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field { name: String, on_one_line: bool },
}

/// A part of a filled template.
pub(super) enum Filled<'a> {
    /// From the template.
    Own(&'a str),
    /// From a field.
    Field(String),
}

impl Filled<'_> {
    /// For the tokenizer, which lets no field spell out a special token.
    pub(super) fn part(&self) -> TextPart<'_> {
        match self {
            Self::Own(text) => TextPart::Own(text),
            Self::Field(text) => TextPart::Foreign(text),
        }
    }
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let problem = |message: String| {
            invalid(message).with_hint("a field is {name} or {name:line}; braces as text are {{ and }}")
        };
        let (mut parts, mut own, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            own += &rest[..at];
            rest = &rest[at..];
            if let Some((brace, after)) = [("{{", '{'), ("}}", '}')]
                .iter()
                .find_map(|(double, brace)| Some((brace, rest.strip_prefix(double)?)))
            {
                own.push(*brace);
                rest = after;
                continue;
            }
            let inner = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let Some((place, after)) = inner else {
                let shown: String = rest.chars().take(20).collect();
                return Err(problem(format!("the brace at {shown:?} has no partner")));
            };
            let (name, on_one_line) = match place.split_once(':') {
                None => (place, false),
                Some((name, "line")) => (name, true),
                Some((_, form)) => return Err(problem(format!("the form {form:?} of a field is unknown"))),
            };
            if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
                return Err(problem(format!("{place:?} is no name of a field")));
            }
            if !own.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut own)));
            }
            parts.push(Part::Field { name: name.to_owned(), on_one_line });
            rest = after;
        }
        own += rest;
        if !own.is_empty() {
            parts.push(Part::Text(own));
        }
        Ok(Self { source: text.to_owned(), parts })
    }

    /// The text that it was read from.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The names of the fields, each once, in the order of their first places.
    pub(super) fn fields(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for part in &self.parts {
            if let Part::Field { name, .. } = part
                && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        names
    }

    /// The parts with the fields' values.
    pub(super) fn fill(&self, fields: &Map<String, Value>) -> Result<Vec<Filled<'_>>> {
        let mut filled = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            filled.push(match part {
                Part::Text(text) => Filled::Own(text),
                Part::Field { name, on_one_line } => {
                    let value = fields.get(name).ok_or_else(|| missing(name))?;
                    let text = value_text(value);
                    Filled::Field(if *on_one_line { one_line(&text) } else { text })
                }
            });
        }
        Ok(filled)
    }
}

fn missing(name: &str) -> Error {
    invalid(format!("the field {name:?} is missing")).with_hint("the task's prompt asks for it")
}

/// A value as a prompt shows it: text as it is, null as nothing, anything else as JSON.
pub(super) fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The text without line breaks and what else a prompt obeys: each run of white space and control characters becomes one
/// space, and a double quotation mark, which may close the quotation that the prompt opened, a single one.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").replace('"', "'")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ErrorKind;

    fn fill(template: &str, fields: Value) -> Result<String> {
        let Value::Object(fields) = fields else { panic!("{fields} is no object") };
        let template = Template::parse(template)?;
        let filled = template.fill(&fields)?;
        let texts = filled.into_iter().map(|part| match part {
            Filled::Own(text) => text.to_owned(),
            Filled::Field(text) => format!("[{text}]"),
        });
        Ok(texts.collect())
    }

    #[test]
    fn places_are_filled() {
        for (template, fields, expected) in [
            ("no place", json!({}), "no place"),
            ("{a} and {b}.", json!({"a": "x", "b": 3.5}), "[x] and [3.5]."),
            ("{a}{a}", json!({"a": null}), "[][]"),
            ("{{\"k\": {a}}}", json!({"a": [1, true]}), "{\"k\": [[1,true]]}"),
            ("{a}", json!({"a": "two\n lines"}), "[two\n lines]"),
            ("{a:line}", json!({"a": " two\r\n\u{1b} \"lines\"\t"}), "[two 'lines']"),
            ("{größe_1.x}", json!({"größe_1.x": "ü"}), "[ü]"),
        ] {
            assert_eq!(fill(template, fields).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn names_are_listed_once() {
        assert_eq!(Template::parse("{b} {a:line} {b:line}{{c}}").unwrap().fields(), ["b", "a"]);
    }

    #[test]
    fn bad_templates_and_missing_fields_are_refused() {
        for (template, expected) in [
            ("a {", "no partner"),
            ("a } b", "no partner"),
            ("{}", "no name"),
            ("{a b}", "no name"),
            ("{a:upper}", "\"upper\""),
            ("{a{b}}", "no name"),
            ("{a} {b}", "\"b\" is missing"),
        ] {
            let error = fill(template, json!({"a": 1})).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(expected), "{template}: {error}");
        }
    }
}
