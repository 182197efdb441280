//! An answer's text as its tokens come in.

use zeroize::Zeroize;

use crate::text::{StopMatcher, StreamDecoder};

/// Decodes tokens and holds back what may be the beginning of a stop string.
pub(super) struct AnswerText {
    decoder: StreamDecoder,
    stops: StopMatcher,
    text: String,
    taken: usize,
}

impl AnswerText {
    pub(super) fn new(decoder: StreamDecoder, stops: StopMatcher) -> Self {
        Self { decoder, stops, text: String::new(), taken: 0 }
    }

    /// Adds a token. True when a stop string is complete; the text then ends before it.
    pub(super) fn push(&mut self, id: u32) -> bool {
        let piece = self.decoder.push(id);
        self.match_stops(&piece)
    }

    /// Adds what was held back, unless a stop string ended the text.
    pub(super) fn finish(&mut self, stopped: bool) {
        if !stopped {
            let piece = self.decoder.finish();
            if !self.match_stops(&piece) {
                self.text.push_str(&self.stops.finish());
            }
        }
    }

    fn match_stops(&mut self, piece: &str) -> bool {
        self.text.push_str(&self.stops.push(piece));
        self.stops.matched().is_some()
    }

    /// The text since the last call, if there is any.
    pub(super) fn take_new(&mut self) -> Option<String> {
        let new = self.text.get(self.taken..).filter(|new| !new.is_empty())?.to_owned();
        self.taken = self.text.len();
        Some(new)
    }

    /// The text so far.
    pub(super) fn so_far(&self) -> &str {
        &self.text
    }
}

impl Drop for AnswerText {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}
