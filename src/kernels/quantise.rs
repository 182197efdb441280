//! Activations to 8 bits in blocks of 16.

use super::activations::{ActivationLayout, ActivationsMut, COLUMN_UNIT};
use super::lanes::Lanes;

/// Fills `out` from as many values as it has columns.
#[inline(always)]
pub(super) fn quantise<L: Lanes>(lanes: L, values: &[f32], out: &mut ActivationsMut<'_>) {
    for unit in 0..values.len().div_ceil(COLUMN_UNIT) {
        let start = COLUMN_UNIT * unit;
        let present = &values[start..values.len().min(start + COLUMN_UNIT)];
        let mut padded = [0.0; COLUMN_UNIT];
        let whole: &[f32; COLUMN_UNIT] = match present.first_chunk() {
            Some(whole) => whole,
            None => {
                padded[..present.len()].copy_from_slice(present);
                &padded
            }
        };
        let mut codes = [0; COLUMN_UNIT];
        let mut scales = [0.0; 16];
        let mut totals = [0; 16];
        let mut sums = [0.0; 16];
        let blocks = whole.as_chunks::<16>().0.iter().zip(codes.as_chunks_mut::<16>().0);
        for (index, (values, codes)) in blocks.enumerate() {
            scales[index] = quantise_block(lanes, values, codes);
            totals[index] = codes.iter().map(|&code| i32::from(code)).sum();
            sums[index] = scales[index] * totals[index] as f32;
        }
        let mut count = 16;
        for of_level in &mut out.sums {
            of_level[count * unit..][..count].copy_from_slice(&sums[..count]);
            count /= 2;
            for index in 0..count {
                sums[index] = sums[2 * index] + sums[2 * index + 1];
            }
        }
        match out.layout {
            ActivationLayout::Split => {
                let chunk = &mut out.split[unit];
                for (lane, codes) in codes.as_chunks::<16>().0.iter().enumerate() {
                    for index in 0..4 {
                        chunk.parts[0][4 * lane + index] = codes[2 * index];
                        chunk.parts[1][4 * lane + index] = codes[2 * index + 1];
                        chunk.parts[2][4 * lane + index] = codes[2 * index + 8];
                        chunk.parts[3][4 * lane + index] = codes[2 * index + 9];
                    }
                }
                chunk.scales = scales;
                chunk.offsets = totals.map(|total| -8 * total);
            }
            ActivationLayout::Natural => {
                for (quarter, codes) in codes.as_chunks::<64>().0.iter().enumerate() {
                    let chunk = &mut out.natural[4 * unit + quarter];
                    chunk.codes = *codes;
                    for lane in 0..16 {
                        let mut sum = 0;
                        for index in 0..4 {
                            sum += i32::from(codes[4 * lane + index]);
                        }
                        chunk.offsets[lane] = -128 * sum;
                        chunk.scales[lane] = scales[4 * quarter + lane / 4];
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
