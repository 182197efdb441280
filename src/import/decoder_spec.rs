//! What a decoder model looks like: the description from which its ONNX graph is written.

use super::rope::Rope;
use crate::error::{Error, ErrorKind, Result};
use crate::onnx::DataType;

/// The floating-point type of a graph's inputs, outputs, activations and scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatType {
    /// 32 bits.
    F32,
    /// 16 bits, IEEE.
    F16,
}

impl FloatType {
    /// The element type in ONNX.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::F32 => DataType::Float32,
            Self::F16 => DataType::Float16,
        }
    }

    /// Bytes of an element.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// The zero points of block-quantised weights: w = scale · (q − zero point).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZeroPoints {
    /// The middle of the range: 8 for 4 bits, 128 for 8 bits. Nothing is stored.
    Symmetric,
    /// Integers, packed as the weights are, each row padded to a byte.
    Packed,
    /// Floats, one a block; with 4 bits only.
    Float,
}

/// How the weights of a `MatMulNBits` node are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockFormat {
    /// Bits of a weight: 4 or 8.
    pub bits: u8,
    /// Weights that share a scale: a power of two from 16.
    pub block_size: usize,
    /// The zero points.
    pub zero_points: ZeroPoints,
}

impl BlockFormat {
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a format that ONNX Runtime does not have.
    pub(super) fn check(&self) -> Result<()> {
        let Self { bits, block_size, zero_points } = self;
        if !matches!(bits, 4 | 8) {
            return Err(Error::new(ErrorKind::InvalidArgument, format!("{bits} bits a weight"))
                .with_hint("4 and 8 are possible"));
        }
        if !block_size.is_power_of_two() || !(16..=256).contains(block_size) {
            return Err(Error::new(ErrorKind::InvalidArgument, format!("blocks of {block_size} weights"))
                .with_hint("a power of two from 16 to 256 is possible"));
        }
        if *bits == 8 && *zero_points == ZeroPoints::Float {
            return Err(Error::new(ErrorKind::InvalidArgument, "8 bits a weight with float zero points")
                .with_hint("symmetric and packed zero points are possible"));
        }
        Ok(())
    }

    /// The code that stands for 0 where zero points are symmetric.
    pub(super) fn middle(self) -> f32 {
        f32::from(1_u16 << (self.bits - 1))
    }
}

/// How a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Floats of the graph's type, for a `MatMul` node.
    Dense,
    /// Quantised, for a `MatMulNBits` node.
    Blocks(BlockFormat),
}

/// The function between gate and up projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · sigmoid(x).
    Silu,
    /// The tanh approximation of GELU.
    GeluTanh,
}

/// The query, key and value projections of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkvStorage {
    /// One matrix with the rows of query, key and value.
    Packed(Storage),
    /// Three matrices.
    Separate {
        /// Query.
        query: Storage,
        /// Key.
        key: Storage,
        /// Value.
        value: Storage,
    },
}

/// How the matrices of a layer are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerStorage {
    /// Query, key and value projections.
    pub qkv: QkvStorage,
    /// The projection after attention.
    pub output: Storage,
    /// The gate projection.
    pub gate: Storage,
    /// The up projection.
    pub up: Storage,
    /// The down projection.
    pub down: Storage,
}

impl LayerStorage {
    /// Every matrix stored alike, query, key and value packed.
    #[must_use]
    pub fn uniform(storage: Storage) -> Self {
        Self { qkv: QkvStorage::Packed(storage), output: storage, gate: storage, up: storage, down: storage }
    }
}

/// Where the embedding comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embedding {
    /// The rows of the lm_head's matrix.
    Tied,
    /// A table of floats of its own.
    Table,
    /// A block-quantised table of its own, for a `GatherBlockQuantized` node.
    Blocks(BlockFormat),
}

/// Layers that attend to the latest positions only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// How many positions a token sees, itself included.
    pub size: usize,
    /// The layers that have the window, ascending; may be empty.
    pub layers: Vec<usize>,
    /// Whether those layers' caches hold a window of positions (`sliding_window_cache`) and not all of them.
    pub window_sized_cache: bool,
}

/// A decoder-only language model with grouped-query attention and a gated feed-forward part.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderSpec {
    /// The model's type in `genai_config.json`, such as `llama` or `phi3`.
    pub model_type: String,
    /// Elements of the residual stream.
    pub hidden_size: usize,
    /// How many query heads a layer has.
    pub attention_heads: usize,
    /// How many key and value heads a layer has.
    pub kv_heads: usize,
    /// Elements of a head, even.
    pub head_size: usize,
    /// Elements between up and down projection.
    pub feed_forward_size: usize,
    /// Rows of the embedding and of the lm_head.
    pub vocabulary_size: usize,
    /// The most positions of a sequence.
    pub context_length: usize,
    /// Epsilon of every norm.
    pub norm_epsilon: f32,
    /// The feed-forward part's activation.
    pub activation: Activation,
    /// The rotary position embedding.
    pub rope: Rope,
    /// What the products of query and key are multiplied by.
    pub attention_scale: f32,
    /// Attention scores s become c · tanh(s / c); 0 for no cap.
    pub attention_soft_cap: f32,
    /// Logits s become c · tanh(s / c); 0 for no cap.
    pub logit_soft_cap: f32,
    /// What the embedding is multiplied by; 1 for nothing.
    pub embedding_scale: f32,
    /// Layers with a local window.
    pub window: Option<Window>,
    /// Whether a norm also follows attention and the feed-forward part (Gemma 2).
    pub norms_after: bool,
    /// Whether query, key and value have a bias.
    pub qkv_bias: bool,
    /// The type of inputs, outputs, activations and scales.
    pub float_type: FloatType,
    /// `accuracy_level` of `MatMulNBits`, where it is written.
    pub accuracy_level: Option<i64>,
    /// One entry a layer.
    pub layers: Vec<LayerStorage>,
    /// How the lm_head is stored.
    pub head: Storage,
    /// Where the embedding comes from.
    pub embedding: Embedding,
}

impl DecoderSpec {
    /// Rows of the query projection.
    #[must_use]
    pub fn query_size(&self) -> usize {
        self.attention_heads * self.head_size
    }

    /// Rows of the key projection, and of the value projection.
    #[must_use]
    pub fn kv_size(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// # Errors
    /// [`ErrorKind::InvalidModel`] naming the number that no decoder can have; [`ErrorKind::Unsupported`] for what
    /// `GroupQueryAttention` or `GatherBlockQuantized` cannot express.
    pub fn check(&self) -> Result<()> {
        // Beyond these, sizes could overflow; no published model comes near.
        const LARGEST: usize = 1 << 24;
        let sizes = [
            ("layers", self.layers.len()),
            ("hidden size", self.hidden_size),
            ("attention heads", self.attention_heads),
            ("key and value heads", self.kv_heads),
            ("head size", self.head_size),
            ("feed-forward size", self.feed_forward_size),
            ("vocabulary size", self.vocabulary_size),
            ("context length", self.context_length),
            ("rotary size", self.rope.rotary_size),
        ];
        for (name, size) in sizes {
            if size == 0 || size > LARGEST {
                return Err(Error::new(ErrorKind::InvalidModel, format!("the {name} is {size}")));
            }
        }
        if self.query_size() > LARGEST {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!("the query size is {}", self.query_size()),
            ));
        }
        if !self.attention_heads.is_multiple_of(self.kv_heads) {
            let message = format!("{} query heads share {} key heads", self.attention_heads, self.kv_heads);
            return Err(Error::new(ErrorKind::InvalidModel, message));
        }
        if !self.head_size.is_multiple_of(8) {
            return Err(Error::new(ErrorKind::Unsupported, format!("the head size {}", self.head_size))
                .with_hint("GroupQueryAttention takes multiples of 8"));
        }
        if !self.rope.rotary_size.is_multiple_of(16) || self.rope.rotary_size > self.head_size {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the rotary size {}", self.rope.rotary_size),
            )
            .with_hint("GroupQueryAttention takes multiples of 16 up to the head size"));
        }
        let finite = [
            self.norm_epsilon,
            self.attention_scale,
            self.attention_soft_cap,
            self.logit_soft_cap,
            self.embedding_scale,
        ];
        if finite.iter().any(|value| !value.is_finite()) {
            return Err(Error::new(ErrorKind::InvalidModel, "a constant of the model is not finite"));
        }
        let gathered = match (self.embedding, self.head) {
            (Embedding::Tied, Storage::Blocks(format)) | (Embedding::Blocks(format), _) => Some(format),
            _ => None,
        };
        if gathered.is_some_and(|format| format.zero_points == ZeroPoints::Float) {
            return Err(Error::new(ErrorKind::Unsupported, "an embedding with float zero points").with_hint(
                "GatherBlockQuantized takes packed zero points only; give the embedding its own table",
            ));
        }
        Ok(())
    }
}
