//! How an answer ends.

use super::{Completion, Constrained, FinishReason, Generation, Message, Session, Statistics};
use crate::error::{Error, ErrorKind, Result};
use crate::session::Event;

impl Generation {
    /// How many more tokens the answer may have.
    pub(super) fn room(&self) -> usize {
        let told = self.statistics.prompt_tokens + self.statistics.generated_tokens;
        let of_context = self.limit.saturating_sub(told);
        of_context.min(self.options.max_tokens.saturating_sub(self.statistics.generated_tokens))
    }

    /// Which of its limits the answer comes to first.
    pub(super) fn full_reason(&self) -> FinishReason {
        let (answered, told) = (
            self.statistics.generated_tokens,
            self.statistics.prompt_tokens + self.statistics.generated_tokens,
        );
        if self.options.max_tokens.saturating_sub(answered) <= self.limit.saturating_sub(told) {
            FinishReason::MaxTokens
        } else {
            FinishReason::ContextLength
        }
    }

    /// Ends the answer where it has all that it may have.
    pub(super) fn finish_full(&mut self) {
        if !self.ended && self.room() == 0 {
            self.close(self.full_reason());
        }
    }

    /// Ends the answer for want of tokens, context or time: on its grammar's shortest way, if it has one that fits.
    pub(super) fn close(&mut self, reason: FinishReason) {
        let room = self.room();
        let closing =
            self.constrained.as_mut().and_then(Constrained::closing).filter(|tokens| tokens.len() <= room);
        if let Some(tokens) = closing {
            self.target.extend(tokens);
            while let Some(&id) =
                self.target.get(self.statistics.prompt_tokens + self.statistics.generated_tokens)
            {
                self.tell(id, None);
                if self.ended {
                    break;
                }
            }
            self.end_with(reason, Completion::Shortened);
        }
        self.finish(reason);
    }

    /// Ends the answer where the grammar has come to its end.
    pub(super) fn finish_complete(&mut self) {
        if self.constrained.as_ref().is_some_and(Constrained::is_complete) {
            self.finish(FinishReason::Grammar);
        }
    }

    pub(super) fn finish(&mut self, reason: FinishReason) {
        let completion = match reason {
            FinishReason::StopToken | FinishReason::StopString | FinishReason::Grammar => {
                Completion::Complete
            }
            FinishReason::MaxTokens | FinishReason::ContextLength | FinishReason::Cancelled => {
                Completion::Cut
            }
            FinishReason::Deadline => Completion::Expired,
        };
        self.end_with(reason, completion);
    }

    pub(super) fn end_with(&mut self, reason: FinishReason, completion: Completion) {
        if !self.ended {
            self.ended = true;
            self.outcome = Some((reason, completion));
            self.text.finish(reason == FinishReason::StopString);
            self.send_text();
        }
    }

    /// Turns the errors that end an answer regularly into its finish, and brings the session up to date.
    pub(super) fn settle(&mut self, result: Result<()>, session: &mut Session) -> Result<()> {
        let result = match result.as_ref().map_err(Error::kind) {
            Err(ErrorKind::Cancelled) => {
                self.finish(FinishReason::Cancelled);
                Ok(())
            }
            Err(ErrorKind::DeadlineExceeded) => {
                // Before its first token there is nothing of the model's in an answer.
                if self.in_prompt() {
                    self.finish(FinishReason::Deadline);
                } else {
                    self.close(FinishReason::Deadline);
                }
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
        let cut_short =
            matches!(self.outcome, None | Some((FinishReason::Cancelled | FinishReason::Deadline, _)));
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
}
