//! Rows of weights as f32.

use super::lanes::Lanes;
use super::matrix::{BlockMatrix, BlockMatrixKn, DenseLayout, DenseMatrix, Floats, ZeroPoints};
use super::zero_points::{codes, load_floats, zero_points};

/// Columns `start..` of `row`: (code - zero point) * scale.
#[inline(always)]
pub(super) fn block_row<L: Lanes>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    row: usize,
    start: usize,
    to: &mut [f32],
) {
    let shape = &matrix.shape;
    let bytes = matrix.row_codes(row);
    let scale_bytes = matrix.row_scales(row);
    let mut column = start;
    let mut rest = to;
    while !rest.is_empty() {
        let block = column / shape.block_size;
        let length = rest.len().min((block + 1) * shape.block_size - column);
        let (run, after) = rest.split_at_mut(length);
        let scale = match matrix.scales {
            Floats::F32(_) => load_floats(lanes, Floats::F32(scale_bytes), block),
            Floats::F16(_) => load_floats(lanes, Floats::F16(scale_bytes), block),
            Floats::Bf16(_) => load_floats(lanes, Floats::Bf16(scale_bytes), block),
        };
        let index = match matrix.zero_points {
            ZeroPoints::Packed(_) => row * matrix.zero_point_stride + block,
            _ => row * matrix.blocks + block,
        };
        let zero = first(lanes, zero_points(lanes, shape, matrix.zero_points, index));
        let scale = first(lanes, scale);
        for group in run.chunks_mut(16) {
            let centred = lanes.sub(codes(lanes, shape, bytes, column), zero);
            store(lanes, lanes.mul(centred, scale), group);
            column += group.len();
        }
        rest = after;
    }
}

/// Columns `start..` of `row` of an `[N][K]` matrix, or of column `row` of a `[K][N]` one.
#[inline(always)]
pub(super) fn dense_row<L: Lanes>(
    lanes: L,
    matrix: &DenseMatrix<'_>,
    row: usize,
    start: usize,
    to: &mut [f32],
) {
    match matrix.layout {
        DenseLayout::Nk => {
            let mut index = row * matrix.columns + start;
            for group in to.chunks_mut(16) {
                store(lanes, load_floats(lanes, matrix.values, index), group);
                index += group.len();
            }
        }
        DenseLayout::Kn => {
            for (offset, to) in to.iter_mut().enumerate() {
                let index = (start + offset) * matrix.rows + row;
                *to = matrix.values.get(index).unwrap_or(0.0);
            }
        }
    }
}

/// Output features `start..` of input feature `column` of a `[K][N]` matrix.
#[inline(always)]
pub(super) fn block_column<L: Lanes>(
    lanes: L,
    matrix: &BlockMatrixKn<'_>,
    column: usize,
    start: usize,
    to: &mut [f32],
) {
    let shape = &matrix.shape;
    let first_code = column * shape.rows;
    let first_block = column / shape.block_size * shape.rows;
    let mut row = start;
    for group in to.chunks_mut(16) {
        let zero = zero_points(lanes, shape, matrix.zero_points, first_block + row);
        let scale = load_floats(lanes, matrix.scales, first_block + row);
        let centred = lanes.sub(codes(lanes, shape, matrix.codes, first_code + row), zero);
        store(lanes, lanes.mul(centred, scale), group);
        row += group.len();
    }
}

/// `to` from as many numbers.
#[inline(always)]
pub(super) fn convert<L: Lanes>(lanes: L, floats: Floats<'_>, to: &mut [f32]) {
    let mut index = 0;
    for group in to.chunks_mut(16) {
        store(lanes, load_floats(lanes, floats, index), group);
        index += group.len();
    }
}

/// Rounds to f16, little endian, nearest even.
#[inline(always)]
pub(super) fn to_f16<L: Lanes>(lanes: L, values: &[f32], to: &mut [u8]) {
    let (whole, rest) = values.as_chunks::<16>();
    let (whole_to, rest_to) = to.as_chunks_mut::<32>();
    for (values, to) in whole.iter().zip(&mut *whole_to) {
        lanes.store_f16(lanes.load(values), to);
    }
    if !rest.is_empty() {
        let mut last = [0; 32];
        lanes.store_f16(lanes.load_partial(rest), &mut last);
        let count = rest_to.len().min(last.len());
        rest_to[..count].copy_from_slice(&last[..count]);
    }
}

/// Lane 0 in every lane.
#[inline(always)]
fn first<L: Lanes>(lanes: L, values: L::Float) -> L::Float {
    let mut all = [0.0; 16];
    lanes.store(values, &mut all);
    lanes.splat(all[0])
}

#[inline(always)]
fn store<L: Lanes>(lanes: L, values: L::Float, to: &mut [f32]) {
    match to.first_chunk_mut() {
        Some(whole) => lanes.store(values, whole),
        None => lanes.store_partial(values, to),
    }
}
