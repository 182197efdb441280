//! Rewrites of a program into fewer and larger steps that compute the same. One rewrite a file; `PASSES` has the order.

mod bias;
mod gate_up;
mod gated;
mod norm;
mod residual;
mod rotation;
mod silu;
mod softcap;
mod unused;

#[cfg(test)]
mod tests;

use super::program::{Operand, Operation, Program, Step, ValueId};

type Rewrite = fn(&mut Program);

/// Every rewrite by the name of its file, in the order in which they run.
static PASSES: &[(&str, Rewrite)] = &[
    ("unused", unused::run),
    ("norm", norm::run),
    ("softcap", softcap::run),
    ("silu", silu::run),
    ("bias", bias::run),
    ("gated", gated::run),
    ("gate_up", gate_up::run),
    ("rotation", rotation::run),
    ("residual", residual::run),
];

/// Applies every rewrite.
pub fn run(program: &mut Program) {
    for (_, pass) in PASSES {
        pass(program);
    }
}

/// A program together with who makes and who reads each value.
struct Uses<'p> {
    program: &'p Program,
    producers: &'p [Option<usize>],
    readers: &'p [usize],
}

impl<'p> Uses<'p> {
    /// The step that makes `operand`, if `operand` is all of it and nothing else reads it.
    fn only(&self, operand: Operand) -> Option<&'p Step> {
        if self.program.whole(operand.value) != operand || self.readers(operand.value) != 1 {
            return None;
        }
        self.producer(operand.value)
    }

    /// For each operand of a sum or product that is all of a step's value and that nothing else reads, the right one
    /// first: the other operand, and that step.
    fn sides(&self, left: Operand, right: Operand) -> impl Iterator<Item = (Operand, &'p Step)> {
        [(left, right), (right, left)].into_iter().filter_map(|(other, own)| Some((other, self.only(own)?)))
    }

    /// The step that makes `value`.
    fn producer(&self, value: ValueId) -> Option<&'p Step> {
        self.program.steps.get((*self.producers.get(value.0)?)?)
    }

    /// How many steps read `value`, the logits counted as read once more.
    fn readers(&self, value: ValueId) -> usize {
        self.readers.get(value.0).copied().unwrap_or(0)
    }
}

/// Replaces operations one by one: `rewrite` sees the program and a step, and returns the step's new operation.
///
/// Steps that nothing reads any more are dropped.
fn rewrite_each(program: &mut Program, rewrite: impl Fn(&Uses<'_>, &Step) -> Option<Operation>) {
    let mut producers = vec![None; program.widths.len()];
    let mut readers = vec![0; program.widths.len()];
    for (index, step) in program.steps.iter().enumerate() {
        producers[step.output.0] = Some(index);
        for operand in step.operation.operands() {
            readers[operand.value.0] += 1;
        }
    }
    readers[program.logits.0] += 1;
    for index in 0..program.steps.len() {
        let uses = Uses { program, producers: &producers, readers: &readers };
        let Some(operation) = rewrite(&uses, &program.steps[index]) else { continue };
        for operand in program.steps[index].operation.operands() {
            readers[operand.value.0] -= 1;
        }
        for operand in operation.operands() {
            readers[operand.value.0] += 1;
        }
        program.steps[index].operation = operation;
    }
    unused::run(program);
}
