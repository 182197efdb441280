//! Products of block-quantised weights with quantised activations.

use super::activations::{ActivationLayout, BlockActivations, NaturalChunk, SplitChunk};
use super::columns::ColumnsMut;
use super::lanes::{BF16, F16, F32, Lanes, Spread, size_of_format, unroll};
use super::matrix::{BlockMatrix, Floats, Rows};
use super::multiply_few;
use super::multiply_panel::{self, WeightPanel};
use super::zero_points::{centred_zero_points, is_middle, load_floats};

/// Output features that share a pass over the activations.
pub(super) const TILE_ROWS: usize = 4;
/// Activations of this many bytes stay in the second-level cache while weights stream past.
const TOKEN_BLOCK_BYTES: usize = 384 << 10;
/// Tokens that share the zero points of a tile.
const CORRECTED_TOKENS: usize = 16;
/// How far ahead the first tokens ask for weights, into the second-level cache. Into the first-level cache
/// too few requests are under way at a time to keep the memory busy.
const PREFETCH_BYTES: usize = 8192;

/// `$body` for two neighbouring rows, as a pair of arrays.
macro_rules! unroll_pair {
    ($first:expr, $row:ident => $body:expr) => {{
        let $row = $first;
        let (a, b) = $body;
        let $row = $first + 1;
        let (c, d) = $body;
        ([a, c], [b, d])
    }};
}

/// What differs between 4-bit and 8-bit codes.
trait Width<L: Lanes> {
    const CHUNK_COLUMNS: usize;
    /// Tokens that share a pass over a tile, at most.
    const MOST_TOKENS: usize;
    /// What holds the codes of a chunk of weights.
    type Codes;
    type Chunk;
    type Weights: Copy;
    fn chunks(activations: &BlockActivations, token: usize) -> &[Self::Chunk];
    fn scales(chunk: &Self::Chunk) -> &[f32; 16];
    fn load(lanes: L, codes: &Self::Codes, flip: u8) -> Self::Weights;
    fn load_partial(lanes: L, bytes: &[u8], flip: u8) -> Self::Weights;
    fn dot(lanes: L, weights: Self::Weights, chunk: &Self::Chunk) -> L::Float;
}

struct FourBits;
struct EightBits;

impl<L: Lanes> Width<L> for FourBits {
    const CHUNK_COLUMNS: usize = 256;
    // More tokens have kernels of their own.
    const MOST_TOKENS: usize = 1;
    type Codes = [u8; 128];
    type Chunk = SplitChunk;
    type Weights = L::Nibbles;

    #[inline(always)]
    fn chunks(activations: &BlockActivations, token: usize) -> &[SplitChunk] {
        activations.split_chunks(token)
    }

    #[inline(always)]
    fn scales(chunk: &SplitChunk) -> &[f32; 16] {
        &chunk.scales
    }

    #[inline(always)]
    fn load(lanes: L, codes: &[u8; 128], flip: u8) -> L::Nibbles {
        lanes.load_nibbles(codes, flip)
    }

    #[inline(always)]
    fn load_partial(lanes: L, bytes: &[u8], flip: u8) -> L::Nibbles {
        lanes.load_nibbles_partial(bytes, flip)
    }

    #[inline(always)]
    fn dot(lanes: L, weights: L::Nibbles, chunk: &SplitChunk) -> L::Float {
        lanes.dot_nibbles(weights, chunk)
    }
}

impl<L: Lanes> Width<L> for EightBits {
    const CHUNK_COLUMNS: usize = 64;
    const MOST_TOKENS: usize = 4;
    type Codes = [u8; 64];
    type Chunk = NaturalChunk;
    type Weights = L::Bytes;

    #[inline(always)]
    fn chunks(activations: &BlockActivations, token: usize) -> &[NaturalChunk] {
        activations.natural_chunks(token)
    }

    #[inline(always)]
    fn scales(chunk: &NaturalChunk) -> &[f32; 16] {
        &chunk.scales
    }

    #[inline(always)]
    fn load(lanes: L, codes: &[u8; 64], flip: u8) -> L::Bytes {
        lanes.load_bytes(codes, flip)
    }

    #[inline(always)]
    fn load_partial(lanes: L, bytes: &[u8], flip: u8) -> L::Bytes {
        lanes.load_bytes_partial(bytes, flip)
    }

    #[inline(always)]
    fn dot(lanes: L, weights: L::Bytes, chunk: &NaturalChunk) -> L::Float {
        lanes.dot_bytes(weights, chunk)
    }
}

/// Writes `out[token][i]` for output feature `rows.at(i)`; the caller has checked all lengths.
#[inline(always)]
pub(super) fn multiply<L: Lanes>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    panel: &mut WeightPanel,
    out: &mut ColumnsMut<'_>,
) {
    match (matrix.shape.bits, matrix.scales) {
        (4, Floats::F32(_)) => four_bits::<L, F32>(lanes, matrix, rows, activations, panel, out),
        (4, Floats::F16(_)) => four_bits::<L, F16>(lanes, matrix, rows, activations, panel, out),
        (4, Floats::Bf16(_)) => four_bits::<L, BF16>(lanes, matrix, rows, activations, panel, out),
        (_, Floats::F32(_)) => run::<L, EightBits, F32>(lanes, matrix, rows, activations, out),
        (_, Floats::F16(_)) => run::<L, EightBits, F16>(lanes, matrix, rows, activations, out),
        (_, Floats::Bf16(_)) => run::<L, EightBits, BF16>(lanes, matrix, rows, activations, out),
    }
    finish(lanes, matrix, rows, activations, out);
}

#[inline(always)]
fn four_bits<L: Lanes, const FORMAT: u8>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    panel: &mut WeightPanel,
    out: &mut ColumnsMut<'_>,
) {
    if activations.layout() == ActivationLayout::Grouped {
        multiply_panel::run::<L, FORMAT>(lanes, matrix, rows, activations, panel, out);
    } else if L::WIDE || activations.rows() > 1 {
        multiply_few::run::<L, FORMAT>(lanes, matrix, rows, activations, out);
    } else {
        run::<L, FourBits, FORMAT>(lanes, matrix, rows, activations, out);
    }
}

/// What the products of centred codes lack: zero points other than the middle, and the bias.
#[inline(always)]
pub(super) fn finish<L: Lanes>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    out: &mut ColumnsMut<'_>,
) {
    if !is_middle(matrix) {
        correct(lanes, matrix, rows, activations, out);
    }
    if let Some(bias) = matrix.bias {
        for token in 0..activations.rows() {
            for (position, out) in out.row_mut(token).iter_mut().enumerate() {
                *out += bias[rows.at(position)];
            }
        }
    }
}

#[inline(always)]
fn run<L: Lanes, W: Width<L>, const FORMAT: u8>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    out: &mut ColumnsMut<'_>,
) {
    let tokens = activations.rows();
    let token_bytes = size_of::<W::Chunk>() * matrix.shape.columns.div_ceil(W::CHUNK_COLUMNS);
    let token_block = (TOKEN_BLOCK_BYTES / token_bytes).clamp(4, 64).next_multiple_of(4);
    let ahead = match rows {
        Rows::Range { .. } => PREFETCH_BYTES.div_ceil(TILE_ROWS * matrix.row_bytes) * TILE_ROWS,
        Rows::List(_) => 0,
    };
    for start in (0..tokens).step_by(token_block) {
        let end = tokens.min(start + token_block);
        for position in (0..rows.len()).step_by(TILE_ROWS) {
            let tile_rows = tile_rows(rows, position);
            // Only the first tokens ask for what the others need too.
            let mut ahead = ahead;
            let mut token = start;
            while token < end {
                let most = W::MOST_TOKENS.min(if L::WIDE && FORMAT != BF16 { 4 } else { 2 });
                let count = (end - token).min(most);
                // A short group computes its last token again.
                let at = |index: usize| (token + index).min(end - 1);
                let mut sums = [[0.0; TILE_ROWS]; 4];
                if most == 1 || count == 1 {
                    [sums[0]] =
                        tile::<L, W, FORMAT, 1>(lanes, matrix, tile_rows, activations, [token], ahead);
                } else if most == 4 && count > 2 {
                    let group = [token, at(1), at(2), at(3)];
                    sums = tile::<L, W, FORMAT, 4>(lanes, matrix, tile_rows, activations, group, ahead);
                } else {
                    [sums[0], sums[1]] =
                        tile::<L, W, FORMAT, 2>(lanes, matrix, tile_rows, activations, [token, at(1)], ahead);
                }
                ahead = 0;
                for sums in &sums[..count] {
                    write(out.row_mut(token), position, *sums);
                    token += 1;
                }
            }
        }
    }
}

/// The output features of the tile at `position`; the last is repeated where the tile reaches past the end.
#[inline(always)]
pub(super) fn tile_rows(rows: Rows<'_>, position: usize) -> [usize; TILE_ROWS] {
    let last = rows.len() - 1;
    [
        rows.at(position),
        rows.at((position + 1).min(last)),
        rows.at((position + 2).min(last)),
        rows.at((position + 3).min(last)),
    ]
}

#[inline(always)]
pub(super) fn write(row: &mut [f32], position: usize, sums: [f32; TILE_ROWS]) {
    for (out, sum) in row[position..].iter_mut().zip(sums) {
        *out = sum;
    }
}

/// How scales are spread over a chunk: one that begins with a block or lies in one, and one that lies in two blocks. The
/// second is for blocks of an odd multiple of 128, which end in the middle of a chunk.
#[inline(always)]
pub(super) fn spreads(chunk_columns: usize, block_size: usize) -> [Spread; 2] {
    let per_chunk = (chunk_columns / block_size).max(1);
    [Spread { count: per_chunk, shift: 4 - per_chunk.trailing_zeros() }, Spread { count: 2, shift: 3 }]
}

/// The products of four rows with `T` tokens, which ask for the weights `ahead` rows further on, if any.
#[inline(always)]
fn tile<L: Lanes, W: Width<L>, const FORMAT: u8, const T: usize>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: [usize; TILE_ROWS],
    activations: &BlockActivations,
    tokens: [usize; T],
    ahead: usize,
) -> [[f32; TILE_ROWS]; T] {
    let size = size_of_format(FORMAT);
    let bytes = size_of::<W::Codes>();
    let flip = matrix.shape.flip();
    let blocks = matrix.blocks;
    let block_size = matrix.shape.block_size;
    let per_chunk = (W::CHUNK_COLUMNS / block_size).max(1);
    let [usual, across] = spreads(W::CHUNK_COLUMNS, block_size).map(|shape| lanes.spread(shape));

    let codes = rows.map(|row| matrix.row_codes(row));
    let scales = rows.map(|row| matrix.row_scales(row));
    let chunks = tokens.map(|token| W::chunks(activations, token));
    let columns = matrix.shape.columns.div_ceil(W::CHUNK_COLUMNS);
    let whole = (matrix.row_bytes / bytes).min(blocks * block_size / W::CHUNK_COLUMNS).min(columns);
    let scales_of_whole = (whole * W::CHUNK_COLUMNS).div_ceil(block_size);
    for row in 0..TILE_ROWS {
        assert!(bytes * whole <= codes[row].len(), "codes of a row");
        assert!(scales_of_whole * size <= scales[row].len(), "scales of a row");
    }
    for chunks in chunks {
        assert!(columns <= chunks.len(), "chunks of a token");
    }
    let codes_ahead = ahead * matrix.row_bytes;
    if ahead > 0 {
        for scales in scales {
            let next = scales.as_ptr().wrapping_add(ahead * scales.len());
            for line in (0..scales.len()).step_by(64) {
                lanes.prefetch(next.wrapping_add(line));
            }
        }
    }

    let mut sums = [[lanes.splat(0.0); TILE_ROWS]; T];
    let mut block = 0;
    let mut left_of_block = block_size;
    for index in 0..columns {
        let spread = if per_chunk == 1 && left_of_block < W::CHUNK_COLUMNS { across } else { usual };
        if ahead > 0 {
            for line in (0..bytes).step_by(64) {
                unroll!(row in 0, 1, 2, 3 =>
                    lanes.prefetch(codes[row].as_ptr().wrapping_add(bytes * index + line + codes_ahead)));
            }
        }
        // Two rows at a time, so that weights, scales and sums fit the registers.
        unroll!(first in 0, 2 => {
            let (weights, weight_scales) = if index < whole {
                unroll_pair!(first, row => {
                    // SAFETY: `whole` chunks of codes and of scales lie inside each row, as asserted above.
                    unsafe {
                        (
                            W::load(lanes, &*codes[row].as_ptr().add(bytes * index).cast(), flip),
                            lanes.spread_scales::<FORMAT>(spread, scales[row].as_ptr().add(block * size)),
                        )
                    }
                })
            } else {
                unroll_pair!(first, row => {
                    let codes = codes[row].get(bytes * index..).unwrap_or(&[]);
                    let last = &scales[row][block * size..];
                    (
                        W::load_partial(lanes, codes, flip),
                        lanes.spread_scales_partial::<FORMAT>(spread, last),
                    )
                })
            };
            unroll!(token in 0, 1, 2, 3 => if token < T {
                // SAFETY: each token has at least `columns` chunks, as asserted above.
                let chunk = unsafe { chunks[token].get_unchecked(index) };
                let token_scales = lanes.load(W::scales(chunk));
                unroll!(second in 0, 1 => {
                    let row = first + second;
                    let product = W::dot(lanes, weights[second], chunk);
                    let scale = lanes.mul(weight_scales[second], token_scales);
                    sums[token][row] = lanes.fma(product, scale, sums[token][row]);
                });
            });
        });
        if left_of_block <= W::CHUNK_COLUMNS {
            block += per_chunk;
            left_of_block += block_size * per_chunk;
        }
        left_of_block -= W::CHUNK_COLUMNS;
    }
    let mut totals = [[0.0; TILE_ROWS]; T];
    for token in 0..T {
        totals[token] = lanes.sum4(sums[token]);
    }
    totals
}

/// Subtracts the sums over blocks of scale * (zero point - middle) * (sum of activations).
#[inline(always)]
fn correct<L: Lanes>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    out: &mut ColumnsMut<'_>,
) {
    let level = (matrix.shape.block_size / 16).min(8).trailing_zeros() as usize;
    let units = matrix.shape.block_size.div_ceil(128);
    let tokens = activations.rows();
    let mut sums = [[lanes.splat(0.0); TILE_ROWS]; CORRECTED_TOKENS];
    for start in (0..tokens).step_by(CORRECTED_TOKENS) {
        let count = CORRECTED_TOKENS.min(tokens - start);
        for position in (0..rows.len()).step_by(TILE_ROWS) {
            let tile_rows = tile_rows(rows, position);
            for sums in &mut sums[..count] {
                *sums = [lanes.splat(0.0); TILE_ROWS];
            }
            for block in (0..matrix.blocks).step_by(16) {
                let mut weights = [lanes.splat(0.0); TILE_ROWS];
                for (weight, row) in weights.iter_mut().zip(tile_rows) {
                    let scales = matrix.scales.slice(row * matrix.blocks..(row + 1) * matrix.blocks);
                    *weight = lanes.mul(
                        load_floats(lanes, scales, block),
                        centred_zero_points(lanes, matrix, row, block),
                    );
                }
                for (index, sums) in sums[..count].iter_mut().enumerate() {
                    let of_token = activations.sums(start + index, level);
                    let of_blocks = if units == 1 {
                        lanes.load_partial(&of_token[block..])
                    } else {
                        let mut totals = [0.0; 16];
                        for (total, units) in totals.iter_mut().zip(of_token[block * units..].chunks(units)) {
                            *total = units.iter().fold(0.0, |total, unit| total + unit);
                        }
                        lanes.load(&totals)
                    };
                    for row in 0..TILE_ROWS {
                        sums[row] = lanes.fma(weights[row], of_blocks, sums[row]);
                    }
                }
            }
            for (index, sums) in sums[..count].iter().enumerate() {
                let row = &mut out.row_mut(start + index)[position..];
                for (out, sum) in row.iter_mut().zip(lanes.sum4(*sums)) {
                    *out -= sum;
                }
            }
        }
    }
}
