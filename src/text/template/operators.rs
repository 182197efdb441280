//! Arithmetic, comparison, indexing and printing of values, as in Python.

use std::cmp::Ordering;
use std::fmt::Write as _;

use super::ast::{BinaryOperator, ComparisonOperator};
use super::failure::{Failure, Outcome};
use super::interpreter::Interpreter;
use super::value::{Loop, Value};

pub(super) fn undefined(name: &str) -> Failure {
    Failure::runtime(format!("'{name}' is undefined"))
}

/// Steps for finding one of `entries` names by comparing each with a name of `length` bytes.
pub(super) fn search_cost(entries: usize, length: usize) -> u64 {
    (entries as u64).saturating_mul(64 + length as u64) / 8192
}

/// Steps for finding `key` in a value.
pub(super) fn lookup_cost(value: &Value, key: &str) -> u64 {
    match value {
        Value::Dict(dict) => search_cost(dict.entries.len(), key.len()),
        _ => 0,
    }
}

pub(super) fn negate(value: &Value) -> Outcome<Value> {
    match value {
        Value::Float(number) => Ok(Value::Float(-number)),
        _ => {
            let number = value.as_int().ok_or_else(|| mismatch("-", value))?;
            number.checked_neg().map(Value::Int).ok_or_else(overflow)
        }
    }
}

pub(super) fn positive(value: &Value) -> Outcome<Value> {
    match value {
        Value::Float(number) => Ok(Value::Float(*number)),
        _ => value.as_int().map(Value::Int).ok_or_else(|| mismatch("+", value)),
    }
}

pub(super) fn binary(
    interpreter: &mut Interpreter,
    operator: BinaryOperator,
    left: &Value,
    right: &Value,
) -> Outcome<Value> {
    for operand in [left, right] {
        if let Value::Undefined(name) = operand {
            return Err(undefined(name));
        }
    }
    match (operator, left, right) {
        (BinaryOperator::Add, Value::Str(left), Value::Str(right)) => {
            interpreter.budget.bytes(left.len() + right.len())?;
            Ok(Value::str([&**left, &**right].concat()))
        }
        (BinaryOperator::Add, Value::List(left), Value::List(right)) => {
            let values = left.values.iter().chain(&right.values).cloned().collect();
            interpreter.new_list(values)
        }
        (BinaryOperator::Add, Value::Tuple(left), Value::Tuple(right)) => {
            interpreter.budget.bytes((left.values.len() + right.values.len()) * size_of::<Value>())?;
            Value::tuple(left.values.iter().chain(&right.values).cloned().collect())
        }
        (BinaryOperator::Multiply, Value::Str(text), count)
        | (BinaryOperator::Multiply, count, Value::Str(text))
            if count.as_int().is_some() =>
        {
            let count = repetitions(count);
            interpreter.budget.bytes(text.len().saturating_mul(count))?;
            Ok(Value::str(text.repeat(count)))
        }
        (BinaryOperator::Multiply, Value::List(items), count)
        | (BinaryOperator::Multiply, count, Value::List(items))
            if count.as_int().is_some() =>
        {
            let count = repetitions(count);
            interpreter
                .budget
                .bytes(items.values.len().saturating_mul(count).saturating_mul(size_of::<Value>()))?;
            Value::list(std::iter::repeat_n(&items.values, count).flatten().cloned().collect())
        }
        (BinaryOperator::Modulo, Value::Str(format), _) => percent_format(interpreter, format, right),
        _ => arithmetic(operator, left, right),
    }
}

/// How often a sequence is repeated; negative counts give none.
fn repetitions(count: &Value) -> usize {
    count.as_int().map_or(0, |count| usize::try_from(count.max(0)).unwrap_or(usize::MAX))
}

fn arithmetic(operator: BinaryOperator, left: &Value, right: &Value) -> Outcome<Value> {
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
        let whole = match operator {
            BinaryOperator::Add => a.checked_add(b),
            BinaryOperator::Subtract => a.checked_sub(b),
            BinaryOperator::Multiply => a.checked_mul(b),
            BinaryOperator::FloorDivide | BinaryOperator::Modulo | BinaryOperator::Divide if b == 0 => {
                return Err(Failure::runtime("division by zero"));
            }
            BinaryOperator::FloorDivide => floor_divide(a, b),
            BinaryOperator::Modulo => {
                a.checked_rem(b).map(|rest| if (rest ^ b) < 0 && rest != 0 { rest + b } else { rest })
            }
            BinaryOperator::Power if b >= 0 => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
            BinaryOperator::Divide | BinaryOperator::Power => return float_arithmetic(operator, left, right),
        };
        return whole.map(Value::Int).ok_or_else(overflow);
    }
    float_arithmetic(operator, left, right)
}

fn floor_divide(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    Some(if (a % b != 0) && ((a < 0) != (b < 0)) { quotient - 1 } else { quotient })
}

fn float_arithmetic(operator: BinaryOperator, left: &Value, right: &Value) -> Outcome<Value> {
    let (Some(a), Some(b)) = (left.as_float(), right.as_float()) else {
        let (left, right) = (left.type_name(), right.type_name());
        let sign = match operator {
            BinaryOperator::Add => "+",
            BinaryOperator::Subtract => "-",
            BinaryOperator::Multiply => "*",
            BinaryOperator::Divide => "/",
            BinaryOperator::FloorDivide => "//",
            BinaryOperator::Modulo => "%",
            BinaryOperator::Power => "**",
        };
        return Err(Failure::runtime(format!("'{sign}' does not take a {left} and a {right}")));
    };
    let by_zero = b == 0.0;
    Ok(Value::Float(match operator {
        BinaryOperator::Add => a + b,
        BinaryOperator::Subtract => a - b,
        BinaryOperator::Multiply => a * b,
        BinaryOperator::Power => a.powf(b),
        _ if by_zero => return Err(Failure::runtime("division by zero")),
        BinaryOperator::Divide => a / b,
        BinaryOperator::FloorDivide => (a / b).floor(),
        BinaryOperator::Modulo => a - b * (a / b).floor(),
    }))
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

pub(super) fn compare(
    interpreter: &mut Interpreter,
    operator: ComparisonOperator,
    left: &Value,
    right: &Value,
) -> Outcome<bool> {
    Ok(match operator {
        ComparisonOperator::Equal => equals(interpreter, left, right)?,
        ComparisonOperator::NotEqual => !equals(interpreter, left, right)?,
        ComparisonOperator::In => contains(interpreter, right, left)?,
        ComparisonOperator::NotIn => !contains(interpreter, right, left)?,
        ComparisonOperator::Less => order(interpreter, left, right)? == Some(Ordering::Less),
        ComparisonOperator::LessEqual => {
            matches!(order(interpreter, left, right)?, Some(Ordering::Less | Ordering::Equal))
        }
        ComparisonOperator::Greater => order(interpreter, left, right)? == Some(Ordering::Greater),
        ComparisonOperator::GreaterEqual => {
            matches!(order(interpreter, left, right)?, Some(Ordering::Greater | Ordering::Equal))
        }
    })
}

pub(super) fn equals(interpreter: &mut Interpreter, left: &Value, right: &Value) -> Outcome<bool> {
    interpreter.budget.steps(1)?;
    Ok(match (left, right) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Str(left), Value::Str(right)) => {
            interpreter.budget.reads(left.len().min(right.len()))?;
            left == right
        }
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            if left.values.len() != right.values.len() {
                return Ok(false);
            }
            for (left, right) in left.values.iter().zip(&right.values) {
                if !equals(interpreter, left, right)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Dict(left), Value::Dict(right)) => {
            if left.entries.len() != right.entries.len() {
                return Ok(false);
            }
            for (key, value) in &left.entries {
                let mut found = false;
                for (other_key, other) in &right.entries {
                    if equals(interpreter, key, other_key)? {
                        found = equals(interpreter, value, other)?;
                        break;
                    }
                }
                if !found {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Namespace(left), Value::Namespace(right)) => left == right,
        _ => match (left.as_int(), right.as_int()) {
            (Some(left), Some(right)) => left == right,
            _ => left.as_float().is_some_and(|left| right.as_float() == Some(left)),
        },
    })
}

/// `None` for numbers that do not compare (NaN).
pub(super) fn order(interpreter: &mut Interpreter, left: &Value, right: &Value) -> Outcome<Option<Ordering>> {
    interpreter.budget.steps(1)?;
    match (left, right) {
        (Value::Undefined(name), _) | (_, Value::Undefined(name)) => return Err(undefined(name)),
        (Value::Str(left), Value::Str(right)) => {
            interpreter.budget.reads(left.len().min(right.len()))?;
            return Ok(Some(left.cmp(right)));
        }
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            for (left, right) in left.values.iter().zip(&right.values) {
                if !equals(interpreter, left, right)? {
                    return order(interpreter, left, right);
                }
            }
            return Ok(Some(left.values.len().cmp(&right.values.len())));
        }
        _ => {}
    }
    if let (Some(left), Some(right)) = (left.as_int(), right.as_int()) {
        return Ok(Some(left.cmp(&right)));
    }
    match (left.as_float(), right.as_float()) {
        (Some(left), Some(right)) => Ok(left.partial_cmp(&right)),
        _ => {
            let (left, right) = (left.type_name(), right.type_name());
            Err(Failure::runtime(format!("a {left} and a {right} cannot be ordered")))
        }
    }
}

/// `item in container`
pub(super) fn contains(interpreter: &mut Interpreter, container: &Value, item: &Value) -> Outcome<bool> {
    let candidates = match (container, item) {
        (Value::Str(text), Value::Str(part)) => {
            interpreter.budget.reads(text.len())?;
            return Ok(text.contains(&**part));
        }
        (Value::Str(_), Value::Undefined(name)) => return Err(undefined(name)),
        (Value::Str(_), _) => {
            return Err(Failure::runtime(format!("a {} cannot be in a string", item.type_name())));
        }
        (Value::Dict(dict), Value::Str(name)) => {
            interpreter.budget.steps(lookup_cost(container, name))?;
            return Ok(dict.get(name).is_some());
        }
        (Value::Namespace(_), _) => return Err(Failure::runtime("a namespace cannot be searched")),
        _ => interpreter.iterate(container)?,
    };
    for candidate in &candidates.values {
        if equals(interpreter, candidate, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `value[index]`
pub(super) fn item(interpreter: &mut Interpreter, value: &Value, index: &Value) -> Outcome<Value> {
    interpreter.budget.steps(lookup_cost(value, index.as_str().unwrap_or_default()))?;
    let missing = || match index {
        Value::Str(name) => Value::Undefined(std::sync::Arc::clone(name)),
        Value::Int(number) => Value::Undefined(format!("item {number}").into()),
        _ => Value::Undefined("item".into()),
    };
    match (value, index) {
        (Value::Undefined(name), _) => Err(undefined(name)),
        (Value::Dict(dict), Value::Str(name)) if dict.get(name).is_some() => {
            Ok(dict.get(name).cloned().unwrap_or_else(missing))
        }
        (Value::Dict(dict), index) if !matches!(index, Value::Str(_)) => {
            for (key, value) in &dict.entries {
                if equals(interpreter, key, index)? {
                    return Ok(value.clone());
                }
            }
            Ok(missing())
        }
        (_, Value::Str(name)) => interpreter.attribute(value, name),
        (Value::List(items) | Value::Tuple(items), index) => {
            let place = index.as_int().and_then(|index| place_of(index, items.values.len()));
            Ok(place.and_then(|place| items.values.get(place)).cloned().unwrap_or_else(missing))
        }
        (Value::Str(text), index) => {
            interpreter.budget.reads(text.len())?;
            let place = index.as_int().and_then(|index| place_of(index, text.chars().count()));
            let character = place.and_then(|place| text.chars().nth(place));
            Ok(character.map_or_else(missing, |character| Value::str(character.encode_utf8(&mut [0; 4]))))
        }
        _ => Ok(missing()),
    }
}

/// An index, which counts from the end where it is negative.
fn place_of(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index.checked_add(length)? } else { index };
    usize::try_from(index).ok()
}

/// `value[start:stop:step]`
pub(super) fn slice(
    interpreter: &mut Interpreter,
    value: &Value,
    bounds: [Option<i64>; 3],
) -> Outcome<Value> {
    match value {
        Value::Undefined(name) => Err(undefined(name)),
        Value::Str(text) => {
            interpreter.budget.reads(text.len())?;
            let length = text.chars().count();
            if let (None | Some(1), Some((start, count))) = (bounds[2], contiguous(bounds, length)) {
                let offset = |place| text.char_indices().nth(place).map_or(text.len(), |(offset, _)| offset);
                let part = text.get(offset(start)..offset(start + count)).unwrap_or_default();
                return interpreter.new_str(part);
            }
            interpreter.budget.bytes(text.len().saturating_mul(4))?;
            let chars: Vec<char> = text.chars().collect();
            let part: String = slice_places(bounds, length)?.filter_map(|place| chars.get(place)).collect();
            interpreter.new_str(part)
        }
        Value::List(items) | Value::Tuple(items) => {
            let places = slice_places(bounds, items.values.len())?;
            let values: Vec<Value> = places.filter_map(|place| items.values.get(place).cloned()).collect();
            if matches!(value, Value::Tuple(_)) {
                interpreter.budget.bytes(values.len() * size_of::<Value>())?;
                return Value::tuple(values);
            }
            interpreter.new_list(values)
        }
        _ => Err(Failure::runtime(format!("a {} cannot be sliced", value.type_name()))),
    }
}

/// Start and length of a slice with step 1.
fn contiguous([start, stop, _]: [Option<i64>; 3], length: usize) -> Option<(usize, usize)> {
    let length = i64::try_from(length).ok()?;
    let clamp = |bound: i64| (if bound < 0 { bound.saturating_add(length) } else { bound }).clamp(0, length);
    let (start, stop) = (clamp(start.unwrap_or(0)), clamp(stop.unwrap_or(length)));
    Some((usize::try_from(start).ok()?, usize::try_from((stop - start).max(0)).ok()?))
}

/// The places that a slice picks, as Python's `slice.indices`.
fn slice_places(
    [start, stop, step]: [Option<i64>; 3],
    length: usize,
) -> Outcome<impl Iterator<Item = usize> + use<>> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Failure::runtime("the step of a slice is 0"));
    }
    let length = i64::try_from(length).map_err(|_| overflow())?;
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |bound: Option<i64>, default: i64| {
        let bound = match bound {
            Some(bound) if bound < 0 => bound.saturating_add(length),
            Some(bound) => bound,
            None => return default,
        };
        bound.clamp(low, high)
    };
    let (first, end) = if step > 0 {
        (clamp(start, low), clamp(stop, high))
    } else {
        (clamp(start, high), clamp(stop, low))
    };
    let mut place = Some(first);
    Ok(std::iter::from_fn(move || {
        let current = place.filter(|place| if step > 0 { *place < end } else { *place > end })?;
        place = current.checked_add(step);
        usize::try_from(current).ok()
    }))
}

pub(super) fn loop_attribute(state: &Loop, name: &str) -> Option<Value> {
    let length = state.items.values.len();
    let int = |number: usize| i64::try_from(number).ok().map(Value::Int);
    let neighbour = |place: Option<usize>| {
        let value = place.and_then(|place| state.items.values.get(place)).cloned();
        Some(value.unwrap_or_else(|| Value::Undefined(name.into())))
    };
    match name {
        "index" => int(state.index + 1),
        "index0" => int(state.index),
        "revindex" => int(length - state.index),
        "revindex0" => int(length - state.index - 1),
        "first" => Some(Value::Bool(state.index == 0)),
        "last" => Some(Value::Bool(state.index + 1 == length)),
        "length" => int(length),
        // Only recursive loops, which are not supported, count deeper.
        "depth" => Some(Value::Int(1)),
        "depth0" => Some(Value::Int(0)),
        "previtem" => neighbour(state.index.checked_sub(1)),
        "nextitem" => neighbour(Some(state.index + 1)),
        _ => None,
    }
}

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

fn mismatch(operator: &str, value: &Value) -> Failure {
    match value {
        Value::Undefined(name) => undefined(name),
        _ => Failure::runtime(format!("'{operator}' does not take a {}", value.type_name())),
    }
}

fn overflow() -> Failure {
    Failure::runtime("a number is too large")
}
