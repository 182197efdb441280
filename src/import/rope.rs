//! Cosine and sine caches of rotary position embeddings.
//!
//! Row p, column i of a cache is cos or sin of p / (factor_i · theta^(2i / rotary size)), computed in 64 bits.

use half::f16;

use super::decoder_spec::FloatType;

/// A rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the geometric series of wavelengths.
    pub theta: f64,
    /// How many elements of a head rotate: the first ones, paired half against half.
    pub rotary_size: usize,
    /// How the wavelengths are stretched.
    pub scaling: RopeScaling,
}

/// How the wavelengths of a rotary position embedding are stretched.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// By one factor a pair, `rotary_size / 2` in all.
    Factors(Vec<f64>),
    /// By other factors once the sequence is longer than the context the model was first trained for (LongRoPE).
    Long(LongRope),
}

/// The two sets of factors of LongRoPE (Phi-3.5, Phi-4-mini).
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// Sequences up to this length use the short factors.
    pub original_context: usize,
    /// One factor a pair for short sequences.
    pub short_factors: Vec<f64>,
    /// One factor a pair for long sequences.
    pub long_factors: Vec<f64>,
    /// What cosines and sines of both caches are multiplied by.
    pub magnitude: f64,
}

impl LongRope {
    /// The magnitude that belongs to a context stretched from `original` to `extended` positions.
    #[must_use]
    pub fn magnitude_for(original: usize, extended: usize) -> f64 {
        let (original, extended) = (original as f64, extended as f64);
        if extended <= original { 1.0 } else { (1.0 + (extended / original).ln() / original.ln()).sqrt() }
    }
}

/// Which half of a rotation a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Cosines.
    Cos,
    /// Sines.
    Sin,
}

impl Rope {
    /// The factors of Llama 3.1 and later: wavelengths beyond the original context are stretched by `factor`, those
    /// well inside it are not, with a linear blend of frequencies between.
    #[must_use]
    pub fn llama3_factors(
        theta: f64,
        rotary_size: usize,
        factor: f64,
        (low, high): (f64, f64),
        original: f64,
    ) -> Vec<f64> {
        let stretch = |pair: usize| {
            let wavelength = 2.0 * std::f64::consts::PI * theta.powf((2 * pair) as f64 / rotary_size as f64);
            if wavelength < original / high {
                1.0
            } else if wavelength > original / low {
                factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        (0..rotary_size / 2).map(stretch).collect()
    }

    /// Columns of a cache.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.rotary_size / 2
    }

    /// The rows of a cache for positions from 0, as bytes. Missing factors count as 1.
    pub fn rows(
        &self,
        part: Part,
        factors: &[f64],
        magnitude: f64,
        float_type: FloatType,
    ) -> impl FnMut(usize, &mut Vec<u8>) + use<> {
        let frequency = |pair: usize| {
            let factor = factors.get(pair).copied().unwrap_or(1.0);
            1.0 / (factor * self.theta.powf((2 * pair) as f64 / self.rotary_size as f64))
        };
        let frequencies: Vec<f64> = (0..self.pairs()).map(frequency).collect();
        move |position, output| {
            for frequency in &frequencies {
                let angle = position as f64 * frequency;
                let value = magnitude
                    * match part {
                        Part::Cos => angle.cos(),
                        Part::Sin => angle.sin(),
                    };
                match float_type {
                    FloatType::F32 => output.extend((value as f32).to_le_bytes()),
                    FloatType::F16 => output.extend(f16::from_f64(value).to_le_bytes()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(rope: &Rope, part: Part, factors: &[f64], magnitude: f64, positions: usize) -> Vec<f32> {
        let mut row = rope.rows(part, factors, magnitude, FloatType::F32);
        let mut bytes = Vec::new();
        (0..positions).for_each(|position| row(position, &mut bytes));
        bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }

    #[test]
    fn caches_hold_the_angles_of_each_pair() {
        let rope = Rope { theta: 100.0, rotary_size: 4, scaling: RopeScaling::None };
        // Pair 0 turns by 1 a position, pair 1 by 1 / 100^(2/4) = 0.1.
        let cos = cache(&rope, Part::Cos, &[], 1.0, 3);
        let expected = [1.0, 1.0, 0.540_302_3, 0.995_004_2, -0.416_146_84, 0.980_066_6];
        assert!(cos.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-7), "{cos:?}");
        // A factor of 2 on pair 0 halves its angle; the magnitude multiplies.
        let sin = cache(&rope, Part::Sin, &[2.0, 1.0], 3.0, 2);
        let expected = [0.0, 0.0, 3.0 * 0.479_425_54, 3.0 * 0.099_833_416];
        assert!(sin.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{sin:?}");
    }

    #[test]
    fn llama3_stretches_only_long_wavelengths() {
        // theta^(2i/4): wavelengths 2π and 2π·sqrt(theta).
        let factors = |theta| Rope::llama3_factors(theta, 4, 32.0, (1.0, 4.0), 8192.0);
        assert_eq!(factors(100.0), [1.0, 1.0]);
        assert_eq!(factors(1e12), [1.0, 32.0]);
        // λ = 2π·600 = 3769.9, between 2048 and 8192: smooth = (8192 / 3769.9 − 1) / 3 = 0.39099.
        let blended = factors(360_000.0)[1];
        assert!((blended - 1.0 / (0.609_01 / 32.0 + 0.390_99)).abs() < 1e-3, "{blended}");
    }

    #[test]
    fn long_rope_magnitude_is_that_of_phi_4_mini() {
        assert!((LongRope::magnitude_for(4096, 131_072) - 1.190_238).abs() < 1e-6);
        assert!((LongRope::magnitude_for(4096, 4096) - 1.0).abs() < 1e-15);
    }
}
