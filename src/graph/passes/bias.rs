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

#[cfg(test)]
pub(super) mod tests {
    use crate::graph::passes::tests::{Case, becomes, columns, stays};

    pub(in crate::graph::passes) fn cases() -> Vec<Case> {
        vec![
            becomes(
                "a row after a product",
                |b| {
                    let x = b.embed('a', 4);
                    let product = b.multiply(x, 'b', 2);
                    b.add_row(product, &[1.0, -2.5])
                },
                &["v0 = embed a", "v2 = v0 @ b + [1, -2.5]"],
            ),
            becomes(
                "a row after a product of some columns, between other steps",
                |b| {
                    let x = b.embed('a', 4);
                    let product = b.multiply(columns(x, 1, 3), 'b', 2);
                    let normed = b.norm(x);
                    let sum = b.add_row(product, &[1.0, 2.0]);
                    b.mul(sum, columns(normed, 0, 2))
                },
                &[
                    "v0 = embed a",
                    "v2 = norm(v0, rms, weight [1, 1, 1, 1], epsilon 0.5)",
                    "v3 = v0[1..4] @ b + [1, 2]",
                    "v4 = v3 * v2[0..2]",
                ],
            ),
            becomes(
                "a row after the product that makes the logits, read by nobody",
                |b| {
                    let x = b.embed('a', 4);
                    let product = b.multiply(x, 'b', 2);
                    b.add_row(product, &[1.0, 2.0]);
                    product
                },
                &["v0 = embed a", "v1 = v0 @ b"],
            ),
            stays("the product is read by another step too", |b| {
                let x = b.embed('a', 4);
                let product = b.multiply(x, 'b', 2);
                let sum = b.add_row(product, &[1.0, 2.0]);
                b.mul(sum, product)
            }),
            stays("the row is added to some columns of the product", |b| {
                let x = b.embed('a', 4);
                let product = b.multiply(x, 'b', 3);
                b.add_row(columns(product, 1, 2), &[1.0, 2.0])
            }),
            stays("the product has a bias", |b| {
                let x = b.embed('a', 4);
                let product = b.multiply_with(x, 'b', 2, Some(&[3.0, 4.0]), None);
                b.add_row(product, &[1.0, 2.0])
            }),
            stays("the product has a residual", |b| {
                let x = b.embed('a', 4);
                let product = b.multiply_with(x, 'b', 4, None, Some(x));
                b.add_row(product, &[1.0, 2.0, 3.0, 4.0])
            }),
            stays("the row is a factor", |b| {
                let x = b.embed('a', 4);
                let product = b.multiply(x, 'b', 2);
                b.mul_row(product, &[1.0, 2.0])
            }),
            stays("the row is added to something else", |b| {
                let x = b.embed('a', 4);
                let normed = b.norm(x);
                b.add_row(normed, &[1.0, 2.0, 3.0, 4.0])
            }),
        ]
    }
}
