//! `com.microsoft::RotaryEmbedding`: rotates each head by its token's position.

use super::Attributes;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Operation;
use crate::graph::lower::{Lowering, Rows};
use crate::onnx::Node;

pub(crate) fn lower<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let attributes = Attributes::new(node);
    let interleaved = attributes.flag("interleaved", false)?;
    let heads = attributes.size("num_heads", 0)?;
    let declared = attributes.size("rotary_embedding_dim", 0)?;
    attributes.only("is_packed_batching", 0)?;
    let scale = attributes.float("scale", 1.0)?;
    attributes.finish()?;
    if scale != 1.0 {
        return Err(super::attributes::unsupported_value("scale", scale));
    }
    let input = lowering.input(node, 0)?;
    let positions = lowering.input_name(node, 1)?;
    let (cosines, sines) = (lowering.input_name(node, 2)?, lowering.input_name(node, 3)?);
    let rope = lowering.rope(cosines, sines, Some(positions))?;
    let dimensions = lowering.rope_at(rope).map_or(0, |rope| rope.dimensions);
    let width = input.operand.width;
    let head_size = match (heads, input.group) {
        (_, group) if group < width => group,
        (0, _) => dimensions,
        (heads, _) => width / heads,
    };
    let fits = head_size > 0 && width.is_multiple_of(head_size) && dimensions <= head_size;
    if !fits || declared != 0 && declared != dimensions {
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!(
                "{dimensions} rotated elements (rotary_embedding_dim {declared}) of heads of {head_size} in rows of {width}"
            ),
        ));
    }
    let operation = Operation::Rotate { input: input.operand, head_size, rope, interleaved };
    let operand = lowering.push(node, operation, width);
    lowering.bind(node, 0, Rows { operand, group: input.group });
    Ok(())
}
