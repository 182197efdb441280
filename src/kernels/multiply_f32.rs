//! Products in f32 with weights whose rows are contiguous: dequantised or converted into a small panel that all
//! tokens of a block share.

use super::columns::ColumnsMut;
use super::dequantise::{block_row, dense_row};
use super::lanes::{Lanes, unroll};
use super::matrix::{BlockMatrix, DenseMatrix, Rows};

const TILE_ROWS: usize = 4;
/// Columns of a panel: four rows of f32 stay in the first-level cache.
const PANEL_COLUMNS: usize = 512;
const TOKEN_BLOCK: usize = 64;

/// Where a panel's weights come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Block(&'a BlockMatrix<'a>),
    Dense(&'a DenseMatrix<'a>),
}

impl Source<'_> {
    #[inline(always)]
    fn columns(&self) -> usize {
        match self {
            Self::Block(matrix) => matrix.shape.columns,
            Self::Dense(matrix) => matrix.columns,
        }
    }

    #[inline(always)]
    fn bias(&self, row: usize) -> Option<f32> {
        match self {
            Self::Block(matrix) => matrix.bias.map(|bias| bias[row]),
            Self::Dense(matrix) => matrix.bias.map(|bias| bias[row]),
        }
    }

    /// Columns `start..` of `row`, as many as `to` holds.
    #[inline(always)]
    fn fill<L: Lanes>(&self, lanes: L, row: usize, start: usize, to: &mut [f32]) {
        match self {
            Self::Block(matrix) => block_row(lanes, matrix, row, start, to),
            Self::Dense(matrix) => dense_row(lanes, matrix, row, start, to),
        }
    }
}

/// Writes `out[token][i]` for output feature `rows.at(i)`; the caller has checked all lengths.
#[inline(always)]
pub(super) fn multiply<L: Lanes>(
    lanes: L,
    source: Source<'_>,
    rows: Rows<'_>,
    inputs: &[f32],
    out: &mut ColumnsMut<'_>,
) {
    let columns = source.columns();
    let mut panel = [[0.0; PANEL_COLUMNS]; TILE_ROWS];
    let mut sums = [[lanes.splat(0.0); TILE_ROWS]; TOKEN_BLOCK];
    let mut first = 0;
    for inputs in inputs.chunks(TOKEN_BLOCK * columns) {
        let tokens = inputs.len() / columns;
        let mut position = 0;
        while position < rows.len() {
            let count = TILE_ROWS.min(rows.len() - position);
            for sums in &mut sums[..tokens] {
                *sums = [lanes.splat(0.0); TILE_ROWS];
            }
            for start in (0..columns).step_by(PANEL_COLUMNS) {
                let length = PANEL_COLUMNS.min(columns - start);
                fill(lanes, source, rows, position, start, length, &mut panel);
                let input = |token: usize| &inputs[token * columns + start..][..length];
                for token in (0..tokens).step_by(4) {
                    let group = &mut sums[token..tokens.min(token + 4)];
                    match group.first_chunk_mut::<4>() {
                        Some(group) if L::WIDE => {
                            let inputs = [input(token), input(token + 1), input(token + 2), input(token + 3)];
                            accumulate(lanes, &panel, inputs, group);
                        }
                        _ => {
                            for (index, sums) in group.iter_mut().enumerate() {
                                let sums = std::array::from_mut(sums);
                                accumulate(lanes, &panel, [input(token + index)], sums);
                            }
                        }
                    }
                }
            }
            for (token, sums) in sums[..tokens].iter().enumerate() {
                finish(lanes, source, rows, position, count, *sums, out.row_mut(first + token));
            }
            position += TILE_ROWS;
        }
        first += tokens;
    }
}

/// Fills the panel's rows with `length` columns and pads them with zeros to whole vectors.
#[inline(always)]
fn fill<L: Lanes>(
    lanes: L,
    source: Source<'_>,
    rows: Rows<'_>,
    position: usize,
    start: usize,
    length: usize,
    panel: &mut [[f32; PANEL_COLUMNS]; TILE_ROWS],
) {
    for (index, panel) in panel.iter_mut().enumerate() {
        let padded = length.next_multiple_of(16);
        if position + index < rows.len() {
            source.fill(lanes, rows.at(position + index), start, &mut panel[..length]);
            panel[length..padded].fill(0.0);
        } else {
            panel[..padded].fill(0.0);
        }
    }
}

/// Lane l sums over the k that are l modulo 16, in order.
#[inline(always)]
fn accumulate<L: Lanes, const T: usize>(
    lanes: L,
    panel: &[[f32; PANEL_COLUMNS]; TILE_ROWS],
    inputs: [&[f32]; T],
    sums: &mut [[L::Float; TILE_ROWS]; T],
) {
    let mut totals = *sums;
    let vectors = inputs.map(|input| input.as_chunks::<16>());
    let whole = vectors[0].0.len();
    let vectors_of = vectors.map(|vectors| &vectors.0[..whole]);
    let panels = panel.each_ref().map(|row| row.as_chunks::<16>().0);
    for index in 0..whole {
        let weights = unroll!(row in 0, 1, 2, 3 => lanes.load(&panels[row][index]));
        unroll!(token in 0, 1, 2, 3 => if token < T {
            let input = lanes.load(&vectors_of[token][index]);
            unroll!(row in 0, 1, 2, 3 => {
                totals[token][row] = lanes.fma(weights[row], input, totals[token][row]);
            });
        });
    }
    if !vectors[0].1.is_empty() {
        let weights = unroll!(row in 0, 1, 2, 3 => lanes.load(&panels[row][whole]));
        unroll!(token in 0, 1, 2, 3 => if token < T {
            let input = lanes.load_partial(vectors[token].1);
            unroll!(row in 0, 1, 2, 3 => {
                totals[token][row] = lanes.fma(weights[row], input, totals[token][row]);
            });
        });
    }
    *sums = totals;
}

#[inline(always)]
fn finish<L: Lanes>(
    lanes: L,
    source: Source<'_>,
    rows: Rows<'_>,
    position: usize,
    count: usize,
    sums: [L::Float; TILE_ROWS],
    out: &mut [f32],
) {
    let totals = lanes.sum4(sums);
    for index in 0..count {
        let total = totals[index];
        out[position + index] = match source.bias(rows.at(position + index)) {
            Some(bias) => total + bias,
            None => total,
        };
    }
}
