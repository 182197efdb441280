//! Filters that compare items: sorting, groups, extremes.

use std::cmp::Ordering;

use super::nested_attribute;
use crate::text::template::comparison;
use crate::text::template::failure::{Failure, Outcome};
use crate::text::template::interpreter::{Call, Interpreter};
use crate::text::template::value::Value;

/// The filters that compare items.
pub(super) fn ordered(
    interpreter: &mut Interpreter,
    name: &str,
    value: &Value,
    call: Call,
) -> Outcome<Value> {
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
                    seen = seen || comparison::equals(interpreter, known, &key)?;
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
                    Some((known, _)) => comparison::order(interpreter, &key, known)? == Some(wanted),
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
                    Some((known, members)) if comparison::equals(interpreter, known, &key)? => {
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
                if comparison::order(interpreter, &second.0, &first.0)? == Some(before) {
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
