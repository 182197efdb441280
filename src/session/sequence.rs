//! A KV cache together with the tokens that are in it.

use std::sync::Arc;

use ndarray::Array2;
use zeroize::Zeroize;

use crate::engine::{Engine, KvCache, LogitsAt, RunControl, SequenceInput};
use crate::error::{Error, ErrorKind, Result};

/// The invariant: position `i` of the cache holds keys and values of `tokens[i]` after `tokens[..i]`. Every way to
/// fail keeps it, so that the next call starts from whatever prefix is still valid.
pub(crate) struct Sequence {
    engine: Arc<dyn Engine>,
    cache: Box<dyn KvCache>,
    tokens: Vec<u32>,
    /// The length that the engine last made room for.
    room: usize,
}

impl Sequence {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        let cache = engine.new_cache();
        Self { engine, cache, tokens: Vec::new(), room: 0 }
    }

    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// The cached tokens.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// Forgets the positions from `length` on, and more where the cache cannot stop exactly there.
    pub(crate) fn truncate(&mut self, length: usize) {
        if length < self.tokens.len() {
            self.cache.truncate(length);
            let kept = self.cache.len();
            self.tokens[kept..].zeroize();
            self.tokens.truncate(kept);
        }
    }

    /// Empties the cache and gives its memory back.
    pub(crate) fn clear(&mut self) {
        self.truncate(0);
        self.tokens.clear();
        self.cache = self.engine.new_cache();
        self.room = 0;
    }

    /// How many of the cached tokens `target` begins with.
    pub(crate) fn common_prefix(&self, target: &[u32]) -> usize {
        self.tokens.iter().zip(target).take_while(|(cached, wanted)| cached == wanted).count()
    }

    /// Makes the cache a proper prefix of `target`, as long as possible, with room for `total_length` positions
    /// (at least `target`'s). Returns how many positions are kept; the last token of `target` never is, since only
    /// feeding it gives its logits.
    ///
    /// # Errors
    /// What [`Engine::prepare`] refuses; where more room was needed than there was, the cache is then unchanged.
    pub(crate) fn prepare(&mut self, target: &[u32], total_length: usize) -> Result<usize> {
        let keep = self.common_prefix(target).min(target.len().saturating_sub(1));
        // A shorter sequence fits where the longer one was; a longer one may be refused, so nothing is dropped
        // before the engine has agreed.
        if total_length <= self.len() {
            self.truncate(keep);
        }
        let valid = self.engine.prepare(self.cache.as_mut(), total_length)?;
        self.room = total_length;
        self.truncate(keep.min(valid));
        Ok(self.len())
    }

    /// Whether the last [`prepare`](Self::prepare) was for `target` as it is now, and nothing has come in between.
    pub(crate) fn is_prepared_for(&self, target: &[u32]) -> bool {
        self.room == target.len() && self.len() < target.len() && self.common_prefix(target) == self.len()
    }

    /// Feeds up to `chunk` more tokens of a prepared `target`; with its last token, returns that one's logits.
    ///
    /// # Errors
    /// As [`Engine::forward`]; the cache is then as before.
    pub(crate) fn feed(
        &mut self,
        target: &[u32],
        chunk: usize,
        vocabulary: Option<&[u32]>,
        control: &RunControl,
    ) -> Result<Option<Array2<f32>>> {
        control.check()?;
        let tokens = self.next_chunk(target, chunk)?;
        let last = self.len() + tokens.len() == target.len();
        let input = SequenceInput {
            cache: self.cache.as_mut(),
            tokens,
            parents: None,
            logits: if last { LogitsAt::Last } else { LogitsAt::None },
            vocabulary: if last { vocabulary } else { None },
        };
        let mut logits = self.engine.forward(&mut [input], control)?;
        self.extend(tokens);
        Ok(if last { logits.pop() } else { None })
    }

    /// Up to `chunk` tokens of `target` that are not in the cache.
    fn next_chunk<'a>(&self, target: &'a [u32], chunk: usize) -> Result<&'a [u32]> {
        let end = self.len().saturating_add(chunk.max(1)).min(target.len());
        target
            .get(self.len()..end)
            .filter(|tokens| !tokens.is_empty())
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the cache already holds what is to be fed"))
    }

    /// Feeds up to `chunk` more tokens of a prepared `target`; returns the logits of those from position `first` on.
    ///
    /// # Errors
    /// As [`Engine::forward`]; the cache is then as before.
    pub(crate) fn feed_with_logits(
        &mut self,
        target: &[u32],
        chunk: usize,
        first: usize,
        control: &RunControl,
    ) -> Result<Array2<f32>> {
        control.check()?;
        let tokens = self.next_chunk(target, chunk)?;
        let positions: Vec<usize> = (first.saturating_sub(self.len())..tokens.len()).collect();
        let input = SequenceInput {
            cache: self.cache.as_mut(),
            tokens,
            parents: None,
            logits: LogitsAt::Positions(&positions),
            vocabulary: None,
        };
        let mut logits = self.engine.forward(&mut [input], control)?;
        self.extend(tokens);
        logits.pop().ok_or_else(|| Error::new(ErrorKind::Internal, "the engine returned no logits"))
    }

    /// Scores a tree of continuations: the logits of its tokens at `positions`. The cache stays as it is.
    pub(crate) fn score_tree(
        &mut self,
        tokens: &[u32],
        parents: &[Option<usize>],
        positions: &[usize],
        vocabulary: Option<&[u32]>,
        control: &RunControl,
    ) -> Result<Array2<f32>> {
        control.check()?;
        let input = SequenceInput {
            cache: self.cache.as_mut(),
            tokens,
            parents: Some(parents),
            logits: LogitsAt::Positions(positions),
            vocabulary,
        };
        let mut logits = self.engine.forward(&mut [input], control)?;
        logits.pop().ok_or_else(|| Error::new(ErrorKind::Internal, "the engine returned no logits"))
    }

    /// This sequence's part of a joint forward that feeds the last token of `target`.
    pub(crate) fn last_token_input<'a>(
        &'a mut self,
        target: &'a [u32],
        vocabulary: Option<&'a [u32]>,
    ) -> SequenceInput<'a> {
        SequenceInput {
            cache: self.cache.as_mut(),
            tokens: &target[target.len().saturating_sub(1)..],
            parents: None,
            logits: LogitsAt::Last,
            vocabulary,
        }
    }

    /// Notes tokens that the engine has fed.
    pub(crate) fn extend(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        debug_assert_eq!(self.tokens.len(), self.cache.len(), "the engine cached every token that was fed");
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        self.tokens.zeroize();
    }
}

/// The logits of each of the `positions` of a result.
///
/// # Errors
/// [`ErrorKind::Internal`] where they are those of more or fewer positions.
pub(crate) fn rows_of(logits: &Array2<f32>, positions: usize) -> Result<Vec<&[f32]>> {
    let rows: Option<Vec<&[f32]>> = logits.outer_iter().map(|row| row.to_slice()).collect();
    rows.filter(|rows| rows.len() == positions).ok_or_else(|| {
        let message =
            format!("the engine returned logits of shape {:?} for {positions} positions", logits.dim());
        Error::new(ErrorKind::Internal, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_of_other_positions_than_asked_for_are_an_error() {
        let logits = Array2::from_shape_fn((2, 3), |(row, column)| (3 * row + column) as f32);
        assert_eq!(rows_of(&logits, 2).unwrap(), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
        let across = logits.clone().reversed_axes();
        for (logits, positions) in [(&logits, 1), (&logits, 3), (&across, 3)] {
            let error = rows_of(logits, positions).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal);
            assert!(error.message().contains(&format!("for {positions} positions")), "{error}");
        }
        assert!(rows_of(&Array2::zeros((0, 3)), 1).is_err());
    }
}
