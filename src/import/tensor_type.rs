//! The element types of ggml tensors.
//!
//! Their layouts: `ggml-common.h` and `ggml-quants.c` of the ggml project.

mod blocks_of_32;
mod super_blocks;

use half::{bf16, f16};

use super::blocks::BlockRow;
use super::decoder_spec::{BlockFormat, ZeroPoints};
use crate::error::{Error, ErrorKind, Result};

/// How the elements of a ggml tensor are stored.
///
/// In the formulas d and m are 16-bit floats, one pair for all 256 weights of a super-block (`_K`, IQ4_XS) and one pair
/// a block otherwise; s and t are small integers, one pair a block; q is a weight's code, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TensorType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// Blocks of 32, 4 bits: w = d (q − 8).
    Q4_0,
    /// Blocks of 32, 4 bits: w = d q + m.
    Q4_1,
    /// Blocks of 32, 5 bits: w = d (q − 16).
    Q5_0,
    /// Blocks of 32, 5 bits: w = d q + m.
    Q5_1,
    /// Blocks of 32, 8 bits: w = d (q − 128).
    Q8_0,
    /// Blocks of 16, 2 bits: w = d s q − m t.
    Q2K,
    /// Blocks of 16, 3 bits: w = d s (q − 4).
    Q3K,
    /// Blocks of 32, 4 bits: w = d s q − m t.
    Q4K,
    /// Blocks of 32, 5 bits: w = d s q − m t.
    Q5K,
    /// Blocks of 16, 6 bits: w = d s (q − 32).
    Q6K,
    /// Blocks of 32, 4 bits that choose one of 16 integers v: w = d v.
    Iq4Nl,
    /// Blocks of 32, as IQ4_NL: w = d s v.
    Iq4Xs,
    /// Blocks of 32, 4-bit floats v: w = 2^e v.
    Mxfp4,
}

const TYPES: [(u32, TensorType); 16] = [
    (0, TensorType::F32),
    (1, TensorType::F16),
    (2, TensorType::Q4_0),
    (3, TensorType::Q4_1),
    (6, TensorType::Q5_0),
    (7, TensorType::Q5_1),
    (8, TensorType::Q8_0),
    (10, TensorType::Q2K),
    (11, TensorType::Q3K),
    (12, TensorType::Q4K),
    (13, TensorType::Q5K),
    (14, TensorType::Q6K),
    (20, TensorType::Iq4Nl),
    (23, TensorType::Iq4Xs),
    (30, TensorType::Bf16),
    (39, TensorType::Mxfp4),
];

/// A type's name and sizes.
struct Layout {
    name: &'static str,
    /// Elements that are stored together.
    elements: usize,
    /// The bytes they take.
    bytes: usize,
    /// The blocks of [`BlockRow`] that hold the same weights; `None` for float types.
    blocks: Option<BlockFormat>,
}

impl TensorType {
    /// The type with the given `ggml_type` code.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], naming the type, for any other.
    pub(super) fn from_code(code: u32) -> Result<Self> {
        TYPES.iter().find(|(known, _)| *known == code).map(|&(_, tensor_type)| tensor_type).ok_or_else(|| {
            let name = match code {
                16 => "IQ2_XXS",
                17 => "IQ2_XS",
                18 => "IQ3_XXS",
                19 => "IQ1_S",
                21 => "IQ3_S",
                22 => "IQ2_S",
                24..=27 => "integers",
                28 => "F64",
                29 => "IQ1_M",
                34 => "TQ1_0",
                35 => "TQ2_0",
                40 => "NVFP4",
                _ => "unknown",
            };
            let known: Vec<&str> = TYPES.iter().map(|(_, tensor_type)| tensor_type.name()).collect();
            Error::new(ErrorKind::Unsupported, format!("tensor type {name} (ggml code {code})")).with_hint(
                format!("convert the model to one of the types that are read: {}", known.join(", ")),
            )
        })
    }

    fn layout(self) -> Layout {
        let float = |name, bytes| Layout { name, elements: 1, bytes, blocks: None };
        let blocks = |name, elements, bytes, bits, block_size, zero_points| Layout {
            name,
            elements,
            bytes,
            blocks: Some(BlockFormat { bits, block_size, zero_points }),
        };
        use ZeroPoints::{Float, Symmetric};
        match self {
            Self::F32 => float("F32", 4),
            Self::F16 => float("F16", 2),
            Self::Bf16 => float("BF16", 2),
            Self::Q4_0 => blocks("Q4_0", 32, 18, 4, 32, Symmetric),
            Self::Q4_1 => blocks("Q4_1", 32, 20, 4, 32, Float),
            Self::Q5_0 => blocks("Q5_0", 32, 22, 8, 32, Symmetric),
            Self::Q5_1 => blocks("Q5_1", 32, 24, 8, 32, Float),
            Self::Q8_0 => blocks("Q8_0", 32, 34, 8, 32, Symmetric),
            Self::Q2K => blocks("Q2_K", 256, 84, 4, 16, Float),
            Self::Q3K => blocks("Q3_K", 256, 110, 4, 16, Symmetric),
            Self::Q4K => blocks("Q4_K", 256, 144, 4, 32, Float),
            Self::Q5K => blocks("Q5_K", 256, 176, 8, 32, Float),
            Self::Q6K => blocks("Q6_K", 256, 210, 8, 16, Symmetric),
            Self::Iq4Nl => blocks("IQ4_NL", 32, 18, 8, 32, Symmetric),
            Self::Iq4Xs => blocks("IQ4_XS", 256, 136, 8, 32, Symmetric),
            Self::Mxfp4 => blocks("MXFP4", 32, 17, 8, 32, Symmetric),
        }
    }

    /// The type's name in the ggml project.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        self.layout().name
    }

    /// The blocks that hold the same weights, or `None` for float types.
    ///
    /// Where zero points are floats, they are rounded to 32 bits; the weights then agree within 3 · 2⁻²⁴ of the block's
    /// largest. All else is exact.
    #[must_use]
    pub(super) fn block_format(self) -> Option<BlockFormat> {
        self.layout().blocks
    }

    /// Bytes of a row of `columns` elements, or `None` when the columns do not fill whole blocks.
    #[must_use]
    pub(super) fn row_bytes(self, columns: usize) -> Option<usize> {
        let Layout { elements, bytes, .. } = self.layout();
        if columns.is_multiple_of(elements) { (columns / elements).checked_mul(bytes) } else { None }
    }

    /// Writes the weights of a row to `output`, with the roundings of ggml's own dequantisation.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] when a weight is not finite.
    pub(super) fn dequantise(self, row: &[u8], output: &mut Vec<f32>) -> Result<()> {
        output.clear();
        match self {
            Self::F32 => output.extend(row.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes))),
            Self::F16 => {
                output.extend(row.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()))
            }
            Self::Bf16 => {
                output.extend(row.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()))
            }
            _ => {
                let mut blocks = BlockRow::default();
                let format = self.read_blocks(row, &mut blocks)?;
                blocks.weights(format, output);
            }
        }
        if output.iter().all(|weight| weight.is_finite()) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::InvalidModel, "a weight is not finite"))
        }
    }

    /// Reads the blocks of a quantised row, and tells their format.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] when a scale or minimum is not finite; [`ErrorKind::Internal`] for a float type.
    pub(super) fn read_blocks(self, row: &[u8], output: &mut BlockRow) -> Result<BlockFormat> {
        output.clear();
        match self {
            Self::Q4_0 => each_block(row, output, blocks_of_32::read_q4_0),
            Self::Q4_1 => each_block(row, output, blocks_of_32::read_q4_1),
            Self::Q5_0 => each_block(row, output, blocks_of_32::read_q5_0),
            Self::Q5_1 => each_block(row, output, blocks_of_32::read_q5_1),
            Self::Q8_0 => each_block(row, output, blocks_of_32::read_q8_0),
            Self::Iq4Nl => each_block(row, output, blocks_of_32::read_iq4_nl),
            Self::Mxfp4 => each_block(row, output, blocks_of_32::read_mxfp4),
            Self::Q2K => each_block(row, output, super_blocks::read_q2_k),
            Self::Q3K => each_block(row, output, super_blocks::read_q3_k),
            Self::Q4K => each_block(row, output, super_blocks::read_q4_k),
            Self::Q5K => each_block(row, output, super_blocks::read_q5_k),
            Self::Q6K => each_block(row, output, super_blocks::read_q6_k),
            Self::Iq4Xs => each_block(row, output, super_blocks::read_iq4_xs),
            Self::F32 | Self::F16 | Self::Bf16 => {}
        }
        let Some(format) = self.block_format() else {
            return Err(Error::new(ErrorKind::Internal, format!("{} rows have no blocks", self.name())));
        };
        if output.scales.iter().chain(&output.minimums).all(|value| value.is_finite()) {
            Ok(format)
        } else {
            Err(Error::new(ErrorKind::InvalidModel, "a block's scale or minimum is not finite"))
        }
    }
}

fn each_block<const N: usize>(row: &[u8], output: &mut BlockRow, read: impl Fn(&[u8; N], &mut BlockRow)) {
    row.as_chunks().0.iter().for_each(|block| read(block, output));
}

fn half(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

#[cfg(test)]
mod tests;
