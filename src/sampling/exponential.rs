//! Exponential and logarithm in f64 that give the same bits on every processor, which the standard library's
//! do not promise.

/// The exponential of `x`; 0 below -708, where results would be subnormal, and `exp(709)` above 709.
///
/// Within 2 units in the last place. Two-part reduction by multiples of ln 2 (Cody and Waite, 1980), then the
/// Taylor polynomial of degree 13 on ±ln(2)/2. Free of branches and calls, so that loops over it vectorise.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
    // Adding 1.5 * 2^52 rounds to an integer, which then is in the low bits of the sum.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const COEFFICIENTS: [f64; 14] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let limited = if x > 709.0 { 709.0 } else { x };
    let limited = if limited < -708.0 { -708.0 } else { limited };
    let shifted = limited * std::f64::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    let rest = (limited - power * LN_2_HIGH) - power * LN_2_LOW;
    let mut polynomial = COEFFICIENTS[0];
    for coefficient in &COEFFICIENTS[1..] {
        polynomial = polynomial * rest + coefficient;
    }
    let scaled = f64::from_bits(polynomial.to_bits().wrapping_add(shifted.to_bits() << 52));
    if x < -708.0 { 0.0 } else { scaled }
}

/// The natural logarithm of a positive, finite, normal `x`, within 2 units in the last place of the larger of
/// the result and 1.
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) as i64 - 1023) as f64;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1.0;
    }
    // ln m = 2 atanh(s) with s = (m - 1) / (m + 1), |s| <= 0.172: s^2 to the 11th is below 2^-53.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut series = 0.0;
    for odd in (1..=23).rev().step_by(2) {
        series = series * square + 1.0 / f64::from(odd);
    }
    exponent * std::f64::consts::LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_of_the_standard_library() {
        let mut x = -708.0;
        while x < 709.0 {
            let (ours, theirs) = (exp(x), f64::exp(x));
            let units = ours.to_bits().abs_diff(theirs.to_bits());
            assert!(units <= 3, "exp({x}): {ours} is {units} units from {theirs}");
            x += 0.013_7;
        }
    }

    #[test]
    fn exp_has_exact_and_limited_values() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(-709.0), 0.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp(f64::INFINITY), exp(709.0));
        assert!(exp(709.0).is_finite());
    }

    #[test]
    fn ln_agrees_with_the_standard_library() {
        for x in [1e-300, 1e-9, 0.1, 0.5, 0.707, 0.999_999, 1.0, 1.000_001, 1.5, 2.0, 10.0, 262_144.0, 1e300]
        {
            let bound = 4.5e-16 * f64::ln(x).abs().max(1.0);
            assert!((ln(x) - f64::ln(x)).abs() <= bound, "ln({x}) = {} and not {}", ln(x), f64::ln(x));
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn ln_undoes_exp() {
        for x in [-700.0, -20.0, -1.0, -1e-3, 0.0, 0.3, 5.0, 700.0] {
            assert!((ln(exp(x)) - x).abs() <= 1e-15 * f64::max(1.0, x.abs()));
        }
    }
}
