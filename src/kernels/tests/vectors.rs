use half::{bf16, f16};

use super::{Random, assert_same_bits, rows_under_test, scalar};
use crate::{Floats, KernelTable};

const LENGTHS: [usize; 14] = [0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 576, 1000];

/// Values of all sizes, with some special ones.
fn values(random: &mut Random, length: usize) -> Vec<f32> {
    let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, -1e-40, 3e38, 88.7, -104.0];
    (0..length)
        .map(|_| match random.below(20) {
            0 => random.pick(&special),
            1 => f32::from_bits(random.next() as u32),
            2..6 => random.unit() * 100.0,
            _ => random.unit() * 4.0,
        })
        .collect()
}

type Unary = (&'static str, fn(&KernelTable, &mut [f32]), fn(f64) -> f64);

/// Each with what it computes, in f64.
const UNARY: [Unary; 10] = [
    ("silu", |kernels, x| kernels.silu(x), |x| x / (1.0 + (-x).exp())),
    (
        "gelu_tanh",
        |kernels, x| kernels.gelu_tanh(x),
        |x| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh()),
    ),
    ("gelu_erf", |kernels, x| kernels.gelu_erf(x), |x| 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt()))),
    (
        "quick_gelu",
        |kernels, x| kernels.quick_gelu(x, 1.702),
        |x| x / (1.0 + (-f64::from(1.702_f32) * x).exp()),
    ),
    ("sigmoid", |kernels, x| kernels.sigmoid(x), |x| 1.0 / (1.0 + (-x).exp())),
    ("tanh", |kernels, x| kernels.tanh(x), f64::tanh),
    ("relu", |kernels, x| kernels.relu(x), |x| x.max(0.0)),
    ("exp", |kernels, x| kernels.exp(x), f64::exp),
    ("softcap", |kernels, x| kernels.softcap(x, 30.0), |x| 30.0 * (x / 30.0).tanh()),
    ("scale", |kernels, x| kernels.scale(x, 1.25), |x| x * 1.25),
];

/// By its series: fine to 1e-13 below 4, where this test ends.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn unary_operations_have_the_bits_of_the_scalar_row() {
    let mut random = Random(1);
    for length in LENGTHS {
        let x = values(&mut random, length);
        for (name, operation, _) in UNARY {
            let mut expected = x.clone();
            operation(scalar(), &mut expected);
            for kernels in rows_under_test() {
                let mut actual = x.clone();
                operation(kernels, &mut actual);
                assert_same_bits(&format!("{} {name}", kernels.name()), &actual, &expected);
            }
        }
    }
}

#[test]
fn unary_operations_are_accurate() {
    let x: Vec<_> = (-55_000..55_000).map(|index| index as f32 * 1e-4).collect();
    for (name, operation, exact) in UNARY {
        let mut actual = x.clone();
        operation(scalar(), &mut actual);
        for (&x, actual) in x.iter().zip(actual) {
            let exact = exact(f64::from(x));
            let error = (f64::from(actual) - exact).abs();
            // A few units in the last place of the value, of the exponent, or for cancelling formulas of x.
            let bound = exact.abs() * (4e-7 + x.abs() as f64 * 1.2e-7)
                + if name.starts_with("gelu") { x.abs() as f64 * 6e-8 } else { 1e-30 };
            assert!(error <= bound, "{name}({x}) is {actual} and not {exact}");
        }
    }
}

/// The distance in representable numbers.
fn units_apart(a: f32, b: f32) -> u32 {
    let order = |x: f32| {
        if x.to_bits() >> 31 == 1 { -((x.to_bits() & 0x7fff_ffff) as i64) } else { x.to_bits() as i64 }
    };
    order(a).abs_diff(order(b)) as u32
}

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    let mut x: Vec<_> = (0..1_000_000).map(|index| -104.5 + index as f32 * 1.94e-4).collect();
    x.extend([0.0, -0.0, 88.722_83, 88.722_84, -87.336_55, -103.972_08, -103.972_09, f32::MIN, 1000.0]);
    let mut actual = x.clone();
    scalar().exp(&mut actual);
    for kernels in rows_under_test() {
        let mut same = x.clone();
        kernels.exp(&mut same);
        assert_same_bits(&format!("{} exp", kernels.name()), &same, &actual);
    }
    let mut worst = 0;
    for (&x, actual) in x.iter().zip(actual) {
        worst = worst.max(units_apart(actual, f64::from(x).exp() as f32));
    }
    assert!(worst <= 2, "{worst}");
    let mut special = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
    scalar().exp(&mut special);
    assert!(special[0] == 0.0 && special[1] == f32::INFINITY && special[2].is_nan(), "{special:?}");
}

type Binary = (&'static str, fn(&KernelTable, &mut [f32], &[f32]), fn(f32, f32) -> f32);

const BINARY: [Binary; 3] = [
    ("add", |kernels, x, y| kernels.add(x, y), |x, y| x + y),
    ("mul", |kernels, x, y| kernels.mul(x, y), |x, y| x * y),
    ("add_scaled", |kernels, x, y| kernels.add_scaled(x, y, 0.3), |x, y| y.mul_add(0.3, x)),
];

#[test]
fn binary_operations_are_exact() {
    let mut random = Random(2);
    for length in LENGTHS {
        let (x, y) = (values(&mut random, length), values(&mut random, length));
        for kernels in rows_under_test() {
            for (name, operation, exact) in BINARY {
                let mut actual = x.clone();
                operation(kernels, &mut actual, &y);
                let expected: Vec<_> = x.iter().zip(&y).map(|(&x, &y)| exact(x, y)).collect();
                assert_same_bits(&format!("{} {name}", kernels.name()), &actual, &expected);
            }
            let mut actual = x.clone();
            kernels.silu_mul(&mut actual, &y);
            let mut expected = x.clone();
            scalar().silu(&mut expected);
            scalar().mul(&mut expected, &y);
            assert_same_bits(&format!("{} silu_mul", kernels.name()), &actual, &expected);
        }
    }
}

#[test]
fn norms_agree_with_f64_and_between_rows() {
    let mut random = Random(3);
    for length in LENGTHS.into_iter().filter(|&length| length > 0) {
        let (x, weight, bias) = (random.vector(length), random.vector(length), random.vector(length));
        let mean_square = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / length as f64;
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / length as f64;
        let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / length as f64;
        let mut expected = [vec![0.0; length], vec![0.0; length], vec![0.0; length]];
        scalar().rms_norm(&x, &weight, 1e-5, &mut expected[0]);
        scalar().layer_norm(&x, &weight, Some(&bias), 1e-5, &mut expected[1]);
        scalar().layer_norm(&x, &weight, None, 1e-5, &mut expected[2]);
        for index in 0..length {
            let (value, weight) = (f64::from(x[index]), f64::from(weight[index]));
            let rms = value / (mean_square + 1e-5).sqrt() * weight;
            let layer = (value - mean) / (variance + 1e-5).sqrt() * weight;
            assert!((f64::from(expected[0][index]) - rms).abs() < 1e-5);
            assert!((f64::from(expected[1][index]) - layer - f64::from(bias[index])).abs() < 1e-4);
            assert!((f64::from(expected[2][index]) - layer).abs() < 1e-4);
        }
        for kernels in rows_under_test() {
            let mut actual = [vec![0.0; length], vec![0.0; length], vec![0.0; length]];
            kernels.rms_norm(&x, &weight, 1e-5, &mut actual[0]);
            kernels.layer_norm(&x, &weight, Some(&bias), 1e-5, &mut actual[1]);
            kernels.layer_norm(&x, &weight, None, 1e-5, &mut actual[2]);
            for (actual, expected) in actual.iter().zip(&expected) {
                assert_same_bits(&format!("{} norm of {length}", kernels.name()), actual, expected);
            }
        }
    }
}

#[test]
fn rope_rotates_the_first_numbers_in_both_pairings() {
    let mut random = Random(4);
    for (head_dim, half) in [(2, 1), (8, 3), (64, 32), (96, 48), (80, 16), (128, 64), (128, 37), (16, 0)] {
        let x = random.vector(head_dim);
        let angles: Vec<_> = (0..half).map(|_| random.unit() * 3.0).collect();
        let cos: Vec<_> = angles.iter().map(|angle| angle.cos()).collect();
        let sin: Vec<_> = angles.iter().map(|angle| angle.sin()).collect();
        let rotated = |pair: fn(usize, usize) -> (usize, usize)| {
            let mut out = x.clone();
            for index in 0..half {
                let (a, b) = pair(index, half);
                out[a] = x[a].mul_add(cos[index], x[b] * -sin[index]);
                out[b] = x[b].mul_add(cos[index], x[a] * sin[index]);
            }
            out
        };
        for kernels in rows_under_test() {
            let mut actual = x.clone();
            kernels.rope_half(&mut actual, &cos, &sin);
            assert_same_bits("rope_half", &actual, &rotated(|index, half| (index, index + half)));
            let mut actual = x.clone();
            kernels.rope_interleaved(&mut actual, &cos, &sin);
            let expected = rotated(|index, _| (2 * index, 2 * index + 1));
            assert_same_bits(&format!("{} interleaved", kernels.name()), &actual, &expected);
        }
    }
}

#[test]
fn softmax_agrees_with_f64_and_between_rows() {
    let mut random = Random(5);
    for length in LENGTHS.into_iter().filter(|&length| length > 0) {
        let mut x: Vec<_> = random.vector(length).iter().map(|x| x * 20.0).collect();
        if length > 3 {
            x[2] = f32::NEG_INFINITY;
        }
        let sum: f64 = x.iter().map(|&x| f64::from(x).exp()).sum();
        let mut expected = [x.clone(), x.clone()];
        scalar().softmax(&mut expected[0]);
        scalar().log_softmax(&mut expected[1]);
        let total = scalar().log_sum_exp(&x);
        assert!((f64::from(total) - sum.ln()).abs() < 4e-6, "{total}");
        for index in 0..length {
            let exact = f64::from(x[index]).exp() / sum;
            assert!((f64::from(expected[0][index]) - exact).abs() < 1e-6 * exact.max(1e-3));
            let log = f64::from(x[index]) - sum.ln();
            assert!((f64::from(expected[1][index]) - log).abs() < 1e-5 || log.is_infinite());
        }
        for kernels in rows_under_test() {
            let mut actual = [x.clone(), x.clone()];
            kernels.softmax(&mut actual[0]);
            kernels.log_softmax(&mut actual[1]);
            assert_same_bits(&format!("{} softmax", kernels.name()), &actual[0], &expected[0]);
            assert_same_bits(&format!("{} log_softmax", kernels.name()), &actual[1], &expected[1]);
            assert_same_bits("log_sum_exp", &[kernels.log_sum_exp(&x)], &[total]);
        }
    }
    for kernels in rows_under_test() {
        assert_eq!(kernels.log_sum_exp(&[]), f32::NEG_INFINITY);
        assert_eq!(kernels.log_sum_exp(&[f32::NEG_INFINITY; 20]), f32::NEG_INFINITY);
    }
}

#[test]
fn argmax_finds_the_first_maximum() {
    let nan = f32::NAN;
    for kernels in rows_under_test() {
        for (x, expected) in [
            (&[][..], 0),
            (&[nan, nan], 0),
            (&[nan, 1.0, 2.0, 2.0, nan], 2),
            (&[-1.0, nan, -0.5], 2),
            (&[f32::NEG_INFINITY, f32::NEG_INFINITY], 0),
            (&[nan, f32::NEG_INFINITY], 1),
            (&[1.0, f32::INFINITY, f32::INFINITY], 1),
        ] {
            assert_eq!(kernels.argmax(x), expected, "{} {x:?}", kernels.name());
        }
        for length in LENGTHS.into_iter().filter(|&length| length > 0) {
            for at in [0, length / 2, length - 1] {
                let mut x = vec![nan; length];
                x[at] = -3.0;
                x[length - 1] = if at == length - 1 { -3.0 } else { -4.0 };
                assert_eq!(kernels.argmax(&x), at, "{} {length}", kernels.name());
            }
        }
    }
}

#[test]
fn every_f16_and_bf16_converts_exactly() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut shifted = vec![0];
    shifted.extend(&bytes);
    for kernels in rows_under_test() {
        for offset in [0, 1] {
            let bytes = if offset == 0 { &bytes } else { &shifted[1..] };
            let mut actual = vec![0.0; 65536];
            kernels.convert(Floats::F16(bytes), &mut actual);
            let expected: Vec<_> = (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32()).collect();
            assert_same_bits(kernels.name(), &actual, &expected);
            kernels.convert(Floats::Bf16(bytes), &mut actual);
            let expected: Vec<_> = (0..=u16::MAX).map(|bits| bf16::from_bits(bits).to_f32()).collect();
            assert_same_bits(kernels.name(), &actual, &expected);
        }
        for length in LENGTHS {
            let mut actual = vec![0.0; length];
            kernels.convert(Floats::F32(&bytes[..4 * length]), &mut actual);
            let expected: Vec<_> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            assert_same_bits(kernels.name(), &actual, &expected[..length]);
        }
    }
}

#[test]
fn f16_rounds_to_nearest_even() {
    let mut random = Random(6);
    for length in LENGTHS {
        let mut x = values(&mut random, length);
        x.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = 65519.9);
        let expected: Vec<u8> = x.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        for kernels in rows_under_test() {
            let mut actual = vec![0; 2 * length];
            kernels.to_f16(&x, &mut actual);
            assert_eq!(actual, expected, "{} {x:?}", kernels.name());
        }
    }
}
