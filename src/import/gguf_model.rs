//! The decoder that a GGUF file describes: its numbers and where its weights are.

use std::collections::{HashMap, HashSet};

use super::decoder_spec::{Activation, DecoderSpec, Embedding, FloatType, Storage};
use super::gguf::{Gguf, TensorView, Value};
use super::rope::{Rope, RopeScaling};
use super::weights::{LayerWeight, Role};
use crate::error::{Error, ErrorKind, Result};

/// The architectures (`general.architecture`) that can be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Architecture {
    /// Llama, Mistral, SmolLM2 and others with the same layers.
    Llama,
    /// Qwen 2 and 2.5: as Llama, with a bias on query, key and value, and rotary pairs half against half.
    Qwen2,
}

impl Architecture {
    fn from_name(name: &str) -> Result<Self> {
        Ok(match name {
            "llama" => Self::Llama,
            "qwen2" => Self::Qwen2,
            _ => {
                return Err(Error::new(ErrorKind::Unsupported, format!("the architecture {name}"))
                    .with_node("general.architecture")
                    .with_hint("llama and qwen2 can be imported"));
            }
        })
    }

    /// The prefix of its metadata keys, and its name in `genai_config.json`.
    fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        }
    }

    /// Whether the rows of a query or key head lie as rotary pairs side by side, and not half against half.
    fn interleaves_pairs(self) -> bool {
        match self {
            Self::Llama => true,
            Self::Qwen2 => false,
        }
    }

    fn has_qkv_bias(self) -> bool {
        match self {
            Self::Llama => false,
            Self::Qwen2 => true,
        }
    }
}

/// Rows of a tensor of the file.
#[derive(Debug, Clone)]
pub(super) struct Piece<'a> {
    pub(super) name: String,
    pub(super) view: TensorView<'a>,
    /// The head size, where each head's rows have to be sorted from pairs to halves.
    interleaved_head: Option<usize>,
}

impl Piece<'_> {
    /// Which row of the tensor (element of a vector) is row `row` of the weight.
    ///
    /// Within a head of h rows, the file's order is 0, h/2, 1, h/2 + 1, …
    pub(super) fn source_row(&self, row: usize) -> usize {
        match self.interleaved_head {
            None => row,
            Some(head) => {
                let (start, within, half) = (row - row % head, row % head, head / 2);
                start + if within < half { 2 * within } else { 2 * (within - half) + 1 }
            }
        }
    }
}

/// A decoder in a GGUF file.
#[derive(Debug)]
pub(super) struct GgufModel<'a> {
    /// The decoder, but for the storage of its matrices.
    pub(super) spec: DecoderSpec,
    /// How many layers it has.
    pub(super) layers: usize,
    /// Whether the embedding is the lm_head.
    pub(super) tied: bool,
    pieces: HashMap<Role, Piece<'a>>,
}

impl<'a> GgufModel<'a> {
    /// Reads the decoder's numbers and finds its tensors.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] and [`ErrorKind::InvalidModel`], naming the key or tensor.
    pub(super) fn read(gguf: &Gguf<'a>, context_length: Option<usize>) -> Result<Self> {
        let Some(architecture) = gguf.string("general.architecture") else {
            return Err(
                Error::new(ErrorKind::InvalidModel, "the key is missing").with_node("general.architecture")
            );
        };
        let architecture = Architecture::from_name(architecture)?;
        let keys = Keys { gguf, prefix: architecture.name() };
        let mut finder = Finder { gguf, used: HashSet::new(), pieces: HashMap::new() };
        let spec = read_spec(architecture, &keys, &mut finder, context_length)?;
        let layers = keys.size("block_count")?;
        let tied = !finder.has("output.weight");
        finder.find_all(architecture, &spec, layers, tied)?;
        let pieces = finder.finish()?;
        Ok(Self { spec, layers, tied, pieces })
    }

    /// The tensors that make up the weight with `role`, one below the other.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for a weight that such a decoder does not have.
    pub(super) fn pieces(&self, role: Role) -> Result<Vec<&Piece<'a>>> {
        use LayerWeight::{Key, KeyBias, Qkv, QkvBias, Query, QueryBias, Value, ValueBias};
        let layer =
            |index, weights: [LayerWeight; 3]| weights.map(|weight| Role::Layer(index, weight)).to_vec();
        let roles = match role {
            Role::Layer(index, Qkv) => layer(index, [Query, Key, Value]),
            Role::Layer(index, QkvBias) => layer(index, [QueryBias, KeyBias, ValueBias]),
            Role::LmHead if self.tied => vec![Role::Embedding],
            _ => vec![role],
        };
        let piece = |role| {
            self.pieces
                .get(role)
                .ok_or_else(|| Error::new(ErrorKind::Internal, format!("no tensor for {role:?}")))
        };
        roles.iter().map(piece).collect()
    }

    /// The tensor for `role`, which is a single one.
    ///
    /// # Errors
    /// As [`pieces`](Self::pieces).
    pub(super) fn tensor(&self, role: Role) -> Result<&Piece<'a>> {
        let first = self.pieces(role)?.into_iter().next();
        first.ok_or_else(|| Error::new(ErrorKind::Internal, format!("no tensor for {role:?}")))
    }
}

fn read_spec(
    architecture: Architecture,
    keys: &Keys<'_, '_>,
    finder: &mut Finder<'_, '_>,
    context_length: Option<usize>,
) -> Result<DecoderSpec> {
    if keys.optional_size("expert_count")?.unwrap_or(0) > 0 {
        return Err(keys.error(ErrorKind::Unsupported, "expert_count", "a mixture of experts"));
    }
    let hidden_size = keys.size("embedding_length")?;
    let attention_heads = keys.size("attention.head_count")?;
    let kv_heads = keys.optional_size("attention.head_count_kv")?.unwrap_or(attention_heads);
    let head_size = match keys.optional_size("attention.key_length")? {
        Some(size) => size,
        None => hidden_size.checked_div(attention_heads).unwrap_or(0),
    };
    if keys.optional_size("attention.value_length")?.is_some_and(|size| size != head_size) {
        let message = "values and keys differ in length";
        return Err(keys.error(ErrorKind::Unsupported, "attention.value_length", message));
    }
    let rotary_size = keys.optional_size("rope.dimension_count")?.unwrap_or(head_size);
    if architecture.interleaves_pairs() && rotary_size != head_size {
        let message = format!("{rotary_size} of {head_size} elements of a head rotate");
        return Err(keys.error(ErrorKind::Unsupported, "rope.dimension_count", &message));
    }
    let trained = keys.size("context_length")?;
    let context_length = context_length.unwrap_or(trained);
    if context_length > trained {
        let message = format!("the context length {context_length} is above the model's {trained}");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    Ok(DecoderSpec {
        model_type: architecture.name().to_owned(),
        hidden_size,
        attention_heads,
        kv_heads,
        head_size,
        feed_forward_size: keys.size("feed_forward_length")?,
        vocabulary_size: finder.rows("token_embd.weight")?,
        context_length,
        norm_epsilon: keys.float("attention.layer_norm_rms_epsilon")? as f32,
        activation: Activation::Silu,
        rope: Rope {
            theta: keys.optional_float("rope.freq_base")?.unwrap_or(10_000.0),
            rotary_size,
            scaling: rope_scaling(keys, finder, rotary_size)?,
        },
        attention_scale: (1.0 / (head_size as f64).sqrt()) as f32,
        attention_soft_cap: 0.0,
        logit_soft_cap: 0.0,
        embedding_scale: 1.0,
        window: None,
        norms_after: false,
        qkv_bias: architecture.has_qkv_bias(),
        float_type: FloatType::F32,
        accuracy_level: Some(4),
        layers: Vec::new(),
        head: Storage::Dense,
        embedding: Embedding::Table,
    })
}

fn rope_scaling(keys: &Keys<'_, '_>, finder: &mut Finder<'_, '_>, rotary_size: usize) -> Result<RopeScaling> {
    let pairs = rotary_size / 2;
    let linear = match keys.optional_text("rope.scaling.type")? {
        Some("none") => 1.0,
        // The older key has the same meaning.
        None | Some("linear") => match keys.optional_float("rope.scaling.factor")? {
            Some(factor) => factor,
            None => keys.optional_float("rope.scale_linear")?.unwrap_or(1.0),
        },
        Some(kind) => {
            let message = format!("rope scaling {kind}");
            return Err(keys.error(ErrorKind::Unsupported, "rope.scaling.type", &message));
        }
    };
    // Llama 3.1 and later store their scaling as one factor a pair.
    let name = "rope_freqs.weight";
    let mut factors = vec![linear; pairs];
    if finder.has(name) {
        let view = finder.take(name, 1, pairs)?;
        let mut values = Vec::new();
        view.tensor_type.dequantise(view.bytes, &mut values).map_err(|error| error.with_node(name))?;
        factors = values.into_iter().map(|factor| f64::from(factor) * linear).collect();
    }
    if factors.iter().any(|&factor| !(factor.is_finite() && factor > 0.0)) {
        return Err(Error::new(ErrorKind::InvalidModel, "a rope factor is not positive").with_node(name));
    }
    Ok(if factors.iter().all(|&factor| factor == 1.0) {
        RopeScaling::None
    } else {
        RopeScaling::Factors(factors)
    })
}

/// The metadata of one architecture.
struct Keys<'g, 'a> {
    gguf: &'g Gguf<'a>,
    prefix: &'static str,
}

impl Keys<'_, '_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn error(&self, kind: ErrorKind, key: &str, message: &str) -> Error {
        Error::new(kind, message).with_node(self.name(key))
    }

    fn missing(&self, key: &str) -> Error {
        self.error(ErrorKind::InvalidModel, key, "the key is missing")
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        let value = match self.gguf.value(&self.name(key)) {
            None => return Ok(None),
            Some(Value::Unsigned(value)) => Some(value),
            Some(Value::Signed(value)) => u64::try_from(value).ok(),
            Some(Value::Array(_)) => {
                return Err(self.error(ErrorKind::Unsupported, key, "a number for each layer"));
            }
            Some(_) => None,
        };
        let size = value.and_then(|value| usize::try_from(value).ok());
        size.map(Some).ok_or_else(|| self.error(ErrorKind::InvalidModel, key, "not a size"))
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key))
    }

    fn optional_float(&self, key: &str) -> Result<Option<f64>> {
        match self.gguf.value(&self.name(key)) {
            None => Ok(None),
            Some(Value::Float(value)) if value.is_finite() && value > 0.0 => Ok(Some(value)),
            Some(_) => Err(self.error(ErrorKind::InvalidModel, key, "not a positive number")),
        }
    }

    fn optional_text(&self, key: &str) -> Result<Option<&str>> {
        match self.gguf.value(&self.name(key)) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(ErrorKind::InvalidModel, key, "not a text")),
        }
    }

    fn float(&self, key: &str) -> Result<f64> {
        self.optional_float(key)?.ok_or_else(|| self.missing(key))
    }
}

/// Finds tensors, and remembers which ones nobody asked for.
struct Finder<'g, 'a> {
    gguf: &'g Gguf<'a>,
    used: HashSet<String>,
    pieces: HashMap<Role, Piece<'a>>,
}

impl<'a> Finder<'_, 'a> {
    fn has(&self, name: &str) -> bool {
        self.gguf.has_tensor(name)
    }

    fn view(&mut self, name: &str) -> Result<TensorView<'a>> {
        self.used.insert(name.to_owned());
        self.gguf
            .tensor(name)?
            .ok_or_else(|| Error::new(ErrorKind::InvalidModel, "the tensor is missing").with_node(name))
    }

    fn rows(&mut self, name: &str) -> Result<usize> {
        Ok(self.view(name)?.rows)
    }

    fn take(&mut self, name: &str, rows: usize, columns: usize) -> Result<TensorView<'a>> {
        let view = self.view(name)?;
        if (view.rows, view.columns) == (rows, columns) {
            return Ok(view);
        }
        let message = format!(
            "{} rows of {} elements where the model has {rows} of {columns}",
            view.rows, view.columns
        );
        Err(Error::new(ErrorKind::InvalidModel, message).with_node(name))
    }

    fn piece(
        &mut self,
        role: Role,
        name: String,
        rows: usize,
        columns: usize,
        head: Option<usize>,
    ) -> Result<()> {
        let view = self.take(&name, rows, columns)?;
        if rows == 1 && view.tensor_type.block_format().is_some() {
            return Err(Error::new(ErrorKind::Unsupported, "a quantised vector").with_node(name));
        }
        self.pieces.insert(role, Piece { name, view, interleaved_head: head });
        Ok(())
    }

    fn find_all(
        &mut self,
        architecture: Architecture,
        spec: &DecoderSpec,
        layers: usize,
        tied: bool,
    ) -> Result<()> {
        let (hidden, inner, vocabulary) = (spec.hidden_size, spec.feed_forward_size, spec.vocabulary_size);
        let (query, kv) = (spec.query_size(), spec.kv_size());
        let head = architecture.interleaves_pairs().then_some(spec.head_size);
        self.piece(Role::Embedding, "token_embd.weight".into(), vocabulary, hidden, None)?;
        self.piece(Role::FinalNorm, "output_norm.weight".into(), 1, hidden, None)?;
        if !tied {
            self.piece(Role::LmHead, "output.weight".into(), vocabulary, hidden, None)?;
        }
        for layer in 0..layers {
            let weights = [
                (LayerWeight::InputNorm, "attn_norm.weight", 1, hidden, None),
                (LayerWeight::Query, "attn_q.weight", query, hidden, head),
                (LayerWeight::Key, "attn_k.weight", kv, hidden, head),
                (LayerWeight::Value, "attn_v.weight", kv, hidden, None),
                (LayerWeight::Output, "attn_output.weight", hidden, query, None),
                (LayerWeight::PostAttentionNorm, "ffn_norm.weight", 1, hidden, None),
                (LayerWeight::Gate, "ffn_gate.weight", inner, hidden, None),
                (LayerWeight::Up, "ffn_up.weight", inner, hidden, None),
                (LayerWeight::Down, "ffn_down.weight", hidden, inner, None),
            ];
            let biases = [
                (LayerWeight::QueryBias, "attn_q.bias", 1, query, head),
                (LayerWeight::KeyBias, "attn_k.bias", 1, kv, head),
                (LayerWeight::ValueBias, "attn_v.bias", 1, kv, None),
            ];
            let biases = biases.into_iter().filter(|_| spec.qkv_bias);
            for (weight, name, rows, columns, head) in weights.into_iter().chain(biases) {
                self.piece(Role::Layer(layer, weight), format!("blk.{layer}.{name}"), rows, columns, head)?;
            }
        }
        Ok(())
    }

    /// # Errors
    /// [`ErrorKind::Unsupported`] when the file has tensors that the decoder has no place for.
    fn finish(self) -> Result<HashMap<Role, Piece<'a>>> {
        match self.gguf.tensor_names().filter(|name| !self.used.contains(*name)).min() {
            None => Ok(self.pieces),
            Some(name) => Err(Error::new(ErrorKind::Unsupported, "the decoder has no place for this tensor")
                .with_node(name)
                .with_hint("the model differs from its architecture's published form")),
        }
    }
}
