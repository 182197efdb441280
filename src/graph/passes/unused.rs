//! Drops the steps that the logits do not depend on, and the cache slots of dropped attention steps.

use std::collections::HashSet;

use crate::graph::program::{Operation, Program, ValueId};

pub(super) fn run(program: &mut Program) {
    let mut needed: HashSet<ValueId> = HashSet::from([program.logits]);
    for step in program.steps.iter().rev() {
        if needed.contains(&step.output) {
            needed.extend(step.operation.operands().iter().map(|operand| operand.value));
        }
    }
    program.steps.retain(|step| needed.contains(&step.output));
    let mut layers = Vec::with_capacity(program.layers.len());
    for step in &mut program.steps {
        if let Operation::Attend(attention) = &mut step.operation
            && let Some(shape) = program.layers.get(attention.cache)
        {
            layers.push(*shape);
            attention.cache = layers.len() - 1;
        }
    }
    program.layers = layers;
}
