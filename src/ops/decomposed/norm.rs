//! RMS and layer normalisation in single operators: `x / sqrt(mean(x²) + ε)`, with the mean of x subtracted before or not.
//! Weight and bias follow as products and sums with constants.

use super::{Partial, number};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::lower::{Lowering, Rows, optional_input};
use crate::graph::{NormKind, Operation};
use crate::onnx::Node;
use crate::ops::Attributes;
use crate::ops::attributes::unsupported_value;

/// A value on the way to a norm of `of`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    of: Rows,
    /// Whether the mean was subtracted from `of`.
    is_centred: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// The mean of each group of columns.
    Mean,
    /// The columns without the mean.
    Deviation,
    /// Each column squared.
    Square,
    /// The mean of the squares, plus epsilon.
    MeanSquare { epsilon: f32 },
    /// Its square root.
    Root { epsilon: f32 },
    /// 1 by that.
    InverseRoot { epsilon: f32 },
}

impl Part {
    fn at(self, stage: Stage) -> Partial<'static> {
        Partial::Norm(Self { stage, ..self })
    }

    /// The part plus a number.
    pub(super) fn plus(self, addend: f32) -> Option<Self> {
        let Stage::MeanSquare { epsilon } = self.stage else { return None };
        let stage = Stage::MeanSquare { epsilon: epsilon + addend };
        Some(Self { stage, ..self })
    }

    /// Whether the value called `name` is what this part is a norm of.
    fn is_of(self, lowering: &Lowering<'_, '_>, name: &str) -> bool {
        source(lowering, name).is_some_and(|(of, is_centred)| of == self.of && is_centred == self.is_centred)
    }

    /// Appends the norm without weight.
    fn finish<'a>(self, lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>, epsilon: f32) {
        let kind = if self.is_centred { NormKind::Layer { bias: None } } else { NormKind::Rms };
        let weight = vec![1.0; self.of.group].into();
        let operation = Operation::Norm { input: self.of.operand, kind, weight, epsilon };
        let operand = lowering.push(node, operation, self.of.operand.width);
        lowering.bind(node, 0, Rows { operand, ..self.of });
    }
}

/// The rows called `name`, or those that `name` is without their mean.
fn source(lowering: &Lowering<'_, '_>, name: &str) -> Option<(Rows, bool)> {
    match lowering.partial(name) {
        Some(Partial::Norm(Part { of, stage: Stage::Deviation, .. })) => Some((of, true)),
        _ => lowering.find(name).map(|rows| (rows, false)),
    }
}

fn part(lowering: &Lowering<'_, '_>, name: &str) -> Option<Part> {
    match lowering.partial(name) {
        Some(Partial::Norm(part)) => Some(part),
        _ => None,
    }
}

/// The square of `name`. Returns whether it can be nothing else than a part of a norm.
pub(in crate::ops) fn square<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
    name: &'a str,
) -> Result<bool> {
    let Some((of, is_centred)) = source(lowering, name) else { return Ok(false) };
    lowering.bind_partial(node, 0, Part { of, is_centred, stage: Stage::Square }.at(Stage::Square));
    Ok(is_centred)
}

/// A power of −1/2 or 1/2 of a mean of squares. Returns whether `name` is one.
pub(in crate::ops) fn root<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
    name: &'a str,
    exponent: f32,
) -> bool {
    let Some(part) = part(lowering, name) else { return false };
    let stage = match part.stage {
        Stage::MeanSquare { epsilon } if exponent == 0.5 => Stage::Root { epsilon },
        Stage::MeanSquare { epsilon } if exponent == -0.5 => Stage::InverseRoot { epsilon },
        _ => return false,
    };
    lowering.bind_partial(node, 0, part.at(stage));
    true
}

/// `ReduceMean` of the last axis.
pub(in crate::ops) fn reduce_mean<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let old_axes = attributes.integers("axes")?;
    attributes.only("keepdims", 1)?;
    attributes.ignore("noop_with_empty_axes");
    attributes.finish()?;
    let name = lowering.input_name(node, 0)?;
    let axes = match optional_input(node, 1) {
        Some(_) => lowering.view.integers(&*lowering.constant_input(node, 1)?)?,
        None => old_axes.unwrap_or_default().to_vec(),
    };
    let square = part(lowering, name).filter(|part| part.stage == Stage::Square);
    let of = match square {
        Some(part) => part.of,
        None => lowering.input(node, 0)?,
    };
    let last = if of.group == of.operand.width { 2 } else { 3 };
    if !matches!(axes[..], [axis] if axis == -1 || axis == last) {
        return Err(unsupported_value("axes", format!("{axes:?}")));
    }
    let partial = match square {
        Some(part) => part.at(Stage::MeanSquare { epsilon: 0.0 }),
        None => Partial::Norm(Part { of, is_centred: false, stage: Stage::Mean }),
    };
    lowering.bind_partial(node, 0, partial);
    Ok(())
}

/// `Sqrt` of a mean of squares.
pub(in crate::ops) fn sqrt<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    let name = lowering.input_name(node, 0)?;
    if root(lowering, node, name, 0.5) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("the square root of {name}, which is not a mean of squares"),
    ))
}

/// `Reciprocal` of the root of a mean of squares.
pub(in crate::ops) fn reciprocal<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    let name = lowering.input_name(node, 0)?;
    if invert(lowering, node, name) {
        return Ok(());
    }
    let message = format!("the reciprocal of {name}, which is not the root of a mean of squares");
    Err(Error::new(ErrorKind::Unsupported, message))
}

fn invert<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>, name: &str) -> bool {
    let Some(part) = part(lowering, name) else { return false };
    let Stage::Root { epsilon } = part.stage else { return false };
    lowering.bind_partial(node, 0, part.at(Stage::InverseRoot { epsilon }));
    true
}

/// `Sub` of the rows' mean from the rows.
pub(super) fn subtract_mean<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<bool> {
    let (left, right) = (lowering.input_name(node, 0)?, lowering.input_name(node, 1)?);
    let Some(part) = part(lowering, right) else { return Ok(false) };
    if part.stage != Stage::Mean || lowering.find(left) != Some(part.of) {
        return Ok(false);
    }
    lowering.bind_partial(node, 0, part.at(Stage::Deviation));
    Ok(true)
}

/// `Div` by the root: of 1, or of what the norm is of.
pub(super) fn divide<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<bool> {
    let (left, right) = (lowering.input_name(node, 0)?, lowering.input_name(node, 1)?);
    let Some(part) = part(lowering, right) else { return Ok(false) };
    let Stage::Root { epsilon } = part.stage else { return Ok(false) };
    if part.is_of(lowering, left) {
        part.finish(lowering, node, epsilon);
        return Ok(true);
    }
    Ok(number(lowering, left)? == Some(1.0) && invert(lowering, node, right))
}

/// `Mul` of `part` with what the norm is of, which a weight may already have multiplied.
pub(super) fn multiply<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
    part: Part,
    other: &'a str,
) -> Result<bool> {
    let Stage::InverseRoot { epsilon } = part.stage else { return Ok(false) };
    if part.is_of(lowering, other) {
        part.finish(lowering, node, epsilon);
        return Ok(true);
    }
    Ok(false)
}
