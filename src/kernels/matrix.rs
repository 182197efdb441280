//! Weight matrices as they lie in a model file: borrowed bytes at any alignment, checked once, never copied.

use std::ops::Range;

use half::{bf16, f16};

use crate::error::{Error, ErrorKind, Result};

/// Little-endian floating-point numbers as raw bytes, at any alignment.
#[derive(Debug, Clone, Copy)]
pub enum Floats<'a> {
    /// IEEE binary32.
    F32(&'a [u8]),
    /// IEEE binary16.
    F16(&'a [u8]),
    /// The upper half of binary32.
    Bf16(&'a [u8]),
}

impl<'a> Floats<'a> {
    /// The raw bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::F32(bytes) | Self::F16(bytes) | Self::Bf16(bytes) => bytes,
        }
    }

    /// Bytes of one number.
    #[must_use]
    pub fn element_size(self) -> usize {
        match self {
            Self::F32(_) => 4,
            Self::F16(_) | Self::Bf16(_) => 2,
        }
    }

    /// How many whole numbers there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.bytes().len() / self.element_size()
    }

    /// Whether there is no number.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Number `index`, or `None` past the end.
    #[must_use]
    pub fn get(self, index: usize) -> Option<f32> {
        let size = self.element_size();
        let bytes = self.bytes().get(index.checked_mul(size)?..)?.get(..size)?;
        Some(match (self, bytes) {
            (Self::F32(_), &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Self::F16(_), &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
            (Self::Bf16(_), &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
            _ => return None,
        })
    }

    /// The numbers in `range`, which must lie inside.
    pub(super) fn slice(self, range: Range<usize>) -> Self {
        let bytes = &self.bytes()[range.start * self.element_size()..range.end * self.element_size()];
        match self {
            Self::F32(_) => Self::F32(bytes),
            Self::F16(_) => Self::F16(bytes),
            Self::Bf16(_) => Self::Bf16(bytes),
        }
    }

    fn check(self, what: &str, count: usize) -> Result<()> {
        check_length(what, self.bytes().len(), mul(count, self.element_size())?)
    }
}

/// What is subtracted from a code before it is scaled.
#[derive(Debug, Clone, Copy)]
pub enum ZeroPoints<'a> {
    /// The middle of the range: 2^(bits-1) for unsigned codes, 0 for signed ones.
    None,
    /// One number for every block.
    Same(f32),
    /// One code a block, as wide and as signed as the weights, packed from the low bits up.
    ///
    /// In a [`BlockMatrix`] each row starts on a byte, or all rows are packed without gaps: the length tells
    /// which. In a [`BlockMatrixKn`] there are no gaps.
    Packed(&'a [u8]),
    /// One number a block, without gaps.
    Floats(Floats<'a>),
}

/// The sizes of a block-quantised matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockShape {
    /// N: output features.
    pub rows: usize,
    /// K: input features.
    pub columns: usize,
    /// Bits of a code, 4 or 8.
    pub bits: u32,
    /// How many consecutive k share a scale: a power of two from 16 on, or a multiple of 128.
    pub block_size: usize,
    /// Whether codes and packed zero points are two's complement.
    pub signed: bool,
}

impl BlockShape {
    /// Blocks along K.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.columns.div_ceil(self.block_size)
    }

    /// The code that stands for zero once signed codes have had their top bit flipped.
    pub(super) fn middle(&self) -> f32 {
        if self.bits == 4 { 8.0 } else { 128.0 }
    }

    /// Flips the top bit of each signed code in a byte; zero for unsigned codes.
    pub(super) fn flip(&self) -> u8 {
        match (self.signed, self.bits) {
            (false, _) => 0,
            (true, 4) => 0x88,
            (true, _) => 0x80,
        }
    }

    /// # Errors
    /// [`ErrorKind::Unsupported`] for a width or block size that the kernels do not read,
    /// [`ErrorKind::InvalidMatrix`] for a matrix without rows or columns.
    pub fn check(&self) -> Result<()> {
        if self.bits != 4 && self.bits != 8 {
            return Err(Error::new(ErrorKind::Unsupported, format!("weights of {} bits", self.bits))
                .with_hint("the kernels read 4 and 8 bits"));
        }
        let power = self.block_size.is_power_of_two() && self.block_size >= 16;
        if !power && (self.block_size == 0 || !self.block_size.is_multiple_of(128)) {
            return Err(Error::new(ErrorKind::Unsupported, format!("a block_size of {}", self.block_size))
                .with_hint("a block is a power of two from 16 on, or a multiple of 128"));
        }
        if self.rows == 0 || self.columns == 0 {
            return Err(Error::new(
                ErrorKind::InvalidMatrix,
                format!("a weight matrix of {} x {}", self.rows, self.columns),
            ));
        }
        Ok(())
    }
}

/// Weights `[N][K]` quantised in blocks along K, as MatMulNBits and DequantizeLinear on axis 1 store them.
#[derive(Debug, Clone, Copy)]
pub struct BlockMatrix<'a> {
    pub(super) shape: BlockShape,
    pub(super) blocks: usize,
    pub(super) row_bytes: usize,
    pub(super) codes: &'a [u8],
    pub(super) scales: Floats<'a>,
    pub(super) zero_points: ZeroPoints<'a>,
    /// Codes from the zero points of one row to those of the next.
    pub(super) zero_point_stride: usize,
    pub(super) bias: Option<&'a [f32]>,
}

impl<'a> BlockMatrix<'a> {
    /// A view of `codes`, whose rows are padded to whole blocks or (for an even number of bytes a row) not
    /// padded; `scales` `[N][blocks]`; and `bias` `[N]`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a width or block size that the kernels do not read,
    /// [`ErrorKind::InvalidMatrix`] for a length that does not fit the shape.
    pub fn new(
        shape: BlockShape,
        codes: &'a [u8],
        scales: Floats<'a>,
        zero_points: ZeroPoints<'a>,
        bias: Option<&'a [f32]>,
    ) -> Result<Self> {
        shape.check()?;
        let blocks = shape.blocks();
        let bits = shape.bits as usize;
        let padded = mul(mul(blocks, shape.block_size)?, bits)? / 8;
        let row_bits = mul(shape.columns, bits)?;
        let tight = row_bits.is_multiple_of(8).then_some(row_bits / 8);
        let row_bytes = match tight {
            Some(tight) if codes.len() == mul(tight, shape.rows)? => tight,
            _ => {
                check_length("codes", codes.len(), mul(padded, shape.rows)?)?;
                padded
            }
        };
        let count = mul(blocks, shape.rows)?;
        scales.check("scales", count)?;
        let mut zero_point_stride = blocks;
        match zero_points {
            ZeroPoints::None | ZeroPoints::Same(_) => {}
            ZeroPoints::Floats(floats) => floats.check("zero points", count)?,
            ZeroPoints::Packed(bytes) => {
                let row = mul(blocks, bits)?.div_ceil(8);
                if bytes.len() != mul(count, bits)?.div_ceil(8) {
                    check_length("zero points", bytes.len(), mul(row, shape.rows)?)?;
                    zero_point_stride = row * 8 / bits;
                }
            }
        }
        if let Some(bias) = bias {
            check_length("bias", bias.len(), shape.rows)?;
        }
        Ok(Self { shape, blocks, row_bytes, codes, scales, zero_points, zero_point_stride, bias })
    }

    /// The sizes.
    #[must_use]
    pub fn shape(&self) -> BlockShape {
        self.shape
    }

    /// N.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// K.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.shape.columns
    }

    /// Bytes that a product with all rows reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let zero_points = match self.zero_points {
            ZeroPoints::None | ZeroPoints::Same(_) => 0,
            ZeroPoints::Packed(bytes) => bytes.len(),
            ZeroPoints::Floats(floats) => floats.bytes().len(),
        };
        self.codes.len() + self.scales.bytes().len() + zero_points
    }

    pub(super) fn row_codes(&self, row: usize) -> &'a [u8] {
        &self.codes[row * self.row_bytes..][..self.row_bytes]
    }

    pub(super) fn row_scales(&self, row: usize) -> &'a [u8] {
        let bytes = self.blocks * self.scales.element_size();
        &self.scales.bytes()[row * bytes..][..bytes]
    }
}

/// Weights `[K][N]` quantised in blocks along K, as DequantizeLinear on axis 0 stores them.
#[derive(Debug, Clone, Copy)]
pub struct BlockMatrixKn<'a> {
    pub(super) shape: BlockShape,
    pub(super) codes: &'a [u8],
    pub(super) scales: Floats<'a>,
    pub(super) zero_points: ZeroPoints<'a>,
    pub(super) bias: Option<&'a [f32]>,
}

impl<'a> BlockMatrixKn<'a> {
    /// A view of `codes`, code `k * N + n` packed from the low bits up without gaps; `scales` and `zero_points`
    /// `[blocks][N]`; and `bias` `[N]`.
    ///
    /// # Errors
    /// As [`BlockMatrix::new`].
    pub fn new(
        shape: BlockShape,
        codes: &'a [u8],
        scales: Floats<'a>,
        zero_points: ZeroPoints<'a>,
        bias: Option<&'a [f32]>,
    ) -> Result<Self> {
        shape.check()?;
        let bits = shape.bits as usize;
        let count = mul(shape.rows, shape.columns)?;
        check_length("codes", codes.len(), mul(count, bits)?.div_ceil(8))?;
        let count = mul(shape.rows, shape.blocks())?;
        scales.check("scales", count)?;
        match zero_points {
            ZeroPoints::None | ZeroPoints::Same(_) => {}
            ZeroPoints::Floats(floats) => floats.check("zero points", count)?,
            ZeroPoints::Packed(bytes) => {
                check_length("zero points", bytes.len(), mul(count, bits)?.div_ceil(8))?;
            }
        }
        if let Some(bias) = bias {
            check_length("bias", bias.len(), shape.rows)?;
        }
        Ok(Self { shape, codes, scales, zero_points, bias })
    }

    /// The sizes.
    #[must_use]
    pub fn shape(&self) -> BlockShape {
        self.shape
    }

    /// N.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// K.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.shape.columns
    }
}

/// In which order a dense matrix lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenseLayout {
    /// `[N][K]`: the weights of an output feature are contiguous.
    Nk,
    /// `[K][N]`: the weights of an input feature are contiguous.
    Kn,
}

/// Weights that are not quantised.
#[derive(Debug, Clone, Copy)]
pub struct DenseMatrix<'a> {
    pub(super) layout: DenseLayout,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) values: Floats<'a>,
    pub(super) bias: Option<&'a [f32]>,
}

impl<'a> DenseMatrix<'a> {
    /// A view of `values` for `rows` output and `columns` input features, with `bias` `[N]`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMatrix`] for a length that does not fit the shape.
    pub fn new(
        layout: DenseLayout,
        rows: usize,
        columns: usize,
        values: Floats<'a>,
        bias: Option<&'a [f32]>,
    ) -> Result<Self> {
        if rows == 0 || columns == 0 {
            return Err(Error::new(
                ErrorKind::InvalidMatrix,
                format!("a weight matrix of {rows} x {columns}"),
            ));
        }
        values.check("weights", mul(rows, columns)?)?;
        if let Some(bias) = bias {
            check_length("bias", bias.len(), rows)?;
        }
        Ok(Self { layout, rows, columns, values, bias })
    }

    /// The order in memory.
    #[must_use]
    pub fn layout(&self) -> DenseLayout {
        self.layout
    }

    /// N.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// K.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// Which output features a product computes, in this order.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// Neighbours: the first and how many.
    Range {
        /// The first output feature.
        start: usize,
        /// How many.
        count: usize,
    },
    /// Any, such as the vocabulary entries that a grammar allows.
    List(&'a [u32]),
}

impl From<Range<usize>> for Rows<'_> {
    fn from(range: Range<usize>) -> Self {
        Self::Range { start: range.start, count: range.len() }
    }
}

impl<'a> From<&'a [u32]> for Rows<'a> {
    fn from(list: &'a [u32]) -> Self {
        Self::List(list)
    }
}

impl<'a> Rows<'a> {
    /// How many output features.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Range { count, .. } => *count,
            Self::List(list) => list.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The part of these output features that `range` names by position.
    ///
    /// # Panics
    /// When `range` reaches past the end.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Rows<'a> {
        match *self {
            Self::Range { start, count } => {
                assert!(range.start <= range.end && range.end <= count, "part of output features");
                Rows::Range { start: start + range.start, count: range.len() }
            }
            Self::List(list) => Rows::List(&list[range]),
        }
    }

    /// The output feature at `position`, which must be below [`len`](Self::len).
    #[inline(always)]
    pub(super) fn at(&self, position: usize) -> usize {
        match *self {
            Self::Range { start, .. } => start + position,
            Self::List(list) => list[position] as usize,
        }
    }

    /// Whether all are below `rows`.
    pub(super) fn fits(&self, rows: usize) -> bool {
        match *self {
            Self::Range { start, count } => start.checked_add(count).is_some_and(|end| end <= rows),
            Self::List(list) => list.iter().all(|&row| (row as usize) < rows),
        }
    }
}

fn mul(a: usize, b: usize) -> Result<usize> {
    a.checked_mul(b).ok_or_else(|| Error::new(ErrorKind::InvalidMatrix, format!("a size of {a} x {b}")))
}

fn check_length(what: &str, actual: usize, expected: usize) -> Result<()> {
    if actual == expected {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidMatrix,
        format!("{what} have length {actual} where {expected} fits the shape"),
    ))
}
