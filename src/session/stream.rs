//! The answer as an iterator.

use std::iter::FusedIterator;

use super::{Answer, Control, Event, Generation, Outcome, Session, Statistics};
use crate::error::{Error, ErrorKind, Result};

/// An answer in the making: an iterator of [`Event`]s that computes as it is pulled.
///
/// [`Event::Finished`] or an error comes last. Dropping the stream early ends the answer there: the session stays
/// usable, and a chat keeps what was answered so far.
pub struct Stream<'a> {
    pub(super) session: &'a mut Session,
    pub(super) generation: Generation,
}

impl Stream<'_> {
    /// Runs to the end and returns the whole answer.
    ///
    /// # Errors
    /// What the stream yields. A chat's history keeps what was answered before it, if anything was.
    pub fn into_answer(mut self) -> Result<Answer> {
        let mut log_probabilities = Vec::new();
        for event in &mut self {
            if let Event::Token { log_probabilities: Some(of_token), .. } = event? {
                log_probabilities.push(of_token);
            }
        }
        self.answer(log_probabilities)
    }

    pub(super) fn answer(&self, log_probabilities: Vec<crate::sampling::LogProbabilities>) -> Result<Answer> {
        Ok(Answer {
            text: self.generation.text().to_owned(),
            tokens: self.generation.tokens().to_vec(),
            log_probabilities,
            outcome: self.finished()?,
        })
    }

    /// Runs to the end and returns the text.
    ///
    /// # Errors
    /// As [`into_answer`](Self::into_answer).
    pub fn into_text(self) -> Result<String> {
        self.into_answer().map(|answer| answer.text)
    }

    /// Calls `callback` with each event until the end or until it returns otherwise than [`Control::Continue`].
    /// The callback is not called again after that.
    ///
    /// # Errors
    /// As [`into_answer`](Self::into_answer).
    pub fn run(mut self, mut callback: impl FnMut(&Event) -> Control) -> Result<Outcome> {
        while let Some(event) = self.next() {
            match callback(&event?) {
                Control::Continue => {}
                Control::Stop => {
                    self.generation.end(self.session);
                    break;
                }
                Control::Cancel => {
                    self.generation.end(self.session);
                    let outcome = self.finished();
                    self.generation.discard(self.session);
                    return outcome;
                }
            }
        }
        self.finished()
    }

    /// Drops the turn: a chat's history is as it was before.
    pub fn discard(mut self) {
        self.generation.discard(self.session);
    }

    /// The answer's text so far.
    #[must_use]
    pub fn text(&self) -> &str {
        self.generation.text()
    }

    /// The answer's tokens so far.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        self.generation.tokens()
    }

    /// Counts and times so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.generation.statistics()
    }

    fn finished(&self) -> Result<Outcome> {
        self.generation
            .outcome()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the answer ended without an outcome"))
    }
}

impl Iterator for Stream<'_> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        self.generation.next(self.session)
    }
}

impl FusedIterator for Stream<'_> {}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.generation.end(self.session);
    }
}
