//! The logits themselves, for hosts that score or sample on their own.

use std::time::{Duration, Instant};

use ndarray::Array2;

use super::{CancelToken, Session};
use crate::error::{Error, ErrorKind, Result};

/// Options of [`Session::logits`].
#[derive(Debug, Clone)]
pub struct LogitsOptions {
    /// Of how many last tokens; at least 1, and no more than there are tokens. Default 1.
    pub last: usize,
    /// How long it may take, counted from the call.
    pub deadline: Option<Duration>,
    /// Stops the work when signalled.
    pub cancel: Option<CancelToken>,
}

impl Default for LogitsOptions {
    fn default() -> Self {
        Self { last: 1, deadline: None, cancel: None }
    }
}

impl Session {
    /// The logits after each of the last tokens of `tokens`: `[last, vocabulary]` in f32, where row r belongs to token
    /// `tokens.len() - last + r`. What the tokens share with the KV cache before those is reused; afterwards the cache
    /// holds `tokens`.
    ///
    /// ```no_run
    /// use edgeslm::session::{LogitsOptions, SessionOptions};
    /// # fn example(model: &edgeslm::Model) -> edgeslm::Result<()> {
    /// let mut session = model.session(SessionOptions::default())?;
    /// let tokens = model.text().raw_tokens("Once upon a")?;
    /// let logits = session.logits(&tokens, &LogitsOptions::default())?;
    /// assert_eq!(logits.nrows(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for no tokens, an unknown token or a `last` out of its range;
    /// [`ErrorKind::ContextLength`] for more tokens than the context holds; [`ErrorKind::MemoryBudget`] where the cache or
    /// the logits find no memory; [`ErrorKind::Cancelled`] and [`ErrorKind::DeadlineExceeded`].
    pub fn logits(&mut self, tokens: &[u32], options: &LogitsOptions) -> Result<Array2<f32>> {
        let control = self.control(options.cancel.as_ref(), options.deadline, Instant::now());
        if options.last == 0 || options.last > tokens.len() {
            let message = format!("logits of the last {} of {} tokens", options.last, tokens.len());
            return Err(Error::new(ErrorKind::InvalidArgument, message)
                .with_hint("ask for at least one, and for no more than there are tokens"));
        }
        self.check_known(tokens)?;
        self.check_length(tokens.len())?;
        let first = tokens.len() - options.last;
        let chunk = self.chunk();
        let width = self.sequence.engine().vocabulary_size();
        let elements = options.last.saturating_mul(width);
        let mut rows = Vec::new();
        rows.try_reserve_exact(elements).map_err(|error| {
            let message = format!("no memory for {elements} logits");
            Error::new(ErrorKind::MemoryBudget, message).with_source(error)
        })?;
        self.rewind(first);
        self.sequence.prepare(tokens, tokens.len())?;
        while self.sequence.len() < tokens.len() {
            let part = self.sequence.feed_with_logits(tokens, chunk, first, &control)?;
            rows.extend(part);
        }
        Array2::from_shape_vec((options.last, width), rows).map_err(|error| {
            Error::new(ErrorKind::Internal, "the engine returned too few logits").with_source(error)
        })
    }
}
