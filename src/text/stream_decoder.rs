//! Tokens to text, one at a time.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::tokenizer::vocabulary::Vocabulary;

/// Turns a stream of token ids into pieces of whole UTF-8 text.
///
/// Tokens may end inside a character; what is incomplete is held back until the rest comes, or until
/// [`finish`](Self::finish), which shows it as U+FFFD. The pieces joined are what
/// [`Tokenizer::decode`](super::Tokenizer::decode) gives for all ids at once. The work for a token depends only on
/// its own length. Ids without a token give no text.
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    vocabulary: Arc<Vocabulary>,
    skip_special: bool,
    /// Bytes of an incomplete character, at most three.
    pending: Vec<u8>,
    /// How many more characters may vanish at the start of the text.
    to_strip: usize,
    before_first_token: bool,
}

impl StreamDecoder {
    pub(crate) fn new(vocabulary: Arc<Vocabulary>, skip_special: bool) -> Self {
        let to_strip = vocabulary.text_rules().strip_start.map_or(0, |(_, count)| count);
        Self { vocabulary, skip_special, pending: Vec::new(), to_strip, before_first_token: true }
    }

    /// The text that `id` completes; empty while a character is incomplete.
    #[must_use]
    pub fn push(&mut self, id: u32) -> String {
        let mut text = String::new();
        self.push_into(id, &mut text);
        text
    }

    /// Like [`push`](Self::push), but appends to `text`.
    pub fn push_into(&mut self, id: u32, text: &mut String) {
        let vocabulary = Arc::clone(&self.vocabulary);
        let Some(bytes) = vocabulary.bytes(id) else { return };
        if self.skip_special && vocabulary.is_special(id) {
            return;
        }
        let rules = vocabulary.text_rules();
        let first = std::mem::replace(&mut self.before_first_token, false);
        if rules.space_between_tokens && !first {
            self.emit(" ", text);
        }
        if vocabulary.byte_level() {
            self.push_bytes(bytes, text);
        } else if vocabulary.is_fallback_byte(id) {
            self.push_fallback_byte(bytes, text);
        } else {
            self.flush(text);
            // Outside byte-level vocabularies tokens hold the text of the file, which is valid UTF-8.
            let token = String::from_utf8_lossy(bytes);
            if first && rules.first_token_loses_spaces && !vocabulary.is_added(id) {
                self.emit(&token.replace(' ', ""), text);
            } else {
                self.emit(&token, text);
            }
        }
    }

    /// Whether bytes of an incomplete character are held back.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Ends the text: what is still incomplete is returned as U+FFFD. The decoder is then as new.
    #[must_use]
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        self.flush(&mut text);
        *self = Self::new(Arc::clone(&self.vocabulary), self.skip_special);
        text
    }

    /// As `String::from_utf8_lossy` on the whole byte stream: one U+FFFD for each maximal broken sequence.
    fn push_bytes(&mut self, bytes: &[u8], text: &mut String) {
        let mut joined = std::mem::take(&mut self.pending);
        joined.extend_from_slice(bytes);
        let mut rest = joined.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => return self.emit(valid, text),
                Err(error) => {
                    let (valid, broken) = rest.split_at(error.valid_up_to());
                    self.emit(&String::from_utf8_lossy(valid), text);
                    let Some(length) = error.error_len() else {
                        self.pending.extend_from_slice(broken);
                        return;
                    };
                    self.emit("\u{FFFD}", text);
                    rest = broken.get(length..).unwrap_or_default();
                }
            }
        }
    }

    /// A byte of a character spelled in `<0xNN>` tokens: one U+FFFD for each byte that belongs to no character.
    fn push_fallback_byte(&mut self, bytes: &[u8], text: &mut String) {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while let Err(error) = std::str::from_utf8(rest) {
            // Only the last byte is new, so a broken sequence starts at the first.
            let Some(length) = error.error_len() else {
                self.pending.extend_from_slice(rest);
                return;
            };
            for _ in 0..length {
                self.emit("\u{FFFD}", text);
            }
            rest = rest.get(length..).unwrap_or_default();
        }
        self.emit(&String::from_utf8_lossy(rest), text);
    }

    /// Gives up on the pending bytes.
    fn flush(&mut self, text: &mut String) {
        if self.pending.is_empty() {
            return;
        }
        // Joined bytes are one incomplete character; fallback bytes count one by one.
        let count = if self.vocabulary.byte_level() { 1 } else { self.pending.len() };
        self.pending.clear();
        for _ in 0..count {
            self.emit("\u{FFFD}", text);
        }
    }

    fn emit(&mut self, mut piece: &str, text: &mut String) {
        if self.to_strip > 0
            && let Some((character, _)) = self.vocabulary.text_rules().strip_start
        {
            while self.to_strip > 0 && !piece.is_empty() {
                match piece.strip_prefix(character) {
                    Some(rest) => {
                        piece = rest;
                        self.to_strip -= 1;
                    }
                    None => self.to_strip = 0,
                }
            }
        }
        text.push_str(piece);
    }
}
