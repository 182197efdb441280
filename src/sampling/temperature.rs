//! Temperature: from logits to relative probabilities.

use super::exponential::exp;

/// Turns logits into weights `exp((logit - maximum) / temperature)`, of which the largest is 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Temperature {
    maximum: f64,
    inverse: f64,
}

impl Temperature {
    /// For logits of which `maximum` is the highest; `temperature` above 0.
    pub(super) fn new(maximum: f32, temperature: f32) -> Self {
        Self { maximum: f64::from(maximum), inverse: 1.0 / f64::from(temperature) }
    }

    /// The logarithm of the weight.
    #[inline(always)]
    pub(super) fn log_weight(self, logit: f32) -> f64 {
        (f64::from(logit) - self.maximum) * self.inverse
    }

    /// The weight, from 0 to 1.
    #[inline(always)]
    pub(super) fn weight(self, logit: f32) -> f64 {
        exp(self.log_weight(logit))
    }

    /// The sum of the weights, in lanes so that the compiler may vectorise a fixed order.
    pub(super) fn total(self, logits: &[f32]) -> f64 {
        const LANES: usize = 8;
        let mut sums = [0.0_f64; LANES];
        let (chunks, rest) = logits.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                sums[lane] += self.weight(chunk[lane]);
            }
        }
        let rest: f64 = rest.iter().map(|&logit| self.weight(logit)).sum();
        sums.iter().sum::<f64>() + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_relative_to_the_highest_logit() {
        let temperature = Temperature::new(3.0, 0.5);
        assert_eq!(temperature.weight(3.0), 1.0);
        assert!((temperature.weight(2.0) - 0.135_335_283_236_612_7).abs() < 1e-16, "exp(-2)");
        assert_eq!(temperature.weight(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn totals_of_every_length_are_right() {
        for length in [1, 7, 8, 9, 64, 1_001] {
            let logits: Vec<f32> = (0..length).map(|i| -(i as f32) * 0.01).collect();
            let expected: f64 = (0..length).map(|i| f64::exp(f64::from(-(i as f32) * 0.01) / 2.0)).sum();
            let total = Temperature::new(0.0, 2.0).total(&logits);
            assert!((total - expected).abs() < 1e-12 * expected, "{length}: {total} and not {expected}");
        }
    }

    #[test]
    fn extreme_temperatures_stay_finite() {
        let logits = [f32::MAX, f32::MIN, 0.0];
        for temperature in [f32::from_bits(1), f32::MIN_POSITIVE, 1.0, f32::MAX] {
            let total = Temperature::new(f32::MAX, temperature).total(&logits);
            assert!((1.0..=3.0).contains(&total), "{temperature}: {total}");
        }
    }
}
