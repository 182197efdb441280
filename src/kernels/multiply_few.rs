//! Products of 4-bit weights with few tokens: some rows at a time are unpacked into registers and meet up to 8 tokens. The
//! operations on each number are those of [`multiply_int8`](super::multiply_int8), in the same order.

use std::ops::Range;

use super::activations::{BlockActivations, SplitChunk};
use super::columns::ColumnsMut;
use super::lanes::Lanes;
use super::matrix::{BlockMatrix, Rows};
use super::unpacking::Unpacking;

/// Rows that meet a segment of the activations, some after the others. As many rows further on lies what is asked for.
const TILE_ROWS: usize = 16;
/// Chunks of a segment: 24 KiB of 8 tokens, which stay in the first-level cache.
const SEGMENT_CHUNKS: usize = 8;
/// The most tokens of a pass over the weights.
const PASS_TOKENS: usize = 8;

/// The sums of a row, by token.
type RowSums<L, const T: usize> = [<L as Lanes>::Float; T];

/// Writes `out[token][i]` for output feature `rows.at(i)`, without zero points and bias.
#[inline(always)]
pub(super) fn run<L: Lanes, const FORMAT: u8>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    out: &mut ColumnsMut<'_>,
) {
    if L::WIDE {
        passes::<L, FORMAT, 4, 2>(lanes, matrix, rows, activations, out);
    } else {
        passes::<L, FORMAT, 1, 1>(lanes, matrix, rows, activations, out);
    }
}

/// Meets one token with `ALONE` rows at a time, and several with `ROWS`.
#[inline(always)]
fn passes<L: Lanes, const FORMAT: u8, const ALONE: usize, const ROWS: usize>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    out: &mut ColumnsMut<'_>,
) {
    let tokens = activations.rows();
    let unpacking = Unpacking::<L, FORMAT>::new(lanes, matrix);
    // Passes of the same size, as far as that goes.
    let most = tokens.div_ceil(tokens.div_ceil(PASS_TOKENS));
    for first in (0..tokens).step_by(most) {
        let tokens = first..tokens.min(first + most);
        match tokens.len() {
            1 => pass::<L, FORMAT, 1, ALONE>(lanes, &unpacking, rows, activations, tokens, out),
            2 => pass::<L, FORMAT, 2, ROWS>(lanes, &unpacking, rows, activations, tokens, out),
            3 | 4 => pass::<L, FORMAT, 4, ROWS>(lanes, &unpacking, rows, activations, tokens, out),
            5 | 6 => pass::<L, FORMAT, 6, ROWS>(lanes, &unpacking, rows, activations, tokens, out),
            _ => pass::<L, FORMAT, PASS_TOKENS, ROWS>(lanes, &unpacking, rows, activations, tokens, out),
        }
    }
}

/// The products of all rows with at most `T` tokens.
#[inline(always)]
fn pass<L: Lanes, const FORMAT: u8, const T: usize, const ROWS: usize>(
    lanes: L,
    unpacking: &Unpacking<'_, L, FORMAT>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    tokens: Range<usize>,
    out: &mut ColumnsMut<'_>,
) {
    let chunks = unpacking.chunks();
    let mut of_tokens: [&[SplitChunk]; T] = [&[]; T];
    for (index, of_token) in of_tokens.iter_mut().enumerate() {
        // A short pass computes its last token again.
        *of_token = activations.split_chunks((tokens.start + index).min(tokens.end - 1));
    }
    let segment_chunks = if T == 1 { chunks } else { SEGMENT_CHUNKS };
    for position in (0..rows.len()).step_by(TILE_ROWS) {
        let count = TILE_ROWS.min(rows.len() - position);
        let mut sums: [RowSums<L, T>; TILE_ROWS] = [[lanes.splat(0.0); T]; TILE_ROWS];
        for first in (0..chunks).step_by(segment_chunks) {
            let segment = first..chunks.min(first + segment_chunks);
            for (index, sums) in sums.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
                let first = position + ROWS * index;
                multiply_rows(lanes, unpacking, rows, first, &of_tokens, segment.clone(), sums);
            }
        }
        for (index, quad) in sums.as_chunks::<4>().0[..count.div_ceil(4)].iter().enumerate() {
            for (lane, token) in tokens.clone().enumerate() {
                let totals = lanes.sum4([quad[0][lane], quad[1][lane], quad[2][lane], quad[3][lane]]);
                let to = &mut out.row_mut(token)[position + 4 * index..position + count];
                for (to, total) in to.iter_mut().zip(totals) {
                    *to = total;
                }
            }
        }
    }
}

/// Adds the products of a segment to the sums of the rows from position `first` on, if there are any.
#[inline(always)]
fn multiply_rows<L: Lanes, const FORMAT: u8, const T: usize, const ROWS: usize>(
    lanes: L,
    unpacking: &Unpacking<'_, L, FORMAT>,
    rows: Rows<'_>,
    first: usize,
    tokens: &[&[SplitChunk]; T],
    segment: Range<usize>,
    all: &mut [RowSums<L, T>; ROWS],
) {
    if first >= rows.len() {
        return;
    }
    let mut of_tokens = [&[][..]; T];
    for token in 0..T {
        of_tokens[token] = &tokens[token][segment.clone()];
    }
    let mut of_rows = [0; ROWS];
    for row in 0..ROWS {
        // Past the end the last row is computed again.
        of_rows[row] = rows.at((first + row).min(rows.len() - 1));
    }
    // In a list the rows further on are other ones.
    let asks = matches!(rows, Rows::Range { .. });
    let mut sums = *all;
    for (index, chunk) in segment.enumerate() {
        if asks {
            for row in of_rows {
                unpacking.ask_for(lanes, row + TILE_ROWS, chunk);
            }
        }
        let mut weights = [unpacking.chunk(lanes, of_rows[0], chunk); ROWS];
        for row in 1..ROWS {
            weights[row] = unpacking.chunk(lanes, of_rows[row], chunk);
        }
        for token in 0..T {
            let chunk: &SplitChunk = &of_tokens[token][index];
            let token_scales = lanes.load(&chunk.scales);
            for row in 0..ROWS {
                let (codes, scales) = weights[row];
                let scale = lanes.mul(scales, token_scales);
                sums[row][token] = lanes.fma(lanes.dot_nibbles(codes, chunk), scale, sums[row][token]);
            }
        }
    }
    *all = sums;
}
