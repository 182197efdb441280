//! Writes a decoder as a directory in the layout of onnxruntime-genai's model builder.

use serde_json::{Value, json};

use super::Progress;
use super::decoder_graph::{DATA_FILE, DecoderGraph, GRAPH_FILE};
use super::decoder_spec::{DecoderSpec, FloatType};
use super::directory::{NewDirectory, NewFile};
use super::rope::RopeScaling;
use super::weights::{Layout, Role, Weight, WeightSource, append};
use crate::error::{Error, ErrorKind, Result};
use crate::onnx;

/// Token ids that `genai_config.json` names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SpecialTokens {
    /// Begins a text.
    pub begin: Option<u32>,
    /// Each of these ends an answer; the first is the model's own.
    pub end: Vec<u32>,
    /// Fills up a batch.
    pub padding: Option<u32>,
}

/// Writes graph, weights and `genai_config.json` into `directory`.
///
/// # Errors
/// As [`DecoderGraph::new`], whatever `source` returns, and [`ErrorKind::Io`].
pub(super) fn write_decoder(
    directory: &NewDirectory,
    spec: &DecoderSpec,
    tokens: &SpecialTokens,
    source: &mut dyn WeightSource,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<u64> {
    let decoder = DecoderGraph::new(spec)?;
    directory.write(GRAPH_FILE, &onnx::write(&decoder.model())?)?;
    directory.write("genai_config.json", &pretty(&genai_config(spec, tokens)))?;

    let mut file = directory.file(DATA_FILE)?;
    let total = decoder.data_bytes();
    for weight in decoder.weights() {
        progress(Progress { written: file.written(), total, item: &weight.name });
        let end = file.written() + weight.bytes();
        write_weight(spec, weight, source, &mut file)
            .map_err(|error| error.with_file(file.path()).with_node(&*weight.name))?;
        if file.written() != end {
            let message = format!("{} bytes too few or too many", end.abs_diff(file.written()));
            return Err(Error::new(ErrorKind::Internal, message).with_node(&*weight.name));
        }
    }
    progress(Progress { written: total, total, item: "" });
    file.finish()?;
    Ok(total)
}

fn write_weight(
    spec: &DecoderSpec,
    weight: &Weight,
    source: &mut dyn WeightSource,
    file: &mut NewFile,
) -> Result<()> {
    let Role::RopeCache(part) = weight.role else { return source.write(weight, file) };
    let factors: &[f64] = match &spec.rope.scaling {
        RopeScaling::Factors(factors) => factors,
        RopeScaling::None | RopeScaling::Long(_) => &[],
    };
    let float_type = match weight.layout {
        Layout::Rows(float_type) => float_type,
        _ => FloatType::F32,
    };
    let mut row = spec.rope.rows(part, factors, 1.0, float_type);
    let mut bytes = Vec::new();
    for position in 0..weight.rows {
        bytes.clear();
        row(position, &mut bytes);
        append(file, &bytes)?;
    }
    Ok(())
}

/// The bytes of a JSON file, indented as the model builder does.
pub(super) fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn genai_config(spec: &DecoderSpec, tokens: &SpecialTokens) -> Value {
    let end = match *tokens.end.as_slice() {
        [only] => json!(only),
        _ => json!(tokens.end),
    };
    let mut decoder = json!({
        "session_options": { "log_id": "onnxruntime-genai", "provider_options": [] },
        "filename": GRAPH_FILE,
        "head_size": spec.head_size,
        "hidden_size": spec.hidden_size,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": spec.attention_heads,
        "num_hidden_layers": spec.layers.len(),
        "num_key_value_heads": spec.kv_heads,
    });
    if let Some(window) = spec.window.as_ref().filter(|window| window.window_sized_cache) {
        decoder["sliding_window"] = json!({
            "window_size": window.size,
            "slide_key_value_cache": false,
            "slide_inputs": false,
            "layers": window.layers,
            "cache_slack": 0,
        });
    }
    let first_end = tokens.end.first().copied();
    json!({
        "model": {
            "bos_token_id": tokens.begin.or(first_end).unwrap_or(1),
            "context_length": spec.context_length,
            "decoder": decoder,
            "eos_token_id": end,
            "pad_token_id": tokens.padding.or(first_end).unwrap_or(0),
            "type": spec.model_type,
            "vocab_size": spec.vocabulary_size,
        },
        "search": {
            "diversity_penalty": 0.0,
            "do_sample": false,
            "early_stopping": true,
            "length_penalty": 1.0,
            "max_length": spec.context_length,
            "min_length": 0,
            "no_repeat_ngram_size": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            "past_present_share_buffer": true,
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "top_k": 50,
            "top_p": 1.0,
        },
    })
}
