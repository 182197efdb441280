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

#[cfg(test)]
pub(super) mod tests {
    use crate::graph::passes::tests::{Case, becomes, columns, stays};

    pub(in crate::graph::passes) fn cases() -> Vec<Case> {
        vec![
            becomes(
                "a chain of steps that nothing reads",
                |b| {
                    let x = b.embed('a', 4);
                    let product = b.multiply(x, 'b', 4);
                    b.norm(product);
                    b.scale(x, 2.0)
                },
                &["v0 = embed a", "v3 = v0 * 2"],
            ),
            becomes(
                "a step after the logits",
                |b| {
                    let x = b.embed('a', 4);
                    let logits = b.norm(x);
                    b.scale(logits, 2.0);
                    logits
                },
                &["v0 = embed a", "v1 = norm(v0, rms, weight [1, 1, 1, 1], epsilon 0.5)"],
            ),
            becomes(
                "an attention step, whose cache the next one takes",
                |b| {
                    let (x, wide) = (b.embed('a', 8), b.embed('b', 16));
                    let unread = b.attention(x, x, x);
                    b.attend(unread);
                    let read = b.attention(wide, wide, wide);
                    b.attend(read)
                },
                &["v1 = embed b", "v3 = attend(v1, v1, v1, 2 heads, cache 0, scale 0.5)", "cache 0: 2 x 8"],
            ),
            stays("every step leads to the logits", |b| {
                let (x, wide) = (b.embed('a', 8), b.embed('b', 16));
                let first = b.attention(x, x, x);
                let first = b.attend(first);
                let second = b.attention(wide, wide, wide);
                let second = b.attend(second);
                let product = b.multiply_with(second, 'c', 8, None, Some(first));
                b.add(product, columns(wide, 3, 8))
            }),
            stays("a step of which one column is read", |b| {
                let x = b.embed('a', 4);
                let normed = b.norm(x);
                b.scale(columns(normed, 3, 1), 2.0)
            }),
        ]
    }
}
