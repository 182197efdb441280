//! Products with rows that are quantised to 8 bits as they come, as ONNX Runtime's dynamic quantisation writes them:
//! `DynamicQuantizeLinear`, `MatMulInteger`, `Cast` and a product with both scales; and the embedding of the same files,
//! `Gather` of codes before their `DequantizeLinear`.
//!
//! The weights keep their codes and scales. The rounding of the rows is left out: it only makes the result less exact, and
//! how it rounds depends on all tokens of a call.

use std::borrow::Cow;

use super::{Partial, number};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Matrix;
use crate::graph::lower::{Lowering, Rows};
use crate::onnx::{DataType, Node, Tensor};
use crate::ops::Attributes;
use crate::ops::quantized_tensor::{Dequantize, dequantized};

/// A value on the way to a product with `of`, or to an embedding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    kind: Kind<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Kind<'a> {
    /// The codes of rows.
    Codes(Rows),
    /// Their scale.
    Scale(Rows),
    /// Their zero point.
    ZeroPoint(Rows),
    /// The codes times a constant matrix.
    Product { of: Rows, node: &'a Node<'a> },
    /// The scale of the rows times that of the matrix.
    Scales { of: Rows, weights: &'a str },
    /// Rows of a table of codes, by token.
    Gathered { table: &'a str },
}

fn partial(kind: Kind<'_>) -> Partial<'_> {
    Partial::Integers(Part { kind })
}

fn kind<'a>(lowering: &Lowering<'_, 'a>, name: &str) -> Option<Kind<'a>> {
    match lowering.partial(name) {
        Some(Partial::Integers(Part { kind })) => Some(kind),
        _ => None,
    }
}

/// `DynamicQuantizeLinear`: codes, scale and zero point of rows.
pub(in crate::ops) fn dynamic_quantize_linear<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
) -> Result<()> {
    Attributes::new(node).finish()?;
    let rows = lowering.input(node, 0)?;
    for (index, kind) in [Kind::Codes(rows), Kind::Scale(rows), Kind::ZeroPoint(rows)].into_iter().enumerate()
    {
        lowering.bind_partial(node, index, partial(kind));
    }
    Ok(())
}

/// `MatMulInteger` of the codes of rows and a constant.
pub(in crate::ops) fn mat_mul_integer<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    let name = lowering.input_name(node, 0)?;
    let Some(Kind::Codes(of)) = kind(lowering, name) else {
        let message = format!("the product of integers {name}, which no DynamicQuantizeLinear made");
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    let zero_point = lowering.input_name(node, 2)?;
    if !matches!(kind(lowering, zero_point), Some(Kind::ZeroPoint(rows)) if rows == of) {
        let message = format!("input 2 ({zero_point}) is not the zero point of input 0");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    lowering.bind_partial(node, 0, partial(Kind::Product { of, node }));
    Ok(())
}

/// `Mul` of `part`: of the scale of rows with that of a matrix, or of the product of codes with both scales. Returns
/// whether it is one of these.
pub(super) fn multiply<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
    part: Part<'a>,
    other: &'a str,
) -> Result<bool> {
    match (part.kind, kind(lowering, other)) {
        (Kind::Scale(of), None) if lowering.view.constant(other)?.is_some() => {
            lowering.bind_partial(node, 0, partial(Kind::Scales { of, weights: other }));
            Ok(true)
        }
        (Kind::Product { of, node: product }, Some(Kind::Scales { of: scaled, weights })) if of == scaled => {
            let codes = lowering.constant_input(product, 1)?;
            let scales = constant(lowering, weights)?;
            let zero_points = lowering.optional_constant_input(product, 3)?;
            // The matrix lies as [columns, rows], with one scale for all or one a row.
            let matrix = dequantize(lowering, &codes, &scales, zero_points.as_deref(), true)?;
            crate::ops::matmul::multiply(lowering, node, of, matrix, None)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// `Gather` from a table of codes. Returns whether `table` is one.
pub(in crate::ops) fn gather_codes<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
    table: &'a str,
) -> Result<bool> {
    let is_codes = lowering
        .view
        .constant(table)?
        .is_some_and(|tensor| matches!(tensor.data_type, DataType::Uint8 | DataType::Int8));
    if is_codes {
        lowering.bind_partial(node, 0, partial(Kind::Gathered { table }));
    }
    Ok(is_codes)
}

/// `DequantizeLinear` of rows gathered from a table of codes: with one scale for the whole table.
pub(in crate::ops) fn dequantize_gathered<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
) -> Result<()> {
    let attributes = Attributes::new(node);
    attributes.ignore("axis");
    attributes.only("block_size", 0)?;
    attributes.ignore("output_dtype");
    attributes.finish()?;
    let name = lowering.input_name(node, 0)?;
    let Some(Kind::Gathered { table }) = kind(lowering, name) else {
        let message = format!("input 0 ({name}) is neither a constant nor rows of one");
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    let scale = lowering.input_name(node, 1)?;
    if number(lowering, scale)?.is_none() {
        let message = format!("input 1 ({scale}) is not one scale for the whole table");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let (codes, scales) = (constant(lowering, table)?, constant(lowering, scale)?);
    let zero_points = lowering.optional_constant_input(node, 2)?;
    let matrix = dequantize(lowering, &codes, &scales, zero_points.as_deref(), false)?;
    crate::ops::gather::embed(lowering, node, matrix)
}

/// A matrix of `codes` with one scale for all or one for each index of their last axis.
fn dequantize(
    lowering: &Lowering<'_, '_>,
    codes: &Tensor<'_>,
    scales: &Tensor<'_>,
    zero_points: Option<&Tensor<'_>>,
    transposed: bool,
) -> Result<Matrix> {
    let source = Dequantize { codes, scales, zero_points, axis: 1, block_size: 0 };
    dequantized(lowering.view, &source, transposed)
}

fn constant<'a>(lowering: &Lowering<'_, 'a>, name: &str) -> Result<Cow<'a, Tensor<'a>>> {
    lowering
        .view
        .constant(name)?
        .ok_or_else(|| Error::new(ErrorKind::Unsupported, format!("{name} is not a constant")))
}
