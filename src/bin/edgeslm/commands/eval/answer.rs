//! Finds the answer in what a model wrote freely.

use serde_json::{Map, Value};

/// The label that a text gives: the one that stands first in it as whole words, whatever the case; of several that begin
/// at the same place, the longest.
pub(super) fn label_in(text: &str, labels: &[String]) -> Option<usize> {
    let text = text.to_lowercase();
    let place = |label: &str| {
        let label = label.to_lowercase();
        let mut from = 0;
        while let Some(at) = text.get(from..)?.find(&label).map(|at| from + at) {
            let before = text[..at].chars().next_back();
            let after = text[at + label.len()..].chars().next();
            if !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric) {
                return Some(at);
            }
            from = at + text[at..].chars().next().map_or(1, char::len_utf8);
        }
        None
    };
    let found =
        labels.iter().enumerate().filter_map(|(index, label)| Some((place(label)?, label.len(), index)));
    found.min_by_key(|(at, length, _)| (*at, usize::MAX - length)).map(|(_, _, index)| index)
}

/// The first JSON object in a text.
pub(super) fn object_in(text: &str) -> Option<Map<String, Value>> {
    for (at, _) in text.match_indices('{') {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        if let Some(Ok(Value::Object(object))) = values.next() {
            return Some(object);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_label_that_is_said() {
        let labels = ["urgent", "urgent care", "routine", "né"].map(str::to_owned);
        for (text, expected) in [
            ("This is URGENT.", Some(0)),
            ("Urgent care, not routine", Some(1)),
            ("insurgents are routine", Some(2)),
            ("routinely", None),
            ("Il est né.", Some(3)),
            ("née", None),
            ("", None),
        ] {
            assert_eq!(label_in(text, &labels), expected, "{text}");
        }
    }

    #[test]
    fn the_first_object_that_parses() {
        let text = "Sure {not json} here: ```json\n{\"total\": 3, \"a\": {\"b\": []}}\n``` {}";
        assert_eq!(object_in(text).unwrap()["total"], 3);
        assert_eq!(object_in("{\"total\": "), None);
        assert_eq!(object_in("[1, 2]"), None);
    }
}
