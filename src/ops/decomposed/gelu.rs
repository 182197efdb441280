//! GELU in single operators: `x/2 · (1 + erf(x/√2))`, or `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`, with the half at
//! any place.

use super::{Partial, is_close, number};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::lower::{Lowering, Rows};
use crate::graph::{Activation, Operand, Operation};
use crate::onnx::Node;
use crate::ops::{Attributes, activation};

/// `factor · erf(…)`, or `factor · (1 + erf(…))`; the same with tanh.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    of: Operand,
    function: Activation,
    has_one: bool,
    factor: f32,
}

impl Part {
    /// The part plus a number.
    pub(super) fn plus(self, addend: f32) -> Option<Self> {
        (!self.has_one && addend == 1.0).then_some(Self { has_one: true, ..self })
    }
}

/// `Erf`, which must be on the way to a GELU.
pub(in crate::ops) fn erf<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    let rows = lowering.input(node, 0)?;
    match lowering.made_by(rows.operand) {
        Some(Operation::Scale { input, factor }) if is_close(*factor, std::f32::consts::FRAC_1_SQRT_2) => {
            let part = Part { of: *input, function: Activation::GeluErf, has_one: false, factor: 1.0 };
            lowering.bind_partial(node, 0, Partial::Gelu(part));
            Ok(())
        }
        _ => Err(Error::new(ErrorKind::Unsupported, "the error function of rows that are not x/√2")),
    }
}

/// `Tanh`, which may be on the way to a GELU.
pub(in crate::ops) fn tanh<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    activation::tanh(lowering, node)?;
    let rows = lowering.input(node, 0)?;
    if let Some(of) = tanh_argument(lowering, rows.operand) {
        let part = Part { of, function: Activation::GeluTanh, has_one: false, factor: 1.0 };
        lowering.bind_partial(node, 0, Partial::Gelu(part));
    }
    Ok(())
}

/// x, if `operand` is `√(2/π) · (x + 0.044715 · x³)`.
fn tanh_argument(lowering: &Lowering<'_, '_>, operand: Operand) -> Option<Operand> {
    let Operation::Scale { input: sum, factor } = lowering.made_by(operand)? else { return None };
    let Operation::Add { left, right } = lowering.made_by(*sum)? else { return None };
    let is_square = |operand, x: Operand| matches!(lowering.made_by(operand), Some(Operation::Mul { left, right }) if *left == x && *right == x);
    let is_cube = |operand, x: Operand| match lowering.made_by(operand) {
        Some(Operation::Mul { left, right }) => {
            *left == x && is_square(*right, x) || *right == x && is_square(*left, x)
        }
        _ => false,
    };
    let is_term = |operand, x: Operand| match lowering.made_by(operand) {
        Some(Operation::Scale { input, factor }) => is_close(*factor, 0.044_715) && is_cube(*input, x),
        _ => false,
    };
    if !is_close(*factor, (2.0 / std::f32::consts::PI).sqrt()) {
        return None;
    }
    [(*left, *right), (*right, *left)].into_iter().find(|(x, term)| is_term(*term, *x)).map(|(x, _)| x)
}

/// `Mul` of `part`, called `name`, with a number or with x. Returns whether that was all that there is to do.
pub(super) fn multiply<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
    part: Part,
    name: &'a str,
    other: &'a str,
) -> Result<bool> {
    if !part.has_one {
        return Ok(false);
    }
    if let Some(factor) = number(lowering, other)? {
        lowering.bind_partial(node, 0, Partial::Gelu(Part { factor: part.factor * factor, ..part }));
        return Ok(lowering.find(name).is_none());
    }
    let Some(rows) = lowering.find(other) else { return Ok(false) };
    let factor = match lowering.made_by(rows.operand) {
        _ if rows.operand == part.of => part.factor,
        Some(Operation::Scale { input, factor }) if *input == part.of => part.factor * factor,
        _ => return Ok(false),
    };
    let activation = Operation::Activate { input: part.of, activation: part.function };
    let mut operand = lowering.push(node, activation, part.of.width);
    if factor != 0.5 {
        operand =
            lowering.push(node, Operation::Scale { input: operand, factor: 2.0 * factor }, part.of.width);
    }
    lowering.bind(node, 0, Rows { operand, ..rows });
    Ok(true)
}
