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
    if !block_size.is_power_of_two() || !(16..=256).contains(&block_size) {
        return Err(unsupported_value("block_size", block_size));
    }
    if optional_input(node, 4).is_some() {
        return Err(Error::new(ErrorKind::Unsupported, "input 4 (g_idx, a permutation of the columns)"));
    }
    let codes = lowering.constant_input(node, 1)?;
    let scales = lowering.constant_input(node, 2)?;
    let zero_points = optional_input(node, 3).map(|_| lowering.constant_input(node, 3)).transpose()?;
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
    let bias = match optional_input(node, 5) {
        Some(_) => Some(lowering.view.row(&*lowering.constant_input(node, 5)?)?),
        None => None,
    };
    let input = lowering.input(node, 0)?;
    super::matmul::multiply(lowering, node, input, Matrix::Block(weights), bias)
}
