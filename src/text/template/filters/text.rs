//! Filters on text.

use std::sync::Arc;

use super::is_known;
use crate::text::template::failure::{Failure, Outcome};
use crate::text::template::interpreter::{Call, Interpreter};
use crate::text::template::lexer::is_space;
use crate::text::template::value::Value;
use crate::text::template::{methods, printing};

/// Filters on text; other values are written first.
pub(super) fn textual(
    interpreter: &mut Interpreter,
    name: &str,
    value: &Value,
    call: Call,
) -> Outcome<Value> {
    if !is_known(name) {
        return Err(Failure::runtime(format!("there is no filter named '{name}'")));
    }
    let text: Arc<str> = match value {
        Value::Str(text) => Arc::clone(text),
        _ => printing::to_text(interpreter, value)?.into(),
    };
    interpreter.budget.reads(text.len())?;
    match name {
        "trim" => {
            let [characters] = call.bind(name, ["chars"])?;
            let characters = methods::string_or_none(characters.as_ref(), name)?;
            let stripped = methods::strip(interpreter, &text, characters, "strip")?;
            interpreter.new_str(stripped)
        }
        "replace" => {
            let [old, new, count] = call.bind(name, ["old", "new", "count"])?;
            let old = printing::to_text(interpreter, &old.unwrap_or(Value::None))?;
            let new = printing::to_text(interpreter, &new.unwrap_or(Value::None))?;
            methods::replace(interpreter, &text, &old, &new, count.as_ref())
        }
        "indent" => indent(interpreter, &text, call),
        "truncate" => truncate(interpreter, &text, call),
        "center" => {
            let [width] = call.bind(name, ["width"])?;
            let width = width.and_then(|width| width.as_int()).unwrap_or(80);
            methods::pad(interpreter, &text, width, name)
        }
        _ => {
            let [] = call.bind(name, [])?;
            interpreter.budget.bytes(text.len().saturating_mul(3))?;
            match name {
                "upper" => interpreter.new_str(text.to_uppercase()),
                "lower" => interpreter.new_str(text.to_lowercase()),
                "capitalize" => interpreter.new_str(methods::capitalize(&text)),
                "title" => interpreter.new_str(title(&text)),
                "escape" | "e" => {
                    interpreter.budget.bytes(text.len().saturating_mul(5))?;
                    interpreter.new_str(escape(&text))
                }
                "urlencode" => interpreter.new_str(urlencode(&text)),
                "wordcount" => {
                    let words = text
                        .split(|c: char| !c.is_alphanumeric() && c != '_')
                        .filter(|word| !word.is_empty());
                    Ok(Value::Int(i64::try_from(words.count()).unwrap_or(i64::MAX)))
                }
                // `string` and `safe`: nothing is escaped in prompts.
                _ => Ok(Value::Str(text)),
            }
        }
    }
}

fn indent(interpreter: &mut Interpreter, text: &str, call: Call) -> Outcome<Value> {
    let [width, first, blank] = call.bind("indent", ["width", "first", "blank"])?;
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let (first, blank) = (is_true(first), is_true(blank));
    let ended = format!("{text}\n");
    let lines = methods::split_lines(&ended, false);
    let width = match &width {
        Some(Value::Str(indent)) => indent.len(),
        Some(width) => usize::try_from(width.as_int().unwrap_or(0)).unwrap_or(0),
        None => 4,
    };
    interpreter
        .budget
        .bytes(text.len().saturating_add(lines.len().saturating_mul(width.saturating_add(1))))?;
    let indentation = " ".repeat(width);
    let mut result = String::new();
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            result.push('\n');
        }
        let indents = if index == 0 { first } else { blank || !line.is_empty() };
        if indents {
            result.push_str(&indentation);
        }
        result.push_str(line);
    }
    Ok(Value::str(result))
}

fn truncate(interpreter: &mut Interpreter, text: &str, call: Call) -> Outcome<Value> {
    let [length, kill_words, end, leeway] =
        call.bind("truncate", ["length", "killwords", "end", "leeway"])?;
    let count = |value: Option<Value>, default: usize| {
        value.and_then(|value| value.as_int()).map_or(default, |value| usize::try_from(value).unwrap_or(0))
    };
    let (length, leeway) = (count(length, 255), count(leeway, 5));
    let end = end.as_ref().and_then(Value::as_str).unwrap_or("...");
    if text.chars().count() <= length.saturating_add(leeway) {
        return interpreter.new_str(text);
    }
    let kept = length.checked_sub(end.chars().count());
    let kept = kept.ok_or_else(|| Failure::runtime("truncate needs room for its end"))?;
    let mut cut: &str =
        text.char_indices().nth(kept).map_or(text, |(place, _)| text.get(..place).unwrap_or(text));
    if !kill_words.is_some_and(|kill| kill.is_true()) {
        cut = cut.rsplit_once(' ').map_or(cut, |(before, _)| before);
    }
    interpreter.new_str([cut, end].concat())
}

/// Jinja's title case: a word begins after blanks, hyphens and opening brackets.
fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut at_start = true;
    for character in text.chars() {
        if is_space(character) || matches!(character, '-' | '(' | '{' | '[' | '<') {
            titled.push(character);
            at_start = true;
        } else if at_start {
            titled.extend(character.to_uppercase());
            at_start = false;
        } else {
            titled.extend(character.to_lowercase());
        }
    }
    titled
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&#34;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

fn urlencode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
