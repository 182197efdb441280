//! How far the distributions of the next token are apart, position by position.

use anyhow::ensure;

/// What was found at the positions so far.
#[derive(Debug, Default)]
pub(super) struct Divergence {
    /// The Kullback-Leibler divergence at each position, in nats.
    at: Vec<f64>,
    /// Positions with the same most probable token.
    same_choice: usize,
}

impl Divergence {
    /// Adds positions. Both have one row of `vocabulary` logits for each.
    ///
    /// # Errors
    /// The sizes do not agree, or there are logits that are not finite.
    pub(super) fn add(&mut self, expected: &[f32], found: &[f32], vocabulary: usize) -> anyhow::Result<()> {
        ensure!(
            vocabulary > 0 && expected.len() == found.len() && expected.len().is_multiple_of(vocabulary),
            "{} logits beside {} of rows of {vocabulary}",
            found.len(),
            expected.len()
        );
        for (expected, found) in expected.chunks(vocabulary).zip(found.chunks(vocabulary)) {
            let divergence = kl_divergence(expected, found);
            ensure!(divergence.is_finite(), "there are logits that are not finite");
            self.at.push(divergence);
            self.same_choice += usize::from(largest(expected) == largest(found));
        }
        Ok(())
    }

    pub(super) fn positions(&self) -> usize {
        self.at.len()
    }

    /// Not a number where there is no position, as with the others.
    pub(super) fn mean(&self) -> f64 {
        self.at.iter().sum::<f64>() / self.at.len() as f64
    }

    /// The least divergence that `percent` of the positions do not exceed.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.at.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    /// The share of positions with the same most probable token.
    pub(super) fn same_choice(&self) -> f64 {
        self.same_choice as f64 / self.at.len() as f64
    }
}

/// Σ p ln(p / q) in 64 bits, for p and q the softmax of two rows of logits.
fn kl_divergence(p: &[f32], q: &[f32]) -> f64 {
    let (p_total, q_total) = (log_total(p), log_total(q));
    let logs = p.iter().zip(q).map(|(p, q)| (f64::from(*p) - p_total, f64::from(*q) - q_total));
    logs.map(|(p, q)| p.exp() * (p - q)).sum()
}

/// ln Σ exp(logit)
fn log_total(logits: &[f32]) -> f64 {
    let maximum = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let total: f64 = logits.iter().map(|logit| (f64::from(*logit) - maximum).exp()).sum();
    maximum + total.ln()
}

/// The place of the largest.
fn largest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // softmax(0, ln 3) = (1/4, 3/4), softmax(7, 7) = (1/2, 1/2), softmax(ln 3, 0) = (3/4, 1/4)
        let three = 3_f32.ln();
        let expected = [0.0, three, 7.0, 7.0, 0.0, three];
        let found = [7.0, 7.0, 7.0, 7.0, three, 0.0];
        let mut divergence = Divergence::default();
        divergence.add(&expected, &found, 2).unwrap();
        let first = 0.25 * 0.5_f64.ln() + 0.75 * 1.5_f64.ln();
        // 1/4 ln(1/3) + 3/4 ln 3
        let last = 0.5 * 3_f64.ln();
        for (found, by_hand) in divergence.at.iter().zip([first, 0.0, last]) {
            assert!((found - by_hand).abs() < 1e-7, "{found} {by_hand}");
        }
        assert_eq!(divergence.positions(), 3);
        assert!((divergence.mean() - (first + last) / 3.0).abs() < 1e-7);
        // Of equal logits the last counts as the largest.
        assert!((divergence.same_choice() - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let divergence = Divergence { at: (1..=200).rev().map(f64::from).collect(), same_choice: 0 };
        for (percent, value) in [(0, 1.0), (50, 100.0), (99, 198.0), (100, 200.0)] {
            assert_eq!(divergence.percentile(percent), value, "{percent}");
        }
        assert!(Divergence::default().percentile(99).is_nan());
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let mut divergence = Divergence::default();
        let mut refused = |expected: &[f32], found: &[f32], vocabulary| {
            divergence.add(expected, found, vocabulary).unwrap_err().to_string()
        };
        assert_eq!(refused(&[1.0; 4], &[1.0; 2], 2), "2 logits beside 4 of rows of 2");
        assert_eq!(refused(&[1.0; 3], &[1.0; 3], 2), "3 logits beside 3 of rows of 2");
        assert_eq!(refused(&[1.0; 2], &[1.0; 2], 0), "2 logits beside 2 of rows of 0");
        assert_eq!(refused(&[1.0, 2.0], &[1.0, f32::NAN], 2), "there are logits that are not finite");
        assert_eq!(divergence.positions(), 0);
    }
}
