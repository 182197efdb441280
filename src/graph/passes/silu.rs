//! x · sigmoid(x) becomes silu(x).

use super::rewrite_each;
use crate::graph::program::{Activation, Operation, Program};

pub(super) fn run(program: &mut Program) {
    rewrite_each(program, |uses, step| {
        let Operation::Mul { left, right } = step.operation else { return None };
        [(left, right), (right, left)].into_iter().find_map(|(x, sigmoid)| {
            match uses.only(sigmoid)?.operation {
                Operation::Activate { input, activation: Activation::Sigmoid } if input == x => {
                    Some(Operation::Activate { input, activation: Activation::Silu })
                }
                _ => None,
            }
        })
    });
}
