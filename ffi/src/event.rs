//! Events: what a stream yields.

use std::ptr;

use edgeslm::session::{Completion, Event, FinishReason};

use crate::statistics::slm_statistics;
use crate::string::{Text, slm_str};

/// A chunk of the prompt has been computed: `prompt_done` of `prompt_total` tokens.
pub const SLM_EVENT_PROMPT: i32 = 1;
/// A token of the answer: `token`, and its probabilities if they were asked for.
pub const SLM_EVENT_TOKEN: i32 = 2;
/// More of the answer's `text`, never empty and whole UTF-8. All texts joined are the answer.
pub const SLM_EVENT_TEXT: i32 = 3;
/// The answer is complete: `finish_reason`, `seed` and `statistics`. Nothing follows.
pub const SLM_EVENT_FINISHED: i32 = 4;

/// The model gave one of its stop tokens.
pub const SLM_FINISH_STOP_TOKEN: i32 = 1;
/// The text reached one of the stop strings, which is not part of it.
pub const SLM_FINISH_STOP_STRING: i32 = 2;
/// The answer has as many tokens as were asked for.
pub const SLM_FINISH_MAX_TOKENS: i32 = 3;
/// Prompt and answer fill the context.
pub const SLM_FINISH_CONTEXT_LENGTH: i32 = 4;
/// The caller cancelled or stopped it.
pub const SLM_FINISH_CANCELLED: i32 = 5;
/// The deadline passed.
pub const SLM_FINISH_DEADLINE: i32 = 6;

/// The grammar allows no further text: the answer is complete.
pub const SLM_FINISH_GRAMMAR: i32 = 7;

/// The answer ended of itself: at a stop token, a stop string or the end of its grammar.
pub const SLM_COMPLETION_COMPLETE: i32 = 1;
/// It ran out of time, tokens or context and was closed along the shortest path of its grammar, which it follows to the end.
pub const SLM_COMPLETION_SHORTENED: i32 = 2;
/// It ends where it was cut: by the caller, or where tokens or context ran out.
pub const SLM_COMPLETION_CUT: i32 = 3;
/// Its time ran out, and nothing of it can be relied on.
pub const SLM_COMPLETION_EXPIRED: i32 = 4;

/// A token and the natural logarithm of its probability.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_token_probability {
    /// The token.
    pub token: u32,
    /// The logarithm of its probability.
    pub log_probability: f32,
}

/// One step of an answer. Fields that its `kind` does not name are zero or empty; `text.data` is never NULL. Ignore an
/// event whose kind you do not know.
#[repr(C)]
pub struct slm_event {
    /// `SLM_EVENT_...`: which fields say something.
    pub kind: i32,
    /// `SLM_FINISH_...`, with `SLM_EVENT_FINISHED`.
    pub finish_reason: i32,
    /// With `SLM_EVENT_TEXT`.
    pub text: slm_str,
    /// The id of the token, with `SLM_EVENT_TOKEN`.
    pub token: u32,
    /// The logarithm of the token's probability; 0 if it was not asked for.
    pub log_probability: f32,
    /// The most probable tokens at this place, most probable first; NULL if they were not asked for.
    pub top: *const slm_token_probability,
    /// How many.
    pub top_count: usize,
    /// Tokens of the prompt that are computed, with `SLM_EVENT_PROMPT`.
    pub prompt_done: u64,
    /// Tokens of the prompt.
    pub prompt_total: u64,
    /// The seed that gives this answer again, with `SLM_EVENT_FINISHED`.
    pub seed: u64,
    /// With `SLM_EVENT_FINISHED`, otherwise NULL.
    pub statistics: *const slm_statistics,
    /// `SLM_COMPLETION_...`: whether the answer is whole, with `SLM_EVENT_FINISHED`.
    pub completion: i32,
}

/// An event and what its pointers point to.
pub(crate) struct EventBuffer {
    event: slm_event,
    text: Text,
    top: Vec<slm_token_probability>,
    statistics: Option<Box<slm_statistics>>,
}

// SAFETY: the pointers of `event` point into the other fields, which move with it, or to constants.
unsafe impl Send for EventBuffer {}

impl EventBuffer {
    pub(crate) fn new() -> Self {
        Self { event: EMPTY, text: Text::default(), top: Vec::new(), statistics: None }
    }

    /// Shows `event`, until the next call.
    pub(crate) fn show(&mut self, event: Event) -> &slm_event {
        self.event = EMPTY;
        match event {
            Event::Prompt { done, total } => {
                self.event.kind = SLM_EVENT_PROMPT;
                self.event.prompt_done = done as u64;
                self.event.prompt_total = total as u64;
            }
            Event::Token { id, log_probabilities } => {
                self.event.kind = SLM_EVENT_TOKEN;
                self.event.token = id;
                if let Some(of_token) = log_probabilities {
                    self.event.log_probability = of_token.chosen;
                    self.top.clear();
                    self.top.extend(
                        of_token.top.iter().map(|&(token, log_probability)| slm_token_probability {
                            token,
                            log_probability,
                        }),
                    );
                    self.event.top = self.top.as_ptr();
                    self.event.top_count = self.top.len();
                }
            }
            Event::Text(text) => {
                self.event.kind = SLM_EVENT_TEXT;
                self.text = Text::new(text);
                self.event.text = self.text.borrowed();
            }
            Event::Finished(outcome) => {
                self.event.kind = SLM_EVENT_FINISHED;
                self.event.finish_reason = finish_reason(outcome.reason);
                self.event.completion = completion(outcome.completion);
                self.event.seed = outcome.seed;
                let statistics = self.statistics.insert(Box::new((&outcome.statistics).into()));
                self.event.statistics = &raw const **statistics;
            }
            // A kind that the C ABI does not know yet has the kind 0, which programs ignore.
            _ => {}
        }
        &self.event
    }
}

const EMPTY: slm_event = slm_event {
    kind: 0,
    finish_reason: 0,
    text: slm_str::EMPTY,
    token: 0,
    log_probability: 0.0,
    top: ptr::null(),
    top_count: 0,
    prompt_done: 0,
    prompt_total: 0,
    seed: 0,
    statistics: ptr::null(),
    completion: 0,
};

/// The number of a completion.
pub(crate) fn completion(completion: Completion) -> i32 {
    match completion {
        Completion::Complete => SLM_COMPLETION_COMPLETE,
        Completion::Shortened => SLM_COMPLETION_SHORTENED,
        Completion::Cut => SLM_COMPLETION_CUT,
        Completion::Expired => SLM_COMPLETION_EXPIRED,
        _ => 0,
    }
}

fn finish_reason(reason: FinishReason) -> i32 {
    match reason {
        FinishReason::StopToken => SLM_FINISH_STOP_TOKEN,
        FinishReason::Grammar => SLM_FINISH_GRAMMAR,
        FinishReason::StopString => SLM_FINISH_STOP_STRING,
        FinishReason::MaxTokens => SLM_FINISH_MAX_TOKENS,
        FinishReason::ContextLength => SLM_FINISH_CONTEXT_LENGTH,
        FinishReason::Cancelled => SLM_FINISH_CANCELLED,
        FinishReason::Deadline => SLM_FINISH_DEADLINE,
        _ => 0,
    }
}
