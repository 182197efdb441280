//! Writes the weights of a GGUF file as the data file of an ONNX graph has them.

use std::io::Write;

use super::blocks::{BlockRow, pack};
use super::decoder_spec::{BlockFormat, FloatType, Storage, ZeroPoints};
use super::gguf_model::{GgufModel, Piece};
use super::quantize::quantise_row;
use super::weights::{Layout, Role, Weight, WeightSource, append};
use crate::error::{Error, ErrorKind, Result};

/// How many bytes of a transposed matrix are put together at a time.
const TRANSPOSED_BYTES: usize = 64 << 20;

/// How many scales or zero points are put together at a time.
const FLOATS: usize = 1 << 16;

/// The weights of a GGUF file.
#[derive(Debug)]
pub(super) struct GgufWeights<'a> {
    model: GgufModel<'a>,
    /// Where every matrix is to be quantised anew.
    quantize: Option<BlockFormat>,
}

impl<'a> GgufWeights<'a> {
    pub(super) fn new(model: GgufModel<'a>, quantize: Option<BlockFormat>) -> Self {
        Self { model, quantize }
    }

    pub(super) fn model(&self) -> &GgufModel<'a> {
        &self.model
    }

    /// The blocks that the matrix with `role`, which is a single tensor, has in the graph; `None` for floats.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when there is none.
    pub(super) fn block_format(&self, role: Role) -> Result<Option<BlockFormat>> {
        let stored = self.model.tensor(role)?.view.tensor_type.block_format();
        Ok(self.quantize.or(stored))
    }

    /// How the matrix with `role`, which is a single tensor, is stored for a product.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], naming the tensor, for blocks that `MatMulNBits` cannot hold;
    /// [`ErrorKind::Internal`] when there is no such tensor.
    pub(super) fn storage(&self, role: Role) -> Result<Storage> {
        let Some(format) = self.block_format(role)? else { return Ok(Storage::Dense) };
        if format.check().is_err() {
            let piece = self.model.tensor(role)?;
            let message = format!(
                "MatMulNBits has no blocks that keep the weights of a {} tensor",
                piece.view.tensor_type.name()
            );
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_node(&*piece.name)
                .with_hint("quantise it anew: --quantize int8 or int4"));
        }
        Ok(Storage::Blocks(format))
    }

    /// Calls `each` with every row of a matrix and its tensor.
    fn for_each_row(
        pieces: &[&Piece<'_>],
        mut each: impl FnMut(&Piece<'_>, &[u8]) -> Result<()>,
    ) -> Result<()> {
        for piece in pieces {
            for row in 0..piece.view.rows {
                let bytes = piece.view.row(piece.source_row(row))?;
                each(piece, bytes).map_err(|error| error.with_node(&*piece.name))?;
            }
        }
        Ok(())
    }

    fn write_vector(pieces: &[&Piece<'_>], output: &mut dyn Write) -> Result<()> {
        let mut values = Vec::new();
        for piece in pieces {
            let name = &*piece.name;
            piece
                .view
                .tensor_type
                .dequantise(piece.view.bytes, &mut values)
                .map_err(|error| error.with_node(name))?;
            let ordered = (0..values.len()).filter_map(|index| values.get(piece.source_row(index)).copied());
            append(output, &float_bytes(ordered))?;
        }
        Ok(())
    }

    fn write_rows(pieces: &[&Piece<'_>], output: &mut dyn Write) -> Result<()> {
        let mut values = Vec::new();
        Self::for_each_row(pieces, |piece, row| {
            piece.view.tensor_type.dequantise(row, &mut values)?;
            append(output, &float_bytes(values.iter().copied()))
        })
    }

    /// Column after column, a range of columns at a time.
    fn write_columns(pieces: &[&Piece<'_>], weight: &Weight, output: &mut dyn Write) -> Result<()> {
        let (rows, columns) = (weight.rows, weight.columns);
        let width = (TRANSPOSED_BYTES / 4 / rows.max(1)).clamp(1, columns.max(1));
        let mut values = Vec::new();
        let mut transposed = vec![0.0_f32; width * rows];
        for start in (0..columns).step_by(width) {
            let width = width.min(columns - start);
            let mut index = 0;
            Self::for_each_row(pieces, |piece, row| {
                let size = row.len() / columns;
                let part = row.get(start * size..(start + width) * size).unwrap_or_default();
                piece.view.tensor_type.dequantise(part, &mut values)?;
                for (column, &value) in values.iter().enumerate() {
                    if let Some(slot) = transposed.get_mut(column * rows + index) {
                        *slot = value;
                    }
                }
                index += 1;
                Ok(())
            })?;
            let filled = transposed.get(..width * rows).unwrap_or_default();
            for column in filled.chunks(rows.max(1)) {
                append(output, &float_bytes(column.iter().copied()))?;
            }
        }
        Ok(())
    }

    fn write_blocks(&self, pieces: &[&Piece<'_>], format: BlockFormat, output: &mut dyn Write) -> Result<()> {
        let (mut blocks, mut values) = (BlockRow::default(), Vec::new());
        let (mut packed, mut scales, mut zero_points) = (Vec::new(), Vec::new(), Vec::new());
        Self::for_each_row(pieces, |piece, row| {
            let tensor_type = piece.view.tensor_type;
            if self.quantize.is_some() {
                tensor_type.dequantise(row, &mut values)?;
                quantise_row(&values, format, &mut blocks);
            } else {
                tensor_type.read_blocks(row, &mut blocks)?;
            }
            if format.zero_points == ZeroPoints::Float {
                blocks.resolve_constant_blocks(format.block_size);
                blocks.append_float_zero_points(&mut zero_points);
            }
            scales.extend_from_slice(&blocks.scales);
            packed.clear();
            pack(&blocks.quants, format.bits, &mut packed);
            append(output, &packed)
        })?;
        // A few at a time: a large matrix has hundreds of megabytes of them.
        scales
            .chunks(FLOATS)
            .chain(zero_points.chunks(FLOATS))
            .try_for_each(|floats| append(output, &float_bytes(floats.iter().copied())))
    }
}

impl WeightSource for GgufWeights<'_> {
    fn write(&mut self, weight: &Weight, output: &mut dyn Write) -> Result<()> {
        let pieces = self.model.pieces(weight.role)?;
        match weight.layout {
            Layout::Vector(FloatType::F32) => Self::write_vector(&pieces, output),
            Layout::Rows(FloatType::F32) => Self::write_rows(&pieces, output),
            Layout::Columns(FloatType::F32) => Self::write_columns(&pieces, weight, output),
            Layout::Blocks(format, FloatType::F32) => self.write_blocks(&pieces, format, output),
            _ => Err(Error::new(ErrorKind::Internal, "imported weights are 32-bit")),
        }
    }
}

fn float_bytes(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}
