//! The shapes of published models.
//!
//! Source: `config.json` of the models' repositories.

use super::decoder_spec::{Activation, DecoderSpec, Embedding, Storage, Window};
use super::rope::{LongRope, Rope, RopeScaling};
use super::synth::SynthOptions;
use crate::error::{Error, ErrorKind, Result};

/// A published model's numbers.
struct Published {
    name: &'static str,
    family: Family,
    hidden_size: usize,
    layers: usize,
    attention_heads: usize,
    kv_heads: usize,
    head_size: usize,
    feed_forward_size: usize,
    vocabulary_size: usize,
    context_length: usize,
    theta: f64,
    rotary_size: usize,
    tied: bool,
}

/// What distinguishes graphs beyond numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Llama,
    /// Llama 3.1 and later, with stretched wavelengths.
    Llama3,
    Mistral,
    /// Phi-4.
    Phi,
    /// Phi-3.5-mini and Phi-4-mini, with LongRoPE.
    PhiLong,
    Gemma2,
    Qwen2,
}

/// A decoder without storage, and its number of layers.
pub(super) struct Shape {
    pub(super) spec: DecoderSpec,
    pub(super) layers: usize,
}

#[rustfmt::skip]
const MODELS: [Published; 10] = [
    //   name             family            hidden L   q   kv head ffn   vocabulary context  theta       rotary tied
    model("llama-3.2-1b",  Family::Llama3,  [2048, 16, 32, 8, 64, 8192, 128_256, 131_072], 500_000.0,   64,  true),
    model("llama-3.2-3b",  Family::Llama3,  [3072, 28, 24, 8, 128, 8192, 128_256, 131_072], 500_000.0,  128, true),
    model("phi-4-mini",    Family::PhiLong, [3072, 32, 24, 8, 128, 8192, 200_064, 131_072], 10_000.0,   96,  true),
    model("phi-3.5-mini",  Family::PhiLong, [3072, 32, 32, 32, 96, 8192, 32_064, 131_072], 10_000.0,    96,  false),
    model("phi-4",         Family::Phi,     [5120, 40, 40, 10, 128, 17_920, 100_352, 16_384], 250_000.0, 128, false),
    model("gemma-2-2b",    Family::Gemma2,  [2304, 26, 8, 4, 256, 9216, 256_000, 8192], 10_000.0,       256, true),
    model("gemma-2-9b",    Family::Gemma2,  [3584, 42, 16, 8, 256, 14_336, 256_000, 8192], 10_000.0,    256, true),
    model("mistral-nemo",  Family::Mistral, [5120, 40, 32, 8, 128, 14_336, 131_072, 131_072], 1e6,      128, false),
    model("qwen-2.5-3b",   Family::Qwen2,   [2048, 36, 16, 2, 128, 11_008, 151_936, 32_768], 1e6,       128, true),
    model("smollm2-135m",  Family::Llama,   [576, 30, 9, 3, 64, 1536, 49_152, 8192], 100_000.0,         64,  true),
];

const fn model(
    name: &'static str,
    family: Family,
    sizes: [usize; 8],
    theta: f64,
    rotary_size: usize,
    tied: bool,
) -> Published {
    let [
        hidden_size,
        layers,
        attention_heads,
        kv_heads,
        head_size,
        feed_forward_size,
        vocabulary_size,
        context_length,
    ] = sizes;
    Published {
        name,
        family,
        hidden_size,
        layers,
        attention_heads,
        kv_heads,
        head_size,
        feed_forward_size,
        vocabulary_size,
        context_length,
        theta,
        rotary_size,
        tied,
    }
}

/// The names that [`synthesise`](super::synthesise) knows.
pub fn published_names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|model| model.name)
}

/// The decoder of the model `name`, as `options` change it.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for a name that is not known.
pub(super) fn published_shape(name: &str, options: &SynthOptions) -> Result<Shape> {
    let Some(model) = MODELS.iter().find(|model| model.name == name) else {
        let known = published_names().collect::<Vec<_>>().join(", ");
        return Err(Error::new(ErrorKind::InvalidArgument, format!("no published shape is called {name}"))
            .with_hint(format!("known are {known}")));
    };
    let model = if options.tiny { tiny(model) } else { Published { ..*model } };
    let layers = options.layers.unwrap_or(model.layers);
    let context_length = options.context_length.unwrap_or(model.context_length);
    let gemma = model.family == Family::Gemma2;
    // The published windows are 4096 and, without effect, 262144.
    let window = match model.family {
        Family::Gemma2 => Some((if options.tiny { 64 } else { 4096 }, (0..layers).step_by(2).collect())),
        Family::PhiLong => Some((262_144, Vec::new())),
        _ => None,
    };
    let spec = DecoderSpec {
        model_type: match model.family {
            Family::Llama | Family::Llama3 => "llama",
            Family::Mistral => "mistral",
            Family::Phi | Family::PhiLong => "phi3",
            Family::Gemma2 => "gemma2",
            Family::Qwen2 => "qwen2",
        }
        .to_owned(),
        hidden_size: model.hidden_size,
        attention_heads: model.attention_heads,
        kv_heads: model.kv_heads,
        head_size: model.head_size,
        feed_forward_size: model.feed_forward_size,
        vocabulary_size: options.vocabulary_size.unwrap_or(model.vocabulary_size),
        context_length,
        norm_epsilon: if gemma || model.family == Family::Qwen2 { 1e-6 } else { 1e-5 },
        activation: if gemma { Activation::GeluTanh } else { Activation::Silu },
        rope: Rope {
            theta: model.theta,
            rotary_size: model.rotary_size,
            scaling: rope_scaling(&model, context_length, options.tiny),
        },
        attention_scale: (1.0 / (model.head_size as f64).sqrt()) as f32,
        attention_soft_cap: if gemma { 50.0 } else { 0.0 },
        logit_soft_cap: if gemma { 30.0 } else { 0.0 },
        // The builder rounds to two decimals.
        embedding_scale: if gemma {
            ((model.hidden_size as f64).sqrt() * 100.0).round() as f32 / 100.0
        } else {
            1.0
        },
        window: window.map(|(size, layers)| Window {
            size,
            layers,
            window_sized_cache: options.window_sized_cache,
        }),
        norms_after: gemma,
        qkv_bias: model.family == Family::Qwen2,
        float_type: options.float_type,
        accuracy_level: match options.float_type {
            super::FloatType::F32 => Some(4),
            super::FloatType::F16 => None,
        },
        layers: Vec::new(),
        head: Storage::Dense,
        embedding: if model.tied { Embedding::Tied } else { Embedding::Table },
    };
    Ok(Shape { spec, layers })
}

/// The same graph with small numbers. Proportions that matter stay: shared or own key heads, partial rotation, a
/// query as wide as the hidden size or not.
fn tiny(model: &Published) -> Published {
    let kv_heads = if model.kv_heads == model.attention_heads { 4 } else { 2 };
    let rotary_size = if model.rotary_size < model.head_size { 48 } else { 64 };
    let hidden_size = if model.attention_heads * model.head_size == model.hidden_size { 256 } else { 320 };
    Published {
        hidden_size,
        layers: 3,
        attention_heads: 4,
        kv_heads,
        head_size: 64,
        feed_forward_size: 512,
        vocabulary_size: 512,
        context_length: 1024,
        rotary_size,
        ..*model
    }
}

fn rope_scaling(model: &Published, context_length: usize, tiny: bool) -> RopeScaling {
    match model.family {
        Family::Llama3 => {
            let original = if tiny { 128.0 } else { 8192.0 };
            RopeScaling::Factors(Rope::llama3_factors(
                model.theta,
                model.rotary_size,
                32.0,
                (1.0, 4.0),
                original,
            ))
        }
        Family::PhiLong => {
            let original_context = if tiny { 128 } else { 4096 };
            let pairs = model.rotary_size / 2;
            // Published factors rise from 1 to 47.77, slowly at first; the exact ones are part of the weights.
            let long = |pair: usize| 47.77_f64.powf((pair as f64 / (pairs - 1) as f64).powi(2));
            RopeScaling::Long(LongRope {
                original_context,
                short_factors: vec![1.0; pairs],
                long_factors: (0..pairs).map(long).collect(),
                magnitude: LongRope::magnitude_for(original_context, context_length),
            })
        }
        _ => RopeScaling::None,
    }
}
