//! Which values of an answer stand in the text that it was taken from.

use std::ops::Range;

use serde_json::Value;

use super::dates::{self, Day};
use super::numbers::{self, Decimal};
use super::words::Words;
use super::{Field, Support};

/// A text that values are looked up in.
pub(super) struct Source<'a> {
    text: &'a str,
    words: Words,
    numbers: Vec<numbers::Mention>,
    days: Vec<dates::Mention>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, words: Words::new(text), numbers: numbers::mentions(text), days: dates::mentions(text) }
    }

    /// Looks every value of `value` up and makes those null that are not in the text. List entries of which nothing is left
    /// are dropped. `is_chosen` says whether a place's values are named by the schema.
    pub(super) fn check(
        &self,
        value: Value,
        path: &str,
        is_chosen: &dyn Fn(&str) -> bool,
        fields: &mut Vec<Field>,
    ) -> Value {
        match value {
            Value::Object(map) => {
                let checked = map.into_iter().map(|(name, value)| {
                    let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                    let value = self.check(value, &path, is_chosen, fields);
                    (name, value)
                });
                Value::Object(checked.collect())
            }
            Value::Array(values) => {
                let mut kept = Vec::with_capacity(values.len());
                for (index, value) in values.into_iter().enumerate() {
                    let value = self.check(value, &format!("{path}/{index}"), is_chosen, fields);
                    if !is_void(&value) {
                        kept.push(value);
                    }
                }
                Value::Array(kept)
            }
            leaf => {
                let (support, place) = self.support(&leaf, is_chosen(path));
                let checked = match support {
                    Support::Found | Support::Chosen => leaf.clone(),
                    Support::Missing | Support::Unsupported => Value::Null,
                };
                fields.push(Field { path: path.to_owned(), value: leaf, support, place });
                checked
            }
        }
    }

    fn support(&self, value: &Value, is_chosen: bool) -> (Support, Option<Range<usize>>) {
        let place = match value {
            Value::Null => return (Support::Missing, None),
            Value::Bool(_) => return (Support::Chosen, None),
            Value::Number(number) => {
                Decimal::from_json(&number.to_string()).and_then(|value| numbers::find(&value, &self.numbers))
            }
            Value::String(text) => {
                let words = Words::new(text);
                if words.is_empty() {
                    return (Support::Missing, None);
                }
                self.words.find(&words).or_else(|| self.find_day(text)).or_else(|| self.find_number(text))
            }
            Value::Array(_) | Value::Object(_) => None,
        };
        match place {
            Some(place) => (Support::Found, Some(place)),
            None if is_chosen => (Support::Chosen, None),
            None => (Support::Unsupported, None),
        }
    }

    /// A day, with its time of day if the value has one.
    fn find_day(&self, text: &str) -> Option<Range<usize>> {
        let place = dates::find(Day::from_iso(text)?, &self.days)?;
        let time = text.get(11..16);
        let is_right = time.is_none_or(|time| {
            let clock = time
                .split_once(':')
                .and_then(|(hour, minute)| Some((hour.parse().ok()?, minute.parse().ok()?)));
            clock.is_some_and(|(hour, minute)| dates::has_time(self.text, hour, minute))
        });
        is_right.then_some(place)
    }

    /// A text that is a number, as schemas of amounts have it.
    fn find_number(&self, text: &str) -> Option<Range<usize>> {
        let digits = text.trim_start_matches('-');
        let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
            && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let value = is_number.then(|| Decimal::from_json(text)).flatten()?;
        numbers::find(&value, &self.numbers)
    }
}

/// Whether nothing is said.
fn is_void(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_void),
        Value::Array(values) => values.iter().all(is_void),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RECEIPT: &str = "CORNER CAFÉ\n12.03.2025 14:05\n2 x Espresso 5,00\nTotal EUR 1.005,00\nVisa";

    fn check(value: Value) -> (Value, Vec<(String, Support)>) {
        let mut fields = Vec::new();
        let is_chosen = |path: &str| path == "/currency";
        let checked = Source::new(RECEIPT).check(value, "", &is_chosen, &mut fields);
        (checked, fields.into_iter().map(|field| (field.path, field.support)).collect())
    }

    #[test]
    fn what_the_text_does_not_contain_is_taken_out() {
        let (value, fields) = check(json!({
            "shop": "Corner Café", "address": "1 Main Street", "date": "2025-03-12", "when": "2025-03-12T14:05:00Z",
            "late": "2025-03-12T15:05:00Z", "total": 1005, "tax": 19.5, "amount": "1005.00", "currency": "USD",
            "paid": true, "phone": null, "note": "",
            "items": [{"name": "Espresso", "price": 5.0}, {"name": "Cake", "price": 8}, {"name": "Tea", "price": 2}],
            "tags": ["visa", "cash"], "a/b~c": 7,
        }));
        assert_eq!(
            value,
            json!({
                "shop": "Corner Café", "address": null, "date": "2025-03-12", "when": "2025-03-12T14:05:00Z",
                "late": null, "total": 1005, "tax": null, "amount": "1005.00", "currency": "USD",
                "paid": true, "phone": null, "note": null,
                "items": [{"name": "Espresso", "price": 5.0}, {"name": null, "price": 2}],
                "tags": ["visa"], "a/b~c": null,
            })
        );
        let of = |path: &str| fields.iter().find(|field| field.0 == path).map(|field| field.1);
        assert_eq!(of("/shop"), Some(Support::Found));
        assert_eq!(of("/address"), Some(Support::Unsupported));
        assert_eq!(of("/currency"), Some(Support::Chosen));
        assert_eq!(of("/paid"), Some(Support::Chosen));
        assert_eq!(of("/phone"), Some(Support::Missing));
        assert_eq!(of("/note"), Some(Support::Missing));
        assert_eq!(of("/items/1/name"), Some(Support::Unsupported));
        assert_eq!(of("/a~1b~0c"), Some(Support::Unsupported));
    }
}
