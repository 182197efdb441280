//! Sets of examples: inputs with the right answers, from files.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Task, TaskKind, csv};
use crate::answer::classify::invalid;
use crate::error::{Error, Result};
use crate::model::read_limited;

/// The longest set that is read, in bytes.
const MAXIMUM_SET_BYTES: u64 = 256 << 20;

/// What an example is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Split {
    /// To fit a calibration with.
    Calibration,
    /// To measure with, and for nothing else.
    Test,
}

/// An input with its right answer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Example {
    /// Its name in the set; `line N` where the file gives none.
    pub id: String,
    /// What it is for; without a word about it in the file, to measure with.
    pub split: Split,
    /// The line of the file on which it begins, from 1.
    pub line: usize,
    /// All fields of the line but those that this type names.
    pub fields: Map<String, Value>,
    /// The right answer.
    pub answer: Answer,
}

/// The right answer to an example.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// The index of a label, for [`TaskKind::Classify`].
    Label(usize),
    /// The right values, for [`TaskKind::Extract`]. A field that is missing or null is not in the text.
    Fields(Map<String, Value>),
    /// Texts of which each is right, for [`TaskKind::Text`].
    Texts(Vec<String>),
}

/// Reads the examples of a file for a task: CSV if the name ends in `.csv`, otherwise JSON, one object a line.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) and [`ErrorKind::Io`](crate::ErrorKind::Io);
/// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument), naming file and line, for text that is not UTF-8, a
/// line that is not a JSON object or not as long as the CSV file's first, a missing field that the prompt shows, an
/// unknown label, an answer of another kind, an unknown split, an id that stands twice, and for a file without examples.
pub fn read_examples(path: impl AsRef<Path>, task: &Task) -> Result<Vec<Example>> {
    let path = path.as_ref();
    let read = || {
        let bytes = read_limited(path, MAXIMUM_SET_BYTES)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let line = 1 + bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count();
            invalid("the set is not UTF-8").with_node(format!("line {line}"))
        })?;
        // A byte order mark, as some editors write it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let lines = if is_csv { csv_lines(text)? } else { json_lines(text)? };
        examples(lines, task)
    };
    read().map_err(|error: Error| error.with_file(path))
}

type Line = (usize, Map<String, Value>);

fn json_lines(text: &str) -> Result<Vec<Line>> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let parse = |(number, line): (usize, &str)| match serde_json::from_str(line) {
        Ok(Value::Object(fields)) => Ok((number, fields)),
        Ok(_) => Err(at(number, invalid("the line is JSON but no object"))),
        Err(error) => {
            // serde_json counts lines within the line.
            let text = error.to_string();
            let text = text
                .split_once(" at line 1 column ")
                .map_or(text.clone(), |(message, column)| format!("{message} at column {column}"));
            Err(at(number, invalid(format!("the line is not JSON: {text}")).with_source(error)))
        }
    };
    lines.map(parse).collect()
}

/// A column `expected.NAME` is the field `NAME` of the object `expected`; an empty value there is none.
fn csv_lines(text: &str) -> Result<Vec<Line>> {
    let mut records = csv::records(text)?.into_iter();
    let Some((first, names)) = records.next() else { return Ok(Vec::new()) };
    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(at(first, invalid(format!("the column {name:?} stands twice"))));
    }
    let mut lines = Vec::new();
    for (number, values) in records {
        if values.len() != names.len() {
            let message = format!("there are {} values in {} columns", values.len(), names.len());
            return Err(at(number, invalid(message)));
        }
        let (mut fields, mut expected) = (Map::new(), Map::new());
        for (name, value) in names.iter().zip(values) {
            match name.strip_prefix("expected.") {
                Some(_) if value.is_empty() => {}
                Some(name) => drop(expected.insert(name.to_owned(), Value::String(value))),
                None => drop(fields.insert(name.clone(), Value::String(value))),
            }
        }
        if names.iter().any(|name| name.starts_with("expected.")) {
            fields.insert("expected".to_owned(), Value::Object(expected));
        }
        lines.push((number, fields));
    }
    Ok(lines)
}

fn examples(lines: Vec<Line>, task: &Task) -> Result<Vec<Example>> {
    if lines.is_empty() {
        return Err(invalid("the set has no examples"));
    }
    let mut ids = HashSet::new();
    let mut examples = Vec::with_capacity(lines.len());
    for (line, fields) in lines {
        let example = example(line, fields, task).map_err(|error| at(line, error))?;
        if !ids.insert(example.id.clone()) {
            return Err(at(line, invalid(format!("the id {:?} stands twice", example.id))));
        }
        examples.push(example);
    }
    Ok(examples)
}

fn at(line: usize, error: Error) -> Error {
    error.with_node(format!("line {line}"))
}

fn example(line: usize, mut fields: Map<String, Value>, task: &Task) -> Result<Example> {
    let id = match fields.remove("id") {
        None | Some(Value::Null) => format!("line {line}"),
        Some(Value::String(id)) => id,
        Some(Value::Number(id)) => id.to_string(),
        Some(other) => return Err(invalid(format!("the id {other} is neither text nor a number"))),
    };
    let split = match fields.remove("split") {
        None | Some(Value::Null) => Split::Test,
        Some(split) => Split::deserialize(&split)
            .map_err(|_| invalid(format!("the split {split} is neither \"calibration\" nor \"test\"")))?,
    };
    let key = if task.kind() == TaskKind::Classify { "label" } else { "expected" };
    let value = fields.remove(key).ok_or_else(|| invalid(format!("the field {key:?} is missing")))?;
    let answer = answer(task, key, value)?;
    task.input.fill(&fields)?;
    Ok(Example { id, split, line, fields, answer })
}

fn answer(task: &Task, key: &str, value: Value) -> Result<Answer> {
    match (task.kind(), value) {
        (TaskKind::Classify, Value::String(name)) => Ok(Answer::Label(task.label_index(&name)?)),
        (TaskKind::Extract, Value::Object(fields)) => {
            let known = task.fields();
            match fields.keys().find(|name| !known.contains(&name.as_str())) {
                Some(name) => Err(invalid(format!("the schema has no property {name:?}, which is expected"))),
                None => Ok(Answer::Fields(fields)),
            }
        }
        // A value of a CSV file.
        (TaskKind::Extract, Value::String(text)) => match serde_json::from_str(&text) {
            Ok(value @ Value::Object(_)) => answer(task, key, value),
            _ => Err(invalid(format!("{key:?} is no JSON object"))),
        },
        (TaskKind::Text, Value::String(text)) => Ok(Answer::Texts(vec![text])),
        (TaskKind::Text, Value::Array(texts)) if !texts.is_empty() => {
            let text = |value: Value| match value {
                Value::String(text) => Ok(text),
                other => Err(invalid(format!("{other} among the expected texts is no text"))),
            };
            Ok(Answer::Texts(texts.into_iter().map(text).collect::<Result<_>>()?))
        }
        (_, other) => Err(invalid(format!("{key:?} has the wrong type: {other}"))),
    }
}

/// Whether two values of a field say the same: numbers by value, texts apart from white space around them, a text and a
/// number where the text is the number, null and a field that is missing as nothing.
///
/// ```
/// use edgeslm::answer::values_agree;
/// use serde_json::json;
///
/// assert!(values_agree(Some(&json!(12.5)), Some(&json!("12.50"))));
/// assert!(!values_agree(None, Some(&json!("milk"))));
/// ```
#[must_use]
pub fn values_agree(found: Option<&Value>, expected: Option<&Value>) -> bool {
    match (found.filter(|value| !value.is_null()), expected.filter(|value| !value.is_null())) {
        (None, None) => true,
        (Some(found), Some(expected)) => agree(found, expected),
        _ => false,
    }
}

fn agree(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(found), Value::Number(expected)) => {
            found == expected || found.as_f64() == expected.as_f64()
        }
        (Value::String(found), Value::String(expected)) => found.trim() == expected.trim(),
        (Value::Number(number), Value::String(text)) | (Value::String(text), Value::Number(number)) => {
            text.trim().parse::<f64>().is_ok_and(|text| number.as_f64() == Some(text))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| agree(found, expected))
        }
        (Value::Object(found), Value::Object(expected)) => {
            let names: HashSet<&String> = found.keys().chain(expected.keys()).collect();
            names.into_iter().all(|name| values_agree(found.get(name), expected.get(name)))
        }
        _ => found == expected,
    }
}
