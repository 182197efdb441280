//! activation(gate) · up becomes one step.

use super::rewrite_each;
use crate::graph::program::{Operation, Program};

pub(super) fn run(program: &mut Program) {
    rewrite_each(program, |uses, step| {
        let Operation::Mul { left, right } = step.operation else { return None };
        // Where both sides are activated, the left one becomes the gate.
        uses.sides(right, left).find_map(|(up, activated)| match activated.operation {
            Operation::Activate { input: gate, activation } => {
                Some(Operation::Gated { gate, up, activation })
            }
            _ => None,
        })
    });
}

#[cfg(test)]
pub(super) mod tests {
    use crate::graph::Activation::{GeluErf, Relu, Softcap};
    use crate::graph::passes::tests::{Case, becomes, columns, stays};

    pub(in crate::graph::passes) fn cases() -> Vec<Case> {
        vec![
            becomes(
                "the activated side on the left",
                |b| {
                    let x = b.embed('a', 4);
                    let activated = b.activate(columns(x, 0, 2), GeluErf);
                    b.mul(activated, columns(x, 2, 2))
                },
                &["v0 = embed a", "v2 = geluerf(v0[0..2]) * v0[2..4]"],
            ),
            becomes(
                "the activated side on the right",
                |b| {
                    let x = b.embed('a', 4);
                    let activated = b.activate(columns(x, 0, 2), Softcap(2.0));
                    b.mul(columns(x, 2, 2), activated)
                },
                &["v0 = embed a", "v2 = softcap(2.0)(v0[0..2]) * v0[2..4]"],
            ),
            becomes(
                "two activated sides: the left becomes the gate",
                |b| {
                    let x = b.embed('a', 4);
                    let left = b.activate(columns(x, 0, 2), Relu);
                    let right = b.activate(columns(x, 2, 2), GeluErf);
                    b.mul(left, right)
                },
                &["v0 = embed a", "v2 = geluerf(v0[2..4])", "v3 = relu(v0[0..2]) * v2"],
            ),
            becomes(
                "the left side is read by another step too: the right becomes the gate",
                |b| {
                    let x = b.embed('a', 4);
                    let left = b.activate(columns(x, 0, 2), Relu);
                    let right = b.activate(columns(x, 2, 2), GeluErf);
                    let product = b.mul(left, right);
                    b.add(product, left)
                },
                &["v0 = embed a", "v1 = relu(v0[0..2])", "v3 = geluerf(v0[2..4]) * v1", "v4 = v3 + v1"],
            ),
            stays("the activated side is read by another step too", |b| {
                let x = b.embed('a', 4);
                let activated = b.activate(columns(x, 0, 2), Relu);
                let product = b.mul(activated, columns(x, 2, 2));
                b.add(product, activated)
            }),
            stays("the square of an activated value", |b| {
                let x = b.embed('a', 4);
                let activated = b.activate(x, Relu);
                b.mul(activated, activated)
            }),
            stays("some columns of the activated value", |b| {
                let x = b.embed('a', 4);
                let activated = b.activate(x, Relu);
                b.mul(columns(activated, 0, 2), columns(x, 2, 2))
            }),
            stays("no side is activated", |b| {
                let x = b.embed('a', 4);
                let normed = b.norm(x);
                b.mul(normed, x)
            }),
            stays("a sum", |b| {
                let x = b.embed('a', 4);
                let activated = b.activate(x, Relu);
                b.add(activated, x)
            }),
        ]
    }
}
