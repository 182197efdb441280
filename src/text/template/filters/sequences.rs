//! Filters that count, pick, turn or join the items of a value.

use super::nested_attribute;
use crate::text::template::failure::{Failure, Outcome};
use crate::text::template::interpreter::{Call, Interpreter};
use crate::text::template::value::Value;
use crate::text::template::{methods, printing};

pub(super) fn sequence(
    interpreter: &mut Interpreter,
    name: &str,
    value: Value,
    call: Call,
) -> Outcome<Value> {
    match name {
        "join" => {
            let [separator, attribute] = call.bind(name, ["d", "attribute"])?;
            let separator = separator.unwrap_or_else(|| Value::str(""));
            let separator = printing::to_text(interpreter, &separator)?;
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
