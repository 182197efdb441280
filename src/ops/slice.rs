//! `Split` and `Slice` of the last axis: parts of rows, without a copy. `Slice` of tokens is in `token_choice`.

use super::Attributes;
use super::attributes::unsupported_value;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Operand;
use crate::graph::lower::{Lowering, Rows};
use crate::onnx::Node;

/// Whether `axis` is the last of a value with axes batch, token, column.
fn is_last(axis: i64) -> bool {
    matches!(axis, -1 | 2)
}

fn ungrouped<'a>(lowering: &Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<Rows> {
    let rows = lowering.input(node, 0)?;
    if rows.group == rows.operand.width {
        return Ok(rows);
    }
    Err(Error::new(ErrorKind::Unsupported, "a part of each head"))
}

fn constant_integers<'a>(
    lowering: &Lowering<'_, 'a>,
    node: &'a Node<'a>,
    index: usize,
) -> Result<Option<Vec<i64>>> {
    let constant = lowering.optional_constant_input(node, index)?;
    constant.map(|constant| lowering.view.integers(&constant)).transpose()
}

pub(crate) fn split<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let axis = attributes.integer("axis", 0)?;
    let parts = attributes.size("num_outputs", node.outputs.len())?;
    let old_sizes = attributes.integers("split")?;
    attributes.finish()?;
    if !is_last(axis) {
        return Err(unsupported_value("axis", axis));
    }
    if parts != node.outputs.len() {
        let outputs = node.outputs.len();
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!("num_outputs is {parts} with {outputs} outputs"),
        ));
    }
    let rows = ungrouped(lowering, node)?;
    let width = rows.operand.width;
    let sizes = match constant_integers(lowering, node, 1)?.or(old_sizes.map(<[i64]>::to_vec)) {
        Some(sizes) => {
            sizes.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect::<Vec<_>>()
        }
        None => {
            let size = width.div_ceil(parts.max(1));
            (0..parts).map(|part| size.min(width.saturating_sub(part * size))).collect()
        }
    };
    let sum = sizes.iter().try_fold(0_usize, |sum, size| sum.checked_add(*size));
    if sum != Some(width) || sizes.len() != node.outputs.len() || sizes.contains(&0) {
        return Err(Error::new(ErrorKind::InvalidModel, format!("parts of {sizes:?} columns of {width}")));
    }
    let mut start = rows.operand.start;
    for (index, size) in sizes.into_iter().enumerate() {
        let operand = Operand { start, width: size, ..rows.operand };
        lowering.bind(node, index, Rows { operand, group: size, ..rows });
        start += size;
    }
    Ok(())
}

pub(crate) fn slice<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    let axis = match constant_integers(lowering, node, 3)?.as_deref() {
        Some([axis]) => *axis,
        None => 0,
        Some(_) => return Err(Error::new(ErrorKind::Unsupported, "axes are more than one")),
    };
    if constant_integers(lowering, node, 4)?.is_some_and(|steps| steps != [1]) {
        return Err(unsupported_value("steps", "not 1"));
    }
    if axis == 1 {
        let (starts, ends) = (lowering.input_name(node, 1)?, lowering.input_name(node, 2)?);
        return super::token_choice::slice(lowering, node, starts, ends);
    }
    let rows = ungrouped(lowering, node)?;
    let single = |index, name: &str| match constant_integers(lowering, node, index)?.as_deref() {
        Some([value]) => Ok(*value),
        None => Err(Error::new(ErrorKind::InvalidModel, format!("{name} is missing"))),
        Some(_) => Err(Error::new(ErrorKind::Unsupported, format!("{name} for more than one axis"))),
    };
    if !is_last(axis) {
        return Err(unsupported_value("axes", axis));
    }
    let width = i64::try_from(rows.operand.width).unwrap_or(i64::MAX);
    let clamp = |value: i64| if value < 0 { value.saturating_add(width).max(0) } else { value.min(width) };
    let (start, end) = (clamp(single(1, "starts")?), clamp(single(2, "ends")?));
    let size = usize::try_from(end - start).unwrap_or(0);
    if size == 0 {
        return Err(Error::new(ErrorKind::InvalidModel, "an empty slice"));
    }
    let operand = Operand {
        start: rows.operand.start + usize::try_from(start).unwrap_or(0),
        width: size,
        ..rows.operand
    };
    lowering.bind(node, 0, Rows { operand, group: size, ..rows });
    Ok(())
}
