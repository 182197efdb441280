//! A constant row added to a product becomes the product's bias.

use std::sync::Arc;

use super::rewrite_each;
use crate::graph::program::{Operation, Program};

pub(super) fn run(program: &mut Program) {
    rewrite_each(program, |uses, step| {
        let Operation::AddRow { input, row } = &step.operation else { return None };
        match &uses.only(*input)?.operation {
            Operation::Multiply { input, weights, bias: None, residual: None } => Some(Operation::Multiply {
                input: *input,
                weights: weights.clone(),
                bias: Some(Arc::clone(row)),
                residual: None,
            }),
            _ => None,
        }
    });
}
