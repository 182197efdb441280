//! The tests after `is`.

use super::ast::ComparisonOperator;
use super::comparison;
use super::failure::{Failure, Outcome};
use super::interpreter::{Call, Interpreter};
use super::printing;
use super::value::Value;

/// Whether `value is name(arguments)`.
pub(super) fn holds(interpreter: &mut Interpreter, name: &str, value: &Value, call: Call) -> Outcome<bool> {
    let comparison = match name {
        "eq" | "equalto" | "sameas" => Some(ComparisonOperator::Equal),
        "ne" => Some(ComparisonOperator::NotEqual),
        "lt" | "lessthan" => Some(ComparisonOperator::Less),
        "le" => Some(ComparisonOperator::LessEqual),
        "gt" | "greaterthan" => Some(ComparisonOperator::Greater),
        "ge" => Some(ComparisonOperator::GreaterEqual),
        "in" => Some(ComparisonOperator::In),
        _ => None,
    };
    if let Some(operator) = comparison {
        let [operand] = call.bind(name, ["other"])?;
        let operand = operand.ok_or_else(|| Failure::runtime(format!("'is {name}' needs an operand")))?;
        // Identity, unlike equality, tells True from 1.
        let same_type = name != "sameas" || value.type_name() == operand.type_name();
        return Ok(same_type && comparison::compare(interpreter, operator, value, &operand)?);
    }
    if name == "divisibleby" {
        let [divisor] = call.bind(name, ["num"])?;
        let divisor = divisor.as_ref().and_then(Value::as_int);
        return match (value.as_int(), divisor) {
            (Some(_), Some(0)) | (None, _) | (_, None) => {
                Err(Failure::runtime("'is divisibleby' needs a number and a divisor that is not 0"))
            }
            (Some(number), Some(divisor)) => Ok(number.checked_rem(divisor).is_none_or(|rest| rest == 0)),
        };
    }
    let [] = call.bind(name, [])?;
    let number = |parity: i64| match (value.as_int(), value) {
        (Some(number), _) => Ok(number.rem_euclid(2) == parity),
        (None, Value::Undefined(name)) => Err(Failure::undefined(name)),
        (None, _) => Err(Failure::runtime(format!("'is {name}' needs a whole number"))),
    };
    Ok(match name {
        "defined" => !matches!(value, Value::Undefined(_)),
        "undefined" => matches!(value, Value::Undefined(_)),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.as_float().is_some(),
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "sequence" => {
            matches!(
                value,
                Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Undefined(_)
            )
        }
        "iterable" => {
            matches!(
                value,
                Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Undefined(_)
            )
        }
        "callable" => {
            matches!(value, Value::Macro(_) | Value::Caller(..) | Value::Function(_) | Value::Method)
        }
        "odd" => number(1)?,
        "even" => number(0)?,
        "lower" | "upper" => {
            let text = printing::to_text(interpreter, value)?;
            let (mut lower, mut upper) = (false, false);
            for character in text.chars() {
                lower |= character.is_lowercase();
                upper |= character.is_uppercase();
            }
            if name == "lower" { lower && !upper } else { upper && !lower }
        }
        "escaped" => false,
        "filter" => value.as_str().is_some_and(super::filters::is_known),
        "test" => value.as_str().is_some_and(is_known),
        _ => return Err(Failure::runtime(format!("there is no test named '{name}'"))),
    })
}

fn is_known(name: &str) -> bool {
    const NAMES: [&str; 30] = [
        "eq",
        "equalto",
        "sameas",
        "ne",
        "lt",
        "lessthan",
        "le",
        "gt",
        "greaterthan",
        "ge",
        "in",
        "divisibleby",
        "defined",
        "undefined",
        "none",
        "boolean",
        "true",
        "false",
        "integer",
        "float",
        "number",
        "string",
        "mapping",
        "sequence",
        "iterable",
        "callable",
        "odd",
        "even",
        "lower",
        "upper",
    ];
    NAMES.contains(&name)
}
