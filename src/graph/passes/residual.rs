//! The sum of a product and another value becomes part of the product.

use super::rewrite_each;
use crate::graph::program::{Operation, Program};

pub(super) fn run(program: &mut Program) {
    rewrite_each(program, |uses, step| {
        let Operation::Add { left, right } = step.operation else { return None };
        uses.sides(left, right).find_map(|(other, product)| match &product.operation {
            Operation::Multiply { input, weights, bias, residual: None } if other.value != product.output => {
                Some(Operation::Multiply {
                    input: *input,
                    weights: weights.clone(),
                    bias: bias.clone(),
                    residual: Some(other),
                })
            }
            _ => None,
        })
    });
}

#[cfg(test)]
pub(super) mod tests {
    use crate::graph::passes::tests::{Case, becomes, columns, stays};

    pub(in crate::graph::passes) fn cases() -> Vec<Case> {
        vec![
            becomes(
                "the product on the right",
                |b| {
                    let x = b.embed('a', 4);
                    let product = b.multiply(x, 'b', 4);
                    b.add(x, product)
                },
                &["v0 = embed a", "v2 = v0 @ b + v0"],
            ),
            becomes(
                "the product on the left, with a bias, and some columns of a value made after it",
                |b| {
                    let x = b.embed('a', 4);
                    let product = b.multiply_with(x, 'b', 2, Some(&[1.0, 2.0]), None);
                    let normed = b.norm(x);
                    b.add(product, columns(normed, 2, 2))
                },
                &[
                    "v0 = embed a",
                    "v2 = norm(v0, rms, weight [1, 1, 1, 1], epsilon 0.5)",
                    "v3 = v0 @ b + [1, 2] + v2[2..4]",
                ],
            ),
            becomes(
                "the sum of two products: the right one takes the left",
                |b| {
                    let x = b.embed('a', 4);
                    let left = b.multiply(x, 'b', 2);
                    let right = b.multiply(x, 'c', 2);
                    b.add(left, right)
                },
                &["v0 = embed a", "v1 = v0 @ b", "v3 = v0 @ c + v1"],
            ),
            becomes(
                "a chain of sums takes one product each",
                |b| {
                    let x = b.embed('a', 4);
                    let first = b.multiply(x, 'b', 4);
                    let sum = b.add(x, first);
                    let second = b.multiply(x, 'c', 4);
                    b.add(sum, second)
                },
                &["v0 = embed a", "v2 = v0 @ b + v0", "v4 = v0 @ c + v2"],
            ),
            stays("the product is read by another step too", |b| {
                let x = b.embed('a', 4);
                let product = b.multiply(x, 'b', 4);
                let sum = b.add(x, product);
                b.mul(sum, product)
            }),
            stays("some columns of the product", |b| {
                let x = b.embed('a', 4);
                let product = b.multiply(x, 'b', 4);
                b.add(columns(x, 0, 2), columns(product, 2, 2))
            }),
            stays("twice the same product", |b| {
                let x = b.embed('a', 4);
                let product = b.multiply(x, 'b', 4);
                b.add(product, product)
            }),
            stays("the halves of one product", |b| {
                let x = b.embed('a', 4);
                let product = b.multiply(x, 'b', 4);
                b.add(columns(product, 0, 2), columns(product, 2, 2))
            }),
            stays("the product has a residual", |b| {
                let x = b.embed('a', 4);
                let product = b.multiply_with(x, 'b', 4, None, Some(x));
                b.add(x, product)
            }),
            stays("no side is a product", |b| {
                let x = b.embed('a', 4);
                let normed = b.norm(x);
                b.add(x, normed)
            }),
            stays("the product is a factor", |b| {
                let x = b.embed('a', 4);
                let product = b.multiply(x, 'b', 4);
                b.mul(x, product)
            }),
        ]
    }
}
