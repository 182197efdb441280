//! `RotaryEmbedding` of `com.microsoft` and of ONNX: rotates each head by its token's position.

use super::Attributes;
use super::attributes::unsupported_value;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Operation;
use crate::graph::lower::{Lowering, Rows};
use crate::onnx::Node;

/// What to rotate, and where the node's other inputs are.
struct Rotation<'a> {
    interleaved: bool,
    heads: usize,
    /// The attribute `rotary_embedding_dim`, 0 where the tables tell.
    declared: usize,
    positions: &'a str,
    cosines: &'a str,
    sines: &'a str,
}

/// The form of `com.microsoft`: input, positions, cosines, sines.
pub(crate) fn microsoft<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let rotation = Rotation {
        interleaved: attributes.flag("interleaved", false)?,
        heads: attributes.size("num_heads", 0)?,
        declared: attributes.size("rotary_embedding_dim", 0)?,
        positions: lowering.input_name(node, 1)?,
        cosines: lowering.input_name(node, 2)?,
        sines: lowering.input_name(node, 3)?,
    };
    attributes.only("is_packed_batching", 0)?;
    let scale = attributes.float("scale", 1.0)?;
    attributes.finish()?;
    if scale != 1.0 {
        return Err(unsupported_value("scale", scale));
    }
    rotate(lowering, node, &rotation)
}

/// The form of ONNX since operator set 23: input, cosines, sines, positions.
pub(crate) fn standard<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let rotation = Rotation {
        interleaved: attributes.flag("interleaved", false)?,
        heads: attributes.required_size("num_heads")?,
        declared: attributes.size("rotary_embedding_dim", 0)?,
        // Without positions the tables would have a row a token.
        positions: lowering.input_name(node, 3)?,
        cosines: lowering.input_name(node, 1)?,
        sines: lowering.input_name(node, 2)?,
    };
    attributes.finish()?;
    rotate(lowering, node, &rotation)
}

fn rotate<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>, rotation: &Rotation<'a>) -> Result<()> {
    let Rotation { interleaved, heads, declared, positions, cosines, sines } = *rotation;
    let input = lowering.input(node, 0)?;
    let width = input.operand.width;
    if input.group != width {
        // The operator takes axis 1 of a value with four axes for the heads, and axis 2 for the tokens.
        return Err(Error::new(
            ErrorKind::Unsupported,
            "rows that are reshaped to heads before their rotation",
        ));
    }
    let rope = lowering.rope(cosines, sines, Some(positions))?;
    let dimensions = lowering.rope_at(rope).map_or(0, |rope| rope.dimensions);
    // Only a partial rotation says how wide a head is; the tables do otherwise.
    let head_size = if declared == 0 || heads == 0 { dimensions } else { width / heads };
    let fits = head_size > 0
        && dimensions <= head_size
        && width.is_multiple_of(head_size)
        && (heads == 0 || width / head_size == heads)
        && (declared == 0 || declared == dimensions);
    if !fits {
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!(
                "num_heads {heads} and rotary_embedding_dim {declared} for rows of {width} and tables of \
                 {dimensions} rotated elements"
            ),
        ));
    }
    let operation = Operation::Rotate { input: input.operand, head_size, rope, interleaved };
    let operand = lowering.push(node, operation, width);
    lowering.bind(node, 0, Rows { operand, ..input });
    Ok(())
}
