//! What a stream yields.

use super::Statistics;
use crate::sampling::LogProbabilities;

/// One step of an answer.
///
/// For each token of the answer there is one [`Token`](Self::Token), followed by at most one [`Text`](Self::Text)
/// with the characters that became certain: none while a character is incomplete or while the text may yet turn out
/// to begin a stop string. The texts joined are the answer. [`Finished`](Self::Finished) comes last, also when the
/// answer was cancelled or ran out of time; after an error there is nothing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A chunk of the prompt has been computed.
    Prompt {
        /// Tokens of the prompt that are in the KV cache.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// A token of the answer. The stop token that ends an answer is not part of it.
    Token {
        /// Its id.
        id: u32,
        /// If they were asked for.
        log_probabilities: Option<LogProbabilities>,
    },
    /// More of the answer's text, never empty.
    Text(String),
    /// The answer is complete.
    Finished(Outcome),
}

/// Whether an answer is all that it was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Completion {
    /// It ended of itself: at a stop token, a stop string or the end of its grammar.
    Complete,
    /// It ran out of time, tokens or context and was closed along the shortest path of its grammar, which it follows to the
    /// end. What the model would have said further is missing, and values near the end may be the shortest instead of its own.
    Shortened,
    /// It ends where it was cut: by the caller, or where tokens or context ran out.
    Cut,
    /// Its time ran out, and nothing of it can be relied on.
    Expired,
}

impl Completion {
    /// In lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Shortened => "shortened",
            Self::Cut => "cut",
            Self::Expired => "expired",
        }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model gave one of its stop tokens.
    StopToken,
    /// The grammar allows no further text: the answer is complete.
    Grammar,
    /// The text reached one of the stop strings, which is not part of it.
    StopString,
    /// The answer has as many tokens as were asked for.
    MaxTokens,
    /// Prompt and answer fill the context.
    ContextLength,
    /// The caller cancelled or stopped it.
    Cancelled,
    /// The deadline passed.
    Deadline,
}

impl FinishReason {
    /// The reason in lower case with underscores.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StopToken => "stop_token",
            Self::Grammar => "grammar",
            Self::StopString => "stop_string",
            Self::MaxTokens => "max_tokens",
            Self::ContextLength => "context_length",
            Self::Cancelled => "cancelled",
            Self::Deadline => "deadline",
        }
    }
}

/// How an answer ended and what it cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Why it ended.
    pub reason: FinishReason,
    /// Whether it is whole.
    pub completion: Completion,
    /// Counts and times.
    pub statistics: Statistics,
    /// The seed that gives this answer again.
    pub seed: u64,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The text, without stop token and stop string.
    pub text: String,
    /// The tokens, without the stop token.
    pub tokens: Vec<u32>,
    /// One entry a token if they were asked for, otherwise empty.
    pub log_probabilities: Vec<LogProbabilities>,
    /// How it ended and what it cost.
    pub outcome: Outcome,
}

/// What a callback wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Control {
    /// Go on.
    #[default]
    Continue,
    /// End the answer here and keep it, as if it had been complete.
    Stop,
    /// Drop the turn: the conversation is as it was before the prompt.
    Cancel,
}
