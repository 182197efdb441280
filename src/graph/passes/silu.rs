//! x · sigmoid(x) becomes silu(x).

use super::rewrite_each;
use crate::graph::program::{Activation, Operation, Program};

pub(super) fn run(program: &mut Program) {
    rewrite_each(program, |uses, step| {
        let Operation::Mul { left, right } = step.operation else { return None };
        uses.sides(left, right).find_map(|(x, sigmoid)| match sigmoid.operation {
            Operation::Activate { input, activation: Activation::Sigmoid } if input == x => {
                Some(Operation::Activate { input, activation: Activation::Silu })
            }
            _ => None,
        })
    });
}

#[cfg(test)]
pub(super) mod tests {
    use crate::graph::Activation::{Sigmoid, Tanh};
    use crate::graph::passes::tests::{Case, becomes, columns, stays};

    pub(in crate::graph::passes) fn cases() -> Vec<Case> {
        vec![
            becomes(
                "the sigmoid on the right",
                |b| {
                    let x = b.embed('a', 4);
                    let sigmoid = b.activate(x, Sigmoid);
                    b.mul(x, sigmoid)
                },
                &["v0 = embed a", "v2 = silu(v0)"],
            ),
            becomes(
                "the sigmoid on the left, of some columns",
                |b| {
                    let x = b.embed('a', 4);
                    let sigmoid = b.activate(columns(x, 1, 2), Sigmoid);
                    b.mul(sigmoid, columns(x, 1, 2))
                },
                &["v0 = embed a", "v2 = silu(v0[1..3])"],
            ),
            becomes(
                "a sigmoid of the logits, read by nobody",
                |b| {
                    let x = b.embed('a', 4);
                    let normed = b.norm(x);
                    let sigmoid = b.activate(normed, Sigmoid);
                    b.mul(normed, sigmoid);
                    normed
                },
                &["v0 = embed a", "v1 = norm(v0, rms, weight [1, 1, 1, 1], epsilon 0.5)"],
            ),
            stays("the sigmoid is of another value", |b| {
                let (x, y) = (b.embed('a', 4), b.embed('b', 4));
                let sigmoid = b.activate(x, Sigmoid);
                b.mul(y, sigmoid)
            }),
            stays("the sigmoid is of other columns", |b| {
                let x = b.embed('a', 4);
                let sigmoid = b.activate(columns(x, 0, 2), Sigmoid);
                b.mul(columns(x, 2, 2), sigmoid)
            }),
            stays("the sigmoid is read by another step too", |b| {
                let x = b.embed('a', 4);
                let sigmoid = b.activate(x, Sigmoid);
                let product = b.mul(x, sigmoid);
                b.add(product, sigmoid)
            }),
            stays("another function", |b| {
                let x = b.embed('a', 4);
                let tanh = b.activate(x, Tanh);
                b.mul(x, tanh)
            }),
            stays("a sum", |b| {
                let x = b.embed('a', 4);
                let sigmoid = b.activate(x, Sigmoid);
                b.add(x, sigmoid)
            }),
        ]
    }
}
