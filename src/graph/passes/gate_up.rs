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
