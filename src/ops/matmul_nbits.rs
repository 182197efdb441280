//! `com.microsoft::MatMulNBits`: a product with block-quantised weights `[N, blocks, bytes]`.
//!
//! `accuracy_level` is a hint for other runtimes; this engine's accuracy is a load option.

use super::Attributes;
use super::attributes::unsupported_value;
use super::quantized_tensor::{Source, block_weights};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Matrix;
use crate::graph::lower::{Lowering, optional_input};
use crate::onnx::{DataType, Node};

/// A block may be as long as a row; shorter rows are padded to one of at most this length.
const MAXIMUM_BLOCK: usize = 1 << 14;

pub(crate) fn lower<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let columns = attributes.required_size("K")?;
    let rows = attributes.required_size("N")?;
    let bits = attributes.integer("bits", 4)?;
    let block_size = attributes.required_size("block_size")?;
    attributes.ignore("accuracy_level");
    attributes.only("weight_prepacked", 0)?;
    attributes.finish()?;
    let bits = match bits {
        4 => 4,
        8 => 8,
        other => return Err(unsupported_value("bits", other)),
    };
    let is_block = block_size >= 16 && block_size.is_power_of_two() || block_size.is_multiple_of(128);
    if !is_block || block_size > MAXIMUM_BLOCK.max(columns) {
        return Err(unsupported_value("block_size", block_size));
    }
    check_groups(lowering, node, columns, block_size)?;
    let codes = lowering.constant_input(node, 1)?;
    let scales = lowering.constant_input(node, 2)?;
    let zero_points = lowering.optional_constant_input(node, 3)?;
    if codes.data_type != DataType::Uint8 {
        return Err(Error::new(ErrorKind::Unsupported, format!("weights of {:?}", codes.data_type)));
    }
    let weights = block_weights(
        lowering.view,
        Source {
            rows,
            columns,
            bits,
            block_size,
            signed: false,
            transposed: false,
            codes: &codes,
            scales: &scales,
            zero_points: zero_points.as_deref(),
            middle_default: true,
        },
    )?;
    let bias = lowering.optional_constant_input(node, 5)?;
    let bias = bias.map(|bias| lowering.view.row(&bias)).transpose()?;
    let input = lowering.input(node, 0)?;
    super::matmul::multiply(lowering, node, input, Matrix::Block(weights), bias)
}

/// Input 4 says which group's scale each column has: it must be that of the column's block.
fn check_groups<'a>(
    lowering: &Lowering<'_, 'a>,
    node: &'a Node<'a>,
    columns: usize,
    block_size: usize,
) -> Result<()> {
    if optional_input(node, 4).is_none() {
        return Ok(());
    }
    let groups = lowering.view.integers(&*lowering.constant_input(node, 4)?)?;
    let in_order = groups.iter().enumerate().all(|(column, group)| *group == (column / block_size) as i64);
    if groups.len() >= columns && in_order {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "input 4 (g_idx) changes the order of the columns"))
}
