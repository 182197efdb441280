//! Activations quantised to 8 bits in blocks of 16, laid out so that the integer kernels load them as they are.
//!
//! In two planes a token has two rows of codes, one after the other: the second quantises what the first leaves, so that their sum has
//! about 15 bits. To the products they are two tokens, whose results are added.

use std::marker::PhantomData;
use std::ops::Range;

/// Activations are handed out to threads, and padded, in units of this many columns.
pub const COLUMN_UNIT: usize = 256;

/// Tokens whose codes lie side by side in [`ActivationLayout::Grouped`].
pub const GROUP_TOKENS: usize = 16;

/// In which order the codes lie; [`super::KernelTable::layout`] tells which one a product needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ActivationLayout {
    /// For 4-bit weights and few tokens: per 256 k, four parts. They hold of each 16 k the first four even ones, the first four
    /// odd ones, the last four even ones and the last four odd ones.
    #[default]
    Split,
    /// For 4-bit weights and many tokens: per group of 16 tokens and 16 k, the same four parts of each token.
    Grouped,
    /// For 8-bit weights: in order of k.
    Natural,
}

impl ActivationLayout {
    /// How many neighbouring tokens one thread should quantise, so that no other writes to the same cache lines.
    #[must_use]
    pub fn neighbours(self) -> usize {
        if self == Self::Grouped { GROUP_TOKENS } else { 1 }
    }
}

/// 256 k of one token: lane l of 16 stands for k 16l to 16l + 15, a block of activations.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct SplitChunk {
    /// Each part has 4 codes a lane: of the lane's first 8 k the even ones, then the odd ones; the same of its last 8 k.
    pub(super) parts: [[i8; 64]; 4],
    /// The scale of each lane's block.
    pub(super) scales: [f32; 16],
    /// Minus 8 times the sum of each lane's codes.
    pub(super) offsets: [i32; 16],
}

/// 16 k of 16 tokens: lane t stands for token t of a group.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct GroupBlock {
    /// Each part has 4 codes a token: of its first 8 k the even ones, then the odd ones; the same of its last 8 k.
    pub(super) parts: [[i8; 64]; 4],
    /// The scale of each token's block.
    pub(super) scales: [f32; 16],
    /// Minus 8 times the sum of each token's codes.
    pub(super) offsets: [i32; 16],
}

/// 64 k of one token: lane l of 16 stands for k 4l to 4l + 3.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct NaturalChunk {
    pub(super) codes: [i8; 64],
    /// The scale of each lane's block.
    pub(super) scales: [f32; 16],
    /// Minus 128 times the sum of each lane's codes.
    pub(super) offsets: [i32; 16],
}

const EMPTY_SPLIT: SplitChunk = SplitChunk { parts: [[0; 64]; 4], scales: [0.0; 16], offsets: [0; 16] };
const EMPTY_GROUP: GroupBlock = GroupBlock { parts: [[0; 64]; 4], scales: [0.0; 16], offsets: [0; 16] };
const EMPTY_NATURAL: NaturalChunk = NaturalChunk { codes: [0; 64], scales: [0.0; 16], offsets: [0; 16] };

/// Blocks of 16 k in a unit.
const UNIT_BLOCKS: usize = COLUMN_UNIT / 16;
/// Chunks of 64 k in a unit.
const NATURAL_CHUNKS: usize = COLUMN_UNIT / 64;
/// How many sums a unit has at each level: over 16, 32, 64 and 128 k.
const SUMS_OF_UNIT: [usize; 4] = [16, 8, 4, 2];

/// Quantised activations `[tokens][planes][columns]`, a buffer to be used again and again.
#[derive(Debug, Clone, Default)]
pub struct BlockActivations {
    /// Tokens times planes.
    rows: usize,
    /// 1 or 2.
    planes: usize,
    columns: usize,
    units: usize,
    layout: ActivationLayout,
    split: Vec<SplitChunk>,
    /// By group, block of a unit and unit.
    grouped: Vec<GroupBlock>,
    natural: Vec<NaturalChunk>,
    sums: [Vec<f32>; 4],
}

impl BlockActivations {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for `tokens` of `columns` in one plane; allocates only when the buffer has never been so large.
    ///
    /// The codes are what they happen to be until every token has been quantised.
    pub fn reset(&mut self, tokens: usize, columns: usize, layout: ActivationLayout) {
        self.reset_planes(tokens, 1, columns, layout);
    }

    /// As [`reset`](Self::reset), in one or two planes.
    ///
    /// # Panics
    /// When `planes` is neither 1 nor 2.
    pub fn reset_planes(&mut self, tokens: usize, planes: usize, columns: usize, layout: ActivationLayout) {
        assert!(matches!(planes, 1 | 2), "{planes} planes");
        let units = columns.div_ceil(COLUMN_UNIT);
        let rows = tokens * planes;
        (self.rows, self.planes, self.columns, self.units, self.layout) =
            (rows, planes, columns, units, layout);
        let total = rows * units;
        match layout {
            ActivationLayout::Split => grow(&mut self.split, total, EMPTY_SPLIT),
            ActivationLayout::Grouped => {
                let groups = rows.div_ceil(GROUP_TOKENS);
                grow(&mut self.grouped, groups * units * UNIT_BLOCKS, EMPTY_GROUP);
            }
            ActivationLayout::Natural => grow(&mut self.natural, NATURAL_CHUNKS * total, EMPTY_NATURAL),
        }
        for (sums, per_unit) in self.sums.iter_mut().zip(SUMS_OF_UNIT) {
            grow(sums, total * per_unit, 0.0);
        }
    }

    /// Tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.rows.checked_div(self.planes).unwrap_or(0)
    }

    /// 1 or 2.
    #[must_use]
    pub fn planes(&self) -> usize {
        self.planes
    }

    /// Rows of codes: tokens times planes.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// K.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The order of the codes.
    #[must_use]
    pub fn layout(&self) -> ActivationLayout {
        self.layout
    }

    /// Bytes that a new buffer holds after [`reset`](Self::reset) for `tokens` tokens, or half as many in two planes.
    #[must_use]
    pub fn bytes_for(tokens: usize, columns: usize, layout: ActivationLayout) -> usize {
        let codes = match layout {
            ActivationLayout::Split => tokens * size_of::<SplitChunk>(),
            ActivationLayout::Grouped => {
                tokens.div_ceil(GROUP_TOKENS) * UNIT_BLOCKS * size_of::<GroupBlock>()
            }
            ActivationLayout::Natural => tokens * NATURAL_CHUNKS * size_of::<NaturalChunk>(),
        };
        let sums = tokens * SUMS_OF_UNIT.iter().sum::<usize>() * size_of::<f32>();
        columns.div_ceil(COLUMN_UNIT) * (codes + sums)
    }

    /// Bytes that the buffer holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.split.capacity() * size_of::<SplitChunk>()
            + self.grouped.capacity() * size_of::<GroupBlock>()
            + self.natural.capacity() * size_of::<NaturalChunk>()
            + self.sums.iter().map(|sums| sums.capacity() * 4).sum::<usize>()
    }

    /// All of token `token`, to be quantised.
    ///
    /// # Panics
    /// When `token` is not below [`tokens`](Self::tokens).
    #[must_use]
    pub fn token_mut(&mut self, token: usize) -> ActivationsMut<'_> {
        assert!(token < self.tokens(), "token {token} of {}", self.tokens());
        let mut all = self.tokens_mut();
        all.swap_remove(token)
    }

    /// Every token, to be quantised in parallel.
    #[must_use]
    pub fn tokens_mut(&mut self) -> Vec<ActivationsMut<'_>> {
        let (rows, columns, units, layout) = (self.rows, self.columns, self.units, self.layout);
        let mut rest = PlaneMut {
            layout,
            split: &mut self.split,
            grouped: GroupedTokenMut::NONE,
            natural: &mut self.natural,
            sums: self.sums.each_mut().map(Vec::as_mut_slice),
        };
        let mut all = Vec::with_capacity(rows);
        for _ in 0..rows {
            let (row, remaining) = rest.split_units(units);
            all.push(row);
            rest = remaining;
        }
        if layout == ActivationLayout::Grouped {
            let groups = self.grouped.chunks_mut(units * UNIT_BLOCKS);
            for (rows, group) in all.chunks_mut(GROUP_TOKENS).zip(groups) {
                let first = group.as_mut_ptr();
                for (lane, row) in rows.iter_mut().enumerate() {
                    row.grouped = GroupedTokenMut { first, stride: units, units, lane, marker: PhantomData };
                }
            }
        }
        let mut rows = all.into_iter();
        let mut tokens = Vec::with_capacity(self.rows / self.planes.max(1));
        while let Some(first) = rows.next() {
            let second = if self.planes == 2 { rows.next() } else { None };
            tokens.push(ActivationsMut { columns, first, second });
        }
        tokens
    }

    /// Disjoint ranges of `chunk` columns (a multiple of [`COLUMN_UNIT`]), each for all tokens.
    ///
    /// # Panics
    /// When `chunk` is not a positive multiple of [`COLUMN_UNIT`].
    #[must_use]
    pub fn column_chunks(&mut self, chunk: usize) -> Vec<(Range<usize>, ActivationColumnsMut<'_>)> {
        assert!(chunk > 0 && chunk.is_multiple_of(COLUMN_UNIT), "chunks of {chunk} columns");
        let columns = self.columns;
        let mut chunks: Vec<_> = (0..columns.div_ceil(chunk))
            .map(|index| {
                let range = index * chunk..columns.min((index + 1) * chunk);
                (range, ActivationColumnsMut { tokens: Vec::with_capacity(self.tokens()) })
            })
            .collect();
        for mut token in self.tokens_mut() {
            for (range, part) in &mut chunks {
                let (mut left, rest) = token.split_units(range.len().div_ceil(COLUMN_UNIT));
                left.columns = range.len();
                part.tokens.push(left);
                token = rest;
            }
        }
        chunks
    }

    pub(super) fn split_chunks(&self, row: usize) -> &[SplitChunk] {
        &self.split[row * self.units..][..self.units]
    }

    /// Block `block` of every unit, for the rows of group `group`.
    pub(super) fn group_blocks(&self, group: usize, block: usize) -> &[GroupBlock] {
        &self.grouped[(group * UNIT_BLOCKS + block) * self.units..][..self.units]
    }

    pub(super) fn natural_chunks(&self, row: usize) -> &[NaturalChunk] {
        let units = NATURAL_CHUNKS * self.units;
        &self.natural[row * units..][..units]
    }

    /// Sums of scale times code over `16 << level` k.
    pub(super) fn sums(&self, row: usize, level: usize) -> &[f32] {
        let count = self.units * SUMS_OF_UNIT[level];
        &self.sums[level][row * count..][..count]
    }
}

fn grow<T: Clone>(buffer: &mut Vec<T>, length: usize, value: T) {
    if buffer.len() < length {
        // A vector that grows on its own takes up to twice what it needs.
        buffer.reserve_exact(length - buffer.len());
        buffer.resize(length, value);
    }
}

/// Some columns of every token, from [`BlockActivations::column_chunks`].
#[derive(Debug)]
pub struct ActivationColumnsMut<'a> {
    tokens: Vec<ActivationsMut<'a>>,
}

impl<'a> ActivationColumnsMut<'a> {
    /// These columns of row `token`.
    ///
    /// # Panics
    /// When there is no such token.
    #[must_use]
    pub fn row_mut(&mut self, token: usize) -> &mut ActivationsMut<'a> {
        &mut self.tokens[token]
    }
}

/// Some or all columns of one token, to be filled by [`super::KernelTable::quantise`].
#[derive(Debug)]
pub struct ActivationsMut<'a> {
    columns: usize,
    pub(super) first: PlaneMut<'a>,
    /// What the first plane leaves.
    pub(super) second: Option<PlaneMut<'a>>,
}

impl ActivationsMut<'_> {
    /// How many activations [`super::KernelTable::quantise`] expects.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    fn split_units(self, units: usize) -> (Self, Self) {
        let (first, first_rest) = self.first.split_units(units);
        let (second, second_rest) = self.second.map(|plane| plane.split_units(units)).unzip();
        (Self { columns: 0, first, second }, Self { columns: 0, first: first_rest, second: second_rest })
    }
}

/// Some or all columns of one row of codes.
#[derive(Debug)]
pub(super) struct PlaneMut<'a> {
    pub(super) layout: ActivationLayout,
    pub(super) split: &'a mut [SplitChunk],
    pub(super) grouped: GroupedTokenMut<'a>,
    pub(super) natural: &'a mut [NaturalChunk],
    pub(super) sums: [&'a mut [f32]; 4],
}

impl PlaneMut<'_> {
    fn split_units(self, units: usize) -> (Self, Self) {
        let chunks = |layout, per_unit| if self.layout == layout { units * per_unit } else { 0 };
        let (split, split_rest) = self.split.split_at_mut(chunks(ActivationLayout::Split, 1));
        let (natural, natural_rest) =
            self.natural.split_at_mut(chunks(ActivationLayout::Natural, NATURAL_CHUNKS));
        let (grouped, grouped_rest) = self.grouped.split_at(units);
        let mut level = 0;
        let pairs = self.sums.map(|sums| {
            let pair = sums.split_at_mut(units * SUMS_OF_UNIT[level]);
            level += 1;
            pair
        });
        let [a, b, c, d] = pairs;
        (
            Self { layout: self.layout, split, grouped, natural, sums: [a.0, b.0, c.0, d.0] },
            Self {
                layout: self.layout,
                split: split_rest,
                grouped: grouped_rest,
                natural: natural_rest,
                sums: [a.1, b.1, c.1, d.1],
            },
        )
    }
}

/// The blocks of one row among those of its group, for some units.
#[derive(Debug)]
pub(super) struct GroupedTokenMut<'a> {
    /// The group's block 0 of the first unit.
    first: *mut GroupBlock,
    /// Units of the whole row: the distance from a block to the next of the same unit.
    stride: usize,
    units: usize,
    /// The token's place in its group, below [`GROUP_TOKENS`].
    lane: usize,
    marker: PhantomData<&'a mut [GroupBlock]>,
}

// SAFETY: an exclusive borrow of one token's plain numbers, as `&mut [SplitChunk]` is.
unsafe impl Send for GroupedTokenMut<'_> {}
// SAFETY: as above; shared access gives no access to the numbers.
unsafe impl Sync for GroupedTokenMut<'_> {}

impl GroupedTokenMut<'_> {
    const NONE: Self =
        Self { first: std::ptr::null_mut(), stride: 0, units: 0, lane: 0, marker: PhantomData };

    /// The blocks before `unit`, and those from it on; all of a token without units stay without.
    fn split_at(self, unit: usize) -> (Self, Self) {
        let units = unit.min(self.units);
        let right = Self {
            // Within the group's blocks of its first 16 k, or one past them.
            first: self.first.wrapping_add(units),
            units: self.units - units,
            ..self
        };
        (Self { units, ..self }, right)
    }

    /// Writes block `block` of unit `unit`: the four parts' codes, their scale, and minus 8 times their sum.
    ///
    /// # Panics
    /// When there is no such block.
    #[inline(always)]
    pub(super) fn write(&mut self, unit: usize, block: usize, parts: [[i8; 4]; 4], scale: f32, offset: i32) {
        assert!(unit < self.units && block < UNIT_BLOCKS, "block {block} of unit {unit}");
        let to = self.first.wrapping_add(block * self.stride + unit);
        // SAFETY: `tokens_mut` borrowed `UNIT_BLOCKS * stride` blocks exclusively and gave each token of the group a lane of its
        // own, below 16; `split_at` gives each unit to one view. Only this lane's numbers are written, and no reference to a
        // block is made.
        unsafe {
            for part in 0..4 {
                let codes: *mut [i8; 4] = (&raw mut (*to).parts[part]).cast();
                codes.add(self.lane).write(parts[part]);
            }
            (&raw mut (*to).scales).cast::<f32>().add(self.lane).write(scale);
            (&raw mut (*to).offsets).cast::<i32>().add(self.lane).write(offset);
        }
    }
}
