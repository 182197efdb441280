//! Which model answers a request, decided by a policy and recorded with its reasons and costs.

mod record;
mod router;

#[cfg(test)]
mod tests;

pub use self::record::{Cost, Prices, Reason, Routed, Step, StepResult, Usage};
pub use self::router::{Choice, Limits, Router, Worker};

use super::calibration::Decision;
use crate::session::{self, FinishReason};

/// A worker's answer, before the router has decided whether to take it.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt<A> {
    /// The answer.
    pub answer: A,
    /// How probably it is right, from 0 to 1, where the worker knows: a calibrated probability, not a model's own opinion.
    pub confidence: Option<f32>,
    /// Whether the worker itself says that the answer is not to be relied on.
    pub abstain: bool,
    /// The tokens that it took.
    pub usage: Usage,
}

impl<A> Attempt<A> {
    /// An answer about which nothing more is known.
    pub fn new(answer: A) -> Self {
        Self { answer, confidence: None, abstain: false, usage: Usage::default() }
    }

    /// The same attempt with an answer made of its answer.
    pub fn map<B>(self, make: impl FnOnce(A) -> B) -> Attempt<B> {
        let Self { answer, confidence, abstain, usage } = self;
        Attempt { answer: make(answer), confidence, abstain, usage }
    }
}

impl From<Decision> for Attempt<Decision> {
    /// With the decision's calibrated probability, and abstaining where it does.
    fn from(decision: Decision) -> Self {
        Self {
            confidence: Some(decision.probability()),
            abstain: decision.abstain,
            usage: Usage::of(&decision.statistics),
            answer: decision,
        }
    }
}

impl From<session::Answer> for Attempt<session::Answer> {
    /// Abstaining where the answer did not come to its end.
    fn from(answer: session::Answer) -> Self {
        let has_ended = matches!(answer.outcome.reason, FinishReason::StopToken | FinishReason::StopString);
        Self { confidence: None, abstain: !has_ended, usage: Usage::of(&answer.outcome.statistics), answer }
    }
}
