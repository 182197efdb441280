//! Products of block-quantised weights with quantised activations.

use super::activations::{BlockActivations, NaturalChunk, SplitChunk};
use super::columns::ColumnsMut;
use super::lanes::{BF16, F16, F32, Lanes, Spread, size_of_format};
use super::matrix::{BlockMatrix, Floats, Rows};
use super::zero_points::{centred_zero_points, is_middle};

/// Output features that share a pass over the activations.
const TILE_ROWS: usize = 4;
/// Activations of this many bytes stay in the second-level cache while weights stream past.
const TOKEN_BLOCK_BYTES: usize = 384 << 10;
/// How far ahead weights are asked for when there is one token.
const PREFETCH_BYTES: usize = 4096;

/// What differs between 4-bit and 8-bit codes.
trait Width<L: Lanes> {
    const CHUNK_COLUMNS: usize;
    type Chunk;
    type Weights: Copy;
    fn chunks(activations: &BlockActivations, token: usize) -> &[Self::Chunk];
    fn scales(chunk: &Self::Chunk) -> &[f32; 16];
    fn load(lanes: L, bytes: &[u8; 64], flip: u8) -> Self::Weights;
    fn load_partial(lanes: L, bytes: &[u8], flip: u8) -> Self::Weights;
    fn dot(lanes: L, weights: Self::Weights, chunk: &Self::Chunk) -> L::Float;
}

struct FourBits;
struct EightBits;

impl<L: Lanes> Width<L> for FourBits {
    const CHUNK_COLUMNS: usize = 128;
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
    fn load(lanes: L, bytes: &[u8; 64], flip: u8) -> L::Nibbles {
        lanes.load_nibbles(bytes, flip)
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
    fn load(lanes: L, bytes: &[u8; 64], flip: u8) -> L::Bytes {
        lanes.load_bytes(bytes, flip)
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
    out: &mut ColumnsMut<'_>,
) {
    match (matrix.shape.bits, matrix.scales) {
        (4, Floats::F32(_)) => run::<L, FourBits, F32>(lanes, matrix, rows, activations, out),
        (4, Floats::F16(_)) => run::<L, FourBits, F16>(lanes, matrix, rows, activations, out),
        (4, Floats::Bf16(_)) => run::<L, FourBits, BF16>(lanes, matrix, rows, activations, out),
        (_, Floats::F32(_)) => run::<L, EightBits, F32>(lanes, matrix, rows, activations, out),
        (_, Floats::F16(_)) => run::<L, EightBits, F16>(lanes, matrix, rows, activations, out),
        (_, Floats::Bf16(_)) => run::<L, EightBits, BF16>(lanes, matrix, rows, activations, out),
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
    let tokens = activations.tokens();
    if tokens == 1 {
        let tile_bytes = TILE_ROWS * matrix.row_bytes;
        let ahead = PREFETCH_BYTES.div_ceil(tile_bytes) * TILE_ROWS;
        let mut position = 0;
        while position < rows.len() {
            let first = position + ahead;
            let next = if first + TILE_ROWS <= rows.len() { Some(tile_rows(rows, first)) } else { None };
            let sums =
                tile::<L, W, FORMAT, 1>(lanes, matrix, tile_rows(rows, position), activations, [0], next);
            write(out.row_mut(0), position, sums[0]);
            position += TILE_ROWS;
        }
        return;
    }
    let token_bytes = size_of::<W::Chunk>() * matrix.shape.columns.div_ceil(W::CHUNK_COLUMNS);
    let block = (TOKEN_BLOCK_BYTES / token_bytes).clamp(4, 64).next_multiple_of(4);
    let mut start = 0;
    while start < tokens {
        let end = tokens.min(start + block);
        let mut position = 0;
        while position < rows.len() {
            let tile_rows = tile_rows(rows, position);
            let mut token = start;
            while end - token > 2 {
                // A group of three computes its last token twice.
                let group = [token, token + 1, token + 2, (token + 3).min(end - 1)];
                let sums = tile::<L, W, FORMAT, 4>(lanes, matrix, tile_rows, activations, group, None);
                for (token, sums) in group.into_iter().zip(sums) {
                    write(out.row_mut(token), position, sums);
                }
                token = end.min(token + 4);
            }
            if end - token == 2 {
                let group = [token, token + 1];
                let sums = tile::<L, W, FORMAT, 2>(lanes, matrix, tile_rows, activations, group, None);
                for (token, sums) in group.into_iter().zip(sums) {
                    write(out.row_mut(token), position, sums);
                }
            } else if end - token == 1 {
                let sums = tile::<L, W, FORMAT, 1>(lanes, matrix, tile_rows, activations, [token], None);
                write(out.row_mut(token), position, sums[0]);
            }
            position += TILE_ROWS;
        }
        start = end;
    }
}

/// The output features of the tile at `position`; the last is repeated where the tile reaches past the end.
#[inline(always)]
fn tile_rows(rows: Rows<'_>, position: usize) -> [usize; TILE_ROWS] {
    let last = rows.len() - 1;
    [
        rows.at(position),
        rows.at((position + 1).min(last)),
        rows.at((position + 2).min(last)),
        rows.at((position + 3).min(last)),
    ]
}

#[inline(always)]
fn write(row: &mut [f32], position: usize, sums: [f32; TILE_ROWS]) {
    for (out, sum) in row[position..].iter_mut().zip(sums) {
        *out = sum;
    }
}

/// The products of four rows with `T` tokens.
#[inline(always)]
fn tile<L: Lanes, W: Width<L>, const FORMAT: u8, const T: usize>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: [usize; TILE_ROWS],
    activations: &BlockActivations,
    tokens: [usize; T],
    next: Option<[usize; TILE_ROWS]>,
) -> [[f32; TILE_ROWS]; T] {
    let size = size_of_format(FORMAT);
    let flip = matrix.shape.flip();
    let blocks = matrix.blocks;
    let block_size = matrix.shape.block_size;
    let per_chunk = (W::CHUNK_COLUMNS / block_size).max(1);
    let chunks_of_block = (block_size / W::CHUNK_COLUMNS).max(1);
    let shape = Spread { count: per_chunk, shift: 4 - per_chunk.trailing_zeros() };
    let spread = lanes.spread(shape);

    let codes = rows.map(|row| matrix.row_codes(row));
    let scales = rows.map(|row| matrix.row_scales(row));
    let ahead = next.map(|next| next.map(|row| matrix.row_codes(row).as_ptr()));
    let chunks = tokens.map(|token| W::chunks(activations, token));
    let columns = matrix.shape.columns.div_ceil(W::CHUNK_COLUMNS);
    let whole = (matrix.row_bytes / 64).min(blocks / per_chunk * chunks_of_block).min(columns);
    let codes_of = codes.map(|codes| &codes.as_chunks::<64>().0[..whole]);
    let chunks_of = chunks.map(|chunks| &chunks[..whole]);

    let mut sums = [[lanes.splat(0.0); TILE_ROWS]; T];
    let mut block = 0;
    let mut within = 0;
    for index in 0..whole {
        for row in 0..TILE_ROWS {
            if T == 1
                && let Some(ahead) = ahead
            {
                lanes.prefetch(ahead[row].wrapping_add(64 * index));
            }
            let weights = W::load(lanes, &codes_of[row][index], flip);
            let scale = lanes.spread_scales::<FORMAT>(spread, &scales[row][block * size..]);
            for token in 0..T {
                let chunk = &chunks_of[token][index];
                let product = W::dot(lanes, weights, chunk);
                let scale = lanes.mul(scale, lanes.load(W::scales(chunk)));
                sums[token][row] = lanes.fma(product, scale, sums[token][row]);
            }
        }
        within += 1;
        if within == chunks_of_block {
            within = 0;
            block += per_chunk;
        }
    }
    for index in whole..columns {
        let block = index / chunks_of_block * per_chunk;
        for row in 0..TILE_ROWS {
            let weights = W::load_partial(lanes, codes[row].get(64 * index..).unwrap_or(&[]), flip);
            let mut padded = [0; 32];
            let rest = &scales[row][block * size..];
            let count = rest.len().min(per_chunk * size);
            padded[..count].copy_from_slice(&rest[..count]);
            let scale = lanes.spread_scales::<FORMAT>(spread, &padded);
            for token in 0..T {
                let chunk = &chunks[token][index];
                let product = W::dot(lanes, weights, chunk);
                let scale = lanes.mul(scale, lanes.load(W::scales(chunk)));
                sums[token][row] = lanes.fma(product, scale, sums[token][row]);
            }
        }
    }
    let mut totals = sums.map(|sums| lanes.sum4(sums));

    if !is_middle(matrix) {
        let corrections = correct::<L, FORMAT, T>(lanes, matrix, rows, activations, tokens);
        for (totals, corrections) in totals.iter_mut().zip(corrections) {
            for (total, correction) in totals.iter_mut().zip(corrections) {
                *total -= correction;
            }
        }
    }
    if let Some(bias) = matrix.bias {
        for totals in &mut totals {
            for (total, row) in totals.iter_mut().zip(rows) {
                *total += bias[row];
            }
        }
    }
    totals
}

/// The sums over blocks of scale * (zero point - middle) * (sum of activations).
#[inline(always)]
fn correct<L: Lanes, const FORMAT: u8, const T: usize>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: [usize; TILE_ROWS],
    activations: &BlockActivations,
    tokens: [usize; T],
) -> [[f32; TILE_ROWS]; T] {
    let size = size_of_format(FORMAT);
    let level = (matrix.shape.block_size / 16).min(8).trailing_zeros() as usize;
    let units = matrix.shape.block_size.div_ceil(128);
    let scales = rows.map(|row| matrix.row_scales(row));
    let sums_of = tokens.map(|token| activations.sums(token, level));
    let mut sums = [[lanes.splat(0.0); TILE_ROWS]; T];
    let mut block = 0;
    while block < matrix.blocks {
        let mut blocks_of = [lanes.splat(0.0); T];
        for token in 0..T {
            blocks_of[token] = if units == 1 {
                lanes.load_partial(&sums_of[token][block..])
            } else {
                let mut totals = [0.0; 16];
                for (total, units) in totals.iter_mut().zip(sums_of[token][block * units..].chunks(units)) {
                    *total = units.iter().fold(0.0, |total, unit| total + unit);
                }
                lanes.load(&totals)
            };
        }
        for row in 0..TILE_ROWS {
            let zero_points = centred_zero_points(lanes, matrix, rows[row], block);
            let scale = lanes.load_floats::<FORMAT>(&scales[row][block * size..]);
            let weight = lanes.mul(scale, zero_points);
            for token in 0..T {
                sums[token][row] = lanes.fma(weight, blocks_of[token], sums[token][row]);
            }
        }
        block += 16;
    }
    sums.map(|sums| lanes.sum4(sums))
}
