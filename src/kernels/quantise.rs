//! Activations to 8 bits in blocks of 16.

use super::activations::{ActivationLayout, ActivationsMut, COLUMN_UNIT, PlaneMut};
use super::lanes::Lanes;

/// A unit's codes in order of k, with the scale and the sum of the codes of each block.
struct Unit {
    codes: [[i8; 16]; 16],
    scales: [f32; 16],
    totals: [i32; 16],
}

/// Fills `out` from as many values as it has columns.
#[inline(always)]
pub(super) fn quantise<L: Lanes>(lanes: L, values: &[f32], out: &mut ActivationsMut<'_>) {
    let (whole, rest) = values.as_chunks::<COLUMN_UNIT>();
    for (unit, values) in whole.iter().enumerate() {
        quantise_unit(lanes, unit, values, out);
    }
    if !rest.is_empty() {
        let mut padded = [0.0; COLUMN_UNIT];
        padded[..rest.len()].copy_from_slice(rest);
        quantise_unit(lanes, whole.len(), &padded, out);
    }
}

#[inline(always)]
fn quantise_unit<L: Lanes>(lanes: L, unit: usize, values: &[f32; COLUMN_UNIT], out: &mut ActivationsMut<'_>) {
    let first = codes_of(lanes, values);
    write(lanes, unit, &first, &mut out.first);
    if let Some(plane) = &mut out.second {
        let second = codes_of(lanes, &remainder(lanes, values, &first));
        write(lanes, unit, &second, plane);
    }
}

/// What the codes leave of the values, rounded once.
#[inline(always)]
fn remainder<L: Lanes>(lanes: L, values: &[f32; COLUMN_UNIT], unit: &Unit) -> [f32; COLUMN_UNIT] {
    let mut left = [0.0; COLUMN_UNIT];
    let blocks = left.as_chunks_mut().0.iter_mut().zip(values.as_chunks().0);
    for ((left, values), (codes, scale)) in blocks.zip(unit.codes.iter().zip(unit.scales)) {
        let rest = lanes.fma(lanes.codes_to_floats(codes), lanes.splat(-scale), lanes.load(values));
        lanes.store(rest, left);
    }
    left
}

#[inline(always)]
fn write<L: Lanes>(lanes: L, unit: usize, quantised: &Unit, out: &mut PlaneMut<'_>) {
    let Unit { codes, scales, totals } = quantised;
    let mut sums = [0.0; 16];
    for index in 0..16 {
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
            for (lane, codes) in codes.iter().enumerate() {
                let parts = lanes.split_codes(codes);
                for part in 0..4 {
                    chunk.parts[part][4 * lane..][..4].copy_from_slice(&parts[part]);
                }
            }
            chunk.scales = *scales;
            chunk.offsets = totals.map(|total| -8 * total);
        }
        ActivationLayout::Grouped => {
            for (block, codes) in codes.iter().enumerate() {
                let parts = lanes.split_codes(codes);
                out.grouped.write(unit, block, parts, scales[block], -8 * totals[block]);
            }
        }
        ActivationLayout::Natural => {
            for (quarter, codes) in codes.as_flattened().as_chunks::<64>().0.iter().enumerate() {
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

/// Quantises 16 blocks. A NaN or an infinity leaves its block with codes of zero and itself as the scale, so that the products
/// become NaN.
#[inline(always)]
fn codes_of<L: Lanes>(lanes: L, values: &[f32; COLUMN_UNIT]) -> Unit {
    let mut unit = Unit { codes: [[0; 16]; 16], scales: [0.0; 16], totals: [0; 16] };
    for (index, values) in values.as_chunks::<16>().0.iter().enumerate() {
        unit.scales[index] = lanes.largest_magnitude(lanes.load(values)) / 127.0;
    }
    for first in (0..16).step_by(4) {
        let mut rounded = [lanes.splat(0.0); 4];
        for index in 0..4 {
            let block = first + index;
            let scale = unit.scales[block];
            if scale > 0.0 && scale.is_finite() {
                let from = values.as_chunks::<16>().0;
                let quotient = lanes.round(lanes.div(lanes.load(&from[block]), lanes.splat(scale)));
                rounded[index] = lanes.max(lanes.min(quotient, lanes.splat(127.0)), lanes.splat(-127.0));
                unit.codes[block] = lanes.to_bytes(rounded[index]);
            }
        }
        // Sums of small integers, without rounding.
        for (total, sum) in unit.totals[first..].iter_mut().zip(lanes.sum4(rounded)) {
            *total = sum as i32;
        }
    }
    unit
}
