//! Products in f32 with weights `[K][N]`: lanes over output features, each a sequential sum over k.

use super::columns::ColumnsMut;
use super::dequantise::block_column;
use super::lanes::Lanes;
use super::matrix::{BlockMatrixKn, DenseMatrix, Rows};
use super::zero_points::{codes, load_floats, zero_points};

/// Output features of a panel.
const PANEL_ROWS: usize = 64;
/// Input features of a panel.
const PANEL_COLUMNS: usize = 64;
const TOKEN_BLOCK: usize = 32;

#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Block(&'a BlockMatrixKn<'a>),
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
    fn bias(&self) -> Option<&[f32]> {
        match self {
            Self::Block(matrix) => matrix.bias,
            Self::Dense(matrix) => matrix.bias,
        }
    }

    /// The weights of output features `rows` for input feature `column`.
    #[inline(always)]
    fn fill<L: Lanes>(&self, lanes: L, rows: Rows<'_>, column: usize, to: &mut [f32; PANEL_ROWS]) {
        let count = rows.len();
        match (rows, self) {
            (Rows::Range { start, .. }, Self::Block(matrix)) => {
                block_column(lanes, matrix, column, start, &mut to[..count]);
            }
            (Rows::Range { start, .. }, Self::Dense(matrix)) => {
                let mut index = column * matrix.rows + start;
                for group in to.as_chunks_mut::<16>().0.iter_mut().take(count.div_ceil(16)) {
                    lanes.store(load_floats(lanes, matrix.values, index), group);
                    index += 16;
                }
            }
            (Rows::List(list), Self::Block(matrix)) => {
                let shape = &matrix.shape;
                let block = column / shape.block_size * shape.rows;
                for (to, &row) in to.iter_mut().zip(list) {
                    let row = row as usize;
                    let zero = zero_points(lanes, shape, matrix.zero_points, block + row);
                    let scale = load_floats(lanes, matrix.scales, block + row);
                    let code = codes(lanes, shape, matrix.codes, column * shape.rows + row);
                    let mut weights = [0.0; 16];
                    lanes.store(lanes.mul(lanes.sub(code, zero), scale), &mut weights);
                    *to = weights[0];
                }
            }
            (Rows::List(list), Self::Dense(matrix)) => {
                for (to, &row) in to.iter_mut().zip(list) {
                    *to = matrix.values.get(column * matrix.rows + row as usize).unwrap_or(0.0);
                }
            }
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
    let mut panel = [[0.0; PANEL_ROWS]; PANEL_COLUMNS];
    let mut first = 0;
    for inputs in inputs.chunks(TOKEN_BLOCK * columns) {
        let tokens = inputs.len() / columns;
        for position in (0..rows.len()).step_by(PANEL_ROWS) {
            let part = rows.part(position..rows.len().min(position + PANEL_ROWS));
            let mut sums = [[lanes.splat(0.0); PANEL_ROWS / 16]; TOKEN_BLOCK];
            for start in (0..columns).step_by(PANEL_COLUMNS) {
                let length = PANEL_COLUMNS.min(columns - start);
                for (offset, panel) in panel[..length].iter_mut().enumerate() {
                    source.fill(lanes, part, start + offset, panel);
                }
                let panel = &panel[..length];
                let mut token = 0;
                for group in sums[..tokens].chunks_mut(4) {
                    let input = |token: usize| &inputs[token * columns + start..][..length];
                    match group.as_chunks_mut::<4>().0 {
                        [group] if L::WIDE => {
                            let inputs = [input(token), input(token + 1), input(token + 2), input(token + 3)];
                            accumulate(lanes, panel, inputs, group);
                        }
                        _ => {
                            for (index, sums) in group.iter_mut().enumerate() {
                                let sums = std::array::from_mut(sums);
                                accumulate(lanes, panel, [input(token + index)], sums);
                            }
                        }
                    }
                    token += 4;
                }
            }
            for (token, sums) in sums[..tokens].iter().enumerate() {
                let mut totals = [0.0; PANEL_ROWS];
                for (sums, totals) in sums.iter().zip(totals.as_chunks_mut().0) {
                    lanes.store(*sums, totals);
                }
                let row = &mut out.row_mut(first + token)[position..][..part.len()];
                for (index, (out, total)) in row.iter_mut().zip(totals).enumerate() {
                    *out = match source.bias() {
                        Some(bias) => total + bias[part.at(index)],
                        None => total,
                    };
                }
            }
        }
        first += tokens;
    }
}

#[inline(always)]
fn accumulate<L: Lanes, const T: usize>(
    lanes: L,
    panel: &[[f32; PANEL_ROWS]],
    inputs: [&[f32]; T],
    sums: &mut [[L::Float; PANEL_ROWS / 16]; T],
) {
    let mut totals = *sums;
    for (index, weights) in panel.iter().enumerate() {
        let weights = weights.as_chunks::<16>().0;
        for token in 0..T {
            let input = lanes.splat(inputs[token][index]);
            for vector in 0..PANEL_ROWS / 16 {
                totals[token][vector] = lanes.fma(input, lanes.load(&weights[vector]), totals[token][vector]);
            }
        }
    }
    *sums = totals;
}
