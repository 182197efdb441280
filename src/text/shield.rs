//! Keeps markup that is spelled out in a text from being recognised.

#![forbid(unsafe_code)]

use crate::{Error, ErrorKind, Result};

/// Texts of tokens that are not to be recognised in what strangers write.
///
/// A character that occurs nowhere else is put inside each, which parts the text for the tokenizer, and is taken out
/// again before the text is split into ordinary tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct Shield {
    /// In order, and none of them the beginning of another: where the longer one is, the shorter one is too.
    texts: Vec<String>,
}

impl Shield {
    pub(super) fn new(mut texts: Vec<String>) -> Self {
        texts.retain(|text| !text.is_empty());
        texts.sort_unstable();
        // In order, a text comes directly after its beginnings and what else begins with them.
        texts.dedup_by(|text, before| text.starts_with(before.as_str()));
        Self { texts }
    }

    /// Whether `text` begins with one of the texts. It can only be the last that is not after it: what lies between a beginning
    /// of `text` and `text` itself begins with that beginning too.
    fn begins(&self, text: &str) -> bool {
        let after = self.texts.partition_point(|known| known.as_str() <= text);
        let last = after.checked_sub(1).and_then(|last| self.texts.get(last));
        last.is_some_and(|known| text.starts_with(known.as_str()))
    }

    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// `text` with `mark` after the first character of each of the texts that it contains.
    pub(super) fn apply(&self, text: &str, mark: char) -> String {
        let mut shielded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            shielded.push(first);
            if self.begins(rest) {
                shielded.push(mark);
            }
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
        shielded
    }
}

/// A character that is in none of `texts`. The candidates are Unicode noncharacters, which no text needs.
pub(super) fn free_mark<'a>(texts: impl IntoIterator<Item = &'a str> + Clone) -> Result<char> {
    ('\u{FDD0}'..='\u{FDEF}')
        .find(|mark| !texts.clone().into_iter().any(|text| text.contains(*mark)))
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "the text uses every Unicode noncharacter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_gets_a_mark() {
        let shield =
            Shield::new(vec!["<|end|>".to_owned(), "<a>".to_owned(), "><".to_owned(), String::new()]);
        assert_eq!(shield.apply("x<|end|><a>", '!'), "x<!|end|>!<!a>");
        assert_eq!(shield.apply("<|end <aa> é", '!'), "<|end <aa> é");
    }

    #[test]
    fn texts_that_begin_with_others_change_nothing() {
        let texts = ["<a>", "<a", "<ab", "<a>>", "b", "<b>", "zz"].map(str::to_owned);
        let shield = Shield::new(texts.to_vec());
        for text in ["<a>x", "<ax", "<", "<c><b>b", "", "<b", "z", "zzz", "a<a"] {
            let mut expected = String::new();
            for (place, character) in text.char_indices() {
                expected.push(character);
                if texts.iter().any(|known| text[place..].starts_with(known.as_str())) {
                    expected.push('!');
                }
            }
            assert_eq!(shield.apply(text, '!'), expected, "{text}");
        }
    }

    #[test]
    fn the_mark_is_a_character_that_does_not_occur() {
        assert_eq!(free_mark(["a", "\u{FDD0}", "\u{FDD2}"]).unwrap(), '\u{FDD1}');
        let all: String = ('\u{FDD0}'..='\u{FDEF}').collect();
        assert_eq!(free_mark([all.as_str()]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
