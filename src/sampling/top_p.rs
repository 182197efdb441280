//! Top-p (nucleus): the fewest tokens that hold a given probability.

use super::candidates::Candidate;
use super::temperature::Temperature;
use super::top_k;

/// How many tokens are tried first where all of the vocabulary is open; most nuclei are smaller.
const FIRST_TRY: usize = 256;

/// Fills `kept` with the fewest most probable tokens that hold `p` of the probability of all `logits`, in order.
pub(super) fn select(logits: &[f32], p: f32, temperature: Temperature, kept: &mut Vec<Candidate>) {
    let mass = f64::from(p) * temperature.total(logits);
    let mut count = FIRST_TRY;
    loop {
        top_k::select(logits, count, kept);
        let complete = kept.len() < count;
        if truncate(kept, mass, temperature) || complete {
            return;
        }
        count = count.saturating_mul(8);
    }
}

/// Truncates `candidates`, which are in order, to the fewest whose weights sum to at least `mass`, and at least
/// one. Returns false, and keeps all, where they hold less.
pub(super) fn truncate(candidates: &mut Vec<Candidate>, mass: f64, temperature: Temperature) -> bool {
    let mut held = 0.0;
    for index in 0..candidates.len() {
        held += temperature.weight(candidates[index].logit);
        if held >= mass {
            candidates.truncate(index + 1);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits whose probabilities are 0.5, 0.25, 0.15, 0.1 in the order of the ids 2, 0, 3, 1.
    fn logits() -> [f32; 4] {
        [0.25_f32.ln(), 0.1_f32.ln(), 0.5_f32.ln(), 0.15_f32.ln()]
    }

    #[test]
    fn the_fewest_tokens_that_reach_p() {
        let logits = logits();
        let temperature = Temperature::new(0.5_f32.ln(), 1.0);
        for (p, expected) in [
            (0.0, &[2][..]),
            (0.49, &[2]),
            (0.51, &[2, 0]),
            (0.74, &[2, 0]),
            (0.76, &[2, 0, 3]),
            (0.95, &[2, 0, 3, 1]),
        ] {
            let mut kept = Vec::new();
            select(&logits, p, temperature, &mut kept);
            let tokens: Vec<u32> = kept.iter().map(|candidate| candidate.token).collect();
            assert_eq!(tokens, expected, "top_p {p}");
        }
    }

    #[test]
    fn a_flat_distribution_grows_the_search() {
        let logits = vec![0.0; 5_000];
        let mut kept = Vec::new();
        select(&logits, 0.75, Temperature::new(0.0, 1.0), &mut kept);
        assert_eq!(kept.len(), 3_750);
        assert!((0..).zip(&kept).all(|(id, candidate)| candidate.token == id));
    }
}
