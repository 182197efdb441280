//! Products of 4-bit weights with many tokens by the integer matrix instruction of Armv8.6 (SMMLA, "i8mm"): 2 rows of
//! 8 codes by 2 tokens of 8 codes at once, so a register holds the sums of two rows and two tokens in a lane.
//!
//! Four rows are unpacked into a panel on the stack, a segment at a time, and meet all tokens there. The operations on
//! each number are those of [`multiply_int8`](super::multiply_int8), in the same order.

use std::arch::aarch64::*;

use super::activations::{BlockActivations, SplitChunk};
use super::columns::ColumnsMut;
use super::lanes::neon::{I8MM, Neon};
use super::lanes::{BF16, F16, F32, unroll};
use super::matrix::{BlockMatrix, Floats, Rows};
use super::multiply_int8::{self, TILE_ROWS, finish, tile_rows, write};
use super::multiply_panel::WeightPanel;
use super::unpacking::{CHUNK_COLUMNS, Unpacking};

/// Chunks of a panel: 12 KiB, beside as much of four tokens in the first-level cache.
const PANEL_CHUNKS: usize = 8;
/// For fewer tokens a panel costs more than it saves.
const FEWEST_TOKENS: usize = 8;
/// Tokens that share a panel; their sums take 64 KiB of the stack.
const TOKEN_BLOCK: usize = 64;
/// Tokens that share a pass over a panel.
const GROUP: usize = 4;
/// 256 k of four rows, by quarter of the lanes, pair of rows and lane.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct PanelChunk {
    /// The even codes of the lane, then the odd ones: 8 of the first row, then 8 of the second, less 8 each.
    codes: [[[[[i8; 16]; 2]; 4]; 2]; 4],
    /// The first row's scale twice, then the second's.
    scales: [[[[f32; 4]; 4]; 2]; 4],
}

const EMPTY_CHUNK: PanelChunk =
    PanelChunk { codes: [[[[[0; 16]; 2]; 4]; 2]; 4], scales: [[[[0.0; 4]; 4]; 2]; 4] };

/// The sums of four rows and four tokens in a quarter of the lanes, by twice the pair of rows plus the pair of tokens
/// and by lane: first row with first and second token, second row with first and second token.
type QuarterSums = [[float32x4_t; 4]; 4];

macro_rules! simd {
    ($body:expr) => {
        // SAFETY: the existence of a `Neon` proves that the CPU has the instructions, and what is loaded or stored
        // lies inside the references given.
        unsafe { $body }
    };
}

/// As [`multiply_int8::multiply`], which does what this instruction has no use for.
#[inline(always)]
pub(super) fn multiply(
    lanes: Neon<I8MM>,
    matrix: &BlockMatrix<'_>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    panel: &mut WeightPanel,
    out: &mut ColumnsMut<'_>,
) {
    if matrix.shape.bits != 4 || activations.rows() < FEWEST_TOKENS {
        return multiply_int8::multiply(lanes, matrix, rows, activations, panel, out);
    }
    match matrix.scales {
        Floats::F32(_) => run::<F32>(lanes, matrix, rows, activations, out),
        Floats::F16(_) => run::<F16>(lanes, matrix, rows, activations, out),
        Floats::Bf16(_) => run::<BF16>(lanes, matrix, rows, activations, out),
    }
    finish(lanes, matrix, rows, activations, out);
}

#[inline(always)]
fn run<const FORMAT: u8>(
    lanes: Neon<I8MM>,
    matrix: &BlockMatrix<'_>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    out: &mut ColumnsMut<'_>,
) {
    let tokens = activations.rows();
    let chunks = matrix.shape.columns.div_ceil(CHUNK_COLUMNS);
    let zeros = simd!([[[vdupq_n_f32(0.0); 4]; 4]; 4]);
    let mut sums = [zeros; TOKEN_BLOCK / GROUP];
    let mut panel = [EMPTY_CHUNK; PANEL_CHUNKS];
    let unpacking = Unpacking::<_, FORMAT>::new(lanes, matrix);
    for start in (0..tokens).step_by(TOKEN_BLOCK) {
        let end = tokens.min(start + TOKEN_BLOCK);
        let sums = &mut sums[..(end - start).div_ceil(GROUP)];
        for position in (0..rows.len()).step_by(TILE_ROWS) {
            let tile_rows = tile_rows(rows, position);
            sums.fill(zeros);
            for first in (0..chunks).step_by(PANEL_CHUNKS) {
                let range = first..chunks.min(first + PANEL_CHUNKS);
                let panel = &mut panel[..range.len()];
                fill(lanes, &unpacking, tile_rows, first, panel);
                for (group, sums) in sums.iter_mut().enumerate() {
                    // A short group computes the last token again.
                    let chunks = [0, 1, 2, 3].map(|index| {
                        let token = (start + GROUP * group + index).min(end - 1);
                        &activations.split_chunks(token)[range.clone()]
                    });
                    for (quarter, sums) in sums.iter_mut().enumerate() {
                        multiply_quarter(lanes, panel, chunks, quarter, sums);
                    }
                }
            }
            for (group, sums) in sums.iter().enumerate() {
                let first = start + GROUP * group;
                for (token, sums) in (first..end).zip(totals(sums)) {
                    write(out.row_mut(token), position, sums);
                }
            }
        }
    }
}

/// Unpacks the chunks of four rows from `first` on.
#[inline(always)]
fn fill<const FORMAT: u8>(
    lanes: Neon<I8MM>,
    unpacking: &Unpacking<'_, Neon<I8MM>, FORMAT>,
    rows: [usize; TILE_ROWS],
    first: usize,
    panel: &mut [PanelChunk],
) {
    for (index, chunk) in (first..).zip(panel) {
        let unpacked = rows.map(|row| unpacking.chunk(lanes, row, index));
        for quarter in 0..4 {
            for pair in 0..2 {
                let (one, other) = (2 * pair, 2 * pair + 1);
                for parity in 0..2 {
                    let codes = |row: usize| {
                        let middle = simd!(vdupq_n_s8(8));
                        [parity, parity + 2]
                            .map(|part| simd!(vsubq_s8(unpacked[row].0[part][quarter], middle)))
                    };
                    let codes = paired(codes(one), codes(other));
                    for (to, codes) in chunk.codes[quarter][pair].iter_mut().zip(codes) {
                        simd!(vst1q_s8(to[parity].as_mut_ptr(), codes));
                    }
                }
                let (one, other) = (unpacked[one].1[quarter], unpacked[other].1[quarter]);
                let scales = interleaved([one, one], [other, other]);
                for (to, scales) in chunk.scales[quarter][pair].iter_mut().zip(scales) {
                    simd!(vst1q_f32(to.as_mut_ptr(), scales));
                }
            }
        }
    }
}

/// Of the codes of two rows or tokens in four lanes, 4 and 4 a lane: by lane, the 8 of the one, then of the other.
#[inline(always)]
fn paired(one: [int8x16_t; 2], other: [int8x16_t; 2]) -> [int8x16_t; 4] {
    let words = |codes: [int8x16_t; 2]| codes.map(|codes| simd!(vreinterpretq_f32_s8(codes)));
    let [one, other] = [words(one), words(other)];
    interleaved(one, other).map(|lane| simd!(vreinterpretq_s8_f32(lane)))
}

/// By lane: what the two vectors of `one` have there, then those of `other`.
#[inline(always)]
fn interleaved(one: [float32x4_t; 2], other: [float32x4_t; 2]) -> [float32x4_t; 4] {
    simd! {{
        let pairs = |[a, b]: [float32x4_t; 2]| {
            [vzip1q_f32(a, b), vzip2q_f32(a, b)].map(|pairs| vreinterpretq_f64_f32(pairs))
        };
        let ([a, b], [c, d]) = (pairs(one), pairs(other));
        [vzip1q_f64(a, c), vzip2q_f64(a, c), vzip1q_f64(b, d), vzip2q_f64(b, d)]
            .map(|lane| vreinterpretq_f32_f64(lane))
    }}
}

/// Adds the products of a panel with four tokens in one quarter of the lanes.
#[inline(always)]
fn multiply_quarter(
    lanes: Neon<I8MM>,
    panel: &[PanelChunk],
    chunks: [&[SplitChunk]; GROUP],
    quarter: usize,
    sums: &mut QuarterSums,
) {
    let [a, b, c, d] = chunks;
    let mut totals = *sums;
    for ((((weights, a), b), c), d) in panel.iter().zip(a).zip(b).zip(c).zip(d) {
        let tokens = [(a, b), (c, d)];
        unroll!(pair in 0, 1 => {
            let (one, other) = tokens[pair];
            let codes = |from: &SplitChunk, parity: usize| {
                [parity, parity + 2].map(|part| simd!(vld1q_s8(from.parts[part][16 * quarter..][..16].as_ptr())))
            };
            let even = paired(codes(one, 0), codes(other, 0));
            let odd = paired(codes(one, 1), codes(other, 1));
            let scales = |from: &SplitChunk| simd!(vld1q_f32(from.scales[4 * quarter..][..4].as_ptr()));
            let pairs = [scales(one), scales(other)];
            let scales = interleaved(pairs, pairs);
            unroll!(rows in 0, 1 => {
                unroll!(lane in 0, 1, 2, 3 => {
                    let [even_weights, odd_weights] = &weights.codes[quarter][rows][lane];
                    let total = &mut totals[2 * rows + pair][lane];
                    *total = simd! {{
                        let product = vdupq_n_s32(0);
                        let product = lanes.matrix_product(product, vld1q_s8(even_weights.as_ptr()), even[lane]);
                        let product = lanes.matrix_product(product, vld1q_s8(odd_weights.as_ptr()), odd[lane]);
                        let weight_scale = vld1q_f32(weights.scales[quarter][rows][lane].as_ptr());
                        vfmaq_f32(*total, vcvtq_f32_s32(product), vmulq_f32(weight_scale, scales[lane]))
                    }};
                });
            });
        });
    }
    *sums = totals;
}

/// By token and row, the sum of the lanes: the upper half on the lower, four times.
#[inline(always)]
fn totals(sums: &[QuarterSums; 4]) -> [[f32; TILE_ROWS]; GROUP] {
    let mut totals = [[0.0; TILE_ROWS]; GROUP];
    for rows in 0..2 {
        for tokens in 0..2 {
            let lane = |lane: usize| sums[lane / 4][2 * rows + tokens][lane % 4];
            let mut four = [0.0; 4];
            simd! {{
                let eighth = |at| vaddq_f32(lane(at), lane(at + 8));
                let quarter = |at| vaddq_f32(eighth(at), eighth(at + 4));
                let half = |at| vaddq_f32(quarter(at), quarter(at + 2));
                vst1q_f32(four.as_mut_ptr(), vaddq_f32(half(0), half(1)));
            }}
            for (index, sum) in four.into_iter().enumerate() {
                totals[2 * tokens + index % 2][2 * rows + index / 2] = sum;
            }
        }
    }
    totals
}
