//! Arithmetic on values, as in Python.

use super::ast::BinaryOperator;
use super::failure::{Failure, Outcome};
use super::interpreter::Interpreter;
use super::printing::percent_format;
use super::value::Value;

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
            return Err(Failure::undefined(name));
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

fn mismatch(operator: &str, value: &Value) -> Failure {
    match value {
        Value::Undefined(name) => Failure::undefined(name),
        _ => Failure::runtime(format!("'{operator}' does not take a {}", value.type_name())),
    }
}

pub(super) fn overflow() -> Failure {
    Failure::runtime("a number is too large")
}
