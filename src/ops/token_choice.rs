//! `Slice` and `Gather` of the token axis before the head: of the last token, or of as many of the last ones as an input
//! asks for. The engine computes the positions that it is asked for anyway, so the choice changes nothing.

use crate::error::{Error, ErrorKind, Result};
use crate::graph::control::{Call, clamped};
use crate::graph::lower::Lowering;
use crate::onnx::Node;

/// Calls that tell the choices apart: prompts and continuations, with all logits and with one.
fn calls() -> impl Iterator<Item = Call> {
    let lengths = [(0, 5), (3, 4), (7, 1)].into_iter().map(|(past, new)| Call::of(past, new));
    lengths.flat_map(|call| [0, 1].map(|logits_to_keep| Call { logits_to_keep, ..call }))
}

/// `Slice` from the value called `starts` up to the one called `ends`.
pub(super) fn slice<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
    starts: &'a str,
    ends: &'a str,
) -> Result<()> {
    for call in calls() {
        let (start, end) = (lowering.control.value(call, starts)?, lowering.control.value(call, ends)?);
        let ([start], [end]) = (&start.elements[..], &end.elements[..]) else {
            return Err(Error::new(ErrorKind::Unsupported, "starts or ends for more than one axis"));
        };
        let (start, end) = (clamped(*start, call.new), clamped(*end, call.new));
        let is_all_or_last = start == 0 || start + 1 == call.new;
        if end != call.new || !is_all_or_last {
            return Err(other_tokens());
        }
    }
    choose(lowering, node)
}

/// `Gather` of the tokens that the value called `indices` names.
pub(super) fn gather<'a>(
    lowering: &mut Lowering<'_, 'a>,
    node: &'a Node<'a>,
    indices: &'a str,
) -> Result<()> {
    for call in calls() {
        let indices = lowering.control.value(call, indices)?;
        let new = call.new as i64;
        let is_last = matches!(indices.elements[..], [index] if index == -1 || index == new - 1);
        if !is_last && !indices.elements.iter().copied().eq(0..new) {
            return Err(other_tokens());
        }
    }
    choose(lowering, node)
}

fn choose<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let rows = lowering.input(node, 0)?;
    if rows.group != rows.operand.width {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "a choice of tokens of rows that are reshaped to heads",
        ));
    }
    lowering.note_choice();
    lowering.bind(node, 0, rows);
    Ok(())
}

fn other_tokens() -> Error {
    Error::new(ErrorKind::Unsupported, "a choice of tokens other than all or the last")
}
