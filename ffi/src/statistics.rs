//! Statistics: what an answer cost.

use edgeslm::session::Statistics;

use crate::options::Plain;

/// Counts and times of one answer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_statistics {
    /// Tokens of the prompt, those of the chat template included.
    pub prompt_tokens: u64,
    /// How many of them were in the KV cache already and not computed again.
    pub reused_tokens: u64,
    /// Tokens of the answer, without the stop token that ended it.
    pub generated_tokens: u64,
    /// Bytes of KV cache that the session held at the end.
    pub cache_bytes: u64,
    /// Seconds from the call until the first token was chosen; negative when none was.
    pub time_to_first_token: f64,
    /// Seconds spent on computing the prompt.
    pub prefill_time: f64,
    /// Seconds spent on computing the answer, without its first token.
    pub decode_time: f64,
    /// Prompt tokens computed per second; 0 when none was.
    pub prefill_rate: f64,
    /// Answer tokens computed per second; 0 when none was.
    pub decode_rate: f64,
    /// How many tokens of the answer were guessed (`draft_tokens` of `slm_generate_options`).
    pub drafted_tokens: u64,
    /// How many of the guesses were right.
    pub accepted_tokens: u64,
}

// SAFETY: numbers of 8 bytes each.
unsafe impl Plain for slm_statistics {}

impl From<&Statistics> for slm_statistics {
    fn from(statistics: &Statistics) -> Self {
        Self {
            prompt_tokens: statistics.prompt_tokens as u64,
            reused_tokens: statistics.reused_tokens as u64,
            generated_tokens: statistics.generated_tokens as u64,
            cache_bytes: statistics.cache_bytes,
            time_to_first_token: statistics.time_to_first_token.map_or(-1.0, |time| time.as_secs_f64()),
            prefill_time: statistics.prefill_time.as_secs_f64(),
            decode_time: statistics.decode_time.as_secs_f64(),
            prefill_rate: statistics.prefill_rate(),
            decode_rate: statistics.decode_rate(),
            drafted_tokens: statistics.drafted_tokens as u64,
            accepted_tokens: statistics.accepted_tokens as u64,
        }
    }
}
