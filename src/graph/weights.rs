//! Weights as they lie in the model's files.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{BlockMatrix, BlockMatrixKn, BlockShape, DenseLayout, DenseMatrix, Floats, ZeroPoints};
use crate::model::WeightBytes;
use crate::onnx::DataType;

/// The float formats that weights and scales come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FloatKind {
    /// 32-bit IEEE.
    F32,
    /// 16-bit IEEE.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
}

impl FloatKind {
    /// The kind for an ONNX element type, if it is one of them.
    #[must_use]
    pub fn from_data_type(data_type: DataType) -> Option<Self> {
        match data_type {
            DataType::Float32 => Some(Self::F32),
            DataType::Float16 => Some(Self::F16),
            DataType::Bfloat16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Bytes of one element.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// Floats in place, little-endian, at any alignment.
#[derive(Debug, Clone)]
pub struct FloatWeights {
    /// Their format.
    pub kind: FloatKind,
    /// Their bytes.
    pub bytes: WeightBytes,
}

impl FloatWeights {
    /// A view for the kernels.
    #[must_use]
    pub fn view(&self) -> Floats<'_> {
        let bytes = self.bytes.as_bytes();
        match self.kind {
            FloatKind::F32 => Floats::F32(bytes),
            FloatKind::F16 => Floats::F16(bytes),
            FloatKind::Bf16 => Floats::Bf16(bytes),
        }
    }

    /// How many elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.kind.bytes()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as an owned f32 row; for the small ones only.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryBudget`] when there is no memory for it.
    pub fn to_row(&self) -> Result<Arc<[f32]>> {
        let mut row = Vec::new();
        row.try_reserve_exact(self.len()).map_err(|error| {
            Error::new(ErrorKind::MemoryBudget, "no memory for a constant row").with_source(error)
        })?;
        let view = self.view();
        row.extend((0..self.len()).filter_map(|index| view.get(index)));
        Ok(row.into())
    }
}

/// Zero points of a block-quantised tensor.
#[derive(Debug, Clone)]
pub enum ZeroPointWeights {
    /// Stored as wide as the codes, a byte-padded row per row of codes.
    Packed(WeightBytes),
    /// One float a block.
    Floats(FloatWeights),
    /// The same for every block.
    Same(f32),
}

/// Codes, scales and zero points per block of a matrix `[rows, columns]`.
#[derive(Debug, Clone)]
pub struct BlockWeights {
    /// Rows (N), columns (K), width and signedness of the codes, elements that share a scale.
    pub shape: BlockShape,
    /// The codes.
    pub codes: WeightBytes,
    /// One scale a block.
    pub scales: FloatWeights,
    /// One zero point a block; `None` is the middle of the code's range.
    pub zero_points: Option<ZeroPointWeights>,
    /// `true`: stored `[columns, rows]` with the blocks along the first axis.
    pub transposed: bool,
}

impl BlockWeights {
    fn zero_points(&self) -> ZeroPoints<'_> {
        match &self.zero_points {
            None => ZeroPoints::None,
            Some(ZeroPointWeights::Same(value)) => ZeroPoints::Same(*value),
            Some(ZeroPointWeights::Packed(bytes)) => ZeroPoints::Packed(bytes.as_bytes()),
            Some(ZeroPointWeights::Floats(floats)) => ZeroPoints::Floats(floats.view()),
        }
    }

    /// A view for the kernels, of a matrix that is not transposed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] when a length does not fit the shape.
    pub fn view<'a>(&'a self, bias: Option<&'a [f32]>) -> Result<BlockMatrix<'a>> {
        Ok(BlockMatrix::new(self.shape, self.codes.as_bytes(), self.scales.view(), self.zero_points(), bias)?)
    }

    /// A view for the kernels, of a transposed matrix.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] when a length does not fit the shape.
    pub fn view_kn<'a>(&'a self, bias: Option<&'a [f32]>) -> Result<BlockMatrixKn<'a>> {
        Ok(BlockMatrixKn::new(
            self.shape,
            self.codes.as_bytes(),
            self.scales.view(),
            self.zero_points(),
            bias,
        )?)
    }
}

/// A plain float matrix.
#[derive(Debug, Clone)]
pub struct DenseWeights {
    /// N.
    pub rows: usize,
    /// K.
    pub columns: usize,
    /// `true`: stored `[columns, rows]`.
    pub transposed: bool,
    /// The elements.
    pub elements: FloatWeights,
}

impl DenseWeights {
    /// A view for the kernels.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] when the length does not fit the shape.
    pub fn view<'a>(&'a self, bias: Option<&'a [f32]>) -> Result<DenseMatrix<'a>> {
        let layout = if self.transposed { DenseLayout::Kn } else { DenseLayout::Nk };
        Ok(DenseMatrix::new(layout, self.rows, self.columns, self.elements.view(), bias)?)
    }
}

/// The right side of a product.
#[derive(Debug, Clone)]
pub enum Matrix {
    /// Block-quantised.
    Block(BlockWeights),
    /// Plain floats.
    Dense(DenseWeights),
}

impl Matrix {
    /// N: how many values the product has.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Block(weights) => weights.shape.rows,
            Self::Dense(weights) => weights.rows,
        }
    }

    /// K: how many values it sums over.
    #[must_use]
    pub fn columns(&self) -> usize {
        match self {
            Self::Block(weights) => weights.shape.columns,
            Self::Dense(weights) => weights.columns,
        }
    }

    /// Checks once that the bytes fit the shape.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] when they do not.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Block(weights) if weights.transposed => weights.view_kn(None).map(drop),
            Self::Block(weights) => weights.view(None).map(drop),
            Self::Dense(weights) => weights.view(None).map(drop),
        }
    }

    /// Bytes in the files: codes, scales, zero points.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Block(weights) => {
                let zero_points = match &weights.zero_points {
                    None | Some(ZeroPointWeights::Same(_)) => 0,
                    Some(ZeroPointWeights::Packed(bytes)) => bytes.len(),
                    Some(ZeroPointWeights::Floats(floats)) => floats.bytes.len(),
                };
                (weights.codes.len() + weights.scales.bytes.len() + zero_points) as u64
            }
            Self::Dense(weights) => weights.elements.bytes.len() as u64,
        }
    }
}

/// Some neighbouring rows of a matrix.
#[derive(Debug, Clone)]
pub struct MatrixRows {
    /// The matrix.
    pub matrix: Matrix,
    /// The first row.
    pub start: usize,
    /// How many rows.
    pub rows: usize,
}

impl MatrixRows {
    /// All rows of `matrix`.
    #[must_use]
    pub fn all(matrix: Matrix) -> Self {
        Self { start: 0, rows: matrix.rows(), matrix }
    }
}

/// An embedding table `[entries, width]`.
#[derive(Debug, Clone)]
pub struct Table {
    /// The table; its rows are the entries.
    pub matrix: Matrix,
    /// How many columns of a row are used.
    pub width: usize,
}
