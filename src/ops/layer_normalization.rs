//! Normalisation: `SimplifiedLayerNormalization`, `RMSNormalization`, `LayerNormalization`, and the `Skip…` forms of
//! `com.microsoft`, which first add a residual.

use std::sync::Arc;

use super::Attributes;
use super::attributes::unsupported_value;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::lower::{Lowering, Rows};
use crate::graph::{NormKind, Operation};
use crate::onnx::Node;

fn row<'a>(
    lowering: &Lowering<'_, 'a>,
    node: &'a Node<'a>,
    index: usize,
    group: usize,
) -> Result<Option<Arc<[f32]>>> {
    let Some(tensor) = lowering.optional_constant_input(node, index)? else { return Ok(None) };
    let row = lowering.view.row(&tensor)?;
    if row.len() != group {
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!("input {index} has {} elements for {group} columns", row.len()),
        ));
    }
    Ok(Some(row))
}

fn norm<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
    input: Rows,
    weight: usize,
    kind: NormKind,
    epsilon: f32,
) -> Result<Rows> {
    let weight = row(lowering, node, weight, input.group)?
        .ok_or_else(|| Error::new(ErrorKind::InvalidModel, "the scale is missing"))?;
    let operation = Operation::Norm { input: input.operand, kind, weight, epsilon };
    let operand = lowering.push(node, operation, input.operand.width);
    Ok(Rows { operand, ..input })
}

/// The attributes of the forms without a residual; returns epsilon.
fn plain_attributes(node: &Node<'_>) -> Result<f32> {
    let attributes = Attributes::new(node);
    let axis = attributes.integer("axis", -1)?;
    let epsilon = attributes.float("epsilon", 1e-5)?;
    attributes.only("stash_type", 1)?;
    attributes.finish()?;
    if !matches!(axis, -1 | 2 | 3) {
        return Err(unsupported_value("axis", axis));
    }
    Ok(epsilon)
}

pub(crate) fn simplified<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let epsilon = plain_attributes(node)?;
    let input = lowering.input(node, 0)?;
    let rows = norm(lowering, node, input, 1, NormKind::Rms, epsilon)?;
    lowering.bind(node, 0, rows);
    Ok(())
}

pub(crate) fn layer<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let epsilon = plain_attributes(node)?;
    let input = lowering.input(node, 0)?;
    let bias = row(lowering, node, 2, input.group)?;
    let rows = norm(lowering, node, input, 1, NormKind::Layer { bias }, epsilon)?;
    lowering.bind(node, 0, rows);
    Ok(())
}

/// input + skip (+ bias), which is also output 3.
fn add_skip<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>, bias: usize) -> Result<(Rows, f32)> {
    let attributes = Attributes::new(node);
    let epsilon = attributes.float("epsilon", 1e-12)?;
    attributes.finish()?;
    if node.outputs.iter().skip(1).take(2).any(|output| !output.is_empty()) {
        return Err(Error::new(ErrorKind::Unsupported, "outputs 1 and 2 (mean and inverse deviation)"));
    }
    let (input, skip) = (lowering.input(node, 0)?, lowering.input(node, 1)?);
    let width = input.operand.width;
    if skip.operand.width != width {
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!("rows of {width} and of {} columns", skip.operand.width),
        ));
    }
    let mut sum = lowering.push(node, Operation::Add { left: input.operand, right: skip.operand }, width);
    if let Some(row) = row(lowering, node, bias, width)? {
        sum = lowering.push(node, Operation::AddRow { input: sum, row }, width);
    }
    let rows = Rows { operand: sum, group: width, per_token: 1 };
    lowering.bind(node, 3, rows);
    Ok((rows, epsilon))
}

pub(crate) fn skip_simplified<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let (sum, epsilon) = add_skip(lowering, node, 3)?;
    let rows = norm(lowering, node, sum, 2, NormKind::Rms, epsilon)?;
    lowering.bind(node, 0, rows);
    Ok(())
}

pub(crate) fn skip_layer<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let (sum, epsilon) = add_skip(lowering, node, 4)?;
    let bias = row(lowering, node, 3, sum.group)?;
    let rows = norm(lowering, node, sum, 2, NormKind::Layer { bias }, epsilon)?;
    lowering.bind(node, 0, rows);
    Ok(())
}
