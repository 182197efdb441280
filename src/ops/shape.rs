//! Operators that change how rows are seen, not what they hold: `Cast`, `Identity`, `Reshape`, `Unsqueeze`, `Squeeze`.
//!
//! A value has one row a token whatever axes the file gives it; only the extent of the last axis matters, because
//! normalisation works over it.

use super::Attributes;
use super::attributes::unsupported_value;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::control::{Call, reshaped_dims};
use crate::graph::lower::{Lowering, Rows};
use crate::onnx::Node;

pub(crate) fn identity<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    pass_on(lowering, node)
}

/// Gives the output what the input is.
fn pass_on<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let name = lowering.input_name(node, 0)?;
    if lowering.is_tokens(name) {
        return Ok(());
    }
    if let Some(partial) = lowering.partial(name) {
        lowering.bind_partial(node, 0, partial);
        if lowering.find(name).is_none() {
            return Ok(());
        }
    }
    let rows = lowering.input(node, 0)?;
    lowering.bind(node, 0, rows);
    Ok(())
}

/// Between float types, and of token ids between integer types. The engine computes in f32 throughout, so nothing is rounded.
pub(crate) fn cast<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let to = attributes.integer("to", 0)?;
    attributes.ignore("saturate");
    attributes.finish()?;
    let is_tokens = lowering.is_tokens(lowering.input_name(node, 0)?);
    if !(if is_tokens { matches!(to, 6 | 7) } else { matches!(to, 1 | 10 | 16) }) {
        return Err(unsupported_value("to", to));
    }
    pass_on(lowering, node)
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
    let shape_name = lowering.input_name(node, 1)?;
    // Two calls of different length tell the token axis from the others.
    let mut after = |new| {
        let shape = lowering.control.value(Call::of(0, new), shape_name)?;
        Ok::<_, Error>((reshaped_dims(&dims_of(rows, new), &shape.elements)?, shape))
    };
    let ((three, shape), (five, _)) = (after(3)?, after(5)?);
    let (per_token, group) =
        rows_in(&three, &five).ok_or_else(|| unsupported_value("shape", format!("{:?}", shape.elements)))?;
    lowering.bind(node, 0, Rows { operand: rows.operand, group, per_token });
    Ok(())
}

/// The extents of `rows` in a call of `new` tokens.
fn dims_of(rows: Rows, new: usize) -> Vec<usize> {
    let Rows { operand, group, per_token } = rows;
    if per_token > 1 {
        vec![1, new * per_token, group]
    } else if group == operand.width {
        vec![1, new, group]
    } else {
        vec![1, new, operand.width / group, group]
    }
}

/// Entries of the outer axis a token and extent of the last axis, if extents for three and for five tokens have the tokens
/// outermost: `[1, tokens, columns]`, `[1, tokens, heads, columns]` or `[1, tokens · heads, columns]`.
fn rows_in(three: &[usize], five: &[usize]) -> Option<(usize, usize)> {
    let outer = three.iter().position(|extent| *extent != 1)?;
    let per_token = three[outer] / 3;
    let same_rest = three.get(outer + 1..)? == five.get(outer + 1..)? && three[..outer] == five[..outer];
    if !same_rest || three[outer] != 3 * per_token || five[outer] != 5 * per_token {
        return None;
    }
    match three[outer + 1..] {
        [group] | [_, group] if per_token == 1 => Some((1, group)),
        [group] => Some((per_token, group)),
        _ => None,
    }
}
