//! Sampling: how the next token is chosen.

use std::ptr;

use edgeslm::sampling::SamplingOptions;

use crate::boundary::slice;
use crate::error::{Outcome, slm_error};
use crate::options::{self, Options, Plain};
use crate::status::slm_status;

/// A number that is added to the logit of a token.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_logit_bias {
    /// The token.
    pub token: u32,
    /// From -1,000,000 to 1,000,000, or negative infinity to ban the token.
    pub bias: f32,
}

/// How the next token is chosen; fill it with `slm_sampling_options_init` first. The default is greedy: the most probable
/// token, always the same answer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_sampling_options {
    /// The size of this struct, as `slm_sampling_options_init` set it.
    pub struct_size: u32,
    /// What the logits are divided by; 0 chooses greedily.
    pub temperature: f32,
    /// Keeps the fewest most probable tokens whose probabilities sum to at least `top_p`; 1 keeps all.
    pub top_p: f32,
    /// Keeps the tokens at least `min_p` times as probable as the most probable one; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens that occur among the last ones; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Subtracted from a token's logit once for each time it occurs among the last ones.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit once if it occurs among the last ones.
    pub presence_penalty: f32,
    /// Keeps the `top_k` most probable tokens; 0 keeps all.
    pub top_k: u32,
    /// How many last tokens the three penalties look at; `UINT64_MAX` for the whole sequence.
    pub penalty_window: u64,
    /// The same seed, options and prompt give the same answer on every machine; 0 for a random seed, which the last
    /// event of the answer tells.
    pub seed: u64,
    /// Biases of single tokens; NULL for none.
    pub logit_bias: *const slm_logit_bias,
    /// How many.
    pub logit_bias_count: usize,
}

// SAFETY: numbers and a raw pointer, without padding in front of a field.
unsafe impl Plain for slm_sampling_options {}

impl Options for slm_sampling_options {
    const DEFAULTS: Self = Self {
        struct_size: size_of::<Self>() as u32,
        temperature: 0.0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        top_k: 0,
        penalty_window: 64,
        seed: 0,
        logit_bias: ptr::null(),
        logit_bias_count: 0,
    };
}

impl From<&SamplingOptions> for slm_sampling_options {
    /// All but the biases, which are no recommendation's part.
    fn from(options: &SamplingOptions) -> Self {
        Self {
            temperature: options.temperature,
            top_p: options.top_p,
            min_p: options.min_p,
            repetition_penalty: options.repetition_penalty,
            frequency_penalty: options.frequency_penalty,
            presence_penalty: options.presence_penalty,
            top_k: u32::try_from(options.top_k).unwrap_or(u32::MAX),
            penalty_window: options.penalty_window as u64,
            seed: options.seed.unwrap_or(0),
            ..Self::DEFAULTS
        }
    }
}

/// Reads the caller's sampling options; `None` for NULL.
///
/// # Safety
/// `sampling` is NULL or points to options whose pointers are NULL or valid.
pub(crate) unsafe fn read(sampling: *const slm_sampling_options) -> Outcome<Option<SamplingOptions>> {
    if sampling.is_null() {
        return Ok(None);
    }
    // SAFETY: passed on.
    let (sampling, biases) = unsafe {
        let sampling = options::read(sampling)?;
        (sampling, slice("logit_bias", sampling.logit_bias, sampling.logit_bias_count)?)
    };
    Ok(Some(SamplingOptions {
        temperature: sampling.temperature,
        top_k: sampling.top_k as usize,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repetition_penalty: sampling.repetition_penalty,
        frequency_penalty: sampling.frequency_penalty,
        presence_penalty: sampling.presence_penalty,
        penalty_window: usize::try_from(sampling.penalty_window).unwrap_or(usize::MAX),
        logit_bias: biases.iter().map(|entry| (entry.token, entry.bias)).collect(),
        seed: (sampling.seed != 0).then_some(sampling.seed),
    }))
}

/// Fills `options`, a struct of `size` bytes, with the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_sampling_options_init(
    options: *mut slm_sampling_options,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the caller's struct of `size` bytes and memory for the error.
    unsafe { options::init("options", options, size, error) }
}
