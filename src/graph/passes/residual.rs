//! The sum of a product and another value becomes part of the product.

use super::rewrite_each;
use crate::graph::program::{Operation, Program};

pub(super) fn run(program: &mut Program) {
    rewrite_each(program, |uses, step| {
        let Operation::Add { left, right } = step.operation else { return None };
        [(left, right), (right, left)].into_iter().find_map(|(other, product)| {
            match &uses.only(product)?.operation {
                Operation::Multiply { input, weights, bias, residual: None }
                    if other.value != product.value =>
                {
                    Some(Operation::Multiply {
                        input: *input,
                        weights: weights.clone(),
                        bias: bias.clone(),
                        residual: Some(other),
                    })
                }
                _ => None,
            }
        })
    });
}
