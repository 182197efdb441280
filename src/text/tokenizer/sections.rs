//! Sections of `tokenizer.json` that are sequences of steps.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{guard, tokenizer_error};
use crate::Result;

/// More steps than any section has.
const MAX_STEPS: usize = 64;

/// The steps of `section`, a single one or a `Sequence` that holds them in `list`, in order. Sequences within
/// sequences are opened.
pub(super) fn steps<'v>(section: &'v Value, list: &str) -> Result<Vec<&'v Value>> {
    let mut opened = 0;
    let mut steps = Vec::new();
    let mut rest = vec![section];
    while let Some(step) = rest.pop() {
        opened += 1;
        if opened > 2 * MAX_STEPS {
            return Err(tokenizer_error(format!("there are more than {MAX_STEPS} steps")));
        }
        match step.get("type").and_then(Value::as_str) {
            Some("Sequence") => {
                let inner = step.get(list).and_then(Value::as_array);
                let inner = inner.ok_or_else(|| tokenizer_error(format!("a Sequence lacks its {list}")))?;
                if inner.len() > MAX_STEPS {
                    return Err(tokenizer_error(format!("there are more than {MAX_STEPS} steps")));
                }
                rest.extend(inner.iter().rev());
            }
            Some(_) => steps.push(step),
            None => return Err(tokenizer_error("a step has no type")),
        }
    }
    Ok(steps)
}

/// What the tokenizer crate makes of a section. It is parsed from a value, not from the file: the crate panics on some
/// syntax errors.
pub(super) fn parse<T: DeserializeOwned>(section: Value) -> Result<T> {
    guard("the section", move || Ok(serde_json::from_value(section)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sequences_are_opened_in_order() {
        let section = json!({"type": "Sequence", "list": [
            {"type": "A"},
            {"type": "Sequence", "list": [{"type": "B"}, {"type": "C"}]},
            {"type": "D"},
        ]});
        let found = steps(&section, "list").unwrap();
        let kinds: Vec<&str> = found.iter().map(|step| step["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["A", "B", "C", "D"]);
        assert_eq!(steps(&json!({"type": "A"}), "list").unwrap().len(), 1);
        for damaged in [
            json!(3),
            json!({}),
            json!({"type": "Sequence"}),
            json!({"type": "Sequence", "list": vec![json!({"type": "A"}); 65]}),
            json!({"type": "Sequence", "list": vec![json!({"type": "Sequence", "list": []}); 64]
                .into_iter().chain([json!({"type": "A"})]).collect::<Vec<_>>()}),
        ] {
            assert!(steps(&damaged, "list").is_err(), "{damaged}");
        }
    }
}
