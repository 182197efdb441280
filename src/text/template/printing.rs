//! Values as text: what output writes, Python's `repr`, and `%` formats.

use std::fmt::Write as _;

use super::failure::{Failure, Outcome};
use super::interpreter::Interpreter;
use super::value::Value;

/// What `{{ value }}` writes.
pub(super) fn to_text(interpreter: &mut Interpreter, value: &Value) -> Outcome<String> {
    match value {
        Value::Str(text) => {
            interpreter.budget.bytes(text.len())?;
            Ok(text.to_string())
        }
        Value::Undefined(_) => Ok(String::new()),
        _ => representation(interpreter, value),
    }
}

/// Python's `repr`.
pub(super) fn representation(interpreter: &mut Interpreter, value: &Value) -> Outcome<String> {
    let mut text = String::new();
    write_representation(interpreter, value, &mut text)?;
    Ok(text)
}

fn write_representation(interpreter: &mut Interpreter, value: &Value, text: &mut String) -> Outcome<()> {
    interpreter.budget.bytes(8)?;
    let write_items = |interpreter: &mut Interpreter, items: &[Value], text: &mut String| {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            write_representation(interpreter, item, text)?;
        }
        Ok(())
    };
    match value {
        Value::Undefined(_) => text.push_str("Undefined"),
        Value::None => text.push_str("None"),
        Value::Bool(true) => text.push_str("True"),
        Value::Bool(false) => text.push_str("False"),
        Value::Int(number) => text.push_str(&number.to_string()),
        Value::Float(number) => text.push_str(&float_text(*number)),
        Value::Str(string) => {
            interpreter.budget.bytes(string.len().saturating_mul(2))?;
            write_quoted(string, text);
        }
        Value::List(items) => {
            text.push('[');
            write_items(interpreter, &items.values, text)?;
            text.push(']');
        }
        Value::Tuple(items) => {
            text.push('(');
            write_items(interpreter, &items.values, text)?;
            text.push_str(if items.values.len() == 1 { ",)" } else { ")" });
        }
        Value::Dict(dict) => {
            text.push('{');
            for (index, (key, value)) in dict.entries.iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                write_representation(interpreter, key, text)?;
                text.push_str(": ");
                write_representation(interpreter, value, text)?;
            }
            text.push('}');
        }
        Value::Namespace(_)
        | Value::Macro(_)
        | Value::Caller(..)
        | Value::Function(_)
        | Value::Method
        | Value::Loop(_) => {
            // What Python shows here differs from run to run.
            return Err(Failure::runtime(format!("a {} cannot be written", value.type_name())));
        }
    }
    Ok(())
}

/// A string literal as Python shows it: in single quotes unless only those occur in it.
fn write_quoted(string: &str, text: &mut String) {
    let quote = if string.contains('\'') && !string.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for character in string.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\\' => text.push_str("\\\\"),
            _ if character == quote => text.extend(['\\', character]),
            '\0'..='\x1F' | '\x7F'..='\u{A0}' | '\u{AD}' => {
                let _ = write!(text, "\\x{:02x}", u32::from(character));
            }
            _ => text.push(character),
        }
    }
    text.push(quote);
}

/// The shortest decimal that reads back as the same number, as Python writes it.
pub(super) fn float_text(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// `'%s' % value`, with the directives `%s %r %d %i %%`.
pub(super) fn percent_format(interpreter: &mut Interpreter, format: &str, values: &Value) -> Outcome<Value> {
    let mut values = match values {
        Value::Tuple(items) => items.values.clone().into_iter(),
        value => vec![value.clone()].into_iter(),
    };
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(character) = chars.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let directive = chars.next();
        if directive == Some('%') {
            text.push('%');
            continue;
        }
        let value = values.next().ok_or_else(|| Failure::runtime("too few values for the format"))?;
        match directive {
            Some('s') => text.push_str(&to_text(interpreter, &value)?),
            Some('r') => text.push_str(&representation(interpreter, &value)?),
            Some('d' | 'i') => {
                #[allow(clippy::cast_possible_truncation, reason = "Python cuts the fraction off")]
                let number = value.as_int().or_else(|| value.as_float().map(|number| number as i64));
                let number = number.ok_or_else(|| Failure::runtime("%d needs a number"))?;
                text.push_str(&number.to_string());
            }
            _ => return Err(Failure::runtime(format!("the format '{format}' has an unknown directive"))),
        }
    }
    if values.next().is_some() {
        return Err(Failure::runtime("too many values for the format"));
    }
    interpreter.new_str(text)
}
