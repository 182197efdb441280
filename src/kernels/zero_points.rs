//! Reads packed codes and zero points in any of their forms.

use super::lanes::{BF16, F16, F32, Lanes};
use super::matrix::{BlockMatrix, BlockShape, Floats, ZeroPoints};

/// Whether every zero point is the middle of the range, which the integer products take off by themselves.
pub(super) fn is_middle(matrix: &BlockMatrix<'_>) -> bool {
    match matrix.zero_points {
        ZeroPoints::None => true,
        ZeroPoints::Same(value) => value == if matrix.shape.signed { 0.0 } else { matrix.shape.middle() },
        ZeroPoints::Packed(_) | ZeroPoints::Floats(_) => false,
    }
}

/// The zero points of up to 16 blocks of `row` from `block` on, less the middle of the range; any finite
/// number in the lanes of blocks past the end of the row.
#[inline(always)]
pub(super) fn centred_zero_points<L: Lanes>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    row: usize,
    block: usize,
) -> L::Float {
    let values = match matrix.zero_points {
        ZeroPoints::Floats(floats) => {
            let row = floats.slice(row * matrix.blocks..(row + 1) * matrix.blocks);
            zero_points(lanes, &matrix.shape, ZeroPoints::Floats(row), block)
        }
        other => zero_points(lanes, &matrix.shape, other, row * matrix.zero_point_stride + block),
    };
    if matrix.shape.signed { values } else { lanes.sub(values, lanes.splat(matrix.shape.middle())) }
}

/// Up to 16 zero points from `index` on.
#[inline(always)]
pub(super) fn zero_points<L: Lanes>(
    lanes: L,
    shape: &BlockShape,
    zero_points: ZeroPoints<'_>,
    index: usize,
) -> L::Float {
    match zero_points {
        ZeroPoints::None => lanes.splat(if shape.signed { 0.0 } else { shape.middle() }),
        ZeroPoints::Same(value) => lanes.splat(value),
        ZeroPoints::Packed(bytes) => codes(lanes, shape, bytes, index),
        ZeroPoints::Floats(floats) => load_floats(lanes, floats, index),
    }
}

/// Up to 16 numbers from `index` on, zero past the end.
#[inline(always)]
pub(super) fn load_floats<L: Lanes>(lanes: L, floats: Floats<'_>, index: usize) -> L::Float {
    match floats {
        Floats::F32(bytes) => lanes.load_floats::<F32>(bytes.get(4 * index..).unwrap_or(&[])),
        Floats::F16(bytes) => lanes.load_floats::<F16>(bytes.get(2 * index..).unwrap_or(&[])),
        Floats::Bf16(bytes) => lanes.load_floats::<BF16>(bytes.get(2 * index..).unwrap_or(&[])),
    }
}

/// Up to 16 codes from `index` on.
#[inline(always)]
pub(super) fn codes<L: Lanes>(lanes: L, shape: &BlockShape, bytes: &[u8], index: usize) -> L::Float {
    // Two's complement with the top bit flipped is the number plus the middle.
    let flipped = if shape.bits == 4 {
        let flip = if shape.signed { 0x8888_8888_8888_8888 } else { 0 };
        lanes.nibbles_to_floats(nibbles(bytes, index) ^ flip)
    } else {
        let flip = shape.flip();
        let rest = bytes.get(index..).unwrap_or(&[]);
        let mut window: [u8; 16] = match rest.first_chunk() {
            Some(window) => *window,
            None => super::lanes::padded(rest),
        };
        if flip != 0 {
            window = (u128::from_le_bytes(window) ^ u128::from_le_bytes([flip; 16])).to_le_bytes();
        }
        lanes.bytes_to_floats(&window)
    };
    if shape.signed { lanes.sub(flipped, lanes.splat(shape.middle())) } else { flipped }
}

/// 16 nibbles from nibble `index` on, zero past the end.
#[inline(always)]
fn nibbles(bytes: &[u8], index: usize) -> u64 {
    let rest = bytes.get(index / 2..).unwrap_or(&[]);
    let low = match rest.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word),
        None => u64::from_le_bytes(super::lanes::padded(rest)),
    };
    if index.is_multiple_of(2) { low } else { low >> 4 | u64::from(rest.get(8).copied().unwrap_or(0)) << 60 }
}
