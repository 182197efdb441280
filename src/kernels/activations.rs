//! Activations quantised to 8 bits in blocks of 16, laid out so that the integer kernels load them as they are.

use std::ops::Range;

use super::matrix::BlockMatrix;

/// Activations are handed out to threads, and padded, in units of this many columns.
pub const COLUMN_UNIT: usize = 256;

/// In which order the codes lie; which one a matrix needs depends on the width of its codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ActivationLayout {
    /// For 4-bit weights: per 256 k, four parts. They hold of each 16 k the first four even ones, the first four odd ones, the
    /// last four even ones and the last four odd ones.
    #[default]
    Split,
    /// For 8-bit weights: in order of k.
    Natural,
}

impl ActivationLayout {
    /// The layout that [`super::KernelTable::multiply_int8`] needs for `matrix`.
    #[must_use]
    pub fn of(matrix: &BlockMatrix<'_>) -> Self {
        if matrix.shape.bits == 4 { Self::Split } else { Self::Natural }
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
const EMPTY_NATURAL: NaturalChunk = NaturalChunk { codes: [0; 64], scales: [0.0; 16], offsets: [0; 16] };

/// Chunks of 64 k in a unit.
const NATURAL_CHUNKS: usize = COLUMN_UNIT / 64;
/// How many sums a unit has at each level: over 16, 32, 64 and 128 k.
const SUMS_OF_UNIT: [usize; 4] = [16, 8, 4, 2];

/// Quantised activations `[tokens][columns]`, a buffer to be used again and again.
#[derive(Debug, Clone, Default)]
pub struct BlockActivations {
    tokens: usize,
    columns: usize,
    units: usize,
    layout: ActivationLayout,
    split: Vec<SplitChunk>,
    natural: Vec<NaturalChunk>,
    sums: [Vec<f32>; 4],
}

impl BlockActivations {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for `tokens` rows of `columns`; allocates only when the buffer has never been so large.
    ///
    /// The codes are what they happen to be until every row has been quantised.
    pub fn reset(&mut self, tokens: usize, columns: usize, layout: ActivationLayout) {
        let units = columns.div_ceil(COLUMN_UNIT);
        (self.tokens, self.columns, self.units, self.layout) = (tokens, columns, units, layout);
        let total = tokens * units;
        match layout {
            ActivationLayout::Split => grow(&mut self.split, total, EMPTY_SPLIT),
            ActivationLayout::Natural => grow(&mut self.natural, NATURAL_CHUNKS * total, EMPTY_NATURAL),
        }
        for (sums, per_unit) in self.sums.iter_mut().zip(SUMS_OF_UNIT) {
            grow(sums, total * per_unit, 0.0);
        }
    }

    /// Rows.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
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

    /// Bytes of one row of `columns`.
    #[must_use]
    pub fn token_bytes(columns: usize, layout: ActivationLayout) -> usize {
        let codes = match layout {
            ActivationLayout::Split => size_of::<SplitChunk>(),
            ActivationLayout::Natural => NATURAL_CHUNKS * size_of::<NaturalChunk>(),
        };
        columns.div_ceil(COLUMN_UNIT) * (codes + SUMS_OF_UNIT.iter().sum::<usize>() * size_of::<f32>())
    }

    /// Bytes that the buffer holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.split.capacity() * size_of::<SplitChunk>()
            + self.natural.capacity() * size_of::<NaturalChunk>()
            + self.sums.iter().map(|sums| sums.capacity() * 4).sum::<usize>()
    }

    /// All of token `token`, to be quantised.
    ///
    /// # Panics
    /// When `token` is not below [`tokens`](Self::tokens).
    #[must_use]
    pub fn token_mut(&mut self, token: usize) -> ActivationsMut<'_> {
        assert!(token < self.tokens, "token {token} of {}", self.tokens);
        let mut all = self.tokens_mut();
        all.swap_remove(token)
    }

    /// Every token, to be quantised in parallel.
    #[must_use]
    pub fn tokens_mut(&mut self) -> Vec<ActivationsMut<'_>> {
        let (tokens, columns, units, layout) = (self.tokens, self.columns, self.units, self.layout);
        let mut rest = ActivationsMut {
            layout,
            columns: 0,
            split: &mut self.split,
            natural: &mut self.natural,
            sums: self.sums.each_mut().map(Vec::as_mut_slice),
        };
        let mut all = Vec::with_capacity(tokens);
        for _ in 0..tokens {
            let (mut token, remaining) = rest.split_units(units);
            token.columns = columns;
            all.push(token);
            rest = remaining;
        }
        all
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
                (range, ActivationColumnsMut { tokens: Vec::with_capacity(self.tokens) })
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

    pub(super) fn split_chunks(&self, token: usize) -> &[SplitChunk] {
        &self.split[token * self.units..][..self.units]
    }

    pub(super) fn natural_chunks(&self, token: usize) -> &[NaturalChunk] {
        let units = NATURAL_CHUNKS * self.units;
        &self.natural[token * units..][..units]
    }

    /// Sums of scale times code over `16 << level` k.
    pub(super) fn sums(&self, token: usize, level: usize) -> &[f32] {
        let count = self.units * SUMS_OF_UNIT[level];
        &self.sums[level][token * count..][..count]
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
    pub(super) layout: ActivationLayout,
    pub(super) columns: usize,
    pub(super) split: &'a mut [SplitChunk],
    pub(super) natural: &'a mut [NaturalChunk],
    pub(super) sums: [&'a mut [f32]; 4],
}

impl ActivationsMut<'_> {
    /// How many activations [`super::KernelTable::quantise`] expects.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    fn split_units(self, units: usize) -> (Self, Self) {
        let chunks = |layout, per_unit| if self.layout == layout { units * per_unit } else { 0 };
        let (split, split_rest) = self.split.split_at_mut(chunks(ActivationLayout::Split, 1));
        let (natural, natural_rest) =
            self.natural.split_at_mut(chunks(ActivationLayout::Natural, NATURAL_CHUNKS));
        let mut level = 0;
        let pairs = self.sums.map(|sums| {
            let pair = sums.split_at_mut(units * SUMS_OF_UNIT[level]);
            level += 1;
            pair
        });
        let [a, b, c, d] = pairs;
        (
            Self { layout: self.layout, columns: 0, split, natural, sums: [a.0, b.0, c.0, d.0] },
            Self {
                layout: self.layout,
                columns: 0,
                split: split_rest,
                natural: natural_rest,
                sums: [a.1, b.1, c.1, d.1],
            },
        )
    }
}
