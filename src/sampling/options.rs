//! What a caller may ask of the choice of tokens.

use crate::error::{Error, ErrorKind, Result};

/// How the next token is chosen. The default is greedy: the most probable token, always the same answer.
///
/// ```
/// use edgeslm::sampling::SamplingOptions;
///
/// let options = SamplingOptions { temperature: 0.7, top_p: 0.9, seed: Some(1), ..SamplingOptions::default() };
/// assert!(options.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingOptions {
    /// What the logits are divided by, from 0; 0 chooses greedily (ties: the lowest id) and makes top-k, top-p,
    /// min-p and the seed irrelevant. Default 0.
    pub temperature: f32,
    /// Keeps the `top_k` most probable tokens; 0 keeps all. Default 0.
    pub top_k: usize,
    /// Keeps the fewest most probable tokens whose probabilities sum to at least `top_p`, and at least one;
    /// from 0 to 1, where 1 keeps all. Default 1. Holtzman et al., "The Curious Case of Neural Text Degeneration", 2019.
    pub top_p: f32,
    /// Keeps the tokens at least `min_p` times as probable as the most probable one; from 0 to 1, where 0 keeps
    /// all. Default 0. Nguyen et al., "Turning Up the Heat: Min-p Sampling", 2024.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens that occur among the last ones; above 0 up to
    /// 100, where 1 changes nothing. Default 1. Keskar et al., "CTRL", 2019.
    pub repetition_penalty: f32,
    /// Subtracted from a token's logit once for each time it occurs among the last ones; -100 to 100. Default 0.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit once if it occurs among the last ones; -100 to 100. Default 0.
    pub presence_penalty: f32,
    /// How many last tokens, of prompt and answer alike, the three penalties look at; 0 switches them off and
    /// `usize::MAX` takes the whole sequence. Default 64, as in llama.cpp.
    pub penalty_window: usize,
    /// Added to the logits of single tokens; from -1,000,000 to 1,000,000, or negative infinity to ban a token.
    /// Several entries for one token add up. Default empty.
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed, options and logits give the same tokens on every machine; `None` takes a random seed.
    pub seed: Option<u64>,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_window: 64,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

/// The largest finite magnitude of a logit bias: no sum with a finite logit overflows.
const MAXIMUM_BIAS: f32 = 1e6;

impl SamplingOptions {
    /// Whether the most probable token is always taken.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// # Errors
    /// [`ErrorKind::InvalidArgument`] that names the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        let fields = [
            (
                "temperature",
                self.temperature,
                self.temperature >= 0.0 && self.temperature.is_finite(),
                "0 or more",
            ),
            ("top_p", self.top_p, (0.0..=1.0).contains(&self.top_p), "from 0 to 1"),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "from 0 to 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                self.repetition_penalty > 0.0 && self.repetition_penalty <= 100.0,
                "above 0 and at most 100",
            ),
            (
                "frequency_penalty",
                self.frequency_penalty,
                (-100.0..=100.0).contains(&self.frequency_penalty),
                "from -100 to 100",
            ),
            (
                "presence_penalty",
                self.presence_penalty,
                (-100.0..=100.0).contains(&self.presence_penalty),
                "from -100 to 100",
            ),
        ];
        for (name, value, valid, range) in fields {
            if !valid {
                return Err(out_of_range(&format!("{name} is {value}"), range));
            }
        }
        for &(token, bias) in &self.logit_bias {
            if bias != f32::NEG_INFINITY && !(-MAXIMUM_BIAS..=MAXIMUM_BIAS).contains(&bias) {
                return Err(out_of_range(
                    &format!("logit_bias of token {token} is {bias}"),
                    "from -1000000 to 1000000, or negative infinity",
                ));
            }
        }
        Ok(())
    }
}

fn out_of_range(what: &str, range: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{what}, which is out of range"))
        .with_hint(format!("the range is {range}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_and_the_ends_of_every_range_are_valid() {
        let ends = [
            SamplingOptions::default(),
            SamplingOptions { temperature: f32::MAX, top_p: 0.0, min_p: 1.0, ..Default::default() },
            SamplingOptions { temperature: f32::MIN_POSITIVE, top_k: usize::MAX, ..Default::default() },
            SamplingOptions { repetition_penalty: 100.0, frequency_penalty: -100.0, ..Default::default() },
            SamplingOptions { presence_penalty: 100.0, penalty_window: usize::MAX, ..Default::default() },
            SamplingOptions {
                logit_bias: vec![(0, f32::NEG_INFINITY), (1, 1e6), (2, -1e6)],
                ..Default::default()
            },
        ];
        for options in ends {
            options.validate().unwrap();
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let default = SamplingOptions::default;
        let cases = [
            ("temperature", SamplingOptions { temperature: -0.1, ..default() }),
            ("temperature", SamplingOptions { temperature: f32::NAN, ..default() }),
            ("temperature", SamplingOptions { temperature: f32::INFINITY, ..default() }),
            ("top_p", SamplingOptions { top_p: 1.01, ..default() }),
            ("top_p", SamplingOptions { top_p: f32::NAN, ..default() }),
            ("min_p", SamplingOptions { min_p: -0.01, ..default() }),
            ("repetition_penalty", SamplingOptions { repetition_penalty: 0.0, ..default() }),
            ("repetition_penalty", SamplingOptions { repetition_penalty: f32::NAN, ..default() }),
            ("frequency_penalty", SamplingOptions { frequency_penalty: 100.5, ..default() }),
            ("presence_penalty", SamplingOptions { presence_penalty: f32::NEG_INFINITY, ..default() }),
            ("logit_bias", SamplingOptions { logit_bias: vec![(7, f32::INFINITY)], ..default() }),
            ("logit_bias", SamplingOptions { logit_bias: vec![(7, f32::NAN)], ..default() }),
            ("logit_bias", SamplingOptions { logit_bias: vec![(7, 1.1e6)], ..default() }),
        ];
        for (name, options) in cases {
            let error = options.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().starts_with(name), "{error}");
        }
    }
}
