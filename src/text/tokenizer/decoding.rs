//! The `decoder` section of `tokenizer.json`: how token strings become text.
//!
//! Everything that concerns one token alone is applied once, when the vocabulary is loaded. What concerns the
//! whole text (undecoded bytes, a space at the start) is left to [`StreamDecoder`](crate::text::StreamDecoder).

use regex::{NoExpand, Regex};
use serde_json::Value;

use super::normalizing::linear_pattern;
use crate::{Error, ErrorKind, Result};

/// More rewrites of a token than any decoder has.
const MAX_TOKEN_STEPS: usize = 16;

/// Longest text of a token. The longest tokens of published vocabularies have some hundred bytes.
const MAX_TOKEN_BYTES: usize = 1 << 16;

/// The decoder section, sorted into what concerns one token and what concerns the whole text.
#[derive(Debug, Default)]
pub(crate) struct Decoding {
    /// Rewrites of a single token's string, in order.
    pub(crate) token_steps: Vec<TokenStep>,
    /// Token strings stand for bytes, one character each (GPT-2's table).
    pub(crate) byte_level: bool,
    /// Tokens named `<0xNN>` stand for one byte.
    pub(crate) byte_fallback: bool,
    /// What is done to the text as a whole.
    pub(crate) text_rules: TextRules,
}

/// What is done to the text as a whole.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextRules {
    /// Up to this many of this character vanish at the start of the text.
    pub(crate) strip_start: Option<(char, usize)>,
    /// The first token loses its spaces (the Metaspace decoder).
    pub(crate) first_token_loses_spaces: bool,
    /// Tokens are separated by a space (there is no decoder section).
    pub(crate) space_between_tokens: bool,
}

#[derive(Debug)]
pub(crate) enum TokenStep {
    Replace { pattern: String, content: String },
    ReplaceRegex { pattern: Box<Regex>, content: String },
    Strip { content: char, start: usize, stop: usize },
}

impl TokenStep {
    fn apply(&self, token: String) -> Result<String> {
        match self {
            Self::Replace { pattern, content } => {
                let count = token.matches(pattern.as_str()).count();
                check_growth(&token, count, content)?;
                Ok(if count == 0 { token } else { token.replace(pattern, content) })
            }
            Self::ReplaceRegex { pattern, content } => {
                check_growth(&token, pattern.find_iter(&token).count(), content)?;
                Ok(pattern.replace_all(&token, NoExpand(content)).into_owned())
            }
            Self::Strip { content, start, stop } => {
                let mut text = token.as_str();
                for _ in 0..*start {
                    let Some(rest) = text.strip_prefix(*content) else { break };
                    text = rest;
                }
                for _ in 0..*stop {
                    let Some(rest) = text.strip_suffix(*content) else { break };
                    text = rest;
                }
                Ok(text.to_owned())
            }
        }
    }
}

/// Refuses to put `count` times `content` into a token that would become too long.
fn check_growth(token: &str, count: usize, content: &str) -> Result<()> {
    let length = token.len().saturating_add(count.saturating_mul(content.len()));
    if length <= MAX_TOKEN_BYTES.max(token.len()) {
        return Ok(());
    }
    let text = format!("it makes a token of {} bytes longer than {MAX_TOKEN_BYTES}", token.len());
    Err(Error::new(ErrorKind::Tokenizer, text).with_node("decoder"))
}

impl Decoding {
    /// Reads the decoder section; a decoder that needs more than one token's string to decide (WordPiece, CTC,
    /// BPEDecoder) is refused: no decoder-only language model uses one.
    pub(crate) fn from_json(section: Option<&Value>) -> Result<Self> {
        let mut decoding = Self::default();
        let Some(section) = section.filter(|section| !section.is_null()) else {
            decoding.text_rules.space_between_tokens = true;
            return Ok(decoding);
        };
        let mut fused = false;
        let mut steps = vec![section];
        while let Some(step) = steps.pop() {
            if decoding.token_steps.len() >= MAX_TOKEN_STEPS {
                return Err(damaged("Sequence", "number of steps"));
            }
            let kind = step.get("type").and_then(Value::as_str).unwrap_or_default();
            match kind {
                "Sequence" => {
                    let parts = step.get("decoders").and_then(Value::as_array);
                    steps.extend(parts.ok_or_else(|| damaged(kind, "decoders"))?.iter().rev());
                }
                "ByteLevel" => decoding.byte_level = true,
                "ByteFallback" => decoding.byte_fallback = true,
                "Fuse" => fused = true,
                "Replace" => decoding.add_replace(step, fused)?,
                "Strip" => decoding.add_strip(step, fused)?,
                "Metaspace" => decoding.add_metaspace(step, fused)?,
                _ => return Err(unsupported(kind, "is not one that language models use")),
            }
        }
        Ok(decoding)
    }

    /// The text of `token` after the steps that concern it alone.
    pub(crate) fn token_text(&self, token: &str) -> Result<String> {
        self.token_steps.iter().try_fold(token.to_owned(), |text, step| step.apply(text))
    }

    fn add_replace(&mut self, step: &Value, fused: bool) -> Result<()> {
        let content = step.get("content").and_then(Value::as_str);
        let content = content.ok_or_else(|| damaged("Replace", "content"))?.to_owned();
        let pattern = step.get("pattern").ok_or_else(|| damaged("Replace", "pattern"))?;
        let text = pattern.get("String").and_then(Value::as_str);
        // A longer pattern could match across two tokens once they are joined.
        if fused && text.is_none_or(|text| text.chars().count() != 1) {
            return Err(unsupported("Replace", "replaces more than one character after Fuse"));
        }
        if let Some(pattern) = text {
            if !pattern.is_empty() {
                self.token_steps.push(TokenStep::Replace { pattern: pattern.to_owned(), content });
            }
            return Ok(());
        }
        let regex = pattern.get("Regex").and_then(Value::as_str);
        let regex = regex.ok_or_else(|| damaged("Replace", "pattern"))?;
        let pattern = linear_pattern(regex).map_err(|error| error.with_node("decoder"))?;
        self.token_steps.push(TokenStep::ReplaceRegex { pattern: Box::new(pattern), content });
        Ok(())
    }

    fn add_strip(&mut self, step: &Value, fused: bool) -> Result<()> {
        let content = step.get("content").and_then(Value::as_str).and_then(single_char);
        let content = content.ok_or_else(|| damaged("Strip", "content"))?;
        let count = |name| {
            let value = step.get(name).and_then(Value::as_u64);
            value.and_then(|value| usize::try_from(value).ok()).ok_or_else(|| damaged("Strip", name))
        };
        // No token is longer than its file, so a larger count strips the same.
        let (start, stop) = (count("start")?.min(1 << 16), count("stop")?.min(1 << 16));
        if !fused {
            self.token_steps.push(TokenStep::Strip { content, start, stop });
        } else if stop > 0 {
            return Err(unsupported("Strip", "strips the end of the text, which a stream cannot know"));
        } else if start > 0 {
            self.text_rules.strip_start = Some((content, start));
        }
        Ok(())
    }

    fn add_metaspace(&mut self, step: &Value, fused: bool) -> Result<()> {
        let replacement = step.get("replacement").and_then(Value::as_str).and_then(single_char);
        let replacement = replacement.ok_or_else(|| damaged("Metaspace", "replacement"))?;
        let never = step.get("prepend_scheme").and_then(Value::as_str) == Some("never")
            || step.get("add_prefix_space").and_then(Value::as_bool) == Some(false);
        if fused && !never {
            return Err(unsupported("Metaspace", "comes after Fuse"));
        }
        self.text_rules.first_token_loses_spaces = !never;
        self.token_steps
            .push(TokenStep::Replace { pattern: replacement.to_string(), content: " ".to_owned() });
        Ok(())
    }
}

/// The byte that a character of a byte-level token stands for (GPT-2's `bytes_to_unicode`, inverted).
pub(crate) fn byte_of_char(character: char) -> Option<u8> {
    let code = u32::from(character);
    let byte = match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => code,
        // The bytes without a printable character follow from U+0100 on, in order: 0x00 to 0x20, 0x7F to 0xA0, 0xAD.
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7F,
        0x143 => 0xAD,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The byte that a token named `<0xNN>` stands for.
pub(crate) fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(digits, 16).ok())?
}

fn single_char(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}

fn damaged(kind: &str, field: &str) -> Error {
    Error::new(ErrorKind::Tokenizer, format!("{kind} lacks a usable {field}")).with_node("decoder")
}

fn unsupported(kind: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("decoder '{kind}' {why}")).with_node("decoder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn byte_level_characters_cover_every_byte_once() {
        let mut bytes: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of_char).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        for (character, byte) in
            [('Ġ', b' '), ('Ċ', b'\n'), ('ĉ', b'\t'), ('a', b'a'), ('Ã', 0xC3), ('©', 0xA9)]
        {
            assert_eq!(byte_of_char(character), Some(byte), "{character}");
        }
        assert_eq!(byte_of_char(' '), None);
        assert_eq!(byte_of_char('｜'), None);
    }

    #[test]
    fn fallback_bytes_are_two_hex_digits() {
        for (token, byte) in [("<0x0A>", Some(10)), ("<0xff>", Some(255)), ("<0x+1>", None), ("<0xA>", None)]
        {
            assert_eq!(fallback_byte(token), byte, "{token}");
        }
        assert_eq!(fallback_byte("<0xé>"), None);
    }

    #[test]
    fn a_sentencepiece_sequence_is_sorted_into_token_and_text_rules() {
        let section = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        let decoding = Decoding::from_json(Some(&section)).unwrap();
        assert!(decoding.byte_fallback && !decoding.byte_level);
        assert_eq!(decoding.text_rules.strip_start, Some((' ', 1)));
        assert_eq!(decoding.token_text("▁a▁").unwrap(), " a ");
    }

    #[test]
    fn steps_on_one_token_follow_their_order() {
        let section = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"Regex": "x+"}, "content": "_"},
            {"type": "Strip", "content": "_", "start": 1, "stop": 2}]});
        let decoding = Decoding::from_json(Some(&section)).unwrap();
        assert_eq!(decoding.token_text("xx_ax_xx").unwrap(), "_a_");
        assert_eq!(decoding.token_text("").unwrap(), "");
    }

    #[test]
    fn tokens_do_not_grow_beyond_their_limit() {
        let grow = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(1_000)});
        let by_pattern = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "a".repeat(1_000)});
        for step in [grow, by_pattern] {
            let once = Decoding::from_json(Some(&step)).unwrap();
            assert!(once.token_text("xa").unwrap().len() >= 1_001);
            let section = json!({"type": "Sequence", "decoders": [step, step, step]});
            let thrice = Decoding::from_json(Some(&section)).unwrap();
            assert_eq!(thrice.token_text("xa").unwrap_err().kind(), ErrorKind::Tokenizer);
        }
    }

    #[test]
    fn refused_sections_say_why() {
        let fuse = json!({"type": "Fuse"});
        let after_fuse = |step: Value| json!({"type": "Sequence", "decoders": [fuse.clone(), step]});
        for (section, kind) in [
            (json!({"type": "WordPiece", "prefix": "##"}), ErrorKind::Unsupported),
            (json!({"type": "Sequence"}), ErrorKind::Tokenizer),
            (json!([]), ErrorKind::Unsupported),
            (json!({"type": "Replace", "pattern": {"Regex": "("}, "content": ""}), ErrorKind::Tokenizer),
            (
                json!({"type": "Replace", "pattern": {"Regex": "(?=a)"}, "content": ""}),
                ErrorKind::Unsupported,
            ),
            (json!({"type": "Strip", "content": "ab", "start": 0, "stop": 0}), ErrorKind::Tokenizer),
            (json!({"type": "Strip", "content": " ", "start": -1, "stop": 0}), ErrorKind::Tokenizer),
            (
                after_fuse(json!({"type": "Strip", "content": " ", "start": 0, "stop": 1})),
                ErrorKind::Unsupported,
            ),
            (
                after_fuse(json!({"type": "Replace", "pattern": {"String": "ab"}, "content": ""})),
                ErrorKind::Unsupported,
            ),
        ] {
            let error = Decoding::from_json(Some(&section)).unwrap_err();
            assert_eq!(error.kind(), kind, "{section}");
            assert_eq!(error.node(), Some("decoder"));
        }
    }
}
