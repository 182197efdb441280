//! Pointwise functions: `Sigmoid`, `Tanh`, `Relu`, `Gelu`, `Swish`, and the forms of GELU of `com.microsoft`.

use super::Attributes;
use super::attributes::unsupported_value;
use crate::error::Result;
use crate::graph::lower::{Lowering, Rows, optional_input};
use crate::graph::{Activation, Operation};
use crate::onnx::Node;

fn activate<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>, activation: Activation) -> Result<()> {
    let input = lowering.input(node, 0)?;
    let operand =
        lowering.push(node, Operation::Activate { input: input.operand, activation }, input.operand.width);
    lowering.bind(node, 0, Rows { operand, ..input });
    Ok(())
}

pub(crate) fn sigmoid<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    activate(lowering, node, Activation::Sigmoid)
}

pub(crate) fn tanh<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    activate(lowering, node, Activation::Tanh)
}

pub(crate) fn relu<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    activate(lowering, node, Activation::Relu)
}

pub(crate) fn gelu<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let activation = match attributes.text("approximate", "none")? {
        "none" => Activation::GeluErf,
        "tanh" => Activation::GeluTanh,
        other => return Err(unsupported_value("approximate", other)),
    };
    attributes.finish()?;
    activate(lowering, node, activation)
}

/// The tanh form, of the input plus an optional row.
pub(crate) fn fast_gelu<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    with_bias(lowering, node, Activation::GeluTanh)
}

/// The exact form, of the input plus a row.
pub(crate) fn bias_gelu<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    with_bias(lowering, node, Activation::GeluErf)
}

fn with_bias<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>, activation: Activation) -> Result<()> {
    Attributes::new(node).finish()?;
    let Some(bias) = optional_input(node, 1) else { return activate(lowering, node, activation) };
    let input = lowering.input(node, 0)?;
    let row = super::arithmetic::constant_row(lowering, bias, input)?;
    let width = input.operand.width;
    let sum = lowering.push(node, Operation::AddRow { input: input.operand, row }, width);
    let operand = lowering.push(node, Operation::Activate { input: sum, activation }, width);
    lowering.bind(node, 0, Rows { operand, ..input });
    Ok(())
}

pub(crate) fn quick_gelu<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let alpha = attributes.float("alpha", 1.702)?;
    attributes.finish()?;
    activate(lowering, node, Activation::QuickGelu(alpha))
}

/// x · sigmoid(alpha · x).
pub(crate) fn swish<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let alpha = attributes.float("alpha", 1.0)?;
    attributes.finish()?;
    let activation = if alpha == 1.0 { Activation::Silu } else { Activation::QuickGelu(alpha) };
    activate(lowering, node, activation)
}
