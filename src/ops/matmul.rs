//! `MatMul` and `FusedMatMul` by a constant: plain f32, f16 or bf16 weights, or a `DequantizeLinear` of them.

use super::Attributes;
use super::attributes::unsupported_value;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::lower::{Lowering, Rows};
use crate::graph::{Matrix, MatrixRows, Operation};
use crate::onnx::Node;

pub(crate) fn lower<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    by_constant(lowering, node, true)
}

/// `com.microsoft::FusedMatMul`, whose right side may be stored transposed.
pub(crate) fn fused<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let is_transposed = attributes.flag("transB", false)?;
    for name in ["transA", "transBatchA", "transBatchB"] {
        attributes.only(name, 0)?;
    }
    let alpha = attributes.float("alpha", 1.0)?;
    attributes.finish()?;
    if alpha != 1.0 {
        return Err(unsupported_value("alpha", alpha));
    }
    by_constant(lowering, node, !is_transposed)
}

/// The product with input 1, which is stored `[columns, rows]` if `transposed`.
fn by_constant<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>, transposed: bool) -> Result<()> {
    let input = lowering.input(node, 0)?;
    let right = lowering.input_name(node, 1)?;
    if lowering.find(right).is_some() {
        return Err(Error::new(ErrorKind::Unsupported, "a product of two values that depend on the tokens")
            .with_hint("the CPU engine runs attention as GroupQueryAttention only"));
    }
    let matrix = super::quantized_tensor::matrix(lowering, right, transposed)?;
    multiply(lowering, node, input, matrix, None)
}

/// input · matrixᵀ + bias.
pub(super) fn multiply<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
    input: Rows,
    matrix: Matrix,
    bias: Option<std::sync::Arc<[f32]>>,
) -> Result<()> {
    if matrix.columns() != input.operand.width || input.group != input.operand.width {
        let (columns, width) = (matrix.columns(), input.group);
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!("weights for {columns} columns and rows of {width}"),
        ));
    }
    let rows = matrix.rows();
    if bias.as_ref().is_some_and(|bias| bias.len() != rows) {
        return Err(Error::new(ErrorKind::InvalidModel, format!("the bias is not {rows} long")));
    }
    matrix.check()?;
    let operation =
        Operation::Multiply { input: input.operand, weights: MatrixRows::all(matrix), bias, residual: None };
    let operand = lowering.push(node, operation, rows);
    lowering.bind_whole(node, operand);
    Ok(())
}
