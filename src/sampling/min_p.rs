//! Min-p: the tokens that are not too improbable beside the most probable one.

use super::candidates::{Candidate, possible};
use super::exponential::ln;
use super::temperature::Temperature;

/// The rule of min-p for one position.
#[derive(Debug, Clone, Copy)]
pub(super) struct MinP {
    log_minimum: f64,
    temperature: Temperature,
}

impl MinP {
    /// Keeps tokens at least `min_p` times as probable as the most probable.
    pub(super) fn new(min_p: f32, temperature: Temperature) -> Self {
        let log_minimum = if min_p > 0.0 { least_log(min_p) } else { f64::NEG_INFINITY };
        Self { log_minimum, temperature }
    }

    fn keeps(self, candidate: Candidate) -> bool {
        self.temperature.log_weight(candidate.logit) >= self.log_minimum
    }

    /// Truncates candidates that are in order.
    pub(super) fn truncate(self, candidates: &mut Vec<Candidate>) {
        let kept = candidates.partition_point(|&candidate| self.keeps(candidate));
        candidates.truncate(kept);
    }

    /// Fills `kept` from all of the vocabulary, in the order of the ids.
    pub(super) fn select(self, logits: &[f32], kept: &mut Vec<Candidate>) {
        kept.clear();
        kept.extend(possible(logits).filter(|&candidate| self.keeps(candidate)));
    }
}

/// `ln(min_p)`; subnormal values count as the smallest normal one.
fn least_log(min_p: f32) -> f64 {
    ln(f64::from(min_p.max(f32::MIN_POSITIVE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_keep_the_same_tokens() {
        // Relative to the best: 0.5, 0.1, 1, 0.29.
        let logits = [0.5_f32.ln(), 0.1_f32.ln(), 0.0, 0.29_f32.ln()];
        let temperature = Temperature::new(0.0, 1.0);
        for (min_p, expected) in [
            (0.0, &[0, 1, 2, 3][..]),
            (f32::from_bits(1), &[0, 1, 2, 3]),
            (0.11, &[0, 2, 3]),
            (0.3, &[0, 2]),
            (0.51, &[2]),
            (1.0, &[2]),
        ] {
            let rule = MinP::new(min_p, temperature);
            let mut by_id = Vec::new();
            rule.select(&logits, &mut by_id);
            let tokens: Vec<u32> = by_id.iter().map(|candidate| candidate.token).collect();
            assert_eq!(tokens, expected, "min_p {min_p}");

            let mut ordered = Vec::new();
            super::super::top_k::select(&logits, 4, &mut ordered);
            rule.truncate(&mut ordered);
            ordered.sort_by_key(|candidate| candidate.token);
            assert_eq!(ordered, by_id, "min_p {min_p}");
        }
    }

    #[test]
    fn a_lower_temperature_removes_more() {
        let logits = [0.0, -1.0];
        let kept = |temperature| {
            let mut kept = Vec::new();
            MinP::new(0.2, Temperature::new(0.0, temperature)).select(&logits, &mut kept);
            kept.len()
        };
        assert_eq!((kept(1.0), kept(0.5)), (2, 1), "exp(-1) = 0.37, exp(-2) = 0.14");
    }
}
