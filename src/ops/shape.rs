//! Operators that change how rows are seen, not what they hold: `Cast`, `Identity`, `Reshape`, `Unsqueeze`, `Squeeze`.
//!
//! A value has one row a token whatever axes the file gives it; only the extent of the last axis matters, because
//! normalisation works over it.

use super::Attributes;
use super::attributes::unsupported_value;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::control::Call;
use crate::graph::lower::{Lowering, Rows};
use crate::onnx::Node;

pub(crate) fn identity<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    if lowering.is_token_ids(lowering.input_name(node, 0)?) {
        lowering.bind_token_ids(node);
        return Ok(());
    }
    let rows = lowering.input(node, 0)?;
    lowering.bind(node, 0, rows);
    Ok(())
}

/// Between float types; the engine computes in f32 throughout, so nothing is rounded. Token ids between int32 and int64.
pub(crate) fn cast<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let to = attributes.integer("to", 0)?;
    attributes.ignore("saturate");
    attributes.finish()?;
    if lowering.is_token_ids(lowering.input_name(node, 0)?) {
        if !matches!(to, 6 | 7) {
            return Err(unsupported_value("to", to));
        }
        lowering.bind_token_ids(node);
        return Ok(());
    }
    if !matches!(to, 1 | 10 | 16) {
        return Err(unsupported_value("to", to));
    }
    let rows = lowering.input(node, 0)?;
    lowering.bind(node, 0, rows);
    Ok(())
}

/// `Unsqueeze` and `Squeeze` of the batch or token axis.
pub(crate) fn identity_of_token_axis<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    attributes.ignore("axes");
    attributes.finish()?;
    let axes = match (node.inputs.get(1), node.attribute("axes")) {
        (Some(name), _) => {
            let constant = lowering.view.constant(name)?;
            let constant =
                constant.ok_or_else(|| Error::new(ErrorKind::Unsupported, "axes that are not constant"))?;
            lowering.view.integers(&constant)?
        }
        (None, Some(crate::onnx::AttributeValue::Ints(axes))) => axes.clone(),
        _ => return Err(Error::new(ErrorKind::Unsupported, "axes are not given")),
    };
    if axes.iter().any(|axis| !matches!(axis, 0 | 1)) {
        return Err(unsupported_value("axes", format!("{axes:?}")));
    }
    let rows = lowering.input(node, 0)?;
    lowering.bind(node, 0, rows);
    Ok(())
}

/// Splits rows into heads or joins them again; the tokens must stay the outer axis.
pub(crate) fn reshape<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    attributes.only("allowzero", 0)?;
    attributes.finish()?;
    let rows = lowering.input(node, 0)?;
    let width = rows.operand.width;
    let shape_name = lowering.input_name(node, 1)?;
    // Two calls of different length tell the token axis from the others.
    let mut shape = |new| lowering.control.value(Call::of(0, new), shape_name);
    let (three, five) = (shape(3)?, shape(5)?);
    let last = three.elements.last().copied().unwrap_or(0);
    let constant_tail = three.elements.len() == five.elements.len() && five.elements.last() == Some(&last);
    let group = match usize::try_from(last) {
        Ok(0) => rows.group,
        Ok(group) if constant_tail => group,
        _ if last == -1 && constant_tail => inferred_group(&three.elements, width)?,
        _ => return Err(unsupported_value("shape", format!("{:?}", three.elements))),
    };
    if group == 0 || width % group != 0 {
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!("rows of {width} do not split into groups of {group}"),
        ));
    }
    lowering.bind(node, 0, Rows { operand: rows.operand, group });
    Ok(())
}

/// The extent of a last axis of −1: what the other axes leave of a row.
fn inferred_group(shape: &[i64], width: usize) -> Result<usize> {
    match shape {
        [0 | 1, 0, -1] => Ok(width),
        [0 | 1, 0, heads, -1] if *heads > 0 => Ok(width / usize::try_from(*heads).unwrap_or(1)),
        _ => Err(unsupported_value("shape", format!("{shape:?}"))),
    }
}
