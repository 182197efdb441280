//! The gated unit of an MLP and the two products that feed it become one step, so that a thread which has made some columns
//! of both can finish them. The two products may be one with both sets of rows.

use std::sync::Arc;

use super::rewrite_each;
use crate::graph::program::{Operand, Operation, Program};
use crate::graph::weights::MatrixRows;

/// A product of which some columns are read.
struct Part {
    input: Operand,
    weights: MatrixRows,
    bias: Option<Arc<[f32]>>,
}

fn part(operation: &Operation, operand: Operand) -> Option<Part> {
    let Operation::Multiply { input, weights, bias, residual: None } = operation else { return None };
    let weights = MatrixRows {
        matrix: weights.matrix.clone(),
        start: weights.start + operand.start,
        rows: operand.width,
    };
    // A bias has an element for every row of the matrix, whichever are used.
    Some(Part { input: *input, weights, bias: bias.clone() })
}

pub(super) fn run(program: &mut Program) {
    rewrite_each(program, |uses, step| {
        let Operation::Gated { gate, up, activation } = step.operation else { return None };
        let (gate, up) = if gate.value == up.value {
            let producer = uses.producer(gate.value)?;
            if uses.readers(gate.value) != 2 {
                return None;
            }
            (part(&producer.operation, gate)?, part(&producer.operation, up)?)
        } else {
            (part(&uses.only(gate)?.operation, gate)?, part(&uses.only(up)?.operation, up)?)
        };
        (gate.input == up.input).then_some(Operation::GatedMultiply {
            input: gate.input,
            gate: gate.weights,
            gate_bias: gate.bias,
            up: up.weights,
            up_bias: up.bias,
            activation,
        })
    });
}

#[cfg(test)]
pub(super) mod tests {
    use crate::graph::Activation::{GeluTanh, Silu};
    use crate::graph::passes::tests::{Case, becomes, columns, stays};

    pub(in crate::graph::passes) fn cases() -> Vec<Case> {
        vec![
            becomes(
                "two products of one value",
                |b| {
                    let x = b.embed('a', 4);
                    let gate = b.multiply(x, 'b', 3);
                    let up = b.multiply(x, 'c', 3);
                    b.gated(gate, up, Silu)
                },
                &["v0 = embed a", "v3 = silu(v0 @ b) * (v0 @ c)"],
            ),
            becomes(
                "two products of the same columns, each with a bias",
                |b| {
                    let x = b.embed('a', 4);
                    let up = b.multiply_with(columns(x, 2, 2), 'c', 1, Some(&[3.0]), None);
                    let gate = b.multiply_with(columns(x, 2, 2), 'b', 1, Some(&[2.0]), None);
                    b.gated(gate, up, GeluTanh)
                },
                &["v0 = embed a", "v3 = gelutanh(v0[2..4] @ b + [2]) * (v0[2..4] @ c + [3])"],
            ),
            becomes(
                "the halves of one product, the gate in front",
                |b| {
                    let x = b.embed('a', 4);
                    let both = b.multiply_with(x, 'b', 4, Some(&[1.0, 2.0, 3.0, 4.0]), None);
                    b.gated(columns(both, 0, 2), columns(both, 2, 2), Silu)
                },
                &["v0 = embed a", "v2 = silu(v0 @ b[0..2] + [1, 2, 3, 4]) * (v0 @ b[2..4] + [1, 2, 3, 4])"],
            ),
            becomes(
                "the halves of one product, the gate behind",
                |b| {
                    let x = b.embed('a', 4);
                    let both = b.multiply(x, 'b', 4);
                    b.gated(columns(both, 2, 2), columns(both, 0, 2), Silu)
                },
                &["v0 = embed a", "v2 = silu(v0 @ b[2..4]) * (v0 @ b[0..2])"],
            ),
            stays("the products read different columns", |b| {
                let x = b.embed('a', 4);
                let gate = b.multiply(columns(x, 0, 2), 'b', 3);
                let up = b.multiply(columns(x, 2, 2), 'c', 3);
                b.gated(gate, up, Silu)
            }),
            stays("the products read different values", |b| {
                let x = b.embed('a', 4);
                let normed = b.norm(x);
                let gate = b.multiply(x, 'b', 3);
                let up = b.multiply(normed, 'c', 3);
                b.gated(gate, up, Silu)
            }),
            stays("the gate is read by another step too", |b| {
                let x = b.embed('a', 4);
                let gate = b.multiply(x, 'b', 3);
                let up = b.multiply(x, 'c', 3);
                let gated = b.gated(gate, up, Silu);
                b.add(gated, gate)
            }),
            stays("the other product is read by another step too", |b| {
                let x = b.embed('a', 4);
                let gate = b.multiply(x, 'b', 3);
                let up = b.multiply(x, 'c', 3);
                let gated = b.gated(gate, up, Silu);
                b.add(gated, up)
            }),
            stays("the one product is read by a third step", |b| {
                let x = b.embed('a', 4);
                let both = b.multiply(x, 'b', 4);
                let gated = b.gated(columns(both, 0, 2), columns(both, 2, 2), Silu);
                b.add(gated, columns(both, 0, 2))
            }),
            stays("some columns of two products", |b| {
                let x = b.embed('a', 4);
                let gate = b.multiply(x, 'b', 3);
                let up = b.multiply(x, 'c', 3);
                b.gated(columns(gate, 0, 2), columns(up, 0, 2), Silu)
            }),
            stays("a product with a residual", |b| {
                let x = b.embed('a', 4);
                let gate = b.multiply(x, 'b', 4);
                let up = b.multiply_with(x, 'c', 4, None, Some(x));
                b.gated(gate, up, Silu)
            }),
            stays("one side is no product", |b| {
                let x = b.embed('a', 4);
                let gate = b.multiply(x, 'b', 4);
                let up = b.norm(x);
                b.gated(gate, up, Silu)
            }),
            stays("a plain product of two products", |b| {
                let x = b.embed('a', 4);
                let left = b.multiply(x, 'b', 4);
                let right = b.multiply(x, 'c', 4);
                b.mul(left, right)
            }),
        ]
    }
}
