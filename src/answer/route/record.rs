//! What was decided, why, and what it cost.

use std::time::Duration;

use serde::Serialize;

use crate::session::Statistics;

/// Tokens that an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Usage {
    /// Tokens of the prompt, those that were in a cache included.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub generated_tokens: u64,
}

impl Usage {
    /// Of an answer of this library.
    #[must_use]
    pub fn of(statistics: &Statistics) -> Self {
        Self {
            prompt_tokens: statistics.prompt_tokens as u64,
            generated_tokens: statistics.generated_tokens as u64,
        }
    }
}

/// What a worker's answers cost, in whatever currency the host counts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Prices {
    /// For a request.
    pub request: f64,
    /// For a million tokens of prompt.
    pub million_prompt_tokens: f64,
    /// For a million tokens of answer.
    pub million_generated_tokens: f64,
}

impl Prices {
    /// Of one request that took these tokens.
    ///
    /// ```
    /// use edgeslm::answer::route::{Prices, Usage};
    ///
    /// let prices = Prices { million_prompt_tokens: 2.0, million_generated_tokens: 8.0, ..Prices::default() };
    /// let cost = prices.of(Usage { prompt_tokens: 500_000, generated_tokens: 250_000 });
    /// assert_eq!(cost, 3.0);
    /// ```
    #[must_use]
    pub fn of(&self, usage: Usage) -> f64 {
        self.request
            + self.million_prompt_tokens * usage.prompt_tokens as f64 / 1e6
            + self.million_generated_tokens * usage.generated_tokens as f64 / 1e6
    }
}

/// Tokens, time and money of a step or of a whole request.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Cost {
    /// Tokens.
    pub usage: Usage,
    /// From the call until the answer or the failure.
    pub time: Duration,
    /// In the currency of the [`Prices`]; `None` where the host gave none.
    pub money: Option<f64>,
}

impl Cost {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            usage: Usage {
                prompt_tokens: self.usage.prompt_tokens.saturating_add(other.usage.prompt_tokens),
                generated_tokens: self.usage.generated_tokens.saturating_add(other.usage.generated_tokens),
            },
            time: self.time.saturating_add(other.time),
            money: match (self.money, other.money) {
                (None, money) | (money, None) => money,
                (Some(a), Some(b)) => Some(a + b),
            },
        }
    }
}

/// Why a worker was asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// It stands first.
    First,
    /// The chooser named it.
    Chosen {
        /// How sure the chooser was, where it said.
        confidence: Option<f32>,
    },
    /// The chooser was not sure enough of any worker, and this one is for such requests.
    Undecided {
        /// How sure the chooser was, where it said.
        confidence: Option<f32>,
    },
    /// The chooser failed, and this worker is for requests that it is not sure of.
    ChooserFailed {
        /// The error.
        message: String,
    },
    /// The worker before was not sure enough.
    Unsure {
        /// That worker.
        after: String,
    },
    /// The worker before failed.
    Failed {
        /// That worker.
        after: String,
    },
}

/// How a worker's turn ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepResult {
    /// Its answer was taken.
    Taken {
        /// How probably it is right, where the worker said.
        confidence: Option<f32>,
    },
    /// It was not sure enough.
    Unsure {
        /// How probably its answer is right, where it said.
        confidence: Option<f32>,
        /// How probable an answer has to be.
        needed: f32,
    },
    /// It failed.
    Failed {
        /// The error.
        message: String,
    },
    /// It was not asked, since the request may not leave the device.
    NotAllowed,
    /// It was not asked, since too little time was left.
    NoTime,
    /// It was not asked, since it could cost more than is left.
    NoMoney,
}

/// One worker's turn.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// The worker's name.
    pub worker: String,
    /// Why it was its turn.
    pub reason: Reason,
    /// How that ended.
    pub result: StepResult,
    /// What it cost.
    pub cost: Cost,
}

/// An answer and how it came about.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Routed<A> {
    /// The answer.
    pub answer: A,
    /// The worker that gave it.
    pub worker: String,
    /// How probably it is right, where the worker said.
    pub confidence: Option<f32>,
    /// Whether the worker was as sure as it has to be. If not, no worker was, and a person should decide.
    pub is_sure: bool,
    /// Every worker's turn, in order.
    pub steps: Vec<Step>,
    /// What choosing a worker cost.
    pub choosing: Cost,
}

impl<A> Routed<A> {
    /// What the request cost in all.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.steps.iter().fold(self.choosing, |sum, step| sum.plus(step.cost))
    }
}
