//! Log-probabilities of tokens under the model itself.

use super::candidates::Candidate;
use super::exponential::ln;
use super::temperature::Temperature;
use super::{greedy, top_k};
use crate::error::Result;

/// Natural logarithms of probabilities under the model's own distribution, before bias, penalties and temperature,
/// as OpenAI-style interfaces report them. Vocabulary entries that the tokenizer does not have count for nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct LogProbabilities {
    /// Of the token that was chosen.
    pub chosen: f32,
    /// The most probable tokens with theirs, best first; as many as were asked for. The chosen token may or may not
    /// be among them.
    pub top: Vec<(u32, f32)>,
}

impl LogProbabilities {
    /// Of `chosen` and the `top` most probable tokens, from the raw logits of one position.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`](crate::ErrorKind::InvalidModel) when a logit is not a number or none is finite.
    pub fn new(logits: &[f32], chosen: u32, top: usize) -> Result<Self> {
        let softmax = LogSoftmax::new(logits)?;
        let log_probability = |logit: f32| softmax.log_probability(logit) as f32;
        let mut best: Vec<Candidate> = Vec::new();
        top_k::select(logits, top, &mut best);
        Ok(Self {
            chosen: logits.get(chosen as usize).map_or(f32::NEG_INFINITY, |&logit| log_probability(logit)),
            top: best.iter().map(|c| (c.token, log_probability(c.logit))).collect(),
        })
    }
}

/// The softmax of one position's logits, in logarithms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSoftmax {
    maximum: f64,
    log_total: f64,
}

impl LogSoftmax {
    /// # Errors
    /// [`ErrorKind::InvalidModel`](crate::ErrorKind::InvalidModel) when a logit is not a number or none is finite.
    pub(crate) fn new(logits: &[f32]) -> Result<Self> {
        let maximum = greedy::maximum(logits).ok_or_else(|| super::sampler::damaged(logits))?;
        let total = Temperature::new(maximum, 1.0).total(logits);
        Ok(Self { maximum: f64::from(maximum), log_total: ln(total) })
    }

    /// Of the token with this logit.
    pub(crate) fn log_probability(self, logit: f32) -> f64 {
        (f64::from(logit) - self.maximum) - self.log_total
    }

    /// Of all the logits that this was made of together, where they are some of those that `all` was made of.
    pub(crate) fn log_share_of(self, all: Self) -> f64 {
        (self.maximum - all.maximum) + (self.log_total - all.log_total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn equals_the_logarithm_of_the_softmax() {
        // exp(1), exp(2), exp(3), exp(0) over their sum 31.192...: computed by hand to six digits.
        let log = LogProbabilities::new(&[1.0, 2.0, 3.0, 0.0], 1, 2).unwrap();
        assert!((log.chosen - -1.440_19).abs() < 1e-5);
        assert_eq!(log.top.len(), 2);
        assert_eq!(log.top[0].0, 2);
        assert!((log.top[0].1 - -0.440_19).abs() < 1e-5);
        assert_eq!(log.top[1], (1, log.chosen));
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let log = LogProbabilities::new(&[3e38, 3e38, -3e38], 0, 3).unwrap();
        assert!((log.chosen - -std::f32::consts::LN_2).abs() < 1e-6);
        assert_eq!(log.top.len(), 3);
        let log = LogProbabilities::new(&[1000.0, 0.0], 1, 0).unwrap();
        assert_eq!((log.chosen, log.top.len()), (-1000.0, 0));
    }

    #[test]
    fn probabilities_of_all_tokens_sum_to_one() {
        let logits: Vec<f32> = (0..1_000).map(|i| (i as f32 * 0.37).sin() * 8.0).collect();
        let log = LogProbabilities::new(&logits, 0, usize::MAX).unwrap();
        let sum: f64 = log.top.iter().map(|&(_, log)| f64::from(log).exp()).sum();
        assert_eq!(log.top.len(), 1_000);
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }

    #[test]
    fn damaged_logits_are_an_error() {
        for logits in [&[0.0, f32::NAN][..], &[f32::INFINITY], &[f32::NEG_INFINITY], &[]] {
            assert_eq!(LogProbabilities::new(logits, 0, 1).unwrap_err().kind(), ErrorKind::InvalidModel);
        }
    }
}
