//! Random numbers that are the same on every machine.

use std::hash::{BuildHasher, Hasher, RandomState};

/// xoshiro256++ 1.0 with its state filled by splitmix64, both by Blackman and Vigna,
/// "Scrambled Linear Pseudorandom Number Generators", 2021 (<https://prng.di.unimi.it>). Not for secrets.
///
/// ```
/// use edgeslm::sampling::Random;
///
/// assert_eq!(Random::from_seed(1).next_u64(), Random::from_seed(1).next_u64());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator whose numbers depend on `seed` only.
    #[must_use]
    pub fn from_seed(mut seed: u64) -> Self {
        Self { state: std::array::from_fn(|_| splitmix64(&mut seed)) }
    }

    /// A seed that differs from run to run, taken from the random keys that the standard library gives its hash
    /// maps.
    #[must_use]
    pub fn fresh_seed() -> u64 {
        RandomState::new().build_hasher().finish()
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// The next number in [0, 1): a multiple of 2^-53.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }
}

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of the authors' C program from the state 1, 2, 3, 4.
    #[test]
    fn xoshiro_gives_the_published_numbers() {
        let mut random = Random { state: [1, 2, 3, 4] };
        let expected = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
            9_973_669_472_204_895_162,
        ];
        for value in expected {
            assert_eq!(random.next_u64(), value);
        }
    }

    #[test]
    fn splitmix_gives_the_published_numbers() {
        let mut state = 1_234_567;
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for value in expected {
            assert_eq!(splitmix64(&mut state), value);
        }
    }

    #[test]
    fn numbers_lie_in_the_unit_interval_and_fill_it_evenly() {
        let mut random = Random::from_seed(42);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            let value = random.next_f64();
            assert!((0.0..1.0).contains(&value));
            counts[(value * 10.0) as usize] += 1;
        }
        let chi_square: f64 = counts.iter().map(|&n| (f64::from(n) - 1e4).powi(2) / 1e4).sum();
        assert!(
            chi_square < 27.88,
            "chi-square {chi_square} of 9 degrees of freedom is beyond the 0.1 % point"
        );
    }

    #[test]
    fn fresh_seeds_differ() {
        assert_ne!(Random::fresh_seed(), Random::fresh_seed());
    }
}
