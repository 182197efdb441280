//! Items and slices of values, as in Python.

use super::arithmetic::overflow;
use super::budget::search_cost;
use super::comparison::equals;
use super::failure::{Failure, Outcome};
use super::interpreter::Interpreter;
use super::value::Value;

/// Steps for finding `key` in a value.
pub(super) fn lookup_cost(value: &Value, key: &str) -> u64 {
    match value {
        Value::Dict(dict) => search_cost(dict.entries.len(), key.len()),
        _ => 0,
    }
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
        (Value::Undefined(name), _) => Err(Failure::undefined(name)),
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
        Value::Undefined(name) => Err(Failure::undefined(name)),
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
