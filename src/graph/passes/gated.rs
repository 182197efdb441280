//! activation(gate) · up becomes one step.

use super::rewrite_each;
use crate::graph::program::{Operation, Program};

pub(super) fn run(program: &mut Program) {
    rewrite_each(program, |uses, step| {
        let Operation::Mul { left, right } = step.operation else { return None };
        [(left, right), (right, left)].into_iter().find_map(|(activated, up)| {
            match uses.only(activated)?.operation {
                Operation::Activate { input: gate, activation } => {
                    Some(Operation::Gated { gate, up, activation })
                }
                _ => None,
            }
        })
    });
}
