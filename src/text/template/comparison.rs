//! Equality, order and membership of values, as in Python.

use std::cmp::Ordering;

use super::ast::ComparisonOperator;
use super::failure::{Failure, Outcome};
use super::indexing::lookup_cost;
use super::interpreter::Interpreter;
use super::value::Value;

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
        (Value::Undefined(name), _) | (_, Value::Undefined(name)) => return Err(Failure::undefined(name)),
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
        (Value::Str(_), Value::Undefined(name)) => return Err(Failure::undefined(name)),
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
