//! The chain as a whole: hand-computed choices, statistics, and equality with a plain implementation.

use proptest::prelude::*;

use super::exponential::exp;
use super::*;
use crate::ErrorKind;

fn sampler(options: SamplingOptions, vocabulary: usize) -> Sampler {
    Sampler::new(options, vocabulary).unwrap()
}

#[test]
fn greedy_follows_bias_and_penalties() {
    let logits = [1.0, 2.0, 3.0];
    let default = SamplingOptions::default;
    let cases: [(SamplingOptions, &[u32], u32); 6] = [
        (default(), &[2, 2, 2], 2),
        (SamplingOptions { logit_bias: vec![(2, f32::NEG_INFINITY)], ..default() }, &[], 1),
        (SamplingOptions { logit_bias: vec![(0, 2.5)], ..default() }, &[], 0),
        (SamplingOptions { repetition_penalty: 1.6, ..default() }, &[2], 1),
        (SamplingOptions { frequency_penalty: 1.1, ..default() }, &[2, 2, 1], 0),
        (SamplingOptions { presence_penalty: 1.5, penalty_window: 1, ..default() }, &[2, 1], 2),
    ];
    for (options, previous, expected) in cases {
        let name = format!("{options:?}");
        assert_eq!(sampler(options, 3).sample(&logits, previous).unwrap(), expected, "{name}");
    }
}

#[test]
fn the_penalty_window_counts_the_last_tokens_only() {
    let options = |penalty_window| SamplingOptions {
        presence_penalty: 10.0,
        penalty_window,
        ..SamplingOptions::default()
    };
    let previous = [0, 1, 2];
    for (window, expected) in [(0, 0), (1, 0), (2, 0), (3, 3), (usize::MAX, 3)] {
        assert_eq!(sampler(options(window), 4).sample(&[4.0, 3.0, 2.0, 1.0], &previous).unwrap(), expected);
    }
}

#[test]
fn padding_rows_are_never_chosen() {
    let logits = [0.0, 1.0, 9.0, 9.0];
    assert_eq!(sampler(SamplingOptions::default(), 2).sample(&logits, &[]).unwrap(), 1);
    let mut hot = sampler(SamplingOptions { temperature: 5.0, seed: Some(3), ..Default::default() }, 2);
    assert!((0..200).all(|_| hot.sample(&logits, &[]).unwrap() < 2));
}

#[test]
fn impossible_requests_are_typed() {
    let kind = |options, vocabulary| Sampler::new(options, vocabulary).unwrap_err().kind();
    assert_eq!(kind(SamplingOptions::default(), 0), ErrorKind::InvalidArgument);
    assert_eq!(
        kind(SamplingOptions { logit_bias: vec![(3, 1.0)], ..Default::default() }, 3),
        ErrorKind::InvalidArgument
    );
    let banned = SamplingOptions {
        logit_bias: vec![(0, f32::NEG_INFINITY), (1, f32::NEG_INFINITY)],
        ..Default::default()
    };
    for temperature in [0.0, 1.0] {
        let options = SamplingOptions { temperature, ..Default::default() };
        let kind = |logits: &[f32]| sampler(options.clone(), 2).sample(logits, &[]).unwrap_err().kind();
        assert_eq!(kind(&[0.0, f32::NAN]), ErrorKind::InvalidModel);
        assert_eq!(kind(&[0.0, f32::INFINITY]), ErrorKind::InvalidModel);
        assert_eq!(kind(&[f32::NEG_INFINITY; 2]), ErrorKind::InvalidModel);
        assert_eq!(kind(&[0.0]), ErrorKind::Internal);
        let banned = SamplingOptions { temperature, ..banned.clone() };
        let error = sampler(banned, 2).sample(&[0.0, 1.0], &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn nan_in_padding_does_no_harm() {
    assert_eq!(sampler(SamplingOptions::default(), 2).sample(&[0.0, 1.0, f32::NAN], &[]).unwrap(), 1);
}

/// The 0.1 % point of the chi-square distribution with `degrees` degrees of freedom (Wilson and Hilferty).
fn chi_square_limit(degrees: usize) -> f64 {
    let n = degrees as f64;
    let part = 2.0 / (9.0 * n);
    n * (1.0 - part + 3.090_232 * part.sqrt()).powi(3)
}

/// Draws 40,000 times and compares with the expected probabilities.
fn assert_distribution(options: SamplingOptions, logits: &[f32], expected: &[f64]) {
    const DRAWS: usize = 40_000;
    let name = format!("{options:?}");
    let mut sampler = sampler(options, logits.len());
    let mut counts = vec![0_usize; logits.len()];
    for _ in 0..DRAWS {
        counts[sampler.sample(logits, &[]).unwrap() as usize] += 1;
    }
    let mut chi_square = 0.0;
    for (&count, &probability) in counts.iter().zip(expected) {
        if probability == 0.0 {
            assert_eq!(count, 0, "{name}: {counts:?}");
        } else {
            let mean = probability * DRAWS as f64;
            chi_square += (count as f64 - mean).powi(2) / mean;
        }
    }
    let degrees = expected.iter().filter(|&&probability| probability > 0.0).count() - 1;
    if degrees > 0 {
        assert!(chi_square < chi_square_limit(degrees), "{name}: chi-square {chi_square}, {counts:?}");
    }
}

#[test]
fn draws_follow_the_distribution_that_each_processor_leaves() {
    let logits: Vec<f32> = [0.4_f32, 0.3, 0.15, 0.1, 0.05].iter().map(|p| p.ln()).collect();
    let base = || SamplingOptions { temperature: 1.0, seed: Some(20), ..Default::default() };
    let squares = 0.16 + 0.09 + 0.022_5 + 0.01 + 0.002_5;
    let cases: [(SamplingOptions, [f64; 5]); 9] = [
        (base(), [0.4, 0.3, 0.15, 0.1, 0.05]),
        (
            SamplingOptions { temperature: 0.5, ..base() },
            [0.16, 0.09, 0.022_5, 0.01, 0.002_5].map(|square| square / squares),
        ),
        (SamplingOptions { top_k: 2, ..base() }, [4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0, 0.0]),
        (SamplingOptions { top_k: 1, ..base() }, [1.0, 0.0, 0.0, 0.0, 0.0]),
        (SamplingOptions { top_p: 0.8, ..base() }, [8.0 / 17.0, 6.0 / 17.0, 3.0 / 17.0, 0.0, 0.0]),
        (SamplingOptions { min_p: 0.3, ..base() }, [8.0 / 17.0, 6.0 / 17.0, 3.0 / 17.0, 0.0, 0.0]),
        // Of the three that top-k leaves, two hold 0.7 / 0.85 = 0.82 of the probability.
        (SamplingOptions { top_k: 3, top_p: 0.8, ..base() }, [4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0, 0.0]),
        (SamplingOptions { top_p: 0.99, min_p: 0.2, ..base() }, [0.4, 0.3, 0.15, 0.1, 0.0].map(|p| p / 0.95)),
        (
            SamplingOptions { logit_bias: vec![(0, f32::NEG_INFINITY)], ..base() },
            [0.0, 0.5, 0.25, 1.0 / 6.0, 1.0 / 12.0],
        ),
    ];
    for (options, expected) in cases {
        assert_distribution(options, &logits, &expected);
    }
}

#[test]
fn a_seed_gives_the_same_tokens_and_no_seed_another_each_time() {
    let logits: Vec<f32> = (0..1_000).map(|i| (i as f32 * 0.1).sin()).collect();
    let options = |seed| SamplingOptions { temperature: 1.0, seed, ..Default::default() };
    let draw = |mut sampler: Sampler| -> Vec<u32> {
        (0..50).map(|_| sampler.sample(&logits, &[]).unwrap()).collect()
    };
    assert_eq!(draw(sampler(options(Some(5)), 1_000)), draw(sampler(options(Some(5)), 1_000)));
    assert_ne!(draw(sampler(options(Some(5)), 1_000)), draw(sampler(options(Some(6)), 1_000)));
    assert_ne!(draw(sampler(options(None), 1_000)), draw(sampler(options(None), 1_000)));
    let unseeded = sampler(options(None), 1_000);
    assert_eq!(draw(unseeded.clone()), draw(sampler(options(Some(unseeded.seed())), 1_000)));
}

/// The chain written plainly: everything sorted, everything copied.
fn plain(options: &SamplingOptions, logits: &[f32], random: &mut Random) -> u32 {
    let maximum = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| exp((f64::from(logit) - f64::from(maximum)) / f64::from(options.temperature));
    let mut tokens: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    tokens.retain(|&(_, logit)| logit > f32::NEG_INFINITY);
    let by_probability = options.top_k > 0 && options.top_k < logits.len() || options.top_p < 1.0;
    if by_probability {
        tokens.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    }
    if options.top_k > 0 {
        tokens.truncate(options.top_k);
    }
    if options.top_p < 1.0 {
        let mass = f64::from(options.top_p) * tokens.iter().map(|&(_, logit)| weight(logit)).sum::<f64>();
        let mut sum = 0.0;
        let count = tokens.iter().take_while(|&&(_, logit)| {
            let before = sum;
            sum += weight(logit);
            before < mass || before == 0.0
        });
        let count = count.count();
        tokens.truncate(count);
    }
    tokens.retain(|&(_, logit)| {
        options.min_p == 0.0 || weight(logit) >= f64::from(options.min_p) * (1.0 - 1e-12)
    });
    let target = random.next_f64() * tokens.iter().map(|&(_, logit)| weight(logit)).sum::<f64>();
    let mut sum = 0.0;
    for &(token, logit) in &tokens {
        sum += weight(logit);
        if sum > target {
            return token;
        }
    }
    tokens.last().unwrap().0
}

proptest! {
    #[test]
    fn equals_the_plain_chain(
        values in prop::collection::vec(-60_i8..60, 2..700),
        seed: u64,
        temperature in prop::sample::select(vec![0.25_f32, 0.5, 1.0, 4.0]),
        top_k in prop::sample::select(vec![0_usize, 1, 3, 40, 300, 10_000]),
        top_p in prop::sample::select(vec![0.0_f32, 0.313, 0.9, 0.997, 1.0]),
        min_p in prop::sample::select(vec![0.0_f32, 0.013, 0.37, 1.0]),
    ) {
        let logits: Vec<f32> = values.iter().map(|&v| if v == -60 { f32::NEG_INFINITY } else { f32::from(v) / 8.0 }).collect();
        prop_assume!(logits.iter().any(|logit| logit.is_finite()));
        let options = SamplingOptions { temperature, top_k, top_p, min_p, seed: Some(seed), ..Default::default() };
        let mut fast = sampler(options.clone(), logits.len());
        let mut random = Random::from_seed(seed);
        for _ in 0..8 {
            prop_assert_eq!(fast.sample(&logits, &[]).unwrap(), plain(&options, &logits, &mut random));
        }
    }

    #[test]
    fn any_logits_give_a_token_or_a_typed_error(
        bits in prop::collection::vec(any::<u32>(), 1..100),
        temperature in prop::sample::select(vec![0.0_f32, 1e-30, 1.0, 1e30]),
        top_p in 0.0_f32..1.0,
        min_p in 0.0_f32..1.0,
        repetition_penalty in 0.01_f32..100.0,
    ) {
        let logits: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
        let options = SamplingOptions { temperature, top_p, min_p, repetition_penalty, seed: Some(0), ..Default::default() };
        match sampler(options, logits.len()).sample(&logits, &[0, 1, 2]) {
            Ok(token) => prop_assert!(logits[token as usize] > f32::NEG_INFINITY),
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::InvalidModel),
        }
    }
}

#[test]
fn draws_from_a_large_vocabulary_follow_the_distribution() {
    // Five blocks and a part; every 500th token has a weight, of 1, 2 or 3.
    let size = 5_400;
    let weight = |id: usize| if id % 500 == 499 { 1 + id / 500 % 3 } else { 0 };
    let logits: Vec<f32> = (0..size).map(|id| (weight(id) as f32).ln()).collect();
    let total: usize = (0..size).map(weight).sum();
    let expected: Vec<f64> = (0..size).map(|id| weight(id) as f64 / total as f64).collect();
    let options = SamplingOptions { temperature: 1.0, seed: Some(8), ..Default::default() };
    assert_distribution(options, &logits, &expected);
}
