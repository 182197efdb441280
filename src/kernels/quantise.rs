//! Activations to 8 bits in blocks of 32.

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
        let mut scales = [0.0; 4];
        for (block, values) in whole.as_chunks::<32>().0.iter().enumerate() {
            scales[block] = quantise_block(lanes, values, &mut codes[32 * block..][..32]);
        }
        let mut sums = [0.0; 15];
        for index in 0..8 {
            let sum: i32 = codes[16 * index..][..16].iter().map(|&code| i32::from(code)).sum();
            sums[index] = scales[index / 2] * sum as f32;
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
                    chunk.scales[lane] = scales[lane / 4];
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
                        chunk.scales[lane] = scales[2 * half + lane / 8];
                    }
                }
            }
        }
    }
}

/// Quantises 32 values and returns their scale. A NaN or an infinity leaves codes of zero and itself as the
/// scale, so that the products become NaN.
#[inline(always)]
fn quantise_block<L: Lanes>(lanes: L, values: &[f32; 32], codes: &mut [i8]) -> f32 {
    let [low, high] = values.as_chunks::<16>().0 else { return 0.0 };
    let halves = [lanes.load(low), lanes.load(high)];
    let mut magnitudes = [0.0; 16];
    lanes.store(lanes.max_magnitude(halves[0], halves[1]), &mut magnitudes);
    let mut bits = magnitudes.map(f32::to_bits);
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            bits[lane] = bits[lane].max(bits[lane + half]);
        }
    }
    let scale = f32::from_bits(bits[0]) / 127.0;
    if scale > 0.0 && scale.is_finite() {
        for (half, codes) in halves.into_iter().zip(codes.as_chunks_mut::<16>().0) {
            let rounded = lanes.round(lanes.div(half, lanes.splat(scale)));
            let clamped = lanes.max(lanes.min(rounded, lanes.splat(127.0)), lanes.splat(-127.0));
            *codes = lanes.to_bytes(clamped);
        }
    } else {
        codes.fill(0);
    }
    scale
}
