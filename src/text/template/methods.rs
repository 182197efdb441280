//! Methods of strings, lists, dicts and loops, as in Python. Those that would change their value are left out: chat
//! templates run without them everywhere.

use super::comparison;
use super::failure::{Failure, Outcome};
use super::interpreter::{Call, Interpreter};
use super::lexer::is_space;
use super::printing;
use super::value::Value;

const STRING_METHODS: [&str; 33] = [
    "capitalize",
    "center",
    "count",
    "endswith",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdigit",
    "islower",
    "isnumeric",
    "isspace",
    "isupper",
    "join",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "title",
    "upper",
    "zfill",
];

/// The method `name` of `value`, if it has one.
pub(super) fn find(value: &Value, name: &str) -> Option<&'static str> {
    let names: &[&'static str] = match value {
        Value::Str(_) => &STRING_METHODS,
        Value::Dict(_) => &["copy", "get", "items", "keys", "values"],
        Value::List(_) => &["copy", "count", "index"],
        Value::Tuple(_) => &["count", "index"],
        Value::Loop(_) => &["cycle"],
        _ => &[],
    };
    names.iter().find(|known| **known == name).copied()
}

/// Calls a method that [`find`] found.
pub(super) fn call(
    interpreter: &mut Interpreter,
    receiver: &Value,
    method: &str,
    call: Call,
) -> Outcome<Value> {
    match receiver {
        Value::Str(text) => {
            interpreter.budget.reads(text.len())?;
            string_method(interpreter, text, method, call)
        }
        Value::Dict(dict) => match method {
            "get" => {
                let [key, default] = call.bind("get", ["key", "default"])?;
                let key = key.ok_or_else(|| Failure::runtime("get needs a key"))?;
                for (known, value) in &dict.entries {
                    if comparison::equals(interpreter, known, &key)? {
                        return Ok(value.clone());
                    }
                }
                Ok(default.unwrap_or(Value::None))
            }
            "copy" => Ok(receiver.clone()),
            "items" => {
                interpreter.budget.bytes(dict.entries.len() * 4 * size_of::<Value>())?;
                let pair = |(key, value): &(Value, Value)| Value::tuple(vec![key.clone(), value.clone()]);
                let pairs = dict.entries.iter().map(pair).collect::<Outcome<_>>()?;
                interpreter.new_list(pairs)
            }
            "keys" => interpreter.new_list(dict.entries.iter().map(|(key, _)| key.clone()).collect()),
            _ => interpreter.new_list(dict.entries.iter().map(|(_, value)| value.clone()).collect()),
        },
        Value::List(items) | Value::Tuple(items) => {
            if method == "copy" {
                return Ok(receiver.clone());
            }
            let [wanted] = call.bind(method, ["value"])?;
            let wanted = wanted.ok_or_else(|| Failure::runtime(format!("{method} needs a value")))?;
            let mut count = 0;
            for (place, value) in items.values.iter().enumerate() {
                if comparison::equals(interpreter, value, &wanted)? {
                    if method == "index" {
                        return int(place);
                    }
                    count += 1;
                }
            }
            if method == "index" { Err(Failure::runtime("the value is not in the list")) } else { int(count) }
        }
        Value::Loop(state) => {
            let count = call.positional.len();
            let value = state.index.checked_rem(count).and_then(|place| call.positional.get(place));
            value.cloned().ok_or_else(|| Failure::runtime("cycle needs values"))
        }
        _ => Err(Failure::runtime(format!("a {} has no method '{method}'", receiver.type_name()))),
    }
}

fn int(number: usize) -> Outcome<Value> {
    i64::try_from(number).map(Value::Int).map_err(|_| Failure::runtime("a number is too large"))
}

fn string_method(interpreter: &mut Interpreter, text: &str, method: &str, call: Call) -> Outcome<Value> {
    match method {
        "strip" | "lstrip" | "rstrip" => {
            let [characters] = call.bind(method, ["chars"])?;
            let stripped = strip(interpreter, text, string_or_none(characters.as_ref(), method)?, method)?;
            interpreter.new_str(stripped)
        }
        "startswith" | "endswith" => {
            let [wanted] = call.bind(method, ["prefix"])?;
            let matches = |interpreter: &mut Interpreter, part: &Value| {
                let part = part.as_str().ok_or_else(|| needs_string(method))?;
                interpreter.budget.reads(part.len())?;
                Ok(if method == "startswith" { text.starts_with(part) } else { text.ends_with(part) })
            };
            match wanted {
                Some(Value::Tuple(parts)) => {
                    for part in &parts.values {
                        interpreter.budget.steps(1)?;
                        if matches(interpreter, part)? {
                            return Ok(Value::Bool(true));
                        }
                    }
                    Ok(Value::Bool(false))
                }
                Some(part) => matches(interpreter, &part).map(Value::Bool),
                None => Err(needs_string(method)),
            }
        }
        "split" | "rsplit" => split(interpreter, text, method, call),
        "splitlines" => {
            let [keep] = call.bind(method, ["keepends"])?;
            let keep = keep.is_some_and(|keep| keep.is_true());
            interpreter.budget.bytes(text.len().saturating_mul(32))?;
            interpreter.new_list(split_lines(text, keep).into_iter().map(Value::str).collect())
        }
        "partition" | "rpartition" => {
            let [separator] = call.bind(method, ["sep"])?;
            let separator =
                separator.as_ref().and_then(Value::as_str).filter(|separator| !separator.is_empty());
            let separator = separator.ok_or_else(|| needs_string(method))?;
            interpreter.budget.bytes(text.len() + 3 * size_of::<Value>())?;
            let parts = match (method, text.split_once(separator), text.rsplit_once(separator)) {
                ("partition", Some((before, after)), _) | ("rpartition", _, Some((before, after))) => {
                    [before, separator, after]
                }
                ("partition", ..) => [text, "", ""],
                _ => ["", "", text],
            };
            Value::tuple(parts.map(Value::str).to_vec())
        }
        "removeprefix" | "removesuffix" => {
            let [part] = call.bind(method, ["part"])?;
            let part = part.as_ref().and_then(Value::as_str).ok_or_else(|| needs_string(method))?;
            let rest =
                if method == "removeprefix" { text.strip_prefix(part) } else { text.strip_suffix(part) };
            interpreter.new_str(rest.unwrap_or(text))
        }
        "replace" => {
            let [old, new, count] = call.bind(method, ["old", "new", "count"])?;
            let [Some(Value::Str(old)), Some(Value::Str(new))] = [old, new] else {
                return Err(needs_string(method));
            };
            replace(interpreter, text, &old, &new, count.as_ref())
        }
        "find" | "rfind" | "index" => {
            let [part] = call.bind(method, ["sub"])?;
            let part = part.as_ref().and_then(Value::as_str).ok_or_else(|| needs_string(method))?;
            let offset = if method == "rfind" { text.rfind(part) } else { text.find(part) };
            match offset.and_then(|offset| text.get(..offset)) {
                Some(before) => int(before.chars().count()),
                None if method == "index" => Err(Failure::runtime("the text does not occur")),
                None => Ok(Value::Int(-1)),
            }
        }
        "count" => {
            let [part] = call.bind(method, ["sub"])?;
            let part = part.as_ref().and_then(Value::as_str).ok_or_else(|| needs_string(method))?;
            int(text.matches(part).count())
        }
        "join" => {
            let [items] = call.bind(method, ["iterable"])?;
            let items = interpreter.iterate(&items.unwrap_or(Value::None))?;
            if let Some(other) = items.values.iter().find(|item| item.as_str().is_none()) {
                return Err(Failure::runtime(format!("join needs strings, not a {}", other.type_name())));
            }
            join(interpreter, &items.values, text)
        }
        "format" => format_braces(interpreter, text, &call),
        "zfill" | "center" => {
            let [width] = call.bind(method, ["width"])?;
            let width = width
                .and_then(|width| width.as_int())
                .ok_or_else(|| Failure::runtime("a width is missing"))?;
            pad(interpreter, text, width, method)
        }
        _ => {
            let [] = call.bind(method, [])?;
            simple_method(interpreter, text, method)
        }
    }
}

/// The methods without arguments.
fn simple_method(interpreter: &mut Interpreter, text: &str, method: &str) -> Outcome<Value> {
    interpreter.budget.bytes(text.len().saturating_mul(2))?;
    let all = |holds: fn(char) -> bool| Ok(Value::Bool(!text.is_empty() && text.chars().all(holds)));
    let cased = |wanted: fn(char) -> bool, unwanted: fn(char) -> bool| {
        Ok(Value::Bool(text.chars().any(wanted) && !text.chars().any(unwanted)))
    };
    match method {
        "upper" => interpreter.new_str(text.to_uppercase()),
        "lower" => interpreter.new_str(text.to_lowercase()),
        "capitalize" => interpreter.new_str(capitalize(text)),
        "title" => {
            let mut titled = String::with_capacity(text.len());
            let mut inside_word = false;
            for character in text.chars() {
                if inside_word {
                    titled.extend(character.to_lowercase());
                } else {
                    titled.extend(character.to_uppercase());
                }
                inside_word = character.is_alphabetic();
            }
            interpreter.new_str(titled)
        }
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isdigit" | "isnumeric" => all(char::is_numeric),
        "isspace" => all(is_space),
        "isascii" => Ok(Value::Bool(text.is_ascii())),
        "islower" => cased(char::is_lowercase, char::is_uppercase),
        "isupper" => cased(char::is_uppercase, char::is_lowercase),
        _ => Err(Failure::runtime(format!("a str has no method '{method}'"))),
    }
}

pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().map(char::to_uppercase).into_iter().flatten().collect();
    first + &chars.as_str().to_lowercase()
}

/// `text` without the `characters` (by default whitespace) at its ends.
pub(super) fn strip<'a>(
    interpreter: &mut Interpreter,
    text: &'a str,
    characters: Option<&str>,
    method: &str,
) -> Outcome<&'a str> {
    // Each character of the text may be looked for among all that are stripped.
    interpreter.budget.reads(text.len().saturating_mul(characters.map_or(0, str::len) / 4))?;
    let strips = |character: char| match characters {
        Some(characters) => characters.contains(character),
        None => is_space(character),
    };
    Ok(match method {
        "lstrip" => text.trim_start_matches(strips),
        "rstrip" => text.trim_end_matches(strips),
        _ => text.trim_matches(strips),
    })
}

fn split(interpreter: &mut Interpreter, text: &str, method: &str, call: Call) -> Outcome<Value> {
    let [separator, most] = call.bind(method, ["sep", "maxsplit"])?;
    let separator = string_or_none(separator.as_ref(), method)?;
    let most = most.and_then(|most| most.as_int()).and_then(|most| usize::try_from(most).ok());
    let limit = most.map_or(usize::MAX, |most| most.saturating_add(1));
    // Every part is a string of its own.
    interpreter.budget.bytes(text.len().saturating_mul(32))?;
    let mut parts: Vec<&str> = match (separator, method) {
        (Some(""), _) => return Err(Failure::runtime("the separator is empty")),
        (Some(separator), "split") => text.splitn(limit, separator).collect(),
        (Some(separator), _) => text.rsplitn(limit, separator).collect(),
        (None, _) => split_whitespace(text, limit, method == "rsplit"),
    };
    if method == "rsplit" {
        parts.reverse();
    }
    interpreter.new_list(parts.into_iter().map(Value::str).collect())
}

/// At most `limit` words, from the end where `backwards`; the last is what is left.
fn split_whitespace(text: &str, limit: usize, backwards: bool) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest =
        if backwards { text.trim_end_matches(is_space) } else { text.trim_start_matches(is_space) };
    while !rest.is_empty() {
        let word_end = if backwards { rest.rfind(is_space) } else { rest.find(is_space) };
        match word_end.filter(|_| words.len() + 1 < limit) {
            None => {
                words.push(rest);
                break;
            }
            Some(place) if backwards => {
                let (before, word) = rest.split_at(place);
                words.push(word.trim_start_matches(is_space));
                rest = before.trim_end_matches(is_space);
            }
            Some(place) => {
                let (word, after) = rest.split_at(place);
                words.push(word);
                rest = after.trim_start_matches(is_space);
            }
        }
    }
    words
}

/// The lines of `text`, at all of Python's line ends.
pub(super) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |character: char| {
        matches!(
            character,
            '\n' | '\r' | '\x0B' | '\x0C' | '\x1C'..='\x1E' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(place) = rest.find(is_end) {
        let (line, ended) = rest.split_at(place);
        let end = if ended.starts_with("\r\n") { 2 } else { ended.chars().next().map_or(0, char::len_utf8) };
        lines.push(if keep_ends { rest.get(..place + end).unwrap_or(line) } else { line });
        rest = ended.get(end..).unwrap_or_default();
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

pub(super) fn replace(
    interpreter: &mut Interpreter,
    text: &str,
    old: &str,
    new: &str,
    count: Option<&Value>,
) -> Outcome<Value> {
    let limit = count.and_then(Value::as_int).and_then(|count| usize::try_from(count).ok());
    let found = text.matches(old).count().min(limit.unwrap_or(usize::MAX));
    interpreter.budget.bytes(text.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(Value::str(match limit {
        Some(limit) => text.replacen(old, new, limit),
        None => text.replace(old, new),
    }))
}

/// The texts of `items` with `separator` between.
pub(super) fn join(interpreter: &mut Interpreter, items: &[Value], separator: &str) -> Outcome<Value> {
    interpreter.budget.bytes(items.len().saturating_mul(separator.len()))?;
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        text.push_str(&printing::to_text(interpreter, item)?);
    }
    interpreter.new_str(text)
}

/// `center` and `zfill`.
pub(super) fn pad(interpreter: &mut Interpreter, text: &str, width: i64, method: &str) -> Outcome<Value> {
    let length = text.chars().count();
    let missing = usize::try_from(width).unwrap_or(0).saturating_sub(length);
    interpreter.budget.bytes(text.len().saturating_add(missing))?;
    if method == "zfill" {
        let (sign, digits) = match text.strip_prefix(['+', '-']) {
            Some(digits) => (text.get(..1).unwrap_or_default(), digits),
            None => ("", text),
        };
        return Ok(Value::str([sign, &"0".repeat(missing), digits].concat()));
    }
    // Python puts the odd blank to the left of texts of odd length, else to the right.
    let left = missing / 2 + (missing & usize::try_from(width).unwrap_or(0) & 1);
    Ok(Value::str([" ".repeat(left).as_str(), text, &" ".repeat(missing - left)].concat()))
}

/// `str.format` with `{}`, `{0}` and `{name}`, without format specifications.
fn format_braces(interpreter: &mut Interpreter, format: &str, call: &Call) -> Outcome<Value> {
    let mut text = String::new();
    let mut next = 0;
    let mut rest = format;
    while let Some(place) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(place);
        text.push_str(before);
        if brace.starts_with("{{") || brace.starts_with("}}") {
            text.push_str(brace.get(..1).unwrap_or_default());
            rest = brace.get(2..).unwrap_or_default();
            continue;
        }
        let field = brace.strip_prefix('{').and_then(|field| field.split_once('}'));
        let (field, after) = field.ok_or_else(|| Failure::runtime("a brace of the format has no partner"))?;
        let value = if field.is_empty() {
            next += 1;
            call.positional.get(next - 1)
        } else if let Ok(index) = field.parse::<usize>() {
            call.positional.get(index)
        } else {
            call.named.iter().find(|(name, _)| &**name == field).map(|(_, value)| value)
        };
        let value =
            value.ok_or_else(|| Failure::runtime(format!("the format has no value for '{{{field}}}'")))?;
        text.push_str(&printing::to_text(interpreter, value)?);
        rest = after;
    }
    text.push_str(rest);
    interpreter.new_str(text)
}

pub(super) fn string_or_none<'a>(value: Option<&'a Value>, function: &str) -> Outcome<Option<&'a str>> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(Value::Str(text)) => Ok(Some(text)),
        Some(_) => Err(needs_string(function)),
    }
}

fn needs_string(function: &str) -> Failure {
    Failure::runtime(format!("{function} needs a string"))
}
