//! `map`, and the filters that keep or drop items.

use super::{apply, nested_attribute};
use crate::text::template::failure::{Failure, Outcome};
use crate::text::template::interpreter::{Call, Interpreter};
use crate::text::template::predicates;
use crate::text::template::value::Value;

/// `map`, and the filters that keep or drop items by a test.
pub(super) fn each(
    interpreter: &mut Interpreter,
    name: &str,
    value: &Value,
    mut call: Call,
) -> Outcome<Value> {
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
