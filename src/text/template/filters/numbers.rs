//! Filters to and on numbers.

use super::nested_attribute;
use crate::text::template::arithmetic;
use crate::text::template::ast::BinaryOperator;
use crate::text::template::failure::{Failure, Outcome};
use crate::text::template::interpreter::{Call, Interpreter};
use crate::text::template::lexer::is_space;
use crate::text::template::value::Value;

pub(super) fn numeric(
    interpreter: &mut Interpreter,
    name: &str,
    value: &Value,
    call: Call,
) -> Outcome<Value> {
    if let ("abs" | "round", Value::Undefined(missing)) = (name, value) {
        return Err(Failure::undefined(missing));
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
                total = arithmetic::binary(interpreter, BinaryOperator::Add, &total, &item)?;
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
