//! Operations on whole vectors.

use super::lanes::Lanes;
use super::math::{exp, normal_cdf, sigmoid, tanh};

/// Runs `$body` for each 16 values of `$x`, and for the rest padded with zeros.
macro_rules! update {
    ($lanes:ident, $x:ident, |$value:ident| $body:expr) => {
        let (whole, rest) = $x.as_chunks_mut::<16>();
        for chunk in whole {
            let $value = $lanes.load(chunk);
            $lanes.store($body, chunk);
        }
        if !rest.is_empty() {
            let $value = $lanes.load_partial(rest);
            $lanes.store_partial($body, rest);
        }
    };
    ($lanes:ident, $x:ident, $y:ident, |$value:ident, $other:ident| $body:expr) => {
        let (whole, rest) = $x.as_chunks_mut::<16>();
        let (whole_other, rest_other) = $y.as_chunks::<16>();
        for (chunk, other) in whole.iter_mut().zip(whole_other) {
            let ($value, $other) = ($lanes.load(chunk), $lanes.load(other));
            $lanes.store($body, chunk);
        }
        if !rest.is_empty() {
            let ($value, $other) = ($lanes.load_partial(rest), $lanes.load_partial(rest_other));
            $lanes.store_partial($body, rest);
        }
    };
}

#[inline(always)]
pub(super) fn add<L: Lanes>(lanes: L, x: &mut [f32], y: &[f32]) {
    update!(lanes, x, y, |a, b| lanes.add(a, b));
}

#[inline(always)]
pub(super) fn add_scaled<L: Lanes>(lanes: L, x: &mut [f32], y: &[f32], factor: f32) {
    let factor = lanes.splat(factor);
    update!(lanes, x, y, |a, b| lanes.fma(b, factor, a));
}

#[inline(always)]
pub(super) fn mul<L: Lanes>(lanes: L, x: &mut [f32], y: &[f32]) {
    update!(lanes, x, y, |a, b| lanes.mul(a, b));
}

#[inline(always)]
pub(super) fn scale<L: Lanes>(lanes: L, x: &mut [f32], factor: f32) {
    let factor = lanes.splat(factor);
    update!(lanes, x, |a| lanes.mul(a, factor));
}

#[inline(always)]
pub(super) fn silu<L: Lanes>(lanes: L, x: &mut [f32]) {
    update!(lanes, x, |a| lanes.mul(a, sigmoid(lanes, a)));
}

/// x = silu(x) * y
#[inline(always)]
pub(super) fn silu_mul<L: Lanes>(lanes: L, x: &mut [f32], y: &[f32]) {
    update!(lanes, x, y, |a, b| lanes.mul(lanes.mul(a, sigmoid(lanes, a)), b));
}

/// x / 2 (1 + tanh(u)) = x sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
#[inline(always)]
pub(super) fn gelu_tanh<L: Lanes>(lanes: L, x: &mut [f32]) {
    let cubic = lanes.splat(0.044_715);
    let factor = lanes.splat(1.595_769_2);
    let one = lanes.splat(1.0);
    update!(lanes, x, |a| {
        let u = lanes.mul(lanes.mul(a, factor), lanes.fma(lanes.mul(a, a), cubic, one));
        lanes.mul(a, sigmoid(lanes, u))
    });
}

/// x times the normal distribution function.
#[inline(always)]
pub(super) fn gelu_erf<L: Lanes>(lanes: L, x: &mut [f32]) {
    update!(lanes, x, |a| lanes.mul(a, normal_cdf(lanes, a)));
}

/// x sigmoid(alpha x)
#[inline(always)]
pub(super) fn quick_gelu<L: Lanes>(lanes: L, x: &mut [f32], alpha: f32) {
    let alpha = lanes.splat(alpha);
    update!(lanes, x, |a| lanes.mul(a, sigmoid(lanes, lanes.mul(a, alpha))));
}

#[inline(always)]
pub(super) fn sigmoid_of<L: Lanes>(lanes: L, x: &mut [f32]) {
    update!(lanes, x, |a| sigmoid(lanes, a));
}

#[inline(always)]
pub(super) fn tanh_of<L: Lanes>(lanes: L, x: &mut [f32]) {
    update!(lanes, x, |a| tanh(lanes, a));
}

#[inline(always)]
pub(super) fn relu<L: Lanes>(lanes: L, x: &mut [f32]) {
    update!(lanes, x, |a| lanes.max(lanes.splat(0.0), a));
}

#[inline(always)]
pub(super) fn exp_of<L: Lanes>(lanes: L, x: &mut [f32]) {
    update!(lanes, x, |a| exp(lanes, a));
}

/// cap tanh(x / cap)
#[inline(always)]
pub(super) fn softcap<L: Lanes>(lanes: L, x: &mut [f32], cap: f32) {
    let cap = lanes.splat(cap);
    update!(lanes, x, |a| lanes.mul(cap, tanh(lanes, lanes.div(a, cap))));
}

/// Sum of the products of corresponding values in 16 chains.
#[inline(always)]
fn dot<L: Lanes>(lanes: L, x: &[f32], y: &[f32]) -> f32 {
    let mut total = lanes.splat(0.0);
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<16>(), y.as_chunks::<16>());
    for (x, y) in x.iter().zip(y) {
        total = lanes.fma(lanes.load(x), lanes.load(y), total);
    }
    if !x_rest.is_empty() {
        total = lanes.fma(lanes.load_partial(x_rest), lanes.load_partial(y_rest), total);
    }
    lanes.sum(total)
}

/// Sum in 16 chains.
#[inline(always)]
fn total<L: Lanes>(lanes: L, x: &[f32]) -> f32 {
    let mut total = lanes.splat(0.0);
    let (whole, rest) = x.as_chunks::<16>();
    for x in whole {
        total = lanes.add(total, lanes.load(x));
    }
    if !rest.is_empty() {
        total = lanes.add(total, lanes.load_partial(rest));
    }
    lanes.sum(total)
}

/// out = x / sqrt(mean(x^2) + epsilon) * weight
#[inline(always)]
pub(super) fn rms_norm<L: Lanes>(lanes: L, x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let mean = dot(lanes, x, x) / x.len() as f32;
    let factor = lanes.splat(1.0 / (mean + epsilon).sqrt());
    out.copy_from_slice(x);
    update!(lanes, out, weight, |a, w| lanes.mul(lanes.mul(a, factor), w));
}

/// out = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias
#[inline(always)]
pub(super) fn layer_norm<L: Lanes>(
    lanes: L,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    epsilon: f32,
    out: &mut [f32],
) {
    let mean = lanes.splat(total(lanes, x) / x.len() as f32);
    out.copy_from_slice(x);
    update!(lanes, out, |a| lanes.sub(a, mean));
    let variance = dot(lanes, out, out) / x.len() as f32;
    let factor = lanes.splat(1.0 / (variance + epsilon).sqrt());
    update!(lanes, out, weight, |a, w| lanes.mul(lanes.mul(a, factor), w));
    if let Some(bias) = bias {
        add(lanes, out, bias);
    }
}

/// Rotates pairs (i, i + R / 2) of the first R = 2 * cos.len() values.
#[inline(always)]
pub(super) fn rope_half<L: Lanes>(lanes: L, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = x[..2 * cos.len()].split_at_mut(cos.len());
    let zero = lanes.splat(0.0);
    for (((low, high), cos), sin) in
        low.chunks_mut(16).zip(high.chunks_mut(16)).zip(cos.chunks(16)).zip(sin.chunks(16))
    {
        let (a, b) = (lanes.load_partial(low), lanes.load_partial(high));
        let (cos, sin) = (lanes.load_partial(cos), lanes.load_partial(sin));
        let minus_sin = lanes.sub(zero, sin);
        lanes.store_partial(lanes.fma(a, cos, lanes.mul(b, minus_sin)), low);
        lanes.store_partial(lanes.fma(b, cos, lanes.mul(a, sin)), high);
    }
}

/// Rotates pairs (2i, 2i + 1) of the first R = 2 * cos.len() values.
#[inline(always)]
pub(super) fn rope_interleaved<L: Lanes>(lanes: L, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    for ((x, cos), sin) in x[..2 * cos.len()].chunks_mut(32).zip(cos.chunks(16)).zip(sin.chunks(16)) {
        let mut halves = [0.0; 32];
        for (index, pair) in x.as_chunks::<2>().0.iter().enumerate() {
            halves[index] = pair[0];
            halves[16 + index] = pair[1];
        }
        // In the padding both halves are zero, and stay so.
        let mut angles = [[0.0; 16]; 2];
        angles[0][..cos.len()].copy_from_slice(cos);
        angles[1][..sin.len()].copy_from_slice(sin);
        rope_half(lanes, &mut halves, &angles[0], &angles[1]);
        for (index, pair) in x.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *pair = [halves[index], halves[16 + index]];
        }
    }
}

/// The largest value; NaN counts only where all are NaN or there are none (negative infinity).
#[inline(always)]
pub(super) fn largest<L: Lanes>(lanes: L, x: &[f32]) -> f32 {
    let mut largest = lanes.splat(f32::NEG_INFINITY);
    let (whole, rest) = x.as_chunks::<16>();
    for x in whole {
        largest = lanes.max(lanes.load(x), largest);
    }
    let mut all = [0.0; 16];
    lanes.store(largest, &mut all);
    let mut largest = f32::NEG_INFINITY;
    for &value in all.iter().chain(rest) {
        if value > largest {
            largest = value;
        }
    }
    largest
}

/// The index of the first maximum; NaN never wins, except that 0 is returned where all are NaN.
#[inline(always)]
pub(super) fn argmax<L: Lanes>(lanes: L, x: &[f32]) -> usize {
    let largest = largest(lanes, x);
    x.iter().position(|&value| value == largest).unwrap_or(0)
}

/// x = exp(x - max) and their sum.
#[inline(always)]
fn exponentials<L: Lanes>(lanes: L, x: &mut [f32]) -> f32 {
    let largest = lanes.splat(largest(lanes, x));
    update!(lanes, x, |a| exp(lanes, lanes.sub(a, largest)));
    total(lanes, x)
}

#[inline(always)]
pub(super) fn softmax<L: Lanes>(lanes: L, x: &mut [f32]) {
    let sum = lanes.splat(exponentials(lanes, x));
    update!(lanes, x, |a| lanes.div(a, sum));
}

/// ln(sum(exp(x))), without overflow.
#[inline(always)]
pub(super) fn log_sum_exp<L: Lanes>(lanes: L, x: &[f32]) -> f32 {
    let largest = largest(lanes, x);
    if largest.is_infinite() {
        return largest;
    }
    let shift = lanes.splat(largest);
    let mut total = lanes.splat(0.0);
    let (whole, rest) = x.as_chunks::<16>();
    for x in whole {
        total = lanes.add(total, exp(lanes, lanes.sub(lanes.load(x), shift)));
    }
    if !rest.is_empty() {
        let values = exp(lanes, lanes.sub(lanes.load_partial(rest), shift));
        let present = (1 << rest.len()) - 1;
        total = lanes.add(total, lanes.select(present, values, lanes.splat(0.0)));
    }
    // The f64 logarithm rounds to the same f32 in every math library.
    (f64::from(largest) + f64::from(lanes.sum(total)).ln()) as f32
}

#[inline(always)]
pub(super) fn log_softmax<L: Lanes>(lanes: L, x: &mut [f32]) {
    let shift = lanes.splat(log_sum_exp(lanes, x));
    update!(lanes, x, |a| lanes.sub(a, shift));
}
