//! The `normalizer` section of `tokenizer.json`: what is checked before the tokenizer crate runs it.

use serde_json::Value;

use super::sections::steps;
use super::tokenizer_error;
use crate::{Error, ErrorKind, Result};

/// How many times as long the section can make a text, at most.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a pattern that may backtrack: it could take a time that is exponential in the text's length.
pub(super) fn growth(section: &Value) -> Result<usize> {
    let mut growth = 1_usize;
    for step in steps(section, "normalizers")? {
        let text = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default();
        // Of the Unicode normal forms: <https://unicode.org/faq/normalization.html>.
        growth = growth.saturating_mul(match text("type") {
            "NFC" | "NFD" => 3,
            "NFKC" | "NFKD" => 11,
            "Lowercase" | "ByteLevel" => 2,
            // Decomposes, changes case, and puts spaces around ideographs.
            "BertNormalizer" => 3 * 2 * 2,
            // Before each part, which is a byte long at least.
            "Prepend" => 1 + text("prepend").len(),
            "Replace" => replacement_growth(step)?,
            "Precompiled" => longest_replacement(text("precompiled_charsmap"))
                .ok_or_else(|| tokenizer_error("the character map is damaged"))?
                .max(1),
            _ => 1,
        });
    }
    Ok(growth)
}

fn replacement_growth(step: &Value) -> Result<usize> {
    let content = step.get("content").and_then(Value::as_str).unwrap_or_default().len();
    let pattern = step.get("pattern");
    let of = |kind: &str| pattern.and_then(|pattern| pattern.get(kind)?.as_str());
    if let Some(regex) = of("Regex") {
        linear_pattern(regex)?;
    }
    Ok(match of("String").filter(|text| !text.is_empty()) {
        Some(text) => content.div_ceil(text.len()).max(1),
        // A pattern may match between any two bytes.
        None => content.saturating_add(1),
    })
}

/// A pattern that is searched for in linear time.
pub(super) fn linear_pattern(pattern: &str) -> Result<regex::Regex> {
    regex::Regex::new(pattern).map_err(|error| {
        if fancy_regex::Regex::new(pattern).is_err() {
            return tokenizer_error(format!("the pattern of a Replace is damaged: {error}"));
        }
        Error::new(ErrorKind::Unsupported, "a Replace has a pattern that cannot be matched in linear time")
            .with_hint("patterns with look-around and back-references are taken in pre-tokenizers only")
            .with_source(error)
    })
}

/// Bytes of the longest replacement in a SentencePiece character map: in base 64, the length of a trie in four bytes, the trie,
/// and the replacements, each ended by a zero. `None` for one that is shorter than it says: the tokenizer crate would ask for
/// memory for a trie of any length.
fn longest_replacement(map: &str) -> Option<usize> {
    let bytes = from_base64(map.trim_end_matches('='))?;
    let (length, rest) = bytes.split_first_chunk()?;
    let replacements = rest.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)?;
    replacements.split(|byte| *byte == 0).map(<[u8]>::len).max()
}

/// The bytes of a text in base 64 without padding.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

/// The error for a tokenizer that makes texts so much longer that hardly any could be taken.
pub(super) fn grows_too_much(growth: usize) -> Error {
    tokenizer_error(format!("the tokenizer can make a text {growth} times as long"))
        .with_hint("published tokenizers make it up to some dozen times as long")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn growth_of_each_kind() {
        let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
        for (section, expected) in [
            (json!({"type": "NFC"}), 3),
            (json!({"type": "Strip", "strip_left": true, "strip_right": true}), 1),
            (json!({"type": "Prepend", "prepend": "▁"}), 4),
            (replace(json!({"String": " "}), "▁"), 3),
            (replace(json!({"String": "ab"}), "x"), 1),
            (replace(json!({"String": "ab"}), "xyz"), 2),
            (replace(json!({"String": ""}), "xyz"), 4),
            (replace(json!({"Regex": " {2,}"}), "▁"), 4),
            (json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}), 22),
            (
                json!({"type": "Sequence", "normalizers": vec![replace(json!({"String": "a"}), &"b".repeat(1000)); 10]}),
                usize::MAX,
            ),
        ] {
            assert_eq!(growth(&section).unwrap(), expected, "{section}");
        }
    }

    #[test]
    fn patterns_that_backtrack_are_refused() {
        for pattern in ["(?=a)b", "(a)\\1", "a(?!b)"] {
            let section = json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": ""});
            assert_eq!(growth(&section).unwrap_err().kind(), ErrorKind::Unsupported, "{pattern}");
        }
        assert_eq!(linear_pattern("(").unwrap_err().kind(), ErrorKind::Tokenizer);
        assert!(linear_pattern(" {2,}").is_ok());
    }

    #[test]
    fn the_longest_replacement_of_a_character_map() {
        // Bytes 2 0 0 0, a trie of 2 bytes, then "ab", "c", each with a zero.
        assert_eq!(from_base64("AgAAAAEBYWIAYwA").unwrap(), [2, 0, 0, 0, 1, 1, b'a', b'b', 0, b'c', 0]);
        assert_eq!(longest_replacement("AgAAAAEBYWIAYwA="), Some(2));
        for damaged in ["/////w==", "A", "", "AgAAAAE=", "AgAA AAEB", "é"] {
            assert_eq!(longest_replacement(damaged), None, "{damaged}");
        }
    }
}
