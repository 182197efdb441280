//! How far an answer has come in its grammar.

use std::sync::Arc;

use llguidance::TokenParser;

use super::closing::{Chart, Mark};
use super::{GrammarVocabulary, Mask};
use crate::error::{Error, ErrorKind, Result};

/// How far one text has come in its grammar. Sessions keep one for each answer; a program that decodes itself makes its own
/// with [`Grammar::matcher`](super::Grammar::matcher).
pub struct Matcher {
    parser: llguidance::Matcher,
    vocabulary: Arc<GrammarVocabulary>,
    at_start: bool,
    /// The same text, to know how far its end is.
    chart: Option<Chart>,
}

impl Matcher {
    pub(super) fn new(parser: TokenParser, vocabulary: Arc<GrammarVocabulary>, chart: Option<Chart>) -> Self {
        Self { parser: llguidance::Matcher::new(Ok(parser)), vocabulary, at_start: true, chart }
    }

    /// Whether nothing more can follow.
    ///
    /// # Errors
    /// [`ErrorKind::Grammar`] after an error of another call.
    pub fn is_complete(&mut self) -> Result<bool> {
        if self.parser.is_error() {
            return Err(self.failed());
        }
        Ok(self.parser.is_stopped())
    }

    /// The tokens of text that may come next, and whether the text may end here. Not for a complete text.
    ///
    /// # Errors
    /// [`ErrorKind::Grammar`] where working it out is beyond the limits, or the grammar has come to an end that is none.
    pub fn mask(&mut self) -> Result<(Mask, bool)> {
        let allowed = self.parser.compute_mask().map_err(|_| self.failed())?;
        let end = self.vocabulary.end();
        let ends = allowed.is_allowed(end);
        let mut mask = Mask::from_words(allowed.as_slice(), self.vocabulary.size());
        if self.at_start && self.vocabulary.strips_the_start() {
            mask = self.at_start(&mask);
        }
        Ok((mask, ends))
    }

    /// Of the tokens that the grammar allows, those that show as one of them where a text starts.
    fn at_start(&self, allowed: &Mask) -> Mask {
        let mut mask = Mask::empty(self.vocabulary.size());
        for id in allowed.ids() {
            if self.vocabulary.is_whole_at_start(id) {
                mask.allow(id);
            }
            for other in self.vocabulary.shown_at_start_as(id) {
                mask.allow(other);
            }
        }
        mask
    }

    /// Goes on with a token that the mask allows.
    ///
    /// # Errors
    /// As [`mask`](Self::mask), also for a token that it does not allow; nothing can follow then.
    pub fn consume(&mut self, id: u32) -> Result<()> {
        let shown = self.shown(id);
        self.at_start = false;
        if let Some(chart) = &mut self.chart {
            chart.push(self.vocabulary.bytes(shown));
        }
        self.parser.consume_token(shown).map_err(|_| self.failed())
    }

    /// The token as which `id` shows here.
    fn shown(&self, id: u32) -> u32 {
        if self.at_start { self.vocabulary.shown_at_start(id) } else { id }
    }

    /// Whether the text can end within `room` tokens after `id`; true where that is not known.
    pub(crate) fn can_end_after(&mut self, id: u32, room: usize) -> bool {
        let shown = self.shown(id);
        let Some(chart) = &mut self.chart else { return true };
        let mark: Mark = chart.mark();
        chart.push(self.vocabulary.bytes(shown));
        let fits = match chart.distance() {
            None => true,
            // No token is shorter than a byte.
            Some(bytes) if bytes <= room => true,
            Some(_) => chart.rest().is_none_or(|rest| self.vocabulary.tokenize(&rest).len() <= room),
        };
        chart.go_back(mark);
        fits
    }

    /// The tokens that end the text on the shortest way; `None` where it is not known.
    pub(crate) fn closing(&mut self) -> Option<Vec<u32>> {
        let rest = self.chart.as_mut()?.rest()?;
        let tokens = self.vocabulary.tokenize(&rest);
        let is_whole =
            !self.at_start || tokens.first().is_none_or(|first| self.vocabulary.is_whole_at_start(*first));
        if !is_whole {
            return None;
        }
        // The chart may know a way that llguidance refuses.
        let mut copy = self.parser.clone();
        let is_legal = copy.consume_tokens(&tokens).is_ok()
            && (copy.is_stopped() || copy.is_accepting().unwrap_or(false));
        is_legal.then_some(tokens)
    }

    /// Goes on with the tokens that must come next and returns them.
    ///
    /// # Errors
    /// As [`mask`](Self::mask).
    pub fn consume_forced(&mut self) -> Result<Vec<u32>> {
        if self.parser.is_stopped() {
            return Ok(Vec::new());
        }
        let forced = self.parser.compute_ff_tokens();
        if self.at_start && forced.first().is_some_and(|first| !self.vocabulary.is_whole_at_start(*first)) {
            return Ok(Vec::new());
        }
        if !forced.is_empty() {
            for id in &forced {
                self.consume(*id)?;
            }
        }
        if self.parser.is_error() {
            return Err(self.failed());
        }
        Ok(forced)
    }

    fn failed(&self) -> Error {
        let message = self.parser.get_error().unwrap_or_else(|| "it has stopped".to_owned());
        let message = message.split("\n<").next().unwrap_or_default();
        Error::new(ErrorKind::Grammar, format!("the grammar cannot be followed further: {message}"))
            .with_hint("simplify the part of the grammar that the answer has come to")
    }
}
