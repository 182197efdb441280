//! The `tojson` filter: Python's `json.dumps` with `ensure_ascii=False`, as chat templates expect.

use std::fmt::Write as _;

use super::failure::{Failure, Outcome};
use super::interpreter::Interpreter;
use super::printing::float_text;
use super::value::Value;

/// How JSON is written.
pub(super) struct Style {
    pub(super) ensure_ascii: bool,
    /// What a level is indented with; `None` for one line.
    pub(super) indent: Option<String>,
    pub(super) item_separator: String,
    pub(super) key_separator: String,
    pub(super) sort_keys: bool,
}

pub(super) fn to_json(interpreter: &mut Interpreter, value: &Value, style: &Style) -> Outcome<String> {
    let mut writer = Writer { interpreter, style, text: String::new() };
    writer.value(value, 0)?;
    Ok(writer.text)
}

struct Writer<'a> {
    interpreter: &'a mut Interpreter,
    style: &'a Style,
    text: String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, level: usize) -> Outcome<()> {
        self.interpreter.budget.bytes(8)?;
        match value {
            Value::None => self.text.push_str("null"),
            Value::Bool(value) => self.text.push_str(if *value { "true" } else { "false" }),
            Value::Int(number) => self.text.push_str(&number.to_string()),
            Value::Float(number) => self.float(*number),
            Value::Str(text) => self.string(text)?,
            Value::List(items) | Value::Tuple(items) => {
                self.text.push('[');
                for (index, item) in items.values.iter().enumerate() {
                    self.separate(index, level + 1)?;
                    self.value(item, level + 1)?;
                }
                self.close(items.values.is_empty(), level, ']')?;
            }
            Value::Dict(dict) => {
                let mut entries: Vec<(String, &Value)> = Vec::with_capacity(dict.entries.len());
                for (key, value) in &dict.entries {
                    entries.push((self.key(key)?, value));
                }
                if self.style.sort_keys {
                    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
                }
                self.text.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.separate(index, level + 1)?;
                    self.string(key)?;
                    self.text.push_str(&self.style.key_separator);
                    self.value(value, level + 1)?;
                }
                self.close(entries.is_empty(), level, '}')?;
            }
            _ => return Err(Failure::runtime(format!("a {} cannot be written as JSON", value.type_name()))),
        }
        Ok(())
    }

    fn key(&self, key: &Value) -> Outcome<String> {
        Ok(match key {
            Value::Str(text) => text.to_string(),
            Value::None => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => float_text(*number),
            _ => return Err(Failure::runtime(format!("a {} cannot be a key", key.type_name()))),
        })
    }

    fn float(&mut self, number: f64) {
        self.text.push_str(&match float_text(number).as_str() {
            "nan" => "NaN".to_owned(),
            "inf" => "Infinity".to_owned(),
            "-inf" => "-Infinity".to_owned(),
            text => text.to_owned(),
        });
    }

    fn separate(&mut self, index: usize, level: usize) -> Outcome<()> {
        if index > 0 {
            self.text.push_str(&self.style.item_separator);
        }
        self.line_break(level)
    }

    fn close(&mut self, is_empty: bool, level: usize, bracket: char) -> Outcome<()> {
        if !is_empty {
            self.line_break(level)?;
        }
        self.text.push(bracket);
        Ok(())
    }

    fn line_break(&mut self, level: usize) -> Outcome<()> {
        if let Some(indent) = &self.style.indent {
            self.interpreter.budget.bytes(1 + indent.len().saturating_mul(level))?;
            self.text.push('\n');
            for _ in 0..level {
                self.text.push_str(indent);
            }
        }
        self.interpreter.budget.bytes(self.style.item_separator.len() + self.style.key_separator.len())
    }

    fn string(&mut self, string: &str) -> Outcome<()> {
        self.interpreter.budget.bytes(string.len().saturating_mul(2))?;
        self.text.push('"');
        for character in string.chars() {
            match character {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{C}' => self.text.push_str("\\f"),
                '\0'..='\x1F' => self.escape(u32::from(character)),
                '\x7F'.. if self.style.ensure_ascii && character != '\x7F' => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        self.escape(u32::from(*unit));
                    }
                }
                _ => self.text.push(character),
            }
        }
        self.text.push('"');
        Ok(())
    }

    fn escape(&mut self, code: u32) {
        let _ = write!(self.text, "\\u{code:04x}");
    }
}
