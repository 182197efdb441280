//! Rows of 4-bit weights as the products want them: the codes of 256 k in bytes, and a scale for each 16 k.

use super::lanes::{Lanes, size_of_format};
use super::matrix::BlockMatrix;
use super::multiply_int8::spreads;

/// Columns of a chunk, and the bytes of its weights in a row.
pub(super) const CHUNK_COLUMNS: usize = 256;
const CHUNK_BYTES: usize = CHUNK_COLUMNS / 2;

/// What unpacking the rows of a matrix needs to know.
pub(super) struct Unpacking<'m, L: Lanes, const FORMAT: u8> {
    matrix: &'m BlockMatrix<'m>,
    usual: L::Spread,
    across: L::Spread,
    /// Bytes of the scales of a chunk, at most.
    scale_bytes: usize,
    /// Blocks of the matrix in a chunk, where no block reaches into two chunks.
    whole_blocks: Option<usize>,
}

impl<'m, L: Lanes, const FORMAT: u8> Unpacking<'m, L, FORMAT> {
    #[inline(always)]
    pub(super) fn new(lanes: L, matrix: &'m BlockMatrix<'m>) -> Self {
        let block_size = matrix.shape.block_size;
        let shapes = spreads(CHUNK_COLUMNS, block_size);
        let [usual, across] = shapes.map(|shape| lanes.spread(shape));
        let scale_bytes = shapes[0].count.max(shapes[1].count) * size_of_format(FORMAT);
        let whole_blocks = CHUNK_COLUMNS.is_multiple_of(block_size).then(|| CHUNK_COLUMNS / block_size);
        Self { matrix, usual, across, scale_bytes, whole_blocks }
    }

    /// Chunks of a row.
    #[inline(always)]
    pub(super) fn chunks(&self) -> usize {
        self.matrix.shape.columns.div_ceil(CHUNK_COLUMNS)
    }

    /// The codes of chunk `index` of a row, and the scale of each lane; zeros past the end.
    #[inline(always)]
    pub(super) fn chunk(&self, lanes: L, row: usize, index: usize) -> (L::Nibbles, L::Float) {
        let (matrix, flip, block_size) =
            (self.matrix, self.matrix.shape.flip(), self.matrix.shape.block_size);
        let bytes = matrix.row_codes(row).get(CHUNK_BYTES * index..).unwrap_or(&[]);
        let weights = match bytes.first_chunk() {
            Some(bytes) => lanes.load_nibbles(bytes, flip),
            None => lanes.load_nibbles_partial(bytes, flip),
        };
        let (block, spread) = match self.whole_blocks {
            Some(blocks) => (index * blocks, self.usual),
            None => {
                let left_of_block = block_size - index * CHUNK_COLUMNS % block_size;
                let is_across = left_of_block < CHUNK_COLUMNS.min(block_size);
                (index * CHUNK_COLUMNS / block_size, if is_across { self.across } else { self.usual })
            }
        };
        let rest = &matrix.row_scales(row)[block * size_of_format(FORMAT)..];
        let scales = if rest.len() >= self.scale_bytes {
            // SAFETY: as many bytes as the scales of either spread take.
            unsafe { lanes.spread_scales::<FORMAT>(spread, rest.as_ptr()) }
        } else {
            lanes.spread_scales_partial::<FORMAT>(spread, rest)
        };
        (weights, scales)
    }
    /// Asks for what [`chunk`](Self::chunk) reads, in the second-level cache. There need be no such row.
    #[inline(always)]
    pub(super) fn ask_for(&self, lanes: L, row: usize, index: usize) {
        let matrix = self.matrix;
        let codes = matrix.codes.as_ptr().wrapping_add(row * matrix.row_bytes + CHUNK_BYTES * index);
        lanes.prefetch(codes);
        lanes.prefetch(codes.wrapping_add(64));
        let block = row * matrix.blocks + CHUNK_COLUMNS * index / matrix.shape.block_size;
        lanes.prefetch(matrix.scales.bytes().as_ptr().wrapping_add(block * size_of_format(FORMAT)));
    }
}
