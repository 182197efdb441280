//! The functions that make ranges, namespaces and dicts.

use std::sync::Arc;

use super::scopes::{Scope, set_variable};
use super::{Call, Interpreter};
use crate::text::template::budget::search_cost;
use crate::text::template::failure::{Failure, Outcome};
use crate::text::template::value::Value;

/// Most elements of a `range`, as in Jinja's sandbox.
const MAX_RANGE: u64 = 100_000;

impl Interpreter {
    pub(super) fn range(&mut self, call: Call) -> Outcome<Value> {
        let numbers: Vec<i64> = call
            .positional
            .iter()
            .map(|value| value.as_int().ok_or_else(|| Failure::runtime("range needs whole numbers")))
            .collect::<Outcome<_>>()?;
        let (start, stop, step) = match *numbers {
            [stop] => (0, stop, 1),
            [start, stop] => (start, stop, 1),
            [start, stop, step] if step != 0 => (start, stop, step),
            _ => return Err(Failure::runtime("range needs one to three numbers, and a step that is not 0")),
        };
        let distance = if step > 0 { stop.checked_sub(start) } else { start.checked_sub(stop) };
        let count = match distance {
            Some(distance) if distance <= 0 => 0,
            Some(distance) => distance.unsigned_abs().div_ceil(step.unsigned_abs()),
            None => u64::MAX,
        };
        if count > MAX_RANGE {
            return Err(Failure::limit(format!("a range has more than {MAX_RANGE} elements")));
        }
        let values = (0..count).filter_map(|index| {
            let offset = i64::try_from(index).ok()?.checked_mul(step)?;
            start.checked_add(offset).map(Value::Int)
        });
        self.new_list(values.collect())
    }

    pub(super) fn new_namespace(&mut self, call: Call) -> Outcome<Value> {
        let mut attributes = self.entries_of("namespace", call.positional)?;
        for (name, value) in call.named {
            self.budget.steps(search_cost(attributes.len(), name.len()))?;
            set_variable(&mut attributes, &name, value);
        }
        self.budget.bytes(64 + attributes.len() * size_of::<(Arc<str>, Value)>())?;
        self.namespaces.push(attributes);
        Ok(Value::Namespace(self.namespaces.len() - 1))
    }

    pub(super) fn new_dict(&mut self, call: Call) -> Outcome<Value> {
        let mut entries = self.entries_of("dict", call.positional)?;
        entries.extend(call.named);
        self.budget.bytes(entries.len() * size_of::<(Value, Value)>())?;
        self.unique_dict(entries.into_iter().map(|(name, value)| (Value::Str(name), value)).collect())
    }

    /// The entries of the dict that may be passed to `dict` and `namespace`.
    fn entries_of(&mut self, function: &str, positional: Vec<Value>) -> Outcome<Scope> {
        match positional.as_slice() {
            [] => Ok(Vec::new()),
            [Value::Dict(dict)] => {
                self.budget.bytes(dict.entries.len() * size_of::<(Value, Value)>())?;
                let entry = |(key, value): &(Value, Value)| match key {
                    Value::Str(name) => Ok((Arc::clone(name), value.clone())),
                    _ => Err(Failure::runtime(format!("{function} needs names that are strings"))),
                };
                dict.entries.iter().map(entry).collect()
            }
            _ => Err(Failure::runtime(format!("{function} takes one dict and named arguments"))),
        }
    }
}
