//! Elementary functions on lanes. Polynomials are Chebyshev fits made for this file.

use super::lanes::Lanes;

/// a0 + a1 x + a2 x^2 + ...
#[inline(always)]
fn polynomial<L: Lanes, const N: usize>(lanes: L, x: L::Float, coefficients: [f32; N]) -> L::Float {
    let mut sum = lanes.splat(coefficients[N - 1]);
    for index in (0..N - 1).rev() {
        sum = lanes.fma(sum, x, lanes.splat(coefficients[index]));
    }
    sum
}

/// e^x within 2 units in the last place: 2^n e^r with |r| <= ln(2) / 2.
#[inline(always)]
pub(super) fn exp<L: Lanes>(lanes: L, x: L::Float) -> L::Float {
    // Beyond these the result is 0 or infinite; a NaN passes.
    let x = lanes.min(lanes.splat(89.0), lanes.max(lanes.splat(-104.0), x));
    let n = lanes.round(lanes.mul(x, lanes.splat(std::f32::consts::LOG2_E)));
    // ln(2) as a number of few bits, so that its product with n is exact, and the rest.
    let r = lanes.fma(n, lanes.splat(-0.693_359_4), x);
    let r = lanes.fma(n, lanes.splat(2.121_944_4e-4), r);
    let p = polynomial(
        lanes,
        r,
        [0.5, 0.166_666_67, 0.041_666_467, 0.008_333_298, 0.001_393_365_2, 0.000_198_992_87],
    );
    let p = lanes.add(lanes.fma(lanes.mul(r, r), p, r), lanes.splat(1.0));
    lanes.times_power_of_two(p, n)
}

/// 1 / (1 + e^-x)
#[inline(always)]
pub(super) fn sigmoid<L: Lanes>(lanes: L, x: L::Float) -> L::Float {
    let one = lanes.splat(1.0);
    lanes.div(one, lanes.add(one, exp(lanes, lanes.sub(lanes.splat(0.0), x))))
}

#[inline(always)]
pub(super) fn tanh<L: Lanes>(lanes: L, x: L::Float) -> L::Float {
    let magnitude = lanes.abs(x);
    let square = lanes.mul(x, x);
    let p = polynomial(
        lanes,
        square,
        [-0.333_333_34, 0.133_333_04, -0.053_959_407, 0.021_769_961, -0.008_346_98, 0.002_295_841],
    );
    let small = lanes.fma(lanes.mul(x, square), p, x);
    let one = lanes.splat(1.0);
    let e = exp(lanes, lanes.add(magnitude, magnitude));
    let large = lanes.sub(one, lanes.div(lanes.splat(2.0), lanes.add(e, one)));
    let negative = lanes.sub(lanes.splat(0.0), large);
    let large = lanes.select_greater(lanes.splat(0.0), x, negative, large);
    lanes.select_greater(magnitude, lanes.splat(0.625), large, small)
}

/// The standard normal distribution function.
#[inline(always)]
pub(super) fn normal_cdf<L: Lanes>(lanes: L, x: L::Float) -> L::Float {
    // erfc(z) = t exp(-z^2 + P(t)) with t = 1 / (1 + z / 2), for z >= 0.
    let z = lanes.mul(lanes.abs(x), lanes.splat(std::f32::consts::FRAC_1_SQRT_2));
    let one = lanes.splat(1.0);
    let t = lanes.div(one, lanes.fma(z, lanes.splat(0.5), one));
    let p = polynomial(
        lanes,
        t,
        [
            -1.265_451_1,
            0.998_694_5,
            0.386_110_5,
            0.037_133_522,
            -0.006_165_476_5,
            -0.066_307_65,
            -0.713_121_24,
            1.169_388_7,
            -0.686_196_15,
            0.145_914_48,
        ],
    );
    let negative_z = lanes.sub(lanes.splat(0.0), z);
    let tail = lanes.mul(lanes.mul(t, lanes.splat(0.5)), exp(lanes, lanes.fma(negative_z, z, p)));
    lanes.select_greater(x, lanes.splat(0.0), lanes.sub(one, tail), tail)
}
