//! Functions that exporters write as several operators: norms, GELU, products with rows that are quantised as they come.
//!
//! Some of the values in between are not one row a token, or not one that the engine keeps. A [`Partial`] says what such a
//! value is; the operator that completes the function appends its step. An operator that gets a partial value which
//! it does not know refuses it, as it refuses any value that is not rows.

mod dynamic_int8;
mod gelu;
mod norm;

use crate::error::Result;
use crate::graph::lower::Lowering;
use crate::onnx::Node;

pub(super) use dynamic_int8::{dequantize_gathered, dynamic_quantize_linear, gather_codes, mat_mul_integer};
pub(super) use gelu::{erf, tanh};
pub(super) use norm::{reciprocal, reduce_mean, root, sqrt, square};

/// A value that has a meaning only as a part of a function.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Partial<'a> {
    /// A part of a normalisation.
    Norm(norm::Part),
    /// A part of a GELU.
    Gelu(gelu::Part),
    /// A part of a product with integers.
    Integers(dynamic_int8::Part<'a>),
}

/// The number that the constant `name` is, if it is one.
fn number(lowering: &Lowering<'_, '_>, name: &str) -> Result<Option<f32>> {
    match lowering.view.constant(name)? {
        Some(tensor)
            if tensor.element_count() == Some(1)
                && crate::graph::FloatKind::from_data_type(tensor.data_type).is_some() =>
        {
            Ok(lowering.view.row(&tensor)?.first().copied())
        }
        _ => Ok(None),
    }
}

/// Whether a constant of the file is the one of the formula, which half precision rounds.
fn is_close(value: f32, expected: f32) -> bool {
    (value - expected).abs() <= 5e-4 * expected.abs()
}

/// Both orders of a node's two inputs.
fn pairs<'a>(lowering: &Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<[(&'a str, &'a str); 2]> {
    let (left, right) = (lowering.input_name(node, 0)?, lowering.input_name(node, 1)?);
    Ok([(left, right), (right, left)])
}

/// `Add` where one side is partial. Returns whether that was all that there is to do.
pub(super) fn add<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<bool> {
    for (left, right) in pairs(lowering, node)? {
        let Some(partial) = lowering.partial(left) else { continue };
        let Some(addend) = number(lowering, right)? else { continue };
        let sum = match partial {
            Partial::Norm(part) => part.plus(addend).map(Partial::Norm),
            Partial::Gelu(part) => part.plus(addend).map(Partial::Gelu),
            Partial::Integers(_) => None,
        };
        if let Some(sum) = sum {
            lowering.bind_partial(node, 0, sum);
            return Ok(lowering.find(left).is_none());
        }
    }
    Ok(false)
}

/// `Sub` where one side is partial. Returns whether that was all that there is to do.
pub(super) fn sub<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<bool> {
    norm::subtract_mean(lowering, node)
}

/// `Mul` where one side is partial. Returns whether that was all that there is to do.
pub(super) fn mul<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<bool> {
    let pairs = pairs(lowering, node)?;
    if pairs[0].0 == pairs[0].1 {
        return square(lowering, node, pairs[0].0);
    }
    for (left, right) in pairs {
        let done = match lowering.partial(left) {
            Some(Partial::Norm(part)) => norm::multiply(lowering, node, part, right)?,
            Some(Partial::Gelu(part)) => gelu::multiply(lowering, node, part, left, right)?,
            Some(Partial::Integers(part)) => dynamic_int8::multiply(lowering, node, part, right)?,
            None => false,
        };
        if done {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `Div` where one side is partial. Returns whether that was all that there is to do.
pub(super) fn div<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<bool> {
    norm::divide(lowering, node)
}
