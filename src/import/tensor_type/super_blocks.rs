//! Super-blocks of 256 weights: one or two floats for all, and small integers that scale them for each block.

use super::blocks_of_32::push_non_linear;
use super::half;
use crate::import::blocks::BlockRow;

/// Appends the fields of `bits` bits: of the first `part` bytes first all lowest fields, last all highest; then those
/// of the next bytes.
fn push_fields(bytes: &[u8], part: usize, bits: usize, output: &mut Vec<u8>) {
    let mask = (1 << bits) - 1;
    for part in bytes.chunks(part) {
        for shift in (0..8).step_by(bits) {
            output.extend(part.iter().map(|byte| byte >> shift & mask));
        }
    }
}

/// Adds to the last 256 codes, which have `low` bits so far, the fields of `bits` bits in `bytes`; their order is that of
/// [`push_fields`] with parts of 32 bytes.
fn add_high_fields(bytes: &[u8], bits: usize, low: usize, output: &mut [u8]) {
    let mask = (1 << bits) - 1;
    let start = output.len().saturating_sub(256);
    let codes = output.get_mut(start..).unwrap_or_default();
    for (part, codes) in bytes.chunks(32).zip(codes.chunks_mut(32 * 8 / bits)) {
        for (shift, codes) in (0..8).step_by(bits).zip(codes.chunks_mut(32)) {
            for (code, byte) in codes.iter_mut().zip(part) {
                *code |= (byte >> shift & mask) << low;
            }
        }
    }
}

/// Adds `offset` to the last 256 codes, so that what stood for 0 becomes the middle of the range.
fn centre(offset: u8, output: &mut [u8]) {
    let start = output.len().saturating_sub(256);
    output.iter_mut().skip(start).for_each(|code| *code += offset);
}

pub(super) fn read_q2_k(block: &[u8; 84], output: &mut BlockRow) {
    let (factors, rest) = block.split_at(16);
    let (codes, floats) = rest.split_at(64);
    let &[d0, d1, m0, m1] = floats else { return };
    let (scale, minimum) = (half([d0, d1]), half([m0, m1]));
    output.scales.extend(factors.iter().map(|factor| scale * f32::from(factor & 15)));
    output.minimums.extend(factors.iter().map(|factor| -(minimum * f32::from(factor >> 4))));
    push_fields(codes, 32, 2, &mut output.quants);
}

pub(super) fn read_q3_k(block: &[u8; 110], output: &mut BlockRow) {
    let (high_bits, rest) = block.split_at(32);
    let (codes, rest) = rest.split_at(64);
    let (factors, float) = rest.split_at(12);
    let (low_factors, high_factors) = factors.split_at(8);
    let &[d0, d1] = float else { return };
    let scale = half([d0, d1]);
    // 6 bits a factor: four in the halves of the first eight bytes, two in the quarters of the last four.
    let low = [0, 4].into_iter().flat_map(|shift| low_factors.iter().map(move |byte| byte >> shift & 15));
    let high =
        [0, 2, 4, 6].into_iter().flat_map(|shift| high_factors.iter().map(move |byte| byte >> shift & 3));
    let factors = low.zip(high).map(|(low, high)| f32::from(low | high << 4) - 32.0);
    output.scales.extend(factors.map(|factor| scale * factor));
    push_fields(codes, 32, 2, &mut output.quants);
    add_high_fields(high_bits, 1, 2, &mut output.quants);
    centre(8 - 4, &mut output.quants);
}

/// Eight pairs of 6-bit integers: factors of the scale and of the minimum.
///
/// The low six bits of the first eight bytes are the first four factors of either kind. Their top two bits and the
/// halves of the last four bytes are the others.
fn packed_factors(bytes: &[u8]) -> impl Iterator<Item = (u8, u8)> {
    let (scales, rest) = bytes.split_at(4);
    let (minimums, halves) = rest.split_at(4);
    let first = scales.iter().zip(minimums).map(|(scale, minimum)| (scale & 63, minimum & 63));
    let others = scales.iter().zip(minimums).zip(halves);
    first.chain(
        others
            .map(|((scale, minimum), both)| (both & 15 | scale >> 2 & 0x30, both >> 4 | minimum >> 2 & 0x30)),
    )
}

/// What Q4_K and Q5_K begin with: two floats and the factors of eight blocks.
fn read_scales_and_minimums(head: &[u8; 16], output: &mut BlockRow) {
    let &[d0, d1, m0, m1, ref factors @ ..] = head;
    let (scale, minimum) = (half([d0, d1]), half([m0, m1]));
    for (scale_factor, minimum_factor) in packed_factors(factors) {
        output.scales.push(scale * f32::from(scale_factor));
        output.minimums.push(-(minimum * f32::from(minimum_factor)));
    }
}

pub(super) fn read_q4_k(block: &[u8; 144], output: &mut BlockRow) {
    let Some((head, codes)) = block.split_first_chunk() else { return };
    read_scales_and_minimums(head, output);
    push_fields(codes, 32, 4, &mut output.quants);
}

pub(super) fn read_q5_k(block: &[u8; 176], output: &mut BlockRow) {
    let Some((head, rest)) = block.split_first_chunk() else { return };
    let (high_bits, codes) = rest.split_at(32);
    read_scales_and_minimums(head, output);
    push_fields(codes, 32, 4, &mut output.quants);
    add_high_fields(high_bits, 1, 4, &mut output.quants);
}

pub(super) fn read_q6_k(block: &[u8; 210], output: &mut BlockRow) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (factors, float) = rest.split_at(16);
    let &[d0, d1] = float else { return };
    let scale = half([d0, d1]);
    // 11 bits times 8: the product is exact.
    output.scales.extend(factors.iter().map(|&factor| scale * f32::from(factor.cast_signed())));
    push_fields(low, 64, 4, &mut output.quants);
    add_high_fields(high, 2, 4, &mut output.quants);
    centre(128 - 32, &mut output.quants);
}

pub(super) fn read_iq4_xs(block: &[u8; 136], output: &mut BlockRow) {
    let (head, codes) = block.split_at(8);
    let &[d0, d1, h0, h1, ref low @ ..] = head else { return };
    let (scale, high) = (half([d0, d1]), u16::from_le_bytes([h0, h1]));
    let low = low.iter().flat_map(|byte| [byte & 15, byte >> 4]);
    for ((low, index), codes) in low.zip(0..).zip(codes.as_chunks().0) {
        let factor = u16::from(low) | (high >> (2 * index) & 3) << 4;
        output.scales.push(scale * (f32::from(factor) - 32.0));
        push_non_linear(codes, output);
    }
}
