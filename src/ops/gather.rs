//! `Gather`: the token embedding from a float table. The choice of tokens before the head is in `token_choice`.

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
        if axis != 1 {
            return Err(unsupported_value("axis", axis));
        }
        let indices = lowering.input_name(node, 1)?;
        return super::token_choice::gather(lowering, node, indices);
    }
    if axis != 0 {
        return Err(unsupported_value("axis", axis));
    }
    check_tokens(lowering, node, 1)?;
    let table = lowering.input_name(node, 0)?;
    if super::decomposed::gather_codes(lowering, node, table)? {
        return Ok(());
    }
    let matrix = float_table(lowering, table)?;
    embed(lowering, node, matrix)
}

fn float_table<'a>(lowering: &Lowering<'_, 'a>, name: &'a str) -> Result<Matrix> {
    match super::quantized_tensor::matrix(lowering, name, false)? {
        Matrix::Block(BlockWeights { transposed: true, .. }) => {
            Err(Error::new(ErrorKind::Unsupported, format!("the table {name} is quantised column by column")))
        }
        matrix => Ok(matrix),
    }
}

/// Requires input `index` of `node` to be the token ids.
pub(super) fn check_tokens<'a>(lowering: &Lowering<'_, 'a>, node: &'a Node<'a>, index: usize) -> Result<()> {
    if lowering.is_tokens(lowering.input_name(node, index)?) {
        return Ok(());
    }
    let tokens = &lowering.view.names.input_ids;
    Err(Error::new(ErrorKind::Unsupported, format!("rows looked up by something other than {tokens}")))
}

/// The embedding of the token ids by `matrix`.
pub(super) fn embed<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>, matrix: Matrix) -> Result<()> {
    matrix.check()?;
    let width = matrix.columns();
    lowering.note_table(matrix.rows());
    let operand = lowering.push(node, Operation::Embed { table: Table { matrix, width } }, width);
    lowering.bind_whole(node, operand);
    Ok(())
}
