//! From logits to the next token.
//!
//! What a grammar does not allow is taken out first: see [`constraint`]. Then a [`Sampler`] applies, in this order (the one of Hugging Face's `generate`, from which published
//! `generation_config.json` files take their values):
//!
//! 1. logit bias,
//! 2. repetition, frequency and presence penalties over the last tokens,
//! 3. greedy choice when the temperature is 0, otherwise temperature,
//! 4. top-k,
//! 5. top-p, over what top-k left,
//! 6. min-p, relative to the most probable token,
//! 7. a draw from what is left.
//!
//! llama.cpp differs in one step only: it applies the temperature last, so that its top-p and min-p do not
//! depend on it.
//!
//! Nothing here sorts the whole vocabulary unless top-p asks for most of it. All arithmetic is plain IEEE
//! addition, multiplication and comparison in a fixed order, with an own exponential and logarithm, so equal
//! logits and an equal seed give equal tokens on every processor.

#![forbid(unsafe_code)]

mod bias;
mod candidates;
pub mod constraint;
mod exponential;
mod greedy;
mod log_probabilities;
mod min_p;
mod options;
mod penalties;
mod random;
mod sampler;
mod temperature;
mod top_k;
mod top_p;

#[cfg(test)]
mod tests;

pub use log_probabilities::LogProbabilities;
pub use options::SamplingOptions;
pub use random::Random;
pub use sampler::Sampler;

pub(crate) use exponential::{exp, ln};
pub(crate) use log_probabilities::LogSoftmax;
