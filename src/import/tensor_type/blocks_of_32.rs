//! Blocks of 32 weights with a scale of their own.
//!
//! In 4-bit fields the low halves of the 16 bytes are the first 16 weights, the high halves the others.

use super::half;
use crate::import::blocks::BlockRow;

/// What the 16 codes of IQ4_NL and IQ4_XS stand for, plus 128.
const NON_LINEAR: [u8; 16] = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

/// Twice what 4-bit floats (one sign, two exponent and one mantissa bit) stand for, plus 128.
const FOUR_BIT_FLOATS: [u8; 16] =
    [128, 129, 130, 131, 132, 134, 136, 140, 128, 127, 126, 125, 124, 122, 120, 116];

/// The 4-bit fields of a block, in the order of its weights.
fn nibbles(bytes: &[u8; 16]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

/// Adds the fifth bits, the first weight's lowest.
fn with_fifth_bits(nibbles: impl Iterator<Item = u8>, bits: [u8; 4]) -> impl Iterator<Item = u8> {
    let bits = u32::from_le_bytes(bits);
    nibbles.zip(0_u32..).map(move |(nibble, index)| nibble | u8::from(bits >> index & 1 == 1) << 4)
}

pub(super) fn read_q4_0(&[d0, d1, ref codes @ ..]: &[u8; 18], output: &mut BlockRow) {
    output.scales.push(half([d0, d1]));
    output.quants.extend(nibbles(codes));
}

pub(super) fn read_q4_1(&[d0, d1, m0, m1, ref codes @ ..]: &[u8; 20], output: &mut BlockRow) {
    output.scales.push(half([d0, d1]));
    output.minimums.push(half([m0, m1]));
    output.quants.extend(nibbles(codes));
}

pub(super) fn read_q5_0(&[d0, d1, b0, b1, b2, b3, ref codes @ ..]: &[u8; 22], output: &mut BlockRow) {
    output.scales.push(half([d0, d1]));
    output.quants.extend(with_fifth_bits(nibbles(codes), [b0, b1, b2, b3]).map(|quant| quant + (128 - 16)));
}

pub(super) fn read_q5_1(&[d0, d1, m0, m1, b0, b1, b2, b3, ref codes @ ..]: &[u8; 24], output: &mut BlockRow) {
    output.scales.push(half([d0, d1]));
    output.minimums.push(half([m0, m1]));
    output.quants.extend(with_fifth_bits(nibbles(codes), [b0, b1, b2, b3]));
}

pub(super) fn read_q8_0(&[d0, d1, ref signed @ ..]: &[u8; 34], output: &mut BlockRow) {
    output.scales.push(half([d0, d1]));
    // Adding 128 to a signed byte flips its top bit.
    output.quants.extend(signed.iter().map(|byte| byte ^ 0x80));
}

pub(super) fn read_iq4_nl(&[d0, d1, ref codes @ ..]: &[u8; 18], output: &mut BlockRow) {
    output.scales.push(half([d0, d1]));
    push_non_linear(codes, output);
}

/// 32 weights of IQ4_NL or IQ4_XS.
pub(super) fn push_non_linear(codes: &[u8; 16], output: &mut BlockRow) {
    output.quants.extend(nibbles(codes).map(|code| NON_LINEAR[usize::from(code & 15)]));
}

pub(super) fn read_mxfp4(&[exponent, ref codes @ ..]: &[u8; 17], output: &mut BlockRow) {
    // 2^(e − 127), halved because the table holds doubled values. The two smallest are not normal floats.
    let bits = match exponent {
        0 => 1 << 21,
        1 => 1 << 22,
        _ => (u32::from(exponent) - 1) << 23,
    };
    output.scales.push(f32::from_bits(bits));
    output.quants.extend(nibbles(codes).map(|code| FOUR_BIT_FLOATS[usize::from(code & 15)]));
}
