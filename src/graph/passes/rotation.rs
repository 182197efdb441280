//! Rotations of queries and keys move into the attention step that reads them.

use super::rewrite_each;
use crate::graph::program::{Attention, Operation, Program};

pub(super) fn run(program: &mut Program) {
    rewrite_each(program, |uses, step| {
        let Operation::Attend(attention) = &step.operation else { return None };
        if attention.rope.is_some() {
            return None;
        }
        let head_size = uses.program.layers.get(attention.cache)?.head_size;
        let rotation = |operand| match uses.only(operand)?.operation {
            Operation::Rotate { input, head_size: size, rope, interleaved } if size == head_size => {
                Some((input, (rope, interleaved)))
            }
            _ => None,
        };
        let (query, of_query) = rotation(attention.query)?;
        let (key, of_key) = rotation(attention.key)?;
        (of_query == of_key).then(|| {
            Operation::Attend(Box::new(Attention {
                query,
                key,
                rope: Some(of_query),
                ..(**attention).clone()
            }))
        })
    });
}
