//! How fast a model has been lately.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// The share of the last measurement in what is remembered.
const WEIGHT: f64 = 0.3;

/// Passes of fewer tokens say little about a prompt's speed.
const LEAST_TOKENS: usize = 4;

/// What a refusal leaves of the estimate that caused it, so that a device that was busy is tried again.
const FORGOTTEN: f64 = 0.95;

/// Measured times, queueing for the engine included. Shared by the sessions of a model.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    measured: Mutex<Measured>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Measured {
    /// Seconds a prompt token.
    prefill: Option<f64>,
    /// Seconds a pass of an answer.
    step: Option<f64>,
}

impl Speed {
    /// Remembers a pass over `tokens` of a prompt.
    pub(crate) fn prefilled(&self, tokens: usize, time: Duration) {
        if tokens >= LEAST_TOKENS {
            self.change(|measured| blend(&mut measured.prefill, time.as_secs_f64() / tokens as f64));
        }
    }

    /// Remembers a pass over `tokens` of a prompt that was given up after `time`: it would have taken longer.
    pub(crate) fn gave_up(&self, tokens: usize, time: Duration) {
        if self.prefill(tokens).is_none_or(|known| known < time) {
            self.prefilled(tokens, time);
        }
    }

    /// Remembers a pass of an answer.
    pub(crate) fn stepped(&self, time: Duration) {
        self.change(|measured| blend(&mut measured.step, time.as_secs_f64()));
    }

    /// How long `tokens` of a prompt are likely to take; `None` before anything was measured.
    pub(crate) fn prefill(&self, tokens: usize) -> Option<Duration> {
        let seconds = self.get().prefill? * tokens as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// How long an answer's next pass is likely to take.
    pub(crate) fn step(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.get().step?).ok()
    }

    /// Remembers that a prompt was refused for what is known of prompts.
    pub(crate) fn refused(&self) {
        self.change(|measured| measured.prefill = measured.prefill.map(|seconds| seconds * FORGOTTEN));
    }

    fn get(&self) -> Measured {
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Measured)) {
        change(&mut self.measured.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn blend(known: &mut Option<f64>, new: f64) {
    *known = Some(known.map_or(new, |known| known + WEIGHT * (new - known)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_follow_what_was_measured_and_refusals_lower_them() {
        let speed = Speed::default();
        assert_eq!((speed.prefill(10), speed.step()), (None, None));
        speed.prefilled(1, Duration::from_secs(9));
        assert_eq!(speed.prefill(10), None, "one token says little");
        speed.prefilled(10, Duration::from_secs(1));
        assert_eq!(speed.prefill(20), Some(Duration::from_secs(2)));
        speed.prefilled(10, Duration::from_secs(2));
        assert_eq!(speed.prefill(100), Some(Duration::from_secs(13)));
        speed.refused();
        assert!(speed.prefill(100).is_some_and(|time| time < Duration::from_secs(13)));
        let known = speed.prefill(10);
        speed.gave_up(10, Duration::from_millis(1));
        assert_eq!(speed.prefill(10), known, "a pass that was given up at once says nothing");
        speed.gave_up(10, Duration::from_secs(9));
        assert!(speed.prefill(10) > known);
        speed.stepped(Duration::from_millis(20));
        assert_eq!(speed.step(), Some(Duration::from_millis(20)));
    }
}
