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
