//! `com.microsoft::GroupQueryAttention`: attention with a KV cache, causal, grouped, optionally rotating its input.
//!
//! The cache inputs and outputs of the node stand for the engine's own cache. The lengths that the file computes
//! (inputs 5 and 6) are checked to be those of the sequence.

use std::sync::Arc;

use super::Attributes;
use super::attributes::unsupported_value;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::control::Call;
use crate::graph::lower::{Lowering, optional_input};
use crate::graph::{Attention, LayerShape, Operand, Operation};
use crate::onnx::Node;

struct Settings {
    heads: usize,
    kv_heads: usize,
    scale: f32,
    softcap: f32,
    window: i64,
    rotary: bool,
    interleaved: bool,
    smooth_softmax: bool,
}

fn settings(node: &Node<'_>) -> Result<Settings> {
    let attributes = Attributes::new(node);
    let settings = Settings {
        heads: attributes.required_size("num_heads")?,
        kv_heads: attributes.required_size("kv_num_heads")?,
        scale: attributes.float("scale", 0.0)?,
        softcap: attributes.float("softcap", 0.0)?,
        window: attributes.integer("local_window_size", -1)?,
        rotary: attributes.flag("do_rotary", false)?,
        interleaved: attributes.flag("rotary_interleaved", false)?,
        smooth_softmax: match attributes.integer("smooth_softmax", -1)? {
            -1 | 0 => false,
            1 => true,
            other => return Err(unsupported_value("smooth_softmax", other)),
        },
    };
    attributes.only("qk_output", 0)?;
    attributes.only("causal", 1)?;
    attributes.only("kv_cache_bit_width", 0)?;
    for name in ["k_quant_type", "v_quant_type"] {
        let kind = attributes.text(name, "NONE")?;
        if !matches!(kind, "NONE" | "") {
            return Err(unsupported_value(name, kind));
        }
    }
    // How other runtimes lay out a windowed cache; this engine keeps all positions.
    attributes.ignore("sliding_window_cache");
    attributes.ignore("qk_norm_epsilon");
    attributes.finish()?;
    Ok(settings)
}

pub(crate) fn lower<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let settings = settings(node)?;
    let names =
        ["attention_bias", "", "k_scale", "v_scale", "q_norm_weight", "k_norm_weight", "query_seqlens"];
    for (offset, name) in names.iter().enumerate() {
        if !name.is_empty() && optional_input(node, 10 + offset).is_some() {
            return Err(Error::new(ErrorKind::Unsupported, format!("input {} ({name})", 10 + offset)));
        }
    }
    if let Some(extra) = node.inputs.iter().skip(17).find(|input| !input.is_empty()) {
        return Err(Error::new(ErrorKind::Unsupported, format!("an input after the 17th ({extra})")));
    }
    if node.outputs.iter().skip(3).any(|output| !output.is_empty()) {
        return Err(Error::new(ErrorKind::Unsupported, "output 3 (the attention scores)"));
    }
    if lowering.has_choice() {
        return Err(Error::new(ErrorKind::Unsupported, "attention after a choice of tokens"));
    }
    check_cache(lowering, node)?;
    check_lengths(lowering, node)?;
    let Settings { heads, kv_heads, .. } = settings;
    if !heads.is_multiple_of(kv_heads) {
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!("num_heads {heads} is not a multiple of kv_num_heads {kv_heads}"),
        ));
    }
    let (query, key, value) = operands(lowering, node, heads, kv_heads)?;
    let head_size = query.width / heads;
    let rope = if settings.rotary {
        let (cosines, sines) = (lowering.input_name(node, 7)?, lowering.input_name(node, 8)?);
        let rope = lowering.rope(cosines, sines, optional_input(node, 9))?;
        let dimensions = lowering.rope_at(rope).map_or(0, |rope| rope.dimensions);
        if dimensions > head_size {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!("{dimensions} rotated elements of heads of {head_size}"),
            ));
        }
        Some((rope, settings.interleaved))
    } else {
        None
    };
    let window = match settings.window {
        -1 => None,
        window => Some(
            usize::try_from(window)
                .ok()
                .filter(|window| *window > 0)
                .ok_or_else(|| unsupported_value("local_window_size", window))?,
        ),
    };
    let scale = if settings.scale == 0.0 { 1.0 / (head_size as f32).sqrt() } else { settings.scale };
    if settings.softcap < 0.0 {
        return Err(unsupported_value("softcap", settings.softcap));
    }
    let attention = Attention {
        query,
        key,
        value,
        heads,
        cache: lowering.add_layer(LayerShape { kv_heads, head_size })?,
        scale,
        softcap: (settings.softcap > 0.0).then_some(settings.softcap),
        window,
        rope,
        sinks: sinks(lowering, node, &settings)?,
    };
    let operand = lowering.push(node, Operation::Attend(Box::new(attention)), query.width);
    lowering.bind_whole(node, operand);
    Ok(())
}

/// Query, key and value: three inputs, or one that holds all.
fn operands<'a>(
    lowering: &Lowering<'_, 'a>,
    node: &'a Node<'a>,
    heads: usize,
    kv_heads: usize,
) -> Result<(Operand, Operand, Operand)> {
    let query = lowering.input(node, 0)?.operand;
    let wrong = |width: usize, parts: usize| {
        Error::new(
            ErrorKind::InvalidModel,
            format!("rows of {width} do not split into {parts} heads of a multiple of 8 elements"),
        )
    };
    let split = |width: usize, parts: usize| {
        let size = width / parts;
        if parts * size == width && size > 0 && size.is_multiple_of(8) {
            Ok(size)
        } else {
            Err(wrong(width, parts))
        }
    };
    if optional_input(node, 1).is_some() {
        let (key, value) = (lowering.input(node, 1)?.operand, lowering.input(node, 2)?.operand);
        let size = split(query.width, heads)?;
        if key.width != kv_heads * size || value.width != key.width {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!(
                    "keys of {} and values of {} columns for {kv_heads} heads of {size}",
                    key.width, value.width
                ),
            ));
        }
        return Ok((query, key, value));
    }
    let parts =
        kv_heads.checked_mul(2).and_then(|kv| kv.checked_add(heads)).ok_or_else(|| wrong(query.width, 0))?;
    let size = split(query.width, parts)?;
    let part = |first: usize, count: usize| Operand {
        start: query.start + first * size,
        width: count * size,
        ..query
    };
    Ok((part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads)))
}

/// The cache must come from the graph's inputs, if only through a Cast.
fn check_cache<'a>(lowering: &Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    for index in [3, 4] {
        let Some(name) = optional_input(node, index) else { continue };
        let cast =
            lowering.view.producer(name).filter(|node| node.op_type == "Cast" && node.domain.is_empty());
        let source = cast.and_then(|node| optional_input(node, 0)).unwrap_or(name);
        if !lowering.view.is_input(source) {
            let message = format!("input {index} ({name}) is not an input of the graph");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    Ok(())
}

/// Inputs 5 and 6 must be the sequence's length less one, and its length.
fn check_lengths<'a>(lowering: &mut Lowering<'_, 'a>, node: &'a Node<'a>) -> Result<()> {
    let (lengths, total) = (lowering.input_name(node, 5)?, lowering.input_name(node, 6)?);
    for call in [Call::of(0, 1), Call::of(0, 5), Call::of(7, 1), Call::of(6, 3)] {
        let expected = i64::try_from(call.total()).unwrap_or(i64::MAX);
        for (index, name, expected) in [(5, lengths, expected - 1), (6, total, expected)] {
            if lowering.control.value(call, name)?.elements != [expected] {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("input {index} ({name}) is not computed from the length of the sequence"),
                ));
            }
        }
    }
    Ok(())
}

fn sinks<'a>(
    lowering: &Lowering<'_, 'a>,
    node: &'a Node<'a>,
    settings: &Settings,
) -> Result<Option<Arc<[f32]>>> {
    if optional_input(node, 11).is_some() {
        let row = lowering.view.row(&*lowering.constant_input(node, 11)?)?;
        if row.len() != settings.heads {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!("{} head sinks for {} heads", row.len(), settings.heads),
            ));
        }
        return Ok(Some(row));
    }
    if !settings.smooth_softmax {
        return Ok(None);
    }
    // A sink of logit 0 in every head.
    lowering.view.count_row(settings.heads)?;
    Ok(Some(vec![0.0; settings.heads].into()))
}
