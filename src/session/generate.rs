//! One answer, from its prompt's tokens to its last event.
//!
//! 1. The longest common prefix of the prompt and the KV cache is kept, except for the prompt's last token.
//! 2. The engine makes room. It may keep less of the prefix: LongRoPE rotates short and long sequences differently.
//! 3. The rest of the prompt is fed in chunks (prefill). Only the last token's logits are computed.
//! 4. The sampler chooses a token from the logits, of those that the grammar allows if there is one.
//! 5. The answer ends if that is a stop token.
//! 6. The token's text goes out, unless it may be the beginning of a stop string. The answer ends if one is
//!    complete, if there are as many tokens as were asked for, or if the context is full.
//! 7. Tokens that the grammar forces next go out like a chosen one. The answer ends if the grammar allows no more.
//! 8. The token, and those forced after it, are fed like a prompt that is longer than the cache: on to step 2. Where tokens may be
//!    guessed, they are fed behind it, and steps 4 to 7 repeat for as long as the chosen ones are the guessed ones.
//!
//! Cancelling and the deadline are checked before every forward pass and, by the engine, within it. Where tokens, context or
//! time run out, an answer with a grammar is closed: the tokens of the grammar's shortest way to an end go out. Nothing
//! follows them, so that they are not fed and take no time; a token after which that way would be too long is not chosen.

mod ending;
mod lookup;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ndarray::Array2;
use zeroize::Zeroize;

use self::lookup::Lookup;
use super::answer_text::AnswerText;
use super::constrained::Constrained;
use super::sequence::{Sequence, rows_of};
use super::{Completion, Event, FinishReason, GenerateOptions, Outcome, Session, Speed, Statistics};
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
    /// The prompt and the answer so far. While the prompt is computed, also the tokens that a grammar begins with, which
    /// nobody has been told of.
    target: Vec<u32>,
    /// How long `target` was when logits were last given.
    fed: usize,
    limit: usize,
    chunk: usize,
    options: GenerateOptions,
    stop_tokens: Vec<u32>,
    sampler: Sampler,
    vocabulary: usize,
    constrained: Option<Constrained>,
    lookup: Lookup,
    /// The tokens that were fed behind the last one of `target`.
    draft: Vec<u32>,
    text: AnswerText,
    control: RunControl,
    started: Instant,
    ended: bool,
    events: VecDeque<Event>,
    /// An error that is still to be reported.
    error: Option<Error>,
    outcome: Option<(FinishReason, Completion)>,
    speed: Arc<Speed>,
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
    pub(super) constrained: Option<Constrained>,
    pub(super) text: AnswerText,
    pub(super) control: RunControl,
    pub(super) started: Instant,
    pub(super) turn: Option<Message>,
}

impl Generation {
    /// Steps 1 and 2 for the prompt, so that a refusal comes before anything has changed.
    pub(super) fn new(setup: Setup, sequence: &mut Sequence, speed: &Arc<Speed>) -> Result<Self> {
        let Setup { mut target, limit, chunk, options, stop_tokens, mut constrained, mut control, .. } =
            setup;
        let prompt_tokens = target.len();
        if let Some(constrained) = constrained.as_mut().filter(|_| options.max_tokens > 0) {
            check_room(constrained, limit.saturating_sub(prompt_tokens), options.max_tokens)?;
            // What the grammar forces first is fed together with the prompt's end.
            target.extend(constrained.forced_at_start());
            if let (Some(deadline), Some(given)) = (&mut control.deadline, options.deadline) {
                *deadline = deadline.checked_sub(reserve(given)).unwrap_or(*deadline);
            }
        }
        admit(&control, target.len() - sequence.common_prefix(&target), speed)?;
        let reused_tokens = sequence.prepare(&target, target.len())?;
        Ok(Self {
            statistics: Statistics {
                prompt_tokens,
                reused_tokens,
                cache_bytes: sequence.bytes(),
                ..Statistics::default()
            },
            target,
            fed: 0,
            limit,
            chunk,
            lookup: Lookup::new(options.draft_tokens),
            draft: Vec::new(),
            options,
            stop_tokens,
            sampler: setup.sampler,
            vocabulary: setup.vocabulary,
            constrained,
            text: setup.text,
            control,
            speed: Arc::clone(speed),
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
        let result = self.feed(&mut session.sequence).and_then(|rows| match rows {
            Some(logits) => self.accept(&logits, started),
            None => {
                self.count_time(started.elapsed());
                Ok(())
            }
        });
        if !self.draft.is_empty() {
            // What was guessed and did not come is forgotten, as if it had never been fed.
            let right = session.sequence.common_prefix(&self.target);
            // Without guesses, only a stop token is chosen after the answer's last token was fed.
            let is_stopped = matches!(self.outcome, Some((FinishReason::StopToken, _)));
            session.sequence.truncate(right.min(self.target.len() - usize::from(!is_stopped)));
        }
        self.settle(result, session)
    }

    /// Steps 2 and 3: at most one chunk is fed. The logits are those of the last token of `target`, and of the draft behind it.
    fn feed(&mut self, sequence: &mut Sequence) -> Result<Option<Array2<f32>>> {
        self.prepare(sequence)?;
        if let Some(logits) = self.feed_with_draft(sequence)? {
            return Ok(Some(logits));
        }
        let (before, started) = (sequence.len(), Instant::now());
        let rows = self.constrained.as_ref().and_then(Constrained::rows);
        let logits = sequence.feed(&self.target, self.chunk, rows, &self.control).inspect_err(|error| {
            if self.in_prompt() && error.kind() == ErrorKind::DeadlineExceeded {
                self.speed.gave_up(self.chunk.min(self.target.len() - before), started.elapsed());
            }
        })?;
        if self.in_prompt() {
            self.speed.prefilled(sequence.len() - before, started.elapsed());
            let total = self.statistics.prompt_tokens;
            let done = sequence.len().min(total);
            self.events.push_back(Event::Prompt { done, total });
        }
        Ok(logits)
    }

    /// Feeds the last token and tokens guessed from the text so far, if any may be and can be.
    fn feed_with_draft(&mut self, sequence: &mut Sequence) -> Result<Option<Array2<f32>>> {
        self.draft.clear();
        let known = self.target.len();
        if self.in_prompt() || sequence.len() + 1 != known || self.rows().is_some() {
            return Ok(None);
        }
        // The pass gives one token more than it guesses.
        let most = self.room().saturating_sub(1).min(self.chunk.saturating_sub(1));
        self.lookup.guess(&self.target, most, &mut self.draft);
        if self.draft.is_empty() {
            return Ok(None);
        }
        self.target.extend_from_slice(&self.draft);
        let kept = sequence.prepare(&self.target, self.target.len());
        let logits = if kept.is_ok_and(|kept| kept + 1 == known) {
            sequence.feed_with_logits(&self.target, self.chunk, known - 1, &self.control).map(Some)
        } else {
            // No memory for more than the last token, or LongRoPE's switch among the guesses: the answer goes on without any.
            self.lookup = Lookup::new(0);
            self.draft.clear();
            Ok(None)
        };
        self.target.truncate(known);
        if logits.is_ok() && self.draft.is_empty() {
            self.prepare(sequence)?;
        }
        logits
    }

    fn prepare(&mut self, sequence: &mut Sequence) -> Result<()> {
        self.control.check()?;
        self.check_time_for_step()?;
        // Not so after each token, and where another answer has used the session since.
        if !sequence.is_prepared_for(&self.target) {
            sequence.prepare(&self.target, self.target.len())?;
        }
        Ok(())
    }

    /// A pass that would end after the deadline is not begun where the answer can be closed instead.
    fn check_time_for_step(&self) -> Result<()> {
        let may_close = self.constrained.is_some() && !self.in_prompt();
        match (self.control.deadline, self.speed.step()) {
            (Some(deadline), Some(step)) if may_close && Instant::now() + step >= deadline => {
                Err(Error::new(ErrorKind::DeadlineExceeded, "there is no time for another token"))
            }
            _ => Ok(()),
        }
    }

    /// Steps 4 to 7, given the logits of the last token of `target`, and of the draft's tokens behind it.
    fn accept(&mut self, logits: &Array2<f32>, step_started: Instant) -> Result<()> {
        let first = self.in_prompt();
        if first {
            self.count_time(step_started.elapsed());
        }
        let result = self.choose_all(logits);
        if !first {
            let time = step_started.elapsed();
            self.count_time(time);
            self.speed.stepped(time);
        }
        result
    }

    /// Chooses a token from each row of logits, as long as the rows' tokens are those that were chosen.
    fn choose_all(&mut self, logits: &Array2<f32>) -> Result<()> {
        let rows = rows_of(logits, 1 + self.draft.len())?;
        let known = self.target.len();
        let mut right = 0;
        let result = loop {
            let Some(row) = rows.get(right) else { break Ok(()) };
            let first = self.in_prompt();
            let fed = self.target.len() - std::mem::replace(&mut self.fed, self.target.len());
            if !first {
                self.statistics.decode_steps += fed;
            }
            if let Err(error) = self.choose(row) {
                break Err(error);
            }
            let chosen = self.target.get(known..).unwrap_or_default();
            right = chosen.iter().zip(&self.draft).take_while(|(chosen, guessed)| chosen == guessed).count();
            if self.ended || right < chosen.len() {
                break Ok(());
            }
        };
        self.statistics.drafted_tokens += self.draft.len();
        self.statistics.accepted_tokens += right;
        self.lookup.learn(self.draft.len(), right);
        result
    }

    fn choose(&mut self, logits: &[f32]) -> Result<()> {
        if self.options.max_tokens == 0 {
            self.finish(FinishReason::MaxTokens);
            return Ok(());
        }
        self.tell_forced();
        self.finish_complete();
        self.finish_full();
        if self.ended {
            return Ok(());
        }
        let id = match &mut self.constrained {
            Some(constrained) => self.sampler.sample(constrained.masked(logits)?, &self.target)?,
            None => self.sampler.sample(logits, &self.target)?,
        };
        self.statistics.time_to_first_token.get_or_insert_with(|| self.started.elapsed());
        if self.stop_tokens.contains(&id) {
            self.finish(FinishReason::StopToken);
            return Ok(());
        }
        let room = self.room().saturating_sub(1);
        if self.constrained.as_mut().is_some_and(|constrained| !constrained.can_end_after(id, room)) {
            self.close(self.full_reason());
            return Ok(());
        }
        let log_probabilities = match self.options.log_probabilities {
            Some(top) => {
                Some(LogProbabilities::new(logits.get(..self.vocabulary).unwrap_or(logits), id, top)?)
            }
            None => None,
        };
        self.target.push(id);
        self.tell(id, log_probabilities);
        if let Some(constrained) = self.constrained.as_mut().filter(|_| !self.ended) {
            let forced = constrained.accept(id)?;
            self.target.extend(forced);
            self.tell_forced();
            self.finish_complete();
        }
        self.finish_full();
        Ok(())
    }

    /// Tells of a token of `target`, and ends the answer where its text completes a stop string.
    fn tell(&mut self, id: u32, log_probabilities: Option<LogProbabilities>) {
        self.statistics.generated_tokens += 1;
        self.events.push_back(Event::Token { id, log_probabilities });
        let stopped = self.text.push(id);
        self.send_text();
        if stopped {
            self.finish(FinishReason::StopString);
        }
    }

    /// Tells of the tokens of `target` that nobody has been told of, as far as the answer may go.
    fn tell_forced(&mut self) {
        while !self.ended {
            let told = self.statistics.prompt_tokens + self.statistics.generated_tokens;
            let Some(&id) = self.target.get(told) else { break };
            if told >= self.limit || self.statistics.generated_tokens >= self.options.max_tokens {
                self.target.truncate(told);
                self.finish_full();
                break;
            }
            self.statistics.time_to_first_token.get_or_insert_with(|| self.started.elapsed());
            self.tell(id, None);
        }
        self.target.truncate(self.statistics.prompt_tokens + self.statistics.generated_tokens);
    }

    fn send_text(&mut self) {
        if let Some(text) = self.text.take_new() {
            self.events.push_back(Event::Text(text));
        }
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
    pub(super) fn decoded(&mut self, session: &mut Session, logits: &Array2<f32>, step_started: Instant) {
        if let Some(token) = self.target.last() {
            session.sequence.extend(&[*token]);
        }
        self.draft.clear();
        let result = self.accept(logits, step_started);
        if let Err(error) = self.settle(result, session) {
            self.error = Some(error);
        }
    }

    /// The prompt and the answer so far.
    pub(super) fn target(&self) -> &[u32] {
        &self.target
    }

    /// The rows of the lm_head that the next logits need; `None` for all.
    pub(super) fn rows(&self) -> Option<&[u32]> {
        self.constrained.as_ref().and_then(Constrained::rows)
    }

    /// How the answer ended; `None` before its end and after an error.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let seed = self.sampler.seed();
        self.outcome.map(|(reason, completion)| Outcome {
            reason,
            completion,
            statistics: self.statistics,
            seed,
        })
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
        let Statistics { prompt_tokens, generated_tokens, .. } = self.statistics;
        self.target.get(prompt_tokens..prompt_tokens + generated_tokens).unwrap_or_default()
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

/// What is kept of the time given, for choosing the way to an end and telling it. A pass notices the deadline between two steps
/// of the graph, and a loaded machine may let it wait there.
fn reserve(given: Duration) -> Duration {
    (given / 20).clamp(Duration::from_millis(2), Duration::from_millis(50))
}

/// Refuses an answer that cannot be as short as it has to be.
fn check_room(constrained: &mut Constrained, of_context: usize, max_tokens: usize) -> Result<()> {
    let least = constrained.forced_at_start().len() + constrained.closing().map_or(0, |tokens| tokens.len());
    if least > of_context {
        let message = format!("the grammar needs {least} tokens, and the context has {of_context} left");
        return Err(Error::new(ErrorKind::ContextLength, message).with_hint("shorten the prompt"));
    }
    if least > max_tokens {
        let message = format!("the grammar needs {least} tokens, and max_tokens is {max_tokens}");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    Ok(())
}

/// Refuses a prompt of which `tokens` are to be computed, where that is likely to take longer than there is time. Time that is
/// up already is left to the answer's end.
fn admit(control: &RunControl, tokens: usize, speed: &Speed) -> Result<()> {
    let (Some(deadline), Some(estimate)) = (control.deadline, speed.prefill(tokens)) else { return Ok(()) };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() || estimate <= left {
        return Ok(());
    }
    speed.refused();
    let [estimate, left] = [estimate, left].map(|time| 1e3 * time.as_secs_f64());
    let message = format!(
        "the prompt's {tokens} new tokens are likely to take {estimate:.0} ms, and {left:.0} ms are left"
    );
    Err(Error::new(ErrorKind::DeadlineExceeded, message).with_hint("shorten the prompt or allow more time"))
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.target.zeroize();
        self.draft.zeroize();
    }
}
