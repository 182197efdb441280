//! Activations to 8 bits in blocks of 16.

use super::activations::{ActivationLayout, ActivationsMut};
use super::lanes::Lanes;

/// Fills `out` from as many values as it has columns.
#[inline(always)]
pub(super) fn quantise<L: Lanes>(lanes: L, values: &[f32], out: &mut ActivationsMut<'_>) {
    for unit in 0..values.len().div_ceil(128) {
        let start = 128 * unit;
        let present = &values[start..values.len().min(start + 128)];
        let mut padded = [0.0; 128];
        let whole: &[f32; 128] = match present.first_chunk() {
            Some(whole) => whole,
            None => {
                padded[..present.len()].copy_from_slice(present);
                &padded
            }
        };
        let mut codes = [0; 128];
        let mut scales = [0.0; 8];
        let mut sums = [0.0; 15];
        let blocks = whole.as_chunks::<16>().0.iter().zip(codes.as_chunks_mut::<16>().0);
        for (index, (values, codes)) in blocks.enumerate() {
            scales[index] = quantise_block(lanes, values, codes);
            let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
            sums[index] = scales[index] * sum as f32;
        }
        for index in 0..4 {
            sums[8 + index] = sums[2 * index] + sums[2 * index + 1];
        }
        sums[12] = sums[8] + sums[9];
        sums[13] = sums[10] + sums[11];
        sums[14] = sums[12] + sums[13];
        out.sums[0][8 * unit..][..8].copy_from_slice(&sums[..8]);
        out.sums[1][4 * unit..][..4].copy_from_slice(&sums[8..12]);
        out.sums[2][2 * unit..][..2].copy_from_slice(&sums[12..14]);
        out.sums[3][unit] = sums[14];
        match out.layout {
            ActivationLayout::Split => {
                let chunk = &mut out.split[unit];
                for index in 0..64 {
                    chunk.even[index] = codes[2 * index];
                    chunk.odd[index] = codes[2 * index + 1];
                }
                for lane in 0..16 {
                    let mut sum = 0;
                    for index in 0..8 {
                        sum += i32::from(codes[8 * lane + index]);
                    }
                    chunk.offsets[lane] = -8 * sum;
                    chunk.scales[lane] = scales[lane / 2];
                }
            }
            ActivationLayout::Natural => {
                for half in 0..2 {
                    let chunk = &mut out.natural[2 * unit + half];
                    let codes = &codes[64 * half..][..64];
                    chunk.codes.copy_from_slice(codes);
                    for lane in 0..16 {
                        let mut sum = 0;
                        for index in 0..4 {
                            sum += i32::from(codes[4 * lane + index]);
                        }
                        chunk.offsets[lane] = -128 * sum;
                        chunk.scales[lane] = scales[4 * half + lane / 4];
                    }
                }
            }
        }
    }
}

/// Quantises 16 values and returns their scale. A NaN or an infinity leaves codes of zero and itself as the
/// scale, so that the products become NaN.
#[inline(always)]
fn quantise_block<L: Lanes>(lanes: L, values: &[f32; 16], codes: &mut [i8; 16]) -> f32 {
    let vector = lanes.load(values);
    let mut bits = values.map(|value| value.to_bits() & i32::MAX as u32);
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            bits[lane] = bits[lane].max(bits[lane + half]);
        }
    }
    let scale = f32::from_bits(bits[0]) / 127.0;
    if scale > 0.0 && scale.is_finite() {
        let rounded = lanes.round(lanes.div(vector, lanes.splat(scale)));
        let clamped = lanes.max(lanes.min(rounded, lanes.splat(127.0)), lanes.splat(-127.0));
        *codes = lanes.to_bytes(clamped);
    } else {
        codes.fill(0);
    }
    scale
}
