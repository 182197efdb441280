//! Products of 4-bit weights with many tokens: a few rows are unpacked into a panel on the stack, a segment of their columns at a
//! time, and meet all tokens there. The operations on each number are those of [`multiply_int8`](super::multiply_int8), in the
//! same order.

use super::activations::{BlockActivations, SplitChunk};
use super::columns::ColumnsMut;
use super::lanes::{Lanes, padded, size_of_format, unroll};
use super::matrix::{BlockMatrix, Rows};
use super::multiply_int8::{spreads, write};

/// Columns of a chunk, and the bytes of its weights in a row.
pub(super) const CHUNK_COLUMNS: usize = 256;
const CHUNK_BYTES: usize = CHUNK_COLUMNS / 2;
/// Rows of a panel.
const PANEL_ROWS: usize = 8;
/// Chunks of a panel: 10 KiB, beside 6 KiB of four tokens in the first-level cache.
const PANEL_CHUNKS: usize = 4;
/// Tokens that share a panel; their sums take 32 KiB of the stack.
pub(super) const TOKEN_BLOCK: usize = 64;
/// For fewer tokens a panel costs more than it saves.
pub(super) const FEWEST_TOKENS: usize = 8;

/// 256 k of a row.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct PanelChunk {
    /// As the parts of a [`SplitChunk`].
    parts: [[u8; 64]; 4],
    /// The scale of each lane.
    scales: [f32; 16],
}

type Panel = [[PanelChunk; PANEL_ROWS]; PANEL_CHUNKS];
/// The sums of each row's lanes.
type TokenSums = [[f32; 16]; PANEL_ROWS];

/// Writes `out[token][i]` for output feature `rows.at(i)`, without zero points and bias.
#[inline(always)]
pub(super) fn run<L: Lanes, const FORMAT: u8>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    out: &mut ColumnsMut<'_>,
) {
    let tokens = activations.tokens();
    let chunks = matrix.shape.columns.div_ceil(CHUNK_COLUMNS);
    let mut panel: Panel =
        [[PanelChunk { parts: [[0; 64]; 4], scales: [0.0; 16] }; PANEL_ROWS]; PANEL_CHUNKS];
    let mut sums: [TokenSums; TOKEN_BLOCK] = [[[0.0; 16]; PANEL_ROWS]; TOKEN_BLOCK];
    for start in (0..tokens).step_by(TOKEN_BLOCK) {
        let end = tokens.min(start + TOKEN_BLOCK);
        for position in (0..rows.len()).step_by(PANEL_ROWS) {
            let count = PANEL_ROWS.min(rows.len() - position);
            let sums = &mut sums[..(end - start).next_multiple_of(4)];
            sums.fill([[0.0; 16]; PANEL_ROWS]);
            for first in (0..chunks).step_by(PANEL_CHUNKS) {
                let range = first..chunks.min(first + PANEL_CHUNKS);
                let panel = &mut panel[..range.len()];
                for row in 0..count {
                    fill::<L, FORMAT>(lanes, matrix, rows.at(position + row), first, panel, row);
                }
                for (group, sums) in sums.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    // A short group computes the last token again.
                    let chunks = [0, 1, 2, 3].map(|index| {
                        let token = (start + 4 * group + index).min(end - 1);
                        &activations.split_chunks(token)[range.clone()]
                    });
                    for row in (0..count).step_by(if L::WIDE { 4 } else { 2 }) {
                        multiply_group(lanes, panel, chunks, row, sums);
                    }
                }
            }
            for (token, sums) in (start..end).zip(&*sums) {
                for row in (0..count).step_by(4) {
                    let sums = [0, 1, 2, 3].map(|index| lanes.load(&sums[row + index]));
                    let totals = lanes.sum4(sums);
                    write(&mut out.row_mut(token)[..position + count], position + row, totals);
                }
            }
        }
    }
}

/// Unpacks the chunks of a row from `first` on into row `to` of the panel.
#[inline(always)]
fn fill<L: Lanes, const FORMAT: u8>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    row: usize,
    first: usize,
    panel: &mut [[PanelChunk; PANEL_ROWS]],
    to: usize,
) {
    for (index, chunk) in (first..).zip(panel) {
        let (weights, scales) = unpack::<L, FORMAT>(lanes, matrix, row, index);
        lanes.store_nibbles(weights, &mut chunk[to].parts);
        lanes.store(scales, &mut chunk[to].scales);
    }
}

/// The codes of chunk `index` of a row, and the scale of each lane; zeros past the end.
#[inline(always)]
pub(super) fn unpack<L: Lanes, const FORMAT: u8>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    row: usize,
    index: usize,
) -> (L::Nibbles, L::Float) {
    let (flip, block_size) = (matrix.shape.flip(), matrix.shape.block_size);
    let bytes = matrix.row_codes(row).get(CHUNK_BYTES * index..).unwrap_or(&[]);
    let weights = match bytes.first_chunk() {
        Some(bytes) => lanes.load_nibbles(bytes, flip),
        None => lanes.load_nibbles_partial(bytes, flip),
    };
    let [usual, across] = spreads(CHUNK_COLUMNS, block_size);
    let block = index * CHUNK_COLUMNS / block_size;
    let left_of_block = block_size - index * CHUNK_COLUMNS % block_size;
    let spread = if left_of_block < CHUNK_COLUMNS.min(block_size) { across } else { usual };
    let rest = &matrix.row_scales(row)[block * size_of_format(FORMAT)..];
    let short;
    let pointer = if rest.len() >= 64 {
        rest.as_ptr()
    } else {
        short = padded::<64>(rest);
        short.as_ptr()
    };
    // SAFETY: 16 scales of 4 bytes at most, and no more in a chunk.
    let scales = unsafe { lanes.spread_scales::<FORMAT>(lanes.spread(spread), pointer) };
    (weights, scales)
}

/// Adds the products of rows of the panel from `row` on (four, or two where registers are few) with four tokens.
#[inline(always)]
fn multiply_group<L: Lanes>(
    lanes: L,
    panel: &[[PanelChunk; PANEL_ROWS]],
    chunks: [&[SplitChunk]; 4],
    row: usize,
    sums: &mut [TokenSums; 4],
) {
    let [a, b, c, d] = chunks;
    if L::WIDE {
        let mut totals = unroll!(token in 0, 1, 2, 3 =>
            unroll!(index in 0, 1, 2, 3 => lanes.load(&sums[token][row + index])));
        for ((((weights, a), b), c), d) in panel.iter().zip(a).zip(b).zip(c).zip(d) {
            let rows = &weights[row..row + 4];
            let tokens = [a, b, c, d];
            // Two rows at a time, so that weights, scales and sums fit the registers.
            unroll!(first in 0, 2 => {
                let [one, other] = [&rows[first], &rows[first + 1]];
                let parts = [lanes.load_parts(&one.parts), lanes.load_parts(&other.parts)];
                let scales = [lanes.load(&one.scales), lanes.load(&other.scales)];
                unroll!(token in 0, 1, 2, 3 => {
                    let token_scales = lanes.load(&tokens[token].scales);
                    unroll!(second in 0, 1 => {
                        let product = lanes.dot_nibbles(parts[second], tokens[token]);
                        let scale = lanes.mul(scales[second], token_scales);
                        let total = &mut totals[token][first + second];
                        *total = lanes.fma(product, scale, *total);
                    });
                });
            });
        }
        unroll!(token in 0, 1, 2, 3 =>
            unroll!(index in 0, 1, 2, 3 => lanes.store(totals[token][index], &mut sums[token][row + index])));
        return;
    }
    for (first, chunks) in [(0, [a, b]), (2, [c, d])] {
        let [a, b] = chunks;
        let mut totals = unroll!(token in 0, 1 =>
            unroll!(index in 0, 1 => lanes.load(&sums[first + token][row + index])));
        for ((weights, a), b) in panel.iter().zip(a).zip(b) {
            let tokens = [a, b];
            unroll!(index in 0, 1 => {
                let weights = &weights[row + index];
                let parts = lanes.load_parts(&weights.parts);
                let scales = lanes.load(&weights.scales);
                unroll!(token in 0, 1 => {
                    let product = lanes.dot_nibbles(parts, tokens[token]);
                    let scale = lanes.mul(scales, lanes.load(&tokens[token].scales));
                    totals[token][index] = lanes.fma(product, scale, totals[token][index]);
                });
            });
        }
        unroll!(token in 0, 1 =>
            unroll!(index in 0, 1 => lanes.store(totals[token][index], &mut sums[first + token][row + index])));
    }
}
