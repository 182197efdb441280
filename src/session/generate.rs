//! One answer, from its prompt's tokens to its last event.
//!
//! 1. The longest common prefix of the prompt and the KV cache is kept, except for the prompt's last token.
//! 2. The engine makes room. It may keep less of the prefix: LongRoPE rotates short and long sequences differently.
//! 3. The rest of the prompt is fed in chunks (prefill). Only the last token's logits are computed.
//! 4. The sampler chooses a token from the logits.
//! 5. The answer ends if that is a stop token.
//! 6. The token's text goes out, unless it may be the beginning of a stop string. The answer ends if one is
//!    complete, if there are as many tokens as were asked for, or if the context is full.
//! 7. The token is fed like a prompt that is one token longer than the cache: on to step 2.
//!
//! Cancelling and the deadline are checked before every forward pass and, by the engine, within it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use super::answer_text::AnswerText;
use super::sequence::{Sequence, only_row};
use super::{Event, FinishReason, GenerateOptions, Outcome, Session, Statistics};
use crate::engine::RunControl;
use crate::error::{Error, ErrorKind, Result};
use crate::sampling::{LogProbabilities, Sampler};
use crate::text::Message;

/// An answer in the making, apart from the session that it is made in, for hosts that cannot hold a
/// [`Stream`](super::Stream)'s borrow. Made by [`Session::begin`].
///
/// Every call must be given the session that the generation was begun in. Other use of that session in between is
/// allowed: what it changed in the KV cache is computed again. Dropping a generation without
/// [`end`](Self::end) leaves a chat's history without the turn.
pub struct Generation {
    /// The prompt and the answer so far.
    target: Vec<u32>,
    limit: usize,
    chunk: usize,
    options: GenerateOptions,
    stop_tokens: Vec<u32>,
    sampler: Sampler,
    vocabulary: usize,
    text: AnswerText,
    control: RunControl,
    started: Instant,
    ended: bool,
    events: VecDeque<Event>,
    /// An error that is still to be reported.
    error: Option<Error>,
    outcome: Option<FinishReason>,
    statistics: Statistics,
    /// The user's message of a chat turn that is not in the history yet.
    turn: Option<Message>,
    turn_is_kept: bool,
}

/// What [`Session::begin`] has worked out for a new generation.
pub(super) struct Setup {
    pub(super) target: Vec<u32>,
    pub(super) limit: usize,
    pub(super) chunk: usize,
    pub(super) options: GenerateOptions,
    pub(super) stop_tokens: Vec<u32>,
    pub(super) sampler: Sampler,
    pub(super) vocabulary: usize,
    pub(super) text: AnswerText,
    pub(super) control: RunControl,
    pub(super) started: Instant,
    pub(super) turn: Option<Message>,
}

impl Generation {
    /// Steps 1 and 2 for the prompt, so that a refusal comes before anything has changed.
    pub(super) fn new(setup: Setup, sequence: &mut Sequence) -> Result<Self> {
        let Setup { target, limit, chunk, options, stop_tokens, .. } = setup;
        let reused_tokens = sequence.prepare(&target, target.len())?;
        Ok(Self {
            statistics: Statistics {
                prompt_tokens: target.len(),
                reused_tokens,
                cache_bytes: sequence.bytes(),
                ..Statistics::default()
            },
            target,
            limit,
            chunk,
            options,
            stop_tokens,
            sampler: setup.sampler,
            vocabulary: setup.vocabulary,
            text: setup.text,
            control: setup.control,
            started: setup.started,
            ended: false,
            events: VecDeque::new(),
            error: None,
            outcome: None,
            turn: setup.turn,
            turn_is_kept: false,
        })
    }

    /// The next event; `None` after [`Event::Finished`] and after an error.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryBudget`] as the engine says, and [`ErrorKind::InvalidModel`] where logits are damaged. Cancelling and
    /// the deadline are no errors: they end in [`Event::Finished`].
    pub fn next(&mut self, session: &mut Session) -> Option<Result<Event>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(event));
            }
            if let Some(error) = self.error.take() {
                return Some(Err(error));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.step(session) {
                return Some(Err(error));
            }
        }
    }

    /// One forward pass and what follows from its logits.
    fn step(&mut self, session: &mut Session) -> Result<()> {
        let started = Instant::now();
        let result = self.feed(&mut session.sequence).and_then(|row| match row {
            Some(logits) => self.accept(only_row(&logits)?, started),
            None => {
                self.count_time(started.elapsed());
                Ok(())
            }
        });
        self.settle(result, session)
    }

    /// Steps 2 and 3: at most one chunk is fed.
    fn feed(&mut self, sequence: &mut Sequence) -> Result<Option<ndarray::Array2<f32>>> {
        self.prepare(sequence)?;
        let logits = sequence.feed(&self.target, self.chunk, None, &self.control)?;
        if self.in_prompt() {
            let (done, total) = (sequence.len(), self.target.len());
            self.events.push_back(Event::Prompt { done, total });
        }
        Ok(logits)
    }

    fn prepare(&mut self, sequence: &mut Sequence) -> Result<()> {
        self.control.check()?;
        // Not so after each token, and where another answer has used the session since.
        if !sequence.is_prepared_for(&self.target) {
            sequence.prepare(&self.target, self.target.len())?;
        }
        Ok(())
    }

    /// Steps 4 to 6, given the logits of the last token of `target`.
    fn accept(&mut self, logits: &[f32], step_started: Instant) -> Result<()> {
        let first = self.in_prompt();
        if first {
            self.count_time(step_started.elapsed());
        }
        let result = self.choose(logits);
        if !first {
            self.count_time(step_started.elapsed());
            self.statistics.decode_steps += 1;
        }
        result
    }

    fn choose(&mut self, logits: &[f32]) -> Result<()> {
        if self.options.max_tokens == 0 {
            self.finish(FinishReason::MaxTokens);
            return Ok(());
        }
        if self.target.len() >= self.limit {
            self.finish(FinishReason::ContextLength);
            return Ok(());
        }
        let id = self.sampler.sample(logits, &self.target)?;
        self.statistics.time_to_first_token.get_or_insert_with(|| self.started.elapsed());
        if self.stop_tokens.contains(&id) {
            self.finish(FinishReason::StopToken);
            return Ok(());
        }
        let log_probabilities = match self.options.log_probabilities {
            Some(top) => {
                Some(LogProbabilities::new(logits.get(..self.vocabulary).unwrap_or(logits), id, top)?)
            }
            None => None,
        };
        self.target.push(id);
        self.statistics.generated_tokens += 1;
        self.events.push_back(Event::Token { id, log_probabilities });
        let stopped = self.text.push(id);
        self.send_text();
        if stopped {
            self.finish(FinishReason::StopString);
        } else if self.statistics.generated_tokens >= self.options.max_tokens {
            self.finish(FinishReason::MaxTokens);
        } else if self.target.len() >= self.limit {
            self.finish(FinishReason::ContextLength);
        }
        Ok(())
    }

    fn finish(&mut self, reason: FinishReason) {
        if !self.ended {
            self.ended = true;
            self.outcome = Some(reason);
            self.text.finish(reason == FinishReason::StopString);
            self.send_text();
        }
    }

    fn send_text(&mut self) {
        if let Some(text) = self.text.take_new() {
            self.events.push_back(Event::Text(text));
        }
    }

    /// Turns the errors that end an answer regularly into its finish, and brings the session up to date.
    fn settle(&mut self, result: Result<()>, session: &mut Session) -> Result<()> {
        let result = match result.as_ref().map_err(Error::kind) {
            Err(ErrorKind::Cancelled) => {
                self.finish(FinishReason::Cancelled);
                Ok(())
            }
            Err(ErrorKind::DeadlineExceeded) => {
                self.finish(FinishReason::Deadline);
                Ok(())
            }
            _ => result,
        };
        self.statistics.cache_bytes = session.sequence.bytes();
        session.statistics = self.statistics;
        if result.is_err() {
            self.ended = true;
            self.events.clear();
            self.text.finish(false);
        }
        if self.ended {
            self.keep_turn(session);
        }
        if let (Ok(()), Some(outcome)) = (&result, self.outcome()) {
            let Statistics { prompt_tokens, reused_tokens, generated_tokens, .. } = outcome.statistics;
            log::debug!(
                "answered with {generated_tokens} tokens to {prompt_tokens}, {reused_tokens} of them cached, in {:.0} ms: {:?}",
                1e3 * self.started.elapsed().as_secs_f64(),
                outcome.reason,
            );
            self.events.push_back(Event::Finished(outcome));
        }
        result
    }

    /// Adds a chat's turn to the history: when there is any answer, or when it ended of itself.
    fn keep_turn(&mut self, session: &mut Session) {
        let cut_short = matches!(self.outcome, None | Some(FinishReason::Cancelled | FinishReason::Deadline));
        let keep = self.statistics.generated_tokens > 0 || !cut_short;
        if let Some(user) = self.turn.take().filter(|_| keep) {
            session.history.push(user);
            session.history.push(Message::assistant(self.text.so_far()));
            self.turn_is_kept = true;
        }
    }

    /// Ends the answer here and keeps it; no effect after its end. Further events are the rest of its text and
    /// [`Event::Finished`] with [`FinishReason::Cancelled`].
    pub fn end(&mut self, session: &mut Session) {
        if !self.ended {
            self.finish(FinishReason::Cancelled);
            // Finishing fails at nothing.
            let _ended = self.settle(Ok(()), session);
        }
    }

    /// Drops the turn and ends without further events: the history is as it was before the prompt, and the KV cache
    /// holds what it shared with it.
    pub fn discard(&mut self, session: &mut Session) {
        if std::mem::take(&mut self.turn_is_kept) {
            session.history.truncate(session.history.len().saturating_sub(2));
        }
        self.turn = None;
        self.ended = true;
        self.events.clear();
        session.sequence.truncate(self.statistics.reused_tokens);
    }

    /// For a joint forward pass: whether all that is left to do for the next token is to feed the last one. False
    /// where [`next`](Self::next) has an event, an end or an error to give instead.
    pub(super) fn is_ready_to_decode(&mut self, session: &mut Session) -> bool {
        let sequence = &mut session.sequence;
        !self.ended
            && !self.in_prompt()
            && self.events.is_empty()
            && self.prepare(sequence).is_ok()
            && sequence.len() + 1 == self.target.len()
    }

    /// Goes on from the logits that a joint forward pass gave for the last token.
    pub(super) fn decoded(&mut self, session: &mut Session, logits: Result<&[f32]>, step_started: Instant) {
        if let Some(token) = self.target.last() {
            session.sequence.extend(&[*token]);
        }
        let result = logits.and_then(|logits| self.accept(logits, step_started));
        if let Err(error) = self.settle(result, session) {
            self.error = Some(error);
        }
    }

    /// The prompt and the answer so far.
    pub(super) fn target(&self) -> &[u32] {
        &self.target
    }

    /// How the answer ended; `None` before its end and after an error.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let seed = self.sampler.seed();
        self.outcome.map(|reason| Outcome { reason, statistics: self.statistics, seed })
    }

    /// Counts and times so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// The answer's text so far, without what may be the beginning of a stop string.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.so_far()
    }

    /// The answer's tokens so far.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        self.target.get(self.statistics.prompt_tokens..).unwrap_or_default()
    }

    fn in_prompt(&self) -> bool {
        self.statistics.generated_tokens == 0
    }

    fn count_time(&mut self, time: Duration) {
        if self.in_prompt() {
            self.statistics.prefill_time += time;
        } else {
            self.statistics.decode_time += time;
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.target.zeroize();
    }
}
