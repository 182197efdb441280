//! The element types of ggml tensors, and the block-quantised rows of ONNX made from them.
//!
//! ggml's block layouts: `ggml-common.h` and `ggml-quants.c` of the ggml project. ONNX Runtime's: the
//! `MatMulNBits` operator of `com.microsoft`, where element 2j of a 4-bit block is the low nibble of byte j.

use half::{bf16, f16};

use super::decoder_spec::{BlockFormat, ZeroPoints};
use crate::error::{Error, ErrorKind, Result};

/// How the elements of a ggml tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TensorType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// Blocks of 32: scale d, 4-bit q, w = d (q − 8).
    Q4_0,
    /// Blocks of 32: scale d, minimum m, 4-bit q, w = d q + m.
    Q4_1,
    /// Blocks of 32: scale d, signed 8-bit q, w = d q.
    Q8_0,
}

/// Elements of a quantised ggml block.
const BLOCK: usize = 32;

impl TensorType {
    /// The type with the given `ggml_type` code.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], naming the type, for any other.
    pub(super) fn from_code(code: u32) -> Result<Self> {
        Ok(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            30 => Self::Bf16,
            _ => {
                let name = match code {
                    6 => "Q5_0",
                    7 => "Q5_1",
                    10 => "Q2_K",
                    11 => "Q3_K",
                    12 => "Q4_K",
                    13 => "Q5_K",
                    14 => "Q6_K",
                    16..=23 | 29 => "IQ",
                    34 | 35 => "TQ",
                    39 => "MXFP4",
                    _ => "unknown",
                };
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("tensor type {name} (ggml code {code})"),
                )
                .with_hint(
                    "F32, F16, BF16, Q4_0, Q4_1 and Q8_0 are read; convert the model to one of them",
                ));
            }
        })
    }

    /// The type's name in the ggml project.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q8_0 => "Q8_0",
        }
    }

    /// The block format of ONNX that holds the same weights, or `None` for float types.
    #[must_use]
    pub(super) fn block_format(self) -> Option<BlockFormat> {
        let (bits, zero_points) = match self {
            Self::Q4_0 => (4, ZeroPoints::Symmetric),
            Self::Q4_1 => (4, ZeroPoints::Float),
            Self::Q8_0 => (8, ZeroPoints::Symmetric),
            Self::F32 | Self::F16 | Self::Bf16 => return None,
        };
        Some(BlockFormat { bits, block_size: BLOCK, zero_points })
    }

    /// Bytes of a row of `columns` elements, or `None` when the columns do not fill whole blocks.
    #[must_use]
    pub(super) fn row_bytes(self, columns: usize) -> Option<usize> {
        let (elements, bytes) = match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (BLOCK, 18),
            Self::Q4_1 => (BLOCK, 20),
            Self::Q8_0 => (BLOCK, 34),
        };
        if columns.is_multiple_of(elements) { (columns / elements).checked_mul(bytes) } else { None }
    }

    /// Writes the weights of a row to `output`, as many as it has room for.
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
            Self::Q4_0 | Self::Q4_1 | Self::Q8_0 => {
                let mut blocks = BlockRow::default();
                self.read_blocks(row, &mut blocks)?;
                let pairs = blocks.scales.iter().zip(&blocks.minimums);
                for (quants, (scale, minimum)) in blocks.quants.chunks(BLOCK).zip(pairs) {
                    // Exact up to the one rounding of the sum: a product has at most 19 significant bits.
                    output.extend(quants.iter().map(|&quant| scale * f32::from(quant) + minimum));
                }
            }
        }
        if output.iter().all(|weight| weight.is_finite()) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::InvalidModel, "a weight is not finite"))
        }
    }

    /// Reads the blocks of a quantised row.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] when a scale or minimum is not finite; [`ErrorKind::Internal`] for a float type.
    pub(super) fn read_blocks(self, row: &[u8], output: &mut BlockRow) -> Result<()> {
        output.clear();
        match self {
            Self::Q4_0 => {
                for &[d0, d1, ref nibbles @ ..] in row.as_chunks::<18>().0 {
                    let scale = f16::from_le_bytes([d0, d1]).to_f32();
                    output.push_nibbles(scale, -8.0 * scale, nibbles);
                }
            }
            Self::Q4_1 => {
                for &[d0, d1, m0, m1, ref nibbles @ ..] in row.as_chunks::<20>().0 {
                    let scale = f16::from_le_bytes([d0, d1]).to_f32();
                    output.push_nibbles(scale, f16::from_le_bytes([m0, m1]).to_f32(), nibbles);
                }
            }
            Self::Q8_0 => {
                for &[d0, d1, ref signed @ ..] in row.as_chunks::<34>().0 {
                    let scale = f16::from_le_bytes([d0, d1]).to_f32();
                    output.scales.push(scale);
                    output.minimums.push(-128.0 * scale);
                    // Adding 128 to a signed byte flips its top bit.
                    output.quants.extend(signed.iter().map(|byte| byte ^ 0x80));
                }
            }
            Self::F32 | Self::F16 | Self::Bf16 => {
                return Err(Error::new(ErrorKind::Internal, format!("{} rows have no blocks", self.name())));
            }
        }
        if output.scales.iter().chain(&output.minimums).all(|value| value.is_finite()) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::InvalidModel, "a block's scale or minimum is not finite"))
        }
    }
}

/// A block-quantised row: w = scale · q + minimum, with one scale and one minimum a block.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct BlockRow {
    /// One unsigned value per element.
    pub quants: Vec<u8>,
    /// One scale per block.
    pub scales: Vec<f32>,
    /// One minimum per block: the weight that q = 0 stands for.
    pub minimums: Vec<f32>,
}

impl BlockRow {
    /// Empties the row and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.quants.clear();
        self.scales.clear();
        self.minimums.clear();
    }

    /// A ggml block of 32: low nibbles are the first 16 elements, high nibbles the last.
    fn push_nibbles(&mut self, scale: f32, minimum: f32, nibbles: &[u8; 16]) {
        self.scales.push(scale);
        self.minimums.push(minimum);
        self.quants.extend(nibbles.iter().map(|byte| byte & 15));
        self.quants.extend(nibbles.iter().map(|byte| byte >> 4));
    }

    /// Makes every block representable as scale · (q − zero point).
    ///
    /// A block whose scale is 0 holds its minimum in every element; it becomes q = 1 with that as its scale.
    pub(super) fn resolve_constant_blocks(&mut self, block_size: usize) {
        let blocks = self.quants.chunks_mut(block_size).zip(&mut self.scales).zip(&mut self.minimums);
        for ((quants, scale), minimum) in blocks {
            if *scale == 0.0 && *minimum != 0.0 {
                quants.fill(1);
                *scale = *minimum;
                *minimum = 0.0;
            }
        }
    }

    /// Appends the zero points −minimum / scale, one a block.
    pub(super) fn append_float_zero_points(&self, output: &mut Vec<f32>) {
        let zero_point =
            |(&scale, &minimum): (&f32, &f32)| if minimum == 0.0 { 0.0 } else { -minimum / scale };
        output.extend(self.scales.iter().zip(&self.minimums).map(zero_point));
    }
}

/// Packs one unsigned value per element into `bits` bits each, the first in the lowest bits of a byte.
///
/// An odd count of 4-bit values leaves the last high nibble 0.
pub(super) fn pack(quants: &[u8], bits: u8, output: &mut Vec<u8>) {
    if bits == 8 {
        output.extend_from_slice(quants);
    } else {
        output.extend(quants.chunks(2).map(|pair| match *pair {
            [low, high] => low & 15 | high << 4,
            _ => pair.first().map_or(0, |low| low & 15),
        }));
    }
}

#[cfg(test)]
mod tests;
