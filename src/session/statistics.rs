//! What an answer cost.

use std::time::Duration;

/// Counts and times of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Tokens of the prompt, the chat template's included.
    pub prompt_tokens: usize,
    /// How many of them were still in the KV cache and not computed again.
    pub reused_tokens: usize,
    /// Tokens of the answer, without the stop token that ended it.
    pub generated_tokens: usize,
    /// From the call until the first token was chosen, tokenising included; `None` when none was.
    pub time_to_first_token: Option<Duration>,
    /// Time spent on the prompt's forward passes.
    pub prefill_time: Duration,
    /// Time spent on the answer's forward passes and on choosing its tokens, without the first choice.
    pub decode_time: Duration,
    /// How many tokens of the answer were fed back to get the next: what `decode_time` was spent on.
    pub decode_steps: usize,
    /// How many tokens of the answer were guessed ([`GenerateOptions::draft_tokens`](super::GenerateOptions::draft_tokens)).
    pub drafted_tokens: usize,
    /// How many of the guesses were right.
    pub accepted_tokens: usize,
    /// Bytes of KV cache that the session held at the end.
    pub cache_bytes: u64,
}

impl Statistics {
    /// Prompt tokens computed per second; 0 when none was.
    #[must_use]
    pub fn prefill_rate(&self) -> f64 {
        rate(self.prompt_tokens.saturating_sub(self.reused_tokens), self.prefill_time)
    }

    /// Answer tokens computed per second; 0 when none was.
    #[must_use]
    pub fn decode_rate(&self) -> f64 {
        rate(self.decode_steps, self.decode_time)
    }
}

fn rate(count: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_count_what_was_computed() {
        let statistics = Statistics {
            prompt_tokens: 100,
            reused_tokens: 60,
            prefill_time: Duration::from_millis(500),
            decode_steps: 30,
            decode_time: Duration::from_secs(2),
            ..Statistics::default()
        };
        assert_eq!(statistics.prefill_rate(), 80.0);
        assert_eq!(statistics.decode_rate(), 15.0);
        assert_eq!(Statistics::default().prefill_rate(), 0.0);
        assert_eq!(Statistics::default().decode_rate(), 0.0);
    }
}
