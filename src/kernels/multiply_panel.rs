//! Products of 4-bit weights with many tokens: some rows are unpacked into a panel in the second-level cache and meet groups
//! of 16 tokens there, a lane a token, so that the weights of 4 k are one broadcast. The operations on each number are those of
//! [`multiply_int8`](super::multiply_int8), in the same order: lane l of a chunk there is block l here.

use super::activations::{BlockActivations, GROUP_TOKENS, GroupBlock};
use super::columns::ColumnsMut;
use super::lanes::Lanes;
use super::matrix::{BlockMatrix, Rows};
use super::unpacking::{CHUNK_COLUMNS, Unpacking};

/// For fewer tokens a panel costs more than it saves.
pub(super) const FEWEST_TOKENS: usize = 13;
/// The largest panel, unless two tiles of rows are larger: a quarter of it stays in the first-level cache.
const PANEL_BYTES: usize = 96 << 10;
/// Activations of this many bytes stay in the second-level cache while panels come and go.
const TOKEN_BLOCK_BYTES: usize = 768 << 10;
/// The most rows of a panel: their sums with a group of tokens take 11 KiB of the stack.
const PANEL_ROWS: usize = 36;
/// Rows, and groups of tokens, that meet at a time: where registers are many, and where they are few.
const WIDE_ROWS: usize = 6;
const WIDE_GROUPS: usize = 2;
const NARROW_ROWS: usize = 2;
/// Rows of a tile of a matrix unit, which meet one group of tokens at a time.
const TILE_ROWS: usize = 16;
/// The order of blocks in which the tree of 16 sums needs to remember one sum a level only.
const TREE_ORDER: [usize; 16] = [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15];

/// Of a row's chunk, the blocks i, 4 + i, 8 + i and 12 + i.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Quad {
    /// By block, the parts as those of a [`GroupBlock`].
    pub(super) codes: [[u8; 16]; 4],
    /// By block.
    scales: [f32; 4],
}

/// The rows at some positions, for which a panel will be filled next.
#[derive(Clone, Copy)]
struct Ahead<'r> {
    rows: Rows<'r>,
    position: usize,
    count: usize,
}

/// Sums by row and token of the panel's rows: the left halves of the tree's open pairs, and at last the totals.
type Levels = [[[f32; 16]; PANEL_ROWS]; 5];

/// Unpacked weights, a buffer to be used again and again: at most 96 KiB for up to 4,864 columns, and 16 rows for more.
#[derive(Debug, Clone, Default)]
pub struct WeightPanel {
    /// By number of the quad, tile of rows, chunk and row of the tile.
    quads: Vec<Quad>,
    /// Products by row of activations and output feature, where a token has two planes.
    pub(super) planes: Vec<f32>,
}

impl WeightPanel {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of a panel for a matrix of `columns` columns, at most.
    #[must_use]
    pub fn bytes_for(columns: usize) -> usize {
        let chunks = columns.div_ceil(CHUNK_COLUMNS);
        let rows = [WIDE_ROWS, NARROW_ROWS, TILE_ROWS].map(|tile| panel_rows(chunks, tile));
        rows.into_iter().fold(0, usize::max) * row_bytes(chunks)
    }

    /// Bytes in use, those of the products of two planes included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.quads.capacity() * size_of::<Quad>() + self.planes.capacity() * size_of::<f32>()
    }
}

const fn row_bytes(chunks: usize) -> usize {
    chunks * 4 * size_of::<Quad>()
}

fn panel_rows(chunks: usize, tile: usize) -> usize {
    let fewest = if tile == TILE_ROWS { tile } else { 2 * tile };
    (PANEL_BYTES / row_bytes(chunks)).min(PANEL_ROWS).max(fewest) / tile * tile
}

/// Writes `out[token][i]` for output feature `rows.at(i)`, without zero points and bias.
#[inline(always)]
pub(super) fn run<L: Lanes, const FORMAT: u8>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    panel: &mut WeightPanel,
    out: &mut ColumnsMut<'_>,
) {
    if L::TILES {
        lanes.begin_tiles();
        run_tiles::<L, FORMAT, TILE_ROWS, 1>(lanes, matrix, rows, activations, panel, out);
        lanes.end_tiles();
    } else if L::WIDE {
        run_tiles::<L, FORMAT, WIDE_ROWS, WIDE_GROUPS>(lanes, matrix, rows, activations, panel, out);
    } else {
        run_tiles::<L, FORMAT, NARROW_ROWS, 1>(lanes, matrix, rows, activations, panel, out);
    }
}

#[inline(always)]
fn run_tiles<L: Lanes, const FORMAT: u8, const ROWS: usize, const GROUPS: usize>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    rows: Rows<'_>,
    activations: &BlockActivations,
    panel: &mut WeightPanel,
    out: &mut ColumnsMut<'_>,
) {
    let groups = activations.rows().div_ceil(GROUP_TOKENS);
    let chunks = matrix.shape.columns.div_ceil(CHUNK_COLUMNS);
    let group_bytes = chunks * 16 * size_of::<GroupBlock>();
    let block_groups = (TOKEN_BLOCK_BYTES / group_bytes).max(4);
    let most_rows = panel_rows(chunks, ROWS).min(rows.len().next_multiple_of(ROWS));
    let length = 4 * chunks * most_rows;
    if panel.quads.len() < length {
        panel.quads.reserve_exact(length - panel.quads.len());
        panel.quads.resize(length, Quad::default());
    }
    let mut levels: [Levels; GROUPS] = [[[[0.0; 16]; PANEL_ROWS]; 5]; GROUPS];
    let unpacking = Unpacking::<L, FORMAT>::new(lanes, matrix);
    for first_group in (0..groups).step_by(block_groups) {
        let groups = first_group..groups.min(first_group + block_groups);
        for position in (0..rows.len()).step_by(most_rows) {
            let count = most_rows.min(rows.len() - position);
            let tiles = count.div_ceil(ROWS);
            let quads = &mut panel.quads[..4 * tiles * chunks * ROWS];
            for tile in 0..tiles {
                let first = position + tile * ROWS;
                // A short tile holds its last row again.
                let of_tile = std::array::from_fn(|row| rows.at((first + row).min(position + count - 1)));
                fill::<L, FORMAT, ROWS>(lanes, &unpacking, of_tile, quads, tile * chunks * ROWS);
            }
            let mut ahead = Some(Ahead { rows, position: position + most_rows, count: most_rows });
            let mut group = groups.start;
            while group < groups.end {
                let met = GROUPS.min(groups.end - group);
                let levels = &mut levels[..met];
                if met == GROUPS {
                    multiply_groups::<L, ROWS, GROUPS>(
                        lanes,
                        matrix,
                        quads,
                        activations,
                        group,
                        ahead,
                        levels,
                    );
                } else {
                    multiply_groups::<L, ROWS, 1>(lanes, matrix, quads, activations, group, ahead, levels);
                }
                ahead = None;
                for levels in levels {
                    let tokens = group * GROUP_TOKENS..activations.rows().min((group + 1) * GROUP_TOKENS);
                    write(lanes, &levels[4][..count], tokens, position, out);
                    group += 1;
                }
            }
        }
    }
}

/// Unpacks a tile of rows, from `first` on in each quarter of the panel.
#[inline(always)]
fn fill<L: Lanes, const FORMAT: u8, const ROWS: usize>(
    lanes: L,
    unpacking: &Unpacking<'_, L, FORMAT>,
    rows: [usize; ROWS],
    panel: &mut [Quad],
    first: usize,
) {
    let (low, high) = panel.split_at_mut(panel.len() / 2);
    let (a, b) = low.split_at_mut(low.len() / 2);
    let (c, d) = high.split_at_mut(high.len() / 2);
    for index in 0..unpacking.chunks() {
        for (row, at) in rows.iter().zip(first + index * ROWS..) {
            let (weights, scales) = unpacking.chunk(lanes, *row, index);
            let (a, b, c, d) = (&mut a[at], &mut b[at], &mut c[at], &mut d[at]);
            lanes.store_nibbles(weights, [&mut a.codes, &mut b.codes, &mut c.codes, &mut d.codes]);
            lanes.store_strided(scales, [&mut a.scales, &mut b.scales, &mut c.scales, &mut d.scales]);
        }
    }
}

/// Leaves the products of a panel with groups of tokens from `group` on, by row and token, in the last of each one's levels.
/// Meanwhile asks for the weights of the rows `ahead`.
#[inline(always)]
fn multiply_groups<L: Lanes, const ROWS: usize, const GROUPS: usize>(
    lanes: L,
    matrix: &BlockMatrix<'_>,
    panel: &[Quad],
    activations: &BlockActivations,
    group: usize,
    ahead: Option<Ahead<'_>>,
    levels: &mut [Levels],
) {
    let chunks = matrix.shape.columns.div_ceil(CHUNK_COLUMNS);
    let panel_rows = panel.len() / (4 * chunks);
    // Behind these nothing is left of a row but zeros.
    let blocks = (matrix.blocks * matrix.shape.block_size / 16).min(16 * chunks);
    let mut dots = [Dots::default(), Dots::default()];
    for (step, block) in TREE_ORDER.into_iter().enumerate() {
        if let Some(ahead) = ahead {
            ask_for_rows(lanes, matrix, ahead, step);
        }
        let whole = chunks - usize::from((chunks - 1) * 16 + block >= blocks);
        let mut tokens: [&[GroupBlock]; GROUPS] = [&[]; GROUPS];
        for (index, tokens) in tokens.iter_mut().enumerate() {
            *tokens = &activations.group_blocks(group + index, block)[..whole];
        }
        let quarter = &panel[block % 4 * panel_rows * chunks..][..panel_rows * chunks];
        for (tile, quads) in quarter.chunks_exact(ROWS * chunks).enumerate() {
            let mut sums = if L::TILES {
                multiply_tile::<L, ROWS, GROUPS>(lanes, quads, block / 4, tokens, &mut dots)
            } else {
                multiply_block::<L, ROWS, GROUPS>(lanes, quads, block / 4, tokens)
            };
            // The sum so far belongs to the left of each pair in the tree that this block completes.
            let level = step.trailing_ones() as usize;
            for below in 0..level {
                for group in 0..GROUPS {
                    let left = &levels[group][below].as_chunks::<ROWS>().0[tile];
                    for row in 0..ROWS {
                        sums[group][row] = lanes.add(lanes.load(&left[row]), sums[group][row]);
                    }
                }
            }
            for group in 0..GROUPS {
                let to = &mut levels[group][level].as_chunks_mut::<ROWS>().0[tile];
                for row in 0..ROWS {
                    lanes.store(sums[group][row], &mut to[row]);
                }
            }
        }
    }
}

/// The sums over the chunks of one block of 16 k, of a tile of rows with groups of tokens.
#[inline(always)]
fn multiply_block<L: Lanes, const ROWS: usize, const GROUPS: usize>(
    lanes: L,
    quads: &[Quad],
    at: usize,
    tokens: [&[GroupBlock]; GROUPS],
) -> [[L::Float; ROWS]; GROUPS] {
    let mut sums = [[lanes.splat(0.0); ROWS]; GROUPS];
    let count = tokens[0].len();
    for index in 0..GROUPS {
        assert_eq!(tokens[index].len(), count, "chunks of a group");
    }
    for (index, quads) in quads.as_chunks::<ROWS>().0.iter().take(count).enumerate() {
        let mut dots = [[lanes.begin_dots(&tokens[0][index].offsets); ROWS]; GROUPS];
        for group in 1..GROUPS {
            dots[group] = [lanes.begin_dots(&tokens[group][index].offsets); ROWS];
        }
        for part in 0..4 {
            for row in 0..ROWS {
                let weights = quads[row].codes[at].as_chunks::<4>().0[part];
                for group in 0..GROUPS {
                    dots[group][row] =
                        lanes.add_dots(dots[group][row], weights, &tokens[group][index].parts[part]);
                }
            }
        }
        for row in 0..ROWS {
            let scale = lanes.splat(quads[row].scales[at]);
            for group in 0..GROUPS {
                let tokens = &tokens[group][index];
                let scale = lanes.mul(scale, lanes.load(&tokens.scales));
                sums[group][row] =
                    lanes.fma(lanes.end_dots(dots[group][row], &tokens.offsets), scale, sums[group][row]);
            }
        }
    }
    sums
}

/// As [`multiply_block`], by the matrix unit: it multiplies a chunk into one of `dots` while those of the chunk before are scaled and
/// added.
#[inline(always)]
fn multiply_tile<L: Lanes, const ROWS: usize, const GROUPS: usize>(
    lanes: L,
    quads: &[Quad],
    at: usize,
    tokens: [&[GroupBlock]; GROUPS],
    dots: &mut [Dots; 2],
) -> [[L::Float; ROWS]; GROUPS] {
    let mut sums = [[lanes.splat(0.0); ROWS]; GROUPS];
    for (group, tokens) in tokens.into_iter().enumerate() {
        let (quads, _) = quads.as_chunks::<ROWS>();
        if let (Some(quads), Some(tokens)) = (quads.first(), tokens.first()) {
            lanes.dot_tile(quads, at, tokens, &mut dots[0].0);
        }
        for (index, (block, rows)) in tokens.iter().zip(quads).enumerate() {
            if let (Some(quads), Some(tokens)) = (quads.get(index + 1), tokens.get(index + 1)) {
                lanes.dot_tile(quads, at, tokens, &mut dots[(index + 1) % 2].0);
            }
            let of_tokens = lanes.load(&block.scales);
            for row in 0..ROWS {
                let scale = lanes.mul(lanes.splat(rows[row].scales[at]), of_tokens);
                let dots = lanes.begin_dots(&dots[index % 2].0[row % TILE_ROWS]);
                sums[group][row] = lanes.fma(lanes.end_dots(dots, &NO_OFFSETS), scale, sums[group][row]);
            }
        }
    }
    sums
}

/// Dot products by row of a tile and token; the weights are centred.
#[derive(Default)]
#[repr(C, align(64))]
struct Dots([[i32; 16]; TILE_ROWS]);

const NO_OFFSETS: [i32; 16] = [0; 16];

/// Asks for one of 16 shares of the rows, where they are neighbours.
#[inline(always)]
fn ask_for_rows<L: Lanes>(lanes: L, matrix: &BlockMatrix<'_>, ahead: Ahead<'_>, share: usize) {
    let Ahead { rows: Rows::Range { start, .. }, position, .. } = ahead else { return };
    let count = ahead.count.min(ahead.rows.len().saturating_sub(position));
    let scale_bytes = matrix.blocks * matrix.scales.element_size();
    for (bytes, row_bytes) in [(matrix.codes, matrix.row_bytes), (matrix.scales.bytes(), scale_bytes)] {
        let first = bytes.as_ptr().wrapping_add((start + position) * row_bytes);
        for line in (0..count * row_bytes).step_by(64).skip(share).step_by(16) {
            lanes.prefetch(first.wrapping_add(line));
        }
    }
}

/// Writes sums by row and token into columns from `position` on of the rows `tokens`.
#[inline(always)]
fn write<L: Lanes>(
    lanes: L,
    sums: &[[f32; 16]],
    tokens: std::ops::Range<usize>,
    position: usize,
    out: &mut ColumnsMut<'_>,
) {
    let (quads, rest) = sums.as_chunks::<4>();
    for (index, quad) in quads.iter().enumerate() {
        let mut by_token = [[[0.0; 4]; 4]; 4];
        let transposed = lanes.transpose_quads(quad.each_ref().map(|sums| lanes.load(sums)));
        for (to, vector) in by_token.iter_mut().zip(transposed) {
            if let Some(to) = to.as_flattened_mut().first_chunk_mut() {
                lanes.store(vector, to);
            }
        }
        for (lane, token) in tokens.clone().enumerate() {
            out.row_mut(token)[position + 4 * index..][..4].copy_from_slice(&by_token[lane % 4][lane / 4]);
        }
    }
    for (index, sums) in rest.iter().enumerate() {
        for (sum, token) in sums.iter().zip(tokens.clone()) {
            out.row_mut(token)[position + 4 * quads.len() + index] = *sum;
        }
    }
}
