//! What goes in and out of a decoder graph: names, types and shapes, bound by name.

#![forbid(unsafe_code)]

use crate::error::{Error, ErrorKind, Result};
use crate::model::ModelConfig;
use crate::onnx::{self, DataType, Dimension, Node, ValueInfo};

/// Inputs that say of how many positions, counted from the end, logits are wanted.
const LOGITS_TO_KEEP: [&str; 2] = ["num_logits_to_keep", "logits_to_keep"];

/// An input of whole numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NumberInput {
    pub(super) name: String,
    /// 32 bits in place of 64.
    pub(super) is_short: bool,
    /// A scalar where `true`, else as long as what it is about.
    pub(super) is_scalar: bool,
}

/// The keys or the values of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CacheTensor {
    /// The graph's input.
    pub(super) past: String,
    /// The graph's output.
    pub(super) present: String,
    pub(super) data_type: DataType,
    pub(super) heads: usize,
    pub(super) head_size: usize,
}

impl CacheTensor {
    /// Bytes of one position.
    pub(super) fn position_bytes(&self) -> u64 {
        (self.heads * self.head_size) as u64 * self.data_type.bits().unwrap_or(32) / 8
    }
}

/// The inputs and outputs of a decoder graph.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub(super) tokens: NumberInput,
    pub(super) mask: Option<NumberInput>,
    pub(super) positions: Option<NumberInput>,
    pub(super) logits_to_keep: Option<NumberInput>,
    pub(super) caches: Vec<CacheTensor>,
    pub(super) logits: String,
    pub(super) vocabulary: usize,
    /// Whether the graph gives logits of the last position alone.
    pub(super) only_last: bool,
    /// Whether every cache goes through attention that takes a buffer longer than what is in it.
    pub(super) can_share: bool,
}

impl Interface {
    /// Reads the interface of a graph.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for inputs that the engine has no values for, [`ErrorKind::InvalidModel`] where inputs and
    /// outputs do not fit together.
    pub(super) fn of(model: &onnx::Model<'_>, config: &ModelConfig) -> Result<Self> {
        let graph = &model.graph;
        let names = &config.names;
        let is_initializer = |name: &str| graph.initializers.iter().any(|tensor| tensor.name == name);
        let (mut tokens, mut mask, mut positions, mut logits_to_keep) = (None, None, None, None);
        let mut caches = Vec::new();
        for input in graph.inputs.iter().filter(|input| !is_initializer(input.name)) {
            let place = |error: Error| error.with_node(format!("input {}", input.name));
            if input.name == names.input_ids {
                tokens = Some(number(input).map_err(place)?);
            } else if input.name == names.attention_mask {
                mask = Some(number(input).map_err(place)?);
            } else if input.name == names.position_ids {
                positions = Some(number(input).map_err(place)?);
            } else if LOGITS_TO_KEEP.contains(&input.name) {
                logits_to_keep = Some(number(input).map_err(place)?);
            } else if let Some(layer) = names.past_key.layer_of(input.name) {
                caches.push(cache(input, names.present_key.of(layer), model, config).map_err(place)?);
            } else if let Some(layer) = names.past_value.layer_of(input.name) {
                caches.push(cache(input, names.present_value.of(layer), model, config).map_err(place)?);
            } else {
                return Err(place(unsupported("the engine has no value for this input".to_owned())));
            }
        }
        let tokens = tokens.ok_or_else(|| {
            unsupported(format!("the graph has no input {}", names.input_ids))
                .with_hint("models that take embeddings are not supported")
        })?;
        if caches.is_empty() {
            return Err(unsupported("the graph has no inputs for cached keys and values".to_owned()));
        }
        let logits = graph.outputs.iter().find(|output| output.name == names.logits).ok_or_else(|| {
            Error::new(ErrorKind::InvalidModel, format!("the graph has no output {}", names.logits))
        })?;
        if !matches!(
            logits.data_type,
            Some(DataType::Float32 | DataType::Float16 | DataType::Bfloat16) | None
        ) {
            return Err(unsupported("the logits are not floats".to_owned())
                .with_node(format!("output {}", logits.name)));
        }
        let dims = logits.shape.as_deref().unwrap_or_default();
        let vocabulary = match dims.last() {
            Some(Dimension::Fixed(size)) => usize::try_from(*size).ok().filter(|size| *size > 0),
            _ => config.vocabulary_size,
        };
        let vocabulary = vocabulary.ok_or_else(|| {
            unsupported("neither the graph nor the configuration states the vocabulary's size".to_owned())
        })?;
        let can_share = caches.iter().all(|cache| shares(&graph.nodes, cache));
        Ok(Self {
            tokens,
            mask,
            positions,
            logits_to_keep,
            only_last: dims.len() == 3 && dims[1] == Dimension::Fixed(1),
            logits: logits.name.to_owned(),
            caches,
            vocabulary,
            can_share,
        })
    }

    /// Bytes of keys and values of one position.
    pub(super) fn position_bytes(&self) -> u64 {
        self.caches.iter().map(CacheTensor::position_bytes).sum()
    }
}

fn unsupported(message: String) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

fn number(input: &ValueInfo<'_>) -> Result<NumberInput> {
    let is_short = match input.data_type {
        Some(DataType::Int64) | None => false,
        Some(DataType::Int32) => true,
        Some(other) => return Err(unsupported(format!("it is of type {other:?}, not of whole numbers"))),
    };
    let is_scalar = input.shape.as_ref().is_some_and(Vec::is_empty);
    Ok(NumberInput { name: input.name.to_owned(), is_short, is_scalar })
}

fn cache(
    input: &ValueInfo<'_>,
    present: String,
    model: &onnx::Model<'_>,
    config: &ModelConfig,
) -> Result<CacheTensor> {
    let data_type = input.data_type.unwrap_or(DataType::Float32);
    if !matches!(data_type, DataType::Float32 | DataType::Float16 | DataType::Bfloat16) {
        return Err(unsupported(format!("a cache of type {data_type:?} is not supported")));
    }
    if !model.graph.outputs.iter().any(|output| output.name == present) {
        return Err(Error::new(ErrorKind::InvalidModel, format!("there is no output {present} for it")));
    }
    let dims = input.shape.as_deref().unwrap_or_default();
    if dims.len() != 4 {
        return Err(unsupported("a cache that is not [batch, heads, positions, head size]".to_owned()));
    }
    let fixed = |index: usize, stated: Option<usize>, what: &str| {
        let size = match dims[index] {
            Dimension::Fixed(size) => usize::try_from(size).ok(),
            Dimension::Symbol(_) => stated,
        };
        size.filter(|size| (1..=1 << 14).contains(size))
            .ok_or_else(|| unsupported(format!("neither the graph nor the configuration states {what}")))
    };
    Ok(CacheTensor {
        heads: fixed(1, config.kv_heads, "how many heads it has")?,
        head_size: fixed(3, config.head_size, "the size of its heads")?,
        past: input.name.to_owned(),
        present,
        data_type,
    })
}

/// Whether a cache goes into and comes out of one attention node that knows how much of a buffer is in use.
fn shares(nodes: &[Node<'_>], cache: &CacheTensor) -> bool {
    let mut readers = nodes.iter().filter(|node| node.inputs.contains(&cache.past.as_str()));
    let is_attention = |node: &Node<'_>| {
        node.op_type == "GroupQueryAttention"
            && node.domain == "com.microsoft"
            && node.outputs.contains(&cache.present.as_str())
    };
    readers.next().is_some_and(is_attention) && readers.next().is_none()
}
