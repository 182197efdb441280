//! A grammar's part in an answer.

use super::GenerateOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::sampling::constraint::{Grammar, Mask, Matcher};
use crate::text::Text;

/// Only those rows of the lm_head are computed that the grammar allows, if they are at most one in this many.
const SPARSE: usize = 4;

/// What the grammar says of the next token.
pub(super) struct Constrained {
    matcher: Matcher,
    vocabulary: usize,
    stop_tokens: Vec<u32>,
    may_force: bool,
    allow_few_rows: bool,
    forced_at_start: Vec<u32>,
    next: Next,
    /// Kept from token to token so that none allocates.
    masked: Vec<f32>,
}

/// What can follow.
enum Next {
    /// One of these tokens; the rows of the lm_head to compute, `None` for all.
    Token { mask: Mask, rows: Option<Vec<u32>> },
    /// Nothing.
    End,
}

impl Constrained {
    /// At the start of an answer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a grammar of another tokenizer, and as [`advance`](Self::advance).
    pub(super) fn new(
        grammar: &Grammar,
        text: &Text,
        vocabulary: usize,
        stop_tokens: &[u32],
        options: &GenerateOptions,
    ) -> Result<Self> {
        if !grammar.is_for(text) {
            return Err(Error::new(ErrorKind::InvalidArgument, "the grammar was made for another model")
                .with_hint("make it with the model that the session is of"));
        }
        let mut constrained = Self {
            matcher: grammar.matcher(),
            vocabulary,
            stop_tokens: stop_tokens.to_vec(),
            // Each token's log-probability needs the logits before it.
            may_force: options.log_probabilities.is_none(),
            allow_few_rows: options.log_probabilities.is_none(),
            forced_at_start: Vec::new(),
            next: Next::End,
            masked: Vec::new(),
        };
        constrained.forced_at_start = constrained.advance()?;
        Ok(constrained)
    }

    /// The tokens with which every answer begins.
    pub(super) fn forced_at_start(&self) -> &[u32] {
        &self.forced_at_start
    }

    /// Whether the text can end within `room` tokens after `id`; true where that is not known.
    pub(super) fn can_end_after(&mut self, id: u32, room: usize) -> bool {
        self.matcher.can_end_after(id, room)
    }

    /// The tokens that end the text on the grammar's shortest way; `None` where it is not known.
    pub(super) fn closing(&mut self) -> Option<Vec<u32>> {
        if self.is_complete() {
            return Some(Vec::new());
        }
        let fits = |tokens: &Vec<u32>| tokens.iter().all(|id| (*id as usize) < self.vocabulary);
        self.matcher.closing().filter(fits)
    }

    /// Whether the answer is complete.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.next, Next::End)
    }

    /// The rows of the lm_head that the next logits need; `None` for all.
    pub(super) fn rows(&self) -> Option<&[u32]> {
        match &self.next {
            Next::Token { rows, .. } => rows.as_deref(),
            Next::End => None,
        }
    }

    /// The logits of all tokens, given all or those of [`rows`](Self::rows): negative infinity where the grammar does not allow one.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where there are neither as many logits.
    pub(super) fn masked(&mut self, logits: &[f32]) -> Result<&[f32]> {
        let missing =
            || Error::new(ErrorKind::Internal, format!("the engine returned {} logits", logits.len()));
        match &self.next {
            Next::Token { rows: Some(rows), .. } if rows.len() == logits.len() => {
                self.masked.clear();
                self.masked.resize(self.vocabulary, f32::NEG_INFINITY);
                for (row, logit) in rows.iter().zip(logits) {
                    *self.masked.get_mut(*row as usize).ok_or_else(missing)? = *logit;
                }
            }
            Next::Token { mask, .. } => {
                self.masked.clear();
                self.masked.extend_from_slice(logits.get(..self.vocabulary).ok_or_else(missing)?);
                mask.apply(&mut self.masked);
            }
            Next::End => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "a token was to be chosen after the grammar's end",
                ));
            }
        }
        Ok(&self.masked)
    }

    /// Goes on with a chosen token that is none of the stop tokens; returns the tokens that must follow it.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub(super) fn accept(&mut self, id: u32) -> Result<Vec<u32>> {
        self.matcher.consume(id)?;
        self.advance()
    }

    /// Takes the tokens that must come next, and finds what may follow them.
    ///
    /// # Errors
    /// [`ErrorKind::Grammar`] where that is beyond the limits; [`ErrorKind::Unsupported`] where the model cannot choose what
    /// the grammar needs.
    fn advance(&mut self) -> Result<Vec<u32>> {
        let forced = if self.may_force { self.matcher.consume_forced()? } else { Vec::new() };
        if let Some(id) = forced.iter().find(|id| **id as usize >= self.vocabulary) {
            return Err(self.impossible(&format!("forces token {id}, for which the model has no row")));
        }
        if self.matcher.is_complete()? {
            self.next = Next::End;
            return Ok(forced);
        }
        let (mut mask, may_end) = self.matcher.mask()?;
        mask.truncate(self.vocabulary);
        for id in &self.stop_tokens {
            mask.forbid(*id);
        }
        if mask.count() == 0 && may_end {
            self.next = Next::End;
            return Ok(forced);
        }
        if may_end {
            for id in self.stop_tokens.iter().filter(|id| (**id as usize) < self.vocabulary) {
                mask.allow(*id);
            }
        }
        let count = mask.count();
        if count == 0 {
            return Err(self.impossible("needs a text that the model has no tokens for"));
        }
        let is_sparse = self.allow_few_rows && count <= self.vocabulary / SPARSE;
        self.next = Next::Token { rows: is_sparse.then(|| mask.ids()), mask };
        Ok(forced)
    }

    fn impossible(&self, what: &str) -> Error {
        Error::new(ErrorKind::Unsupported, format!("the grammar {what}"))
            .with_hint(format!("the model can choose among {} tokens", self.vocabulary))
    }
}
