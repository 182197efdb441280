//! tanh(x · 1/c) · c becomes softcap(x, c).

use super::rewrite_each;
use crate::graph::program::{Activation, Operation, Program};

pub(super) fn run(program: &mut Program) {
    rewrite_each(program, |uses, step| {
        let Operation::Scale { input, factor: cap } = step.operation else { return None };
        let Operation::Activate { input: scaled, activation: Activation::Tanh } = uses.only(input)?.operation
        else {
            return None;
        };
        let Operation::Scale { input, factor } = uses.only(scaled)?.operation else { return None };
        (cap > 0.0 && factor == 1.0 / cap)
            .then_some(Operation::Activate { input, activation: Activation::Softcap(cap) })
    });
}

#[cfg(test)]
pub(super) mod tests {
    use crate::graph::Activation::{Sigmoid, Tanh};
    use crate::graph::passes::tests::{Builder, Case, becomes, columns, stays};
    use crate::graph::{Activation, Operand};

    /// function(x · factor) · cap
    fn capped(b: &mut Builder, factor: f32, function: Activation, cap: f32) -> Operand {
        let x = b.embed('a', 4);
        let scaled = b.scale(x, factor);
        let activated = b.activate(scaled, function);
        b.scale(activated, cap)
    }

    pub(in crate::graph::passes) fn cases() -> Vec<Case> {
        vec![
            becomes(
                "scale, tanh, scale",
                |b| capped(b, 1.0 / 3.0, Tanh, 3.0),
                &["v0 = embed a", "v3 = softcap(3.0)(v0)"],
            ),
            becomes(
                "of some columns",
                |b| {
                    let x = b.embed('a', 4);
                    let scaled = b.scale(columns(x, 1, 2), 0.5);
                    let tanh = b.activate(scaled, Tanh);
                    b.scale(tanh, 2.0)
                },
                &["v0 = embed a", "v3 = softcap(2.0)(v0[1..3])"],
            ),
            stays("the factor is not the cap's inverse", |b| capped(b, 0.5, Tanh, 3.0)),
            stays("the factor is the cap", |b| capped(b, 2.0, Tanh, 2.0)),
            stays("the factor is off by the last bit", |b| capped(b, (1.0_f32 / 3.0).next_up(), Tanh, 3.0)),
            stays("the cap is negative", |b| capped(b, -0.5, Tanh, -2.0)),
            stays("another function", |b| capped(b, 0.5, Sigmoid, 2.0)),
            stays("nothing is scaled before", |b| {
                let x = b.embed('a', 4);
                let tanh = b.activate(x, Tanh);
                b.scale(tanh, 2.0)
            }),
            stays("both scales come before", |b| {
                let x = b.embed('a', 4);
                let scaled = b.scale(x, 0.5);
                let scaled = b.scale(scaled, 2.0);
                b.activate(scaled, Tanh)
            }),
            stays("the scaled value is read by another step too", |b| {
                let x = b.embed('a', 4);
                let scaled = b.scale(x, 0.5);
                let tanh = b.activate(scaled, Tanh);
                let capped = b.scale(tanh, 2.0);
                b.add(capped, scaled)
            }),
            stays("the tanh is read by another step too", |b| {
                let x = b.embed('a', 4);
                let scaled = b.scale(x, 0.5);
                let tanh = b.activate(scaled, Tanh);
                let capped = b.scale(tanh, 2.0);
                b.add(capped, tanh)
            }),
            stays("some columns of the tanh", |b| {
                let x = b.embed('a', 4);
                let scaled = b.scale(x, 0.5);
                let tanh = b.activate(scaled, Tanh);
                b.scale(columns(tanh, 0, 2), 2.0)
            }),
        ]
    }
}
