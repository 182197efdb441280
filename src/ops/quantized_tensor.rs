//! Constant matrices: plain, quantised, transposed. Used by `MatMul`, `MatMulNBits`, `Gather` and
//! `GatherBlockQuantized`; `DequantizeLinear` and `Transpose` of constants are read here and never run.

use std::borrow::Cow;

use super::Attributes;
use super::attributes::unsupported_value;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::lower::{Lowering, optional_input};
use crate::graph::view::{GraphView, MAXIMUM_CHAIN};
use crate::graph::{BlockWeights, DenseWeights, FloatKind, FloatWeights, Matrix, ZeroPointWeights};
use crate::kernels::BlockShape;
use crate::onnx::{DataType, Node, Tensor};

/// A block that spans a whole row is a multiple of this many elements.
const WHOLE_ROW_UNIT: usize = 128;

/// The parts of a block-quantised matrix `[rows, columns]`.
pub(super) struct Source<'s, 'a> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) bits: u32,
    pub(super) block_size: usize,
    pub(super) signed: bool,
    pub(super) transposed: bool,
    pub(super) codes: &'s Tensor<'a>,
    pub(super) scales: &'s Tensor<'a>,
    pub(super) zero_points: Option<&'s Tensor<'a>>,
    /// Whether an absent zero point means the middle of the code's range rather than 0.
    pub(super) middle_default: bool,
}

/// Puts the parts together and checks their sizes.
pub(super) fn block_weights(view: &GraphView<'_>, source: Source<'_, '_>) -> Result<BlockWeights> {
    let Source { rows, columns, bits, block_size, signed, transposed, codes, scales, .. } = source;
    let shape = BlockShape { rows, columns, bits, block_size, signed };
    shape.check()?;
    let scale_weights = view.floats(scales)?;
    let zero_points = match source.zero_points {
        Some(tensor) if FloatKind::from_data_type(tensor.data_type).is_some() => {
            Some(ZeroPointWeights::Floats(view.floats(tensor)?))
        }
        Some(tensor) => Some(ZeroPointWeights::Packed(view.files.resolve(tensor)?)),
        None if source.middle_default => None,
        // Unsigned codes whose zero point is 0.
        None => Some(ZeroPointWeights::Same(0.0)),
    };
    let weights = BlockWeights {
        shape,
        codes: view.files.resolve(codes)?,
        scales: scale_weights,
        zero_points,
        transposed,
    };
    Matrix::Block(weights.clone()).check().map_err(|error| error.with_node(codes.name.to_owned()))?;
    Ok(weights)
}

/// The constant matrix called `name`, whose stored shape is `[columns, rows]` if `transposed` (the right side of a
/// `MatMul`) and `[rows, columns]` otherwise.
pub(super) fn matrix<'a>(lowering: &Lowering<'_, 'a>, name: &'a str, transposed: bool) -> Result<Matrix> {
    let view = lowering.view;
    let (mut name, mut transposed) = (name, transposed);
    for _ in 0..MAXIMUM_CHAIN {
        if let Some(tensor) = view.constant(name)? {
            let (first, second) = two_dims(&tensor)?;
            let (rows, columns) = if transposed { (second, first) } else { (first, second) };
            return Ok(Matrix::Dense(DenseWeights {
                rows,
                columns,
                transposed,
                elements: view.floats(&tensor)?,
            }));
        }
        let not_constant =
            || Error::new(ErrorKind::Unsupported, format!("the matrix {name} is not a constant"));
        let node = view.producer(name).ok_or_else(not_constant)?;
        let in_node = |error: Error| error.with_node(node.label());
        match (node.domain, node.op_type) {
            ("", "Transpose") => {
                let attributes = Attributes::new(node);
                let permutation = attributes.integers("perm")?;
                attributes.finish().map_err(in_node)?;
                if permutation.is_some_and(|permutation| permutation != [1, 0]) {
                    return Err(unsupported_value("perm", format!("{permutation:?}")).with_node(node.label()));
                }
                transposed = !transposed;
            }
            ("", "Cast" | "Identity") => {}
            ("" | "com.microsoft", "DequantizeLinear") => {
                return dequantize_linear(lowering, node, transposed).map_err(in_node);
            }
            _ => return Err(in_node(not_constant())),
        }
        name = lowering.input_name(node, 0).map_err(in_node)?;
    }
    let message = format!("the matrix {name} is behind a circle, or too many nodes");
    Err(Error::new(ErrorKind::InvalidModel, message))
}

fn two_dims(tensor: &Tensor<'_>) -> Result<(usize, usize)> {
    match tensor.dims[..] {
        [first, second] => match (usize::try_from(first), usize::try_from(second)) {
            (Ok(first), Ok(second)) if first > 0 && second > 0 => Ok((first, second)),
            _ => Err(Error::new(ErrorKind::InvalidModel, format!("a matrix of shape {:?}", tensor.dims))
                .with_node(tensor.name)),
        },
        _ => Err(Error::new(ErrorKind::Unsupported, format!("a matrix of shape {:?}", tensor.dims))
            .with_node(tensor.name)),
    }
}

/// The parts of a constant matrix of 4 or 8 bits: with scales per block, per channel or for all.
pub(super) struct Dequantize<'s, 'a> {
    pub(super) codes: &'s Tensor<'a>,
    pub(super) scales: &'s Tensor<'a>,
    pub(super) zero_points: Option<&'s Tensor<'a>>,
    /// The axis along which the scales follow one another.
    pub(super) axis: i64,
    /// How many elements along that axis share a scale; 0 for one each.
    pub(super) block_size: usize,
}

fn dequantize_linear<'a>(
    lowering: &Lowering<'_, 'a>,
    node: &'a Node<'a>,
    transposed: bool,
) -> Result<Matrix> {
    let attributes = Attributes::new(node);
    let axis = attributes.integer("axis", 1)?;
    let block_size = attributes.size("block_size", 0)?;
    attributes.ignore("output_dtype");
    attributes.finish()?;
    let codes = lowering.constant_input(node, 0)?;
    let scales = lowering.constant_input(node, 1)?;
    let zero_points = lowering.optional_constant_input(node, 2)?;
    let source =
        Dequantize { codes: &codes, scales: &scales, zero_points: zero_points.as_deref(), axis, block_size };
    dequantized(lowering.view, &source, transposed)
}

/// The matrix that `source` holds, stored as for [`matrix`].
pub(super) fn dequantized(
    view: &GraphView<'_>,
    source: &Dequantize<'_, '_>,
    transposed: bool,
) -> Result<Matrix> {
    let Dequantize { codes, scales, zero_points, axis, block_size } = *source;
    let (bits, signed) = match codes.data_type {
        DataType::Uint4 => (4, false),
        DataType::Int4 => (4, true),
        DataType::Uint8 => (8, false),
        DataType::Int8 => (8, true),
        other => return Err(Error::new(ErrorKind::Unsupported, format!("codes of {other:?}"))),
    };
    let (first, second) = two_dims(codes)?;
    let axis = match axis {
        0 | -2 => 0,
        1 | -1 => 1,
        other => return Err(unsupported_value("axis", other)),
    };
    let (rows, columns) = if transposed { (second, first) } else { (first, second) };
    // The axis of the stored matrix along which a product sums.
    let sum_axis = i32::from(!transposed);
    let one_scale = scales.element_count() == Some(1);
    let block_size = match block_size {
        0 if one_scale => columns,
        // One scale a channel: a block that spans the whole sum, if the channel is a row of the product.
        0 if axis != sum_axis => columns.next_multiple_of(WHOLE_ROW_UNIT),
        0 => {
            return Err(unsupported_value(
                "axis",
                format!("{axis}, the axis that the product sums over, without blocks"),
            ));
        }
        size if axis == sum_axis => size,
        _ => {
            return Err(unsupported_value(
                "axis",
                format!("{axis}, which is not the axis that the product sums over"),
            ));
        }
    };
    let source = Source {
        rows,
        columns,
        bits,
        block_size,
        signed,
        transposed,
        codes,
        scales,
        zero_points,
        middle_default: signed,
    };
    if one_scale {
        return per_tensor(view, &source);
    }
    let weights = block_weights(view, source)?;
    Ok(Matrix::Block(weights))
}

/// One scale for all: repeated for each row, so that the kernels see blocks.
fn per_tensor(view: &GraphView<'_>, source: &Source<'_, '_>) -> Result<Matrix> {
    let Source { rows, columns, bits, signed, .. } = *source;
    let scale = view.row(source.scales)?.first().copied().unwrap_or(0.0);
    let zero_point = match source.zero_points {
        Some(tensor) if tensor.element_count() != Some(1) => {
            let message = format!("zero points of shape {:?} for one scale", tensor.dims);
            return Err(Error::new(ErrorKind::InvalidModel, message).with_node(tensor.name));
        }
        Some(tensor) => {
            let bytes = view.files.resolve(tensor)?;
            let byte = bytes.as_bytes().first().copied().unwrap_or(0);
            let code = if bits == 4 { byte & 0x0F } else { byte };
            match (bits, signed) {
                (4, true) => f32::from((code << 4).cast_signed() >> 4),
                (_, true) => f32::from(code.cast_signed()),
                (_, false) => f32::from(code),
            }
        }
        None => 0.0,
    };
    // Before the scales are repeated: the codes bound the number of rows.
    let codes = view.files.resolve(source.codes)?;
    view.count_row(rows)?;
    let scales = FloatWeights { kind: FloatKind::F32, bytes: scale.to_le_bytes().repeat(rows).into() };
    let weights = BlockWeights {
        shape: BlockShape {
            rows,
            columns,
            bits,
            block_size: columns.next_multiple_of(WHOLE_ROW_UNIT),
            signed,
        },
        codes,
        scales,
        zero_points: Some(ZeroPointWeights::Same(zero_point)),
        transposed: source.transposed,
    };
    let matrix = Matrix::Block(weights);
    matrix.check().map_err(|error| error.with_node(source.codes.name.to_owned()))?;
    Ok(matrix)
}

impl<'a> Lowering<'_, 'a> {
    /// Input `index` of `node`, which must be a constant.
    pub(super) fn constant_input(&self, node: &'a Node<'a>, index: usize) -> Result<Cow<'a, Tensor<'a>>> {
        let name = self.input_name(node, index)?;
        self.view.constant(name)?.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("input {index} ({name}) is not a constant"))
        })
    }

    /// Input `index` of `node`, which must be a constant unless it is omitted.
    pub(super) fn optional_constant_input(
        &self,
        node: &'a Node<'a>,
        index: usize,
    ) -> Result<Option<Cow<'a, Tensor<'a>>>> {
        optional_input(node, index).map(|_| self.constant_input(node, index)).transpose()
    }
}
