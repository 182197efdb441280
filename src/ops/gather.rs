//! `Gather`: the token embedding from a float table, or the choice of the last token before the head.

use super::Attributes;
use super::attributes::unsupported_value;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::lower::Lowering;
use crate::graph::{BlockWeights, Matrix, Operation, Table};
use crate::onnx::Node;

pub(crate) fn lower<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let axis = attributes.integer("axis", 0)?;
    attributes.finish()?;
    if lowering.find(lowering.input_name(node, 0)?).is_some() {
        return last_token(lowering, node, axis);
    }
    if axis != 0 {
        return Err(unsupported_value("axis", axis));
    }
    let matrix = float_table(lowering, node)?;
    embed(lowering, node, matrix, 1)
}

/// A head that the exporter pruned to the last position. The engine computes only the positions asked for anyway.
fn last_token<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>, axis: i64) -> Result<()> {
    if axis != 1 {
        return Err(unsupported_value("axis", axis));
    }
    let rows = lowering.input(node, 0)?;
    let index = lowering.view.constant(lowering.input_name(node, 1)?)?;
    let index = index.map(|tensor| lowering.view.integers(&tensor)).transpose()?;
    // Where rows are split into heads, axis 1 may be that of the heads of all tokens.
    if index.as_deref() != Some(&[-1]) || rows.group != rows.operand.width {
        return Err(Error::new(ErrorKind::Unsupported, "a choice of rows other than the last token's"));
    }
    lowering.bind(node, 0, rows);
    Ok(())
}

fn float_table<'a>(lowering: &Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<Matrix> {
    let name = lowering.input_name(node, 0)?;
    match super::quantized_tensor::matrix(lowering, name, false)? {
        Matrix::Block(BlockWeights { transposed: true, .. }) => {
            Err(Error::new(ErrorKind::Unsupported, format!("the table {name} is quantised column by column")))
        }
        matrix => Ok(matrix),
    }
}

/// The embedding of `input_ids`, input `indices` of `node`, by `table`.
pub(super) fn embed<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
    matrix: Matrix,
    indices: usize,
) -> Result<()> {
    if !lowering.is_token_ids(lowering.input_name(node, indices)?) {
        let tokens = &lowering.view.names.input_ids;
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("rows looked up by something other than {tokens}"),
        ));
    }
    matrix.check()?;
    let width = matrix.columns();
    lowering.note_table(matrix.rows());
    let operand = lowering.push(node, Operation::Embed { table: Table { matrix, width } }, width);
    lowering.bind_whole(node, operand);
    Ok(())
}
