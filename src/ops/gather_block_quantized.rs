//! `com.microsoft::GatherBlockQuantized`: the token embedding from a block-quantised table, often the head's own weights.

use super::Attributes;
use super::attributes::unsupported_value;
use super::quantized_tensor::{Source, block_weights};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Matrix;
use crate::graph::lower::Lowering;
use crate::onnx::{DataType, Node};

pub(crate) fn lower<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    attributes.only("gather_axis", 0)?;
    let quantize_axis = attributes.integer("quantize_axis", 1)?;
    let block_size = attributes.size("block_size", 128)?;
    let bits = attributes.integer("bits", 4)?;
    attributes.finish()?;
    if !matches!(quantize_axis, 1 | -1) {
        return Err(unsupported_value("quantize_axis", quantize_axis));
    }
    let scales = lowering.constant_input(node, 2)?;
    super::gather::check_tokens(lowering, node, 1)?;
    let data = lowering.constant_input(node, 0)?;
    let [rows, blocks] = scales.dims[..] else {
        return Err(Error::new(ErrorKind::InvalidModel, format!("scales of shape {:?}", scales.dims)));
    };
    let (bits, signed, middle_default) = match data.data_type {
        DataType::Uint8 if matches!(bits, 4 | 8) => (bits.unsigned_abs() as u32, false, true),
        DataType::Uint4 if bits == 4 => (4, false, false),
        DataType::Int4 if bits == 4 => (4, true, true),
        DataType::Uint8 | DataType::Uint4 | DataType::Int4 => return Err(unsupported_value("bits", bits)),
        other => return Err(Error::new(ErrorKind::Unsupported, format!("a table of {other:?}"))),
    };
    // Packed bytes hold whole blocks; typed 4-bit data has its own width.
    let stored = data.dims.iter().skip(1).try_fold(1_u64, |product, dim| product.checked_mul(*dim));
    let columns = match data.data_type {
        DataType::Uint8 => stored.and_then(|bytes| bytes.checked_mul(8 / u64::from(bits))),
        _ => stored,
    };
    let columns = columns.and_then(|columns| usize::try_from(columns).ok()).unwrap_or(0);
    let rows = usize::try_from(rows).unwrap_or(0);
    if blocks.checked_mul(block_size as u64).is_none_or(|covered| covered < columns as u64) || columns == 0 {
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!("{blocks} blocks of {block_size} for {columns} columns"),
        ));
    }
    let zero_points = lowering.optional_constant_input(node, 3)?;
    let weights = block_weights(
        lowering.view,
        Source {
            rows,
            columns,
            bits,
            block_size,
            signed,
            transposed: false,
            codes: &data,
            scales: &scales,
            zero_points: zero_points.as_deref(),
            middle_default,
        },
    )?;
    super::gather::embed(lowering, node, Matrix::Block(weights))
}
