//! The bytes of every token, in one flat table.

use super::decoding::{Decoding, TextRules, byte_of_char, fallback_byte};
use crate::{Error, ErrorKind, Result};

/// Largest vocabulary that is accepted; the largest published ones have about 262,000 tokens.
pub(crate) const MAX_VOCABULARY: u32 = 1 << 20;

/// The most bytes that all tokens stand for together; those of the largest published vocabularies have about 2 million.
const MAX_BYTES: usize = 128 << 20;

const PRESENT: u8 = 1;
const SPECIAL: u8 = 2;
const FALLBACK_BYTE: u8 = 4;
const ADDED: u8 = 8;

/// A token of the file: its id, string and kind.
#[derive(Debug)]
pub(crate) struct VocabularyEntry<'a> {
    pub(crate) id: u32,
    pub(crate) text: &'a str,
    pub(crate) added: bool,
    pub(crate) special: bool,
}

/// The bytes that each token stands for. Ids may have gaps.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    bytes: Box<[u8]>,
    /// Token `id` is `bytes[ends[id - 1]..ends[id]]`.
    ends: Box<[u32]>,
    flags: Box<[u8]>,
    byte_level: bool,
    text_rules: TextRules,
}

impl Vocabulary {
    /// Lays out `entries`, sorted by id; of two entries with one id the later is kept.
    pub(crate) fn new(entries: &[VocabularyEntry<'_>], decoding: &Decoding) -> Result<Self> {
        let size = entries.last().map_or(0, |entry| entry.id as usize + 1);
        let (mut bytes, mut ends, mut flags) = (Vec::new(), Vec::new(), Vec::new());
        ends.reserve_exact(size);
        flags.reserve_exact(size);
        for (index, entry) in entries.iter().enumerate() {
            if entries.get(index + 1).is_some_and(|next| next.id == entry.id) {
                continue;
            }
            let start = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            ends.resize(entry.id as usize, start);
            flags.resize(entry.id as usize, 0);
            flags.push(append_token(&mut bytes, entry, decoding)?);
            if bytes.len() > MAX_BYTES {
                let text = format!("the tokens have more than {MAX_BYTES} bytes together");
                return Err(Error::new(ErrorKind::Tokenizer, text));
            }
            ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        Ok(Self {
            bytes: bytes.into(),
            ends: ends.into(),
            flags: flags.into(),
            byte_level: decoding.byte_level,
            text_rules: decoding.text_rules,
        })
    }

    /// The highest id plus one.
    pub(crate) fn size(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of token `id`, which need not be whole characters.
    pub(crate) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        if self.flags.get(id)? & PRESENT == 0 {
            return None;
        }
        let start = id.checked_sub(1).map_or(Some(&0), |before| self.ends.get(before))?;
        self.bytes.get(*start as usize..*self.ends.get(id)? as usize)
    }

    /// The token as text, if it is whole UTF-8.
    pub(crate) fn text(&self, id: u32) -> Option<&str> {
        std::str::from_utf8(self.bytes(id)?).ok()
    }

    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.has_flag(id, SPECIAL)
    }

    pub(crate) fn is_added(&self, id: u32) -> bool {
        self.has_flag(id, ADDED)
    }

    pub(crate) fn is_fallback_byte(&self, id: u32) -> bool {
        self.has_flag(id, FALLBACK_BYTE)
    }

    pub(crate) fn special_ids(&self) -> Vec<u32> {
        (0u32..).zip(&self.flags).filter(|(_, flags)| **flags & SPECIAL != 0).map(|(id, _)| id).collect()
    }

    /// Whether token bytes join to text before they are checked for UTF-8.
    pub(crate) fn byte_level(&self) -> bool {
        self.byte_level
    }

    pub(crate) fn text_rules(&self) -> TextRules {
        self.text_rules
    }

    fn has_flag(&self, id: u32, flag: u8) -> bool {
        self.flags.get(id as usize).is_some_and(|flags| flags & flag != 0)
    }
}

fn append_token(bytes: &mut Vec<u8>, entry: &VocabularyEntry<'_>, decoding: &Decoding) -> Result<u8> {
    let mut flags = PRESENT;
    if entry.special {
        flags |= SPECIAL;
    }
    if entry.added {
        flags |= ADDED;
    }
    if decoding.byte_fallback
        && let Some(byte) = fallback_byte(entry.text)
    {
        bytes.push(byte);
        return Ok(flags | FALLBACK_BYTE);
    }
    let text = decoding.token_text(entry.text)?;
    let start = bytes.len();
    // Added tokens are matched in the text itself, before it is turned into byte-level characters.
    if decoding.byte_level && !entry.added {
        for character in text.chars() {
            let Some(byte) = byte_of_char(character) else {
                bytes.truncate(start);
                bytes.extend_from_slice(text.as_bytes());
                break;
            };
            bytes.push(byte);
        }
    } else {
        bytes.extend_from_slice(text.as_bytes());
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(id: u32, text: &str, added: bool) -> VocabularyEntry<'_> {
        VocabularyEntry { id, text, added, special: added }
    }

    #[test]
    fn gaps_have_no_token_and_byte_level_strings_become_bytes() {
        let decoding = Decoding::from_json(Some(&json!({"type": "ByteLevel"}))).unwrap();
        let entries = [entry(1, "ĠÃ", false), entry(4, "é<", true), entry(5, "a b", false)];
        let vocabulary = Vocabulary::new(&entries, &decoding).unwrap();
        assert_eq!(vocabulary.size(), 6);
        assert_eq!(vocabulary.bytes(1), Some(&b" \xC3"[..]));
        assert_eq!(vocabulary.bytes(4), Some("é<".as_bytes()));
        assert_eq!(vocabulary.bytes(5), Some(&b"a b"[..]));
        for missing in [0, 2, 3, 6, u32::MAX] {
            assert_eq!(vocabulary.bytes(missing), None, "{missing}");
        }
        assert_eq!(vocabulary.special_ids(), [4]);
    }

    #[test]
    fn of_two_entries_with_one_id_the_later_is_kept() {
        let entries = [entry(0, "old", false), entry(0, "<new>", true)];
        let vocabulary = Vocabulary::new(&entries, &Decoding::default()).unwrap();
        assert_eq!(vocabulary.bytes(0), Some(&b"<new>"[..]));
        assert!(vocabulary.is_special(0) && vocabulary.is_added(0));
    }
}
