//! The filters after `|`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::failure::{Failure, Outcome};
use super::interpreter::{Call, Interpreter};
use super::json::{Style, to_json};
use super::value::Value;
use super::{lexer::is_space, methods, operators, predicates};

const NAMES: [&str; 44] = [
    "abs",
    "attr",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "sort",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
];

pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// `value | name(arguments)`
pub(super) fn apply(interpreter: &mut Interpreter, name: &str, value: Value, call: Call) -> Outcome<Value> {
    match name {
        "default" | "d" => {
            let [default, boolean] = call.bind(name, ["default_value", "boolean"])?;
            let boolean = boolean.is_some_and(|boolean| boolean.is_true());
            let missing = matches!(value, Value::Undefined(_)) || (boolean && !value.is_true());
            Ok(if missing { default.unwrap_or_else(|| Value::str("")) } else { value })
        }
        "map" | "select" | "reject" | "selectattr" | "rejectattr" => each(interpreter, name, &value, call),
        "sort" | "unique" | "min" | "max" | "groupby" | "dictsort" => {
            ordered(interpreter, name, &value, call)
        }
        "abs" | "int" | "float" | "round" | "sum" => numeric(interpreter, name, &value, call),
        "first" | "last" | "length" | "count" | "list" | "items" | "reverse" | "join" | "attr" => {
            sequence(interpreter, name, value, call)
        }
        "tojson" => tojson(interpreter, &value, call),
        "format" => {
            let format = operators::to_text(interpreter, &value)?;
            let values = Value::tuple(call.positional)?;
            operators::percent_format(interpreter, &format, &values)
        }
        _ => textual(interpreter, name, &value, call),
    }
}

/// Filters on text; other values are written first.
fn textual(interpreter: &mut Interpreter, name: &str, value: &Value, call: Call) -> Outcome<Value> {
    if !is_known(name) {
        return Err(Failure::runtime(format!("there is no filter named '{name}'")));
    }
    let text: Arc<str> = match value {
        Value::Str(text) => Arc::clone(text),
        _ => operators::to_text(interpreter, value)?.into(),
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
            let old = operators::to_text(interpreter, &old.unwrap_or(Value::None))?;
            let new = operators::to_text(interpreter, &new.unwrap_or(Value::None))?;
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

fn sequence(interpreter: &mut Interpreter, name: &str, value: Value, call: Call) -> Outcome<Value> {
    match name {
        "join" => {
            let [separator, attribute] = call.bind(name, ["d", "attribute"])?;
            let separator = separator.unwrap_or_else(|| Value::str(""));
            let separator = operators::to_text(interpreter, &separator)?;
            let items = interpreter.iterate(&value)?;
            let Some(attribute) = attribute else {
                return methods::join(interpreter, &items.values, &separator);
            };
            let mut values = Vec::with_capacity(items.values.len());
            for item in &items.values {
                values.push(nested_attribute(interpreter, item, &attribute)?);
            }
            return methods::join(interpreter, &values, &separator);
        }
        "attr" => {
            let [attribute] = call.bind(name, ["name"])?;
            let attribute = attribute.as_ref().and_then(Value::as_str);
            let attribute = attribute.ok_or_else(|| Failure::runtime("attr needs a name"))?;
            return interpreter.attribute(&value, attribute);
        }
        _ => {}
    }
    let [] = call.bind(name, [])?;
    match (name, &value) {
        ("items", Value::Undefined(_)) => Value::list(Vec::new()),
        ("items", Value::Dict(_)) => methods::call(interpreter, &value, "items", Call::default()),
        ("items", _) => Err(Failure::runtime(format!("a {} has no items", value.type_name()))),
        ("length" | "count", Value::Str(text)) => {
            interpreter.budget.reads(text.len())?;
            Ok(Value::Int(i64::try_from(text.chars().count()).unwrap_or(i64::MAX)))
        }
        ("length" | "count", Value::Dict(dict)) => {
            Ok(Value::Int(i64::try_from(dict.entries.len()).unwrap_or(i64::MAX)))
        }
        ("reverse", Value::Str(text)) => interpreter.new_str(text.chars().rev().collect::<String>()),
        ("list", Value::List(_)) => Ok(value),
        _ => {
            let items = interpreter.iterate(&value)?;
            let end = |value: Option<&Value>| {
                Ok(value.cloned().unwrap_or_else(|| Value::Undefined(format!("{name} item").into())))
            };
            match name {
                "first" => end(items.values.first()),
                "last" => end(items.values.last()),
                "reverse" => interpreter.new_list(items.values.iter().rev().cloned().collect()),
                "list" => interpreter.new_list(items.values.clone()),
                _ => Ok(Value::Int(i64::try_from(items.values.len()).unwrap_or(i64::MAX))),
            }
        }
    }
}

/// `map`, and the filters that keep or drop items by a test.
fn each(interpreter: &mut Interpreter, name: &str, value: &Value, mut call: Call) -> Outcome<Value> {
    let items = interpreter.iterate(value)?;
    let mut results = Vec::new();
    if name == "map" {
        let attribute = if call.positional.is_empty() { take_named(&mut call, "attribute") } else { None };
        let default = attribute.as_ref().and_then(|_| take_named(&mut call, "default"));
        let mut positional = call.positional.into_iter();
        let filter = positional.next();
        let arguments: Vec<Value> = positional.collect();
        for item in &items.values {
            interpreter.budget.steps(1)?;
            results.push(match (&attribute, &filter) {
                (Some(attribute), None) => match nested_attribute(interpreter, item, attribute)? {
                    missing @ Value::Undefined(_) => default.clone().unwrap_or(missing),
                    found => found,
                },
                (None, Some(Value::Str(filter))) => {
                    let call = Call { positional: arguments.clone(), named: call.named.clone() };
                    apply(interpreter, filter, item.clone(), call)?
                }
                _ => return Err(Failure::runtime("map needs a filter or an attribute")),
            });
        }
        return interpreter.new_list(results);
    }
    let keeps = name.starts_with("select");
    let mut positional = call.positional.into_iter();
    let attribute = if name.ends_with("attr") {
        Some(positional.next().ok_or_else(|| Failure::runtime(format!("{name} needs an attribute")))?)
    } else {
        None
    };
    let test = positional.next();
    let arguments: Vec<Value> = positional.collect();
    for item in &items.values {
        interpreter.budget.steps(1)?;
        let subject = match &attribute {
            Some(attribute) => nested_attribute(interpreter, item, attribute)?,
            None => item.clone(),
        };
        let holds = match &test {
            Some(Value::Str(test)) => {
                let call = Call { positional: arguments.clone(), named: call.named.clone() };
                predicates::holds(interpreter, test, &subject, call)?
            }
            Some(_) => return Err(Failure::runtime(format!("{name} needs the name of a test"))),
            None => subject.is_true(),
        };
        if holds == keeps {
            results.push(item.clone());
        }
    }
    interpreter.new_list(results)
}

fn take_named(call: &mut Call, name: &str) -> Option<Value> {
    let place = call.named.iter().position(|(known, _)| &**known == name)?;
    Some(call.named.swap_remove(place).1)
}

/// An attribute path such as `function.name` or `0`.
fn nested_attribute(interpreter: &mut Interpreter, value: &Value, path: &Value) -> Outcome<Value> {
    let Value::Str(path) = path else { return operators::item(interpreter, value, path) };
    let mut value = value.clone();
    for name in path.split('.') {
        value = match name.parse::<i64>() {
            Ok(index) => operators::item(interpreter, &value, &Value::Int(index))?,
            Err(_) => operators::item(interpreter, &value, &Value::str(name))?,
        };
    }
    Ok(value)
}

/// The filters that compare items.
fn ordered(interpreter: &mut Interpreter, name: &str, value: &Value, call: Call) -> Outcome<Value> {
    if name == "dictsort" {
        return dictsort(interpreter, value, call);
    }
    let (attribute, reverse, case_sensitive) = match name {
        "sort" => {
            let [reverse, case, attribute] = call.bind(name, ["reverse", "case_sensitive", "attribute"])?;
            (attribute, reverse, case)
        }
        "groupby" => {
            let [attribute, _default, case] = call.bind(name, ["attribute", "default", "case_sensitive"])?;
            (attribute, None, case)
        }
        _ => {
            let [case, attribute] = call.bind(name, ["case_sensitive", "attribute"])?;
            (attribute, None, case)
        }
    };
    let case_sensitive = case_sensitive.is_some_and(|case| case.is_true());
    let items = interpreter.iterate(value)?;
    let mut keyed = Vec::with_capacity(items.values.len());
    for item in &items.values {
        let key = match &attribute {
            Some(attribute) => nested_attribute(interpreter, item, attribute)?,
            None => item.clone(),
        };
        keyed.push((sort_key(interpreter, key, case_sensitive)?, item.clone()));
    }
    match name {
        "unique" => {
            let mut unique: Vec<(Value, Value)> = Vec::new();
            for (key, item) in keyed {
                let mut seen = false;
                for (known, _) in &unique {
                    seen = seen || operators::equals(interpreter, known, &key)?;
                }
                if !seen {
                    unique.push((key, item));
                }
            }
            interpreter.new_list(unique.into_iter().map(|(_, item)| item).collect())
        }
        "min" | "max" => {
            let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
            let mut best: Option<(Value, Value)> = None;
            for (key, item) in keyed {
                let better = match &best {
                    Some((known, _)) => operators::order(interpreter, &key, known)? == Some(wanted),
                    None => true,
                };
                if better {
                    best = Some((key, item));
                }
            }
            Ok(best.map_or_else(|| Value::Undefined(format!("{name} item").into()), |(_, item)| item))
        }
        "groupby" => {
            let keyed = sort_by_key(interpreter, &keyed, false)?;
            let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
            for (key, item) in keyed {
                match groups.last_mut() {
                    Some((known, members)) if operators::equals(interpreter, known, &key)? => {
                        members.push(item)
                    }
                    _ => groups.push((key, vec![item])),
                }
            }
            interpreter.budget.bytes(groups.len() * 4 * size_of::<Value>())?;
            let groups =
                groups.into_iter().map(|(key, members)| Value::tuple(vec![key, Value::list(members)?]));
            let groups = groups.collect::<Outcome<_>>()?;
            interpreter.new_list(groups)
        }
        _ => {
            let keyed = sort_by_key(interpreter, &keyed, reverse.is_some_and(|reverse| reverse.is_true()))?;
            interpreter.new_list(keyed.into_iter().map(|(_, item)| item).collect())
        }
    }
}

fn dictsort(interpreter: &mut Interpreter, value: &Value, call: Call) -> Outcome<Value> {
    let [case_sensitive, by, reverse] = call.bind("dictsort", ["case_sensitive", "by", "reverse"])?;
    let Value::Dict(dict) = value else {
        return Err(Failure::runtime(format!("a {} cannot be sorted by key", value.type_name())));
    };
    let by_value = by.as_ref().and_then(Value::as_str) == Some("value");
    let case_sensitive = case_sensitive.is_some_and(|case| case.is_true());
    interpreter.budget.bytes(dict.entries.len() * 6 * size_of::<Value>())?;
    let mut keyed = Vec::with_capacity(dict.entries.len());
    for (key, value) in &dict.entries {
        let sorted_by = if by_value { value.clone() } else { key.clone() };
        let pair = Value::tuple(vec![key.clone(), value.clone()])?;
        keyed.push((sort_key(interpreter, sorted_by, case_sensitive)?, pair));
    }
    let keyed = sort_by_key(interpreter, &keyed, reverse.is_some_and(|reverse| reverse.is_true()))?;
    interpreter.new_list(keyed.into_iter().map(|(_, pair)| pair).collect())
}

/// Strings compare without case unless asked otherwise.
fn sort_key(interpreter: &mut Interpreter, key: Value, case_sensitive: bool) -> Outcome<Value> {
    match &key {
        Value::Str(text) if !case_sensitive => interpreter.new_str(text.to_lowercase()),
        _ => Ok(key),
    }
}

/// The entries in the order of their keys, equal ones as they were. A merge sort of its own, because comparisons can fail, and
/// because the standard library's may panic where keys have no total order, such as numbers that are NaN.
fn sort_by_key(
    interpreter: &mut Interpreter,
    keyed: &[(Value, Value)],
    reverse: bool,
) -> Outcome<Vec<(Value, Value)>> {
    let before = if reverse { Ordering::Greater } else { Ordering::Less };
    let mut sorted: Vec<&(Value, Value)> = keyed.iter().collect();
    let mut width = 1;
    while width < sorted.len() {
        let mut merged = Vec::with_capacity(sorted.len());
        for pair in sorted.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let ([first, rest_of_left @ ..], [second, rest_of_right @ ..]) = (left, right) {
                if operators::order(interpreter, &second.0, &first.0)? == Some(before) {
                    merged.push(*second);
                    right = rest_of_right;
                } else {
                    merged.push(*first);
                    left = rest_of_left;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        sorted = merged;
        width *= 2;
    }
    Ok(sorted.into_iter().cloned().collect())
}

fn numeric(interpreter: &mut Interpreter, name: &str, value: &Value, call: Call) -> Outcome<Value> {
    if let ("abs" | "round", Value::Undefined(missing)) = (name, value) {
        return Err(operators::undefined(missing));
    }
    match name {
        "abs" => {
            let [] = call.bind(name, [])?;
            match value {
                Value::Float(number) => Ok(Value::Float(number.abs())),
                _ => {
                    let number = value.as_int().and_then(i64::checked_abs);
                    number.map(Value::Int).ok_or_else(|| Failure::runtime("abs needs a number"))
                }
            }
        }
        "int" => {
            let [default, base] = call.bind(name, ["default", "base"])?;
            let base = base.and_then(|base| base.as_int()).unwrap_or(10);
            Ok(to_int(value, base).map_or_else(|| default.unwrap_or(Value::Int(0)), Value::Int))
        }
        "float" => {
            let [default] = call.bind(name, ["default"])?;
            let number = match value {
                Value::Str(text) => text.trim_matches(is_space).parse().ok(),
                _ => value.as_float(),
            };
            Ok(number.map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float))
        }
        "round" => round(value, call),
        _ => {
            let [attribute, start] = call.bind(name, ["attribute", "start"])?;
            let mut total = start.unwrap_or(Value::Int(0));
            let items = interpreter.iterate(value)?;
            for item in &items.values {
                let item = match &attribute {
                    Some(attribute) if !matches!(attribute, Value::None) => {
                        nested_attribute(interpreter, item, attribute)?
                    }
                    _ => item.clone(),
                };
                total = operators::binary(interpreter, super::ast::BinaryOperator::Add, &total, &item)?;
            }
            Ok(total)
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn to_int(value: &Value, base: i64) -> Option<i64> {
    let truncated = |number: f64| (number.abs() < 9.2e18).then_some(number as i64);
    match value {
        Value::Str(text) => {
            let text = text.trim_matches(is_space).replace('_', "");
            let base = u32::try_from(base).ok().filter(|base| (2..=36).contains(base))?;
            i64::from_str_radix(&text, base).ok().or_else(|| text.parse().ok().and_then(truncated))
        }
        Value::Float(number) => truncated(*number),
        _ => value.as_int(),
    }
}

fn round(value: &Value, call: Call) -> Outcome<Value> {
    let [precision, method] = call.bind("round", ["precision", "method"])?;
    let precision = precision.and_then(|precision| precision.as_int()).unwrap_or(0);
    let precision = usize::try_from(precision).ok().filter(|precision| *precision <= 300);
    let precision = precision.ok_or_else(|| Failure::runtime("round takes 0 to 300 digits"))?;
    let method = method.as_ref().and_then(Value::as_str).unwrap_or("common");
    if let (Some(number), "common") = (value.as_int(), method) {
        return Ok(Value::Int(number));
    }
    let number = value.as_float().ok_or_else(|| Failure::runtime("round needs a number"))?;
    let scale = i32::try_from(precision).map_or(f64::INFINITY, |precision| 10f64.powi(precision));
    Ok(Value::Float(match method {
        // The decimal of that many digits that is nearest to the exact number, ties to even.
        "common" => format!("{number:.precision$}").parse().unwrap_or(number),
        "ceil" => (number * scale).ceil() / scale,
        "floor" => (number * scale).floor() / scale,
        _ => return Err(Failure::runtime("round knows the methods common, ceil and floor")),
    }))
}

fn tojson(interpreter: &mut Interpreter, value: &Value, call: Call) -> Outcome<Value> {
    let [ascii, indent, separators, sort_keys] =
        call.bind("tojson", ["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text.to_string()),
        Some(width) => {
            let width = width.as_int().ok_or_else(|| Failure::runtime("indent is a number or a string"))?;
            let width = usize::try_from(width).unwrap_or(0);
            interpreter.budget.bytes(width)?;
            Some(" ".repeat(width))
        }
    };
    let separators = match &separators {
        None | Some(Value::None) => None,
        Some(Value::Tuple(items) | Value::List(items)) => match items.values.as_slice() {
            [Value::Str(item), Value::Str(key)] => Some((item.to_string(), key.to_string())),
            _ => return Err(Failure::runtime("separators are two strings")),
        },
        Some(_) => return Err(Failure::runtime("separators are two strings")),
    };
    let default_item = if indent.is_some() { "," } else { ", " };
    let (item_separator, key_separator) =
        separators.unwrap_or_else(|| (default_item.to_owned(), ": ".to_owned()));
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let style = Style {
        ensure_ascii: is_true(ascii),
        indent,
        item_separator,
        key_separator,
        sort_keys: is_true(sort_keys),
    };
    let text = to_json(interpreter, value, &style)?;
    interpreter.new_str(text)
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
