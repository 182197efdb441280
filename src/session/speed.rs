//! How fast a model has been lately.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// The share of a measurement in what is remembered, once there are many.
const WEIGHT: f64 = 0.3;

/// A pass over fewer tokens of a prompt counts for so much less: if the system stopped it for a moment, it would say that every token
/// takes long.
const WHOLE_PASS: usize = 64;

/// Of fewer tokens nothing is remembered.
const LEAST_TOKENS: usize = 4;

/// What a refusal leaves of the belief in the estimate that caused it, so that a device that was busy is tried again.
const BELIEVED: f64 = 0.8;

/// Measured times, queueing for the engine included. Shared by the sessions of a model.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    measured: Mutex<Measured>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Measured {
    /// Seconds a prompt token.
    prefill: Mean,
    /// Seconds a pass of an answer.
    step: Mean,
}

/// A mean in which older values count less.
#[derive(Debug, Default, Clone, Copy)]
struct Mean {
    mean: f64,
    /// What the values count for together.
    weight: f64,
}

impl Mean {
    /// Adds a value that counts for `part`, at most 1.
    fn add(&mut self, value: f64, part: f64) {
        let old = self.weight * (1.0 - WEIGHT * part);
        self.weight = old + part;
        self.mean = (self.mean * old + value * part) / self.weight;
    }

    /// The mean, if the values count for at least `part`.
    fn known(self, part: f64) -> Option<f64> {
        (self.weight > 0.0 && self.weight >= part).then_some(self.mean)
    }
}

impl Speed {
    /// Remembers a pass over `tokens` of a prompt.
    pub(crate) fn prefilled(&self, tokens: usize, time: Duration) {
        if tokens >= LEAST_TOKENS {
            self.change(|measured| measured.prefill.add(time.as_secs_f64() / tokens as f64, part_of(tokens)));
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
        self.change(|measured| measured.step.add(time.as_secs_f64(), 1.0));
    }

    /// How long `tokens` of a prompt are likely to take; `None` before anything was measured, and after so many
    /// refusals that it has to be measured again.
    pub(crate) fn prefill(&self, tokens: usize) -> Option<Duration> {
        let seconds = self.get().prefill.known(part_of(LEAST_TOKENS))? * tokens as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// How long an answer's next pass is likely to take.
    pub(crate) fn step(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.get().step.known(0.0)?).ok()
    }

    /// Remembers that a prompt was refused for what is known of prompts.
    pub(crate) fn refused(&self) {
        self.change(|measured| measured.prefill.weight *= BELIEVED);
    }

    fn get(&self) -> Measured {
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Measured)) {
        change(&mut self.measured.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What a pass over so many tokens of a prompt counts for.
fn part_of(tokens: usize) -> f64 {
    (tokens as f64 / WHOLE_PASS as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn estimates_follow_what_was_measured() {
        let speed = Speed::default();
        assert_eq!((speed.prefill(10), speed.step()), (None, None));
        speed.prefilled(1, 9 * SECOND);
        assert_eq!(speed.prefill(10), None, "one token says nothing");
        speed.prefilled(64, 8 * SECOND);
        assert_eq!(speed.prefill(16), Some(2 * SECOND));
        for _ in 0..20 {
            speed.prefilled(200, 50 * SECOND);
        }
        let seconds = speed.prefill(100).unwrap().as_secs_f64();
        assert!((24.9..25.1).contains(&seconds), "{seconds}");
        speed.stepped(SECOND / 50);
        assert_eq!(speed.step(), Some(SECOND / 50));
    }

    #[test]
    fn a_short_pass_that_was_stopped_changes_little_and_is_soon_forgotten() {
        let speed = Speed::default();
        speed.prefilled(4, 9 * SECOND);
        speed.prefilled(512, SECOND / 2);
        assert!(speed.prefill(512) < Some(80 * SECOND), "{:?}", speed.prefill(512));
        for _ in 0..19 {
            speed.prefilled(512, SECOND / 2);
        }
        assert!(speed.prefill(512) < Some(SECOND), "{:?}", speed.prefill(512));
        let before = speed.prefill(512).unwrap();
        speed.prefilled(4, SECOND / 10);
        assert!(speed.prefill(512) < Some(2 * before), "{:?} after {before:?}", speed.prefill(512));

        // Alone, it is believed once.
        let speed = Speed::default();
        speed.prefilled(4, 9 * SECOND);
        assert!(speed.prefill(512) > Some(100 * SECOND));
        speed.refused();
        assert_eq!(speed.prefill(512), None);
    }

    #[test]
    fn a_device_that_was_busy_is_tried_again() {
        let speed = Speed::default();
        for _ in 0..10 {
            speed.prefilled(512, 100 * SECOND);
        }
        let refusals = (0..100).take_while(|_| {
            speed.refused();
            speed.prefill(512).is_some()
        });
        let refusals = refusals.count();
        assert!((5..30).contains(&refusals), "{refusals}");
        speed.prefilled(512, SECOND);
        assert!(speed.prefill(512) < Some(10 * SECOND), "{:?}", speed.prefill(512));
    }

    #[test]
    fn a_pass_that_was_given_up_counts_if_it_was_slower_than_known() {
        let speed = Speed::default();
        speed.prefilled(64, SECOND);
        let known = speed.prefill(10);
        speed.gave_up(64, SECOND / 1000);
        assert_eq!(speed.prefill(10), known, "a pass that was given up at once says nothing");
        speed.gave_up(64, 9 * SECOND);
        assert!(speed.prefill(10) > known);
    }
}
