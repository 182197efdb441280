//! `Add`, `Sub`, `Mul`, `Div`, `Pow` of rows with rows, with a constant row, or with a constant number.

use std::sync::Arc;

use super::{Attributes, decomposed};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Operation;
use crate::graph::lower::{Lowering, Rows};
use crate::onnx::{DataType, Node};

/// One side of the operation.
enum Side {
    Rows(Rows),
    Number(f32),
    Row(Arc<[f32]>),
}

fn side<'a>(lowering: &Lowering<'_, 'a>, node: &'a Node<'a>, index: usize) -> Result<Side> {
    let name = lowering.input_name(node, index)?;
    if let Some(rows) = lowering.find(name) {
        return Ok(Side::Rows(rows));
    }
    let tensor = lowering.view.constant(name)?.ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!("input {index} ({name}) is neither a constant nor one row a token"),
        )
    })?;
    let row = lowering.view.row(&tensor)?;
    match *row {
        [number] => Ok(Side::Number(number)),
        _ => {
            let leading = tensor.dims.iter().rev().skip(1).all(|dim| *dim == 1);
            if leading { Ok(Side::Row(row)) } else { Err(wrong_shape(&tensor.dims)) }
        }
    }
}

fn wrong_shape(dims: &[u64]) -> Error {
    Error::new(ErrorKind::Unsupported, format!("a constant of shape {dims:?} where one row is expected"))
}

/// The constant `name` as a row as wide as `input`, repeated for each group of its columns.
pub(crate) fn constant_row(lowering: &Lowering<'_, '_>, name: &str, input: Rows) -> Result<Arc<[f32]>> {
    let tensor = lowering
        .view
        .constant(name)?
        .ok_or_else(|| Error::new(ErrorKind::Unsupported, format!("{name} is not a constant")))?;
    fit(lowering, lowering.view.row(&tensor)?, input)
}

/// Repeats a row over the groups of `input`.
fn fit(lowering: &Lowering<'_, '_>, row: Arc<[f32]>, input: Rows) -> Result<Arc<[f32]>> {
    let width = input.operand.width;
    if row.len() == width {
        return Ok(row);
    }
    let repeatable = row.len() == input.group || row.len() == 1;
    if !repeatable || row.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!("a row of {} for {width} columns", row.len()),
        ));
    }
    lowering.view.count_row(width)?;
    Ok(row.iter().copied().cycle().take(width).collect())
}

fn same_width(left: Rows, right: Rows) -> Result<()> {
    if left.operand.width == right.operand.width {
        return Ok(());
    }
    let (left, right) = (left.operand.width, right.operand.width);
    Err(Error::new(ErrorKind::InvalidModel, format!("rows of {left} and of {right} columns do not combine")))
}

fn finish<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>, operation: Operation, like: Rows) {
    let operand = lowering.push(node, operation, like.operand.width);
    lowering.bind(node, 0, Rows { operand, ..like });
}

pub(crate) fn add<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    if decomposed::add(lowering, node)? {
        return Ok(());
    }
    let (input, other) = commuted(lowering, node)?;
    let operation = match other {
        Side::Rows(right) => {
            same_width(input, right)?;
            Operation::Add { left: input.operand, right: right.operand }
        }
        Side::Number(number) => {
            Operation::AddRow { input: input.operand, row: fit(lowering, [number].into(), input)? }
        }
        Side::Row(row) => Operation::AddRow { input: input.operand, row: fit(lowering, row, input)? },
    };
    finish(lowering, node, operation, input);
    Ok(())
}

pub(crate) fn mul<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    if decomposed::mul(lowering, node)? {
        return Ok(());
    }
    let (input, other) = commuted(lowering, node)?;
    let operation = match other {
        Side::Rows(right) => {
            same_width(input, right)?;
            Operation::Mul { left: input.operand, right: right.operand }
        }
        Side::Number(factor) => {
            scale(lowering, node, input, factor);
            return Ok(());
        }
        Side::Row(row) => Operation::MulRow { input: input.operand, row: fit(lowering, row, input)? },
    };
    finish(lowering, node, operation, input);
    Ok(())
}

/// input · factor, which may undo the scale that made the input.
fn scale<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>, input: Rows, factor: f32) {
    match lowering.made_by(input.operand) {
        Some(Operation::Scale { input: original, factor: earlier }) if earlier * factor == 1.0 => {
            let operand = *original;
            lowering.bind(node, 0, Rows { operand, ..input });
        }
        _ => finish(lowering, node, Operation::Scale { input: input.operand, factor }, input),
    }
}

/// The operands of a commutative operation, rows first.
fn commuted<'a>(lowering: &Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<(Rows, Side)> {
    match (side(lowering, node, 0)?, side(lowering, node, 1)?) {
        (Side::Rows(rows), other) | (other, Side::Rows(rows)) => Ok((rows, other)),
        _ => Err(Error::new(ErrorKind::Internal, "neither input depends on the tokens")),
    }
}

pub(crate) fn sub<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    if decomposed::sub(lowering, node)? {
        return Ok(());
    }
    let input = lowering.input(node, 0)?;
    let row: Arc<[f32]> = match side(lowering, node, 1)? {
        Side::Rows(_) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the difference of two values that depend on the tokens",
            ));
        }
        Side::Number(number) => [-number].into(),
        Side::Row(row) => row.iter().map(|value| -value).collect(),
    };
    let operation = Operation::AddRow { input: input.operand, row: fit(lowering, row, input)? };
    finish(lowering, node, operation, input);
    Ok(())
}

pub(crate) fn div<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    if decomposed::div(lowering, node)? {
        return Ok(());
    }
    let input = lowering.input(node, 0)?;
    let operation = match side(lowering, node, 1)? {
        Side::Rows(_) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the quotient of two values that depend on the tokens",
            ));
        }
        Side::Number(number) => Operation::Scale { input: input.operand, factor: 1.0 / number },
        Side::Row(row) => {
            let row = row.iter().map(|value| 1.0 / value).collect();
            Operation::MulRow { input: input.operand, row: fit(lowering, row, input)? }
        }
    };
    finish(lowering, node, operation, input);
    Ok(())
}

/// Squares and cubes of rows, as in the squared ReLU and GELU, and roots of mean squares.
pub(crate) fn pow<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    Attributes::new(node).finish()?;
    let base = lowering.input_name(node, 0)?;
    let exponent = lowering.view.constant(lowering.input_name(node, 1)?)?;
    let exponent =
        exponent.ok_or_else(|| Error::new(ErrorKind::Unsupported, "an exponent that is not a constant"))?;
    if exponent.element_count() != Some(1) {
        return Err(Error::new(ErrorKind::Unsupported, "exponents of several columns"));
    }
    let exponent = match exponent.data_type {
        DataType::Int32 | DataType::Int64 => {
            lowering.view.integers(&exponent)?.first().map(|power| *power as f32)
        }
        _ => lowering.view.row(&exponent)?.first().copied(),
    };
    let exponent = exponent.unwrap_or(f32::NAN);
    if exponent == 2.0 && decomposed::square(lowering, node, base)?
        || decomposed::root(lowering, node, base, exponent)
    {
        return Ok(());
    }
    let input = lowering.input(node, 0)?;
    let (x, width) = (input.operand, input.operand.width);
    let operation = match exponent {
        2.0 => Operation::Mul { left: x, right: x },
        3.0 => {
            let square = lowering.push(node, Operation::Mul { left: x, right: x }, width);
            Operation::Mul { left: x, right: square }
        }
        other => return Err(Error::new(ErrorKind::Unsupported, format!("an exponent of {other}"))),
    };
    finish(lowering, node, operation, input);
    Ok(())
}
