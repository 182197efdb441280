//! `com.microsoft::RotaryEmbedding`: rotates each head by its token's position.

use super::Attributes;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Operation;
use crate::graph::lower::Lowering;
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
    if input.group != width {
        return Err(Error::new(ErrorKind::Unsupported, "an input whose heads are an axis of their own"));
    }
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
    lowering.bind_whole(node, operand);
    Ok(())
}
