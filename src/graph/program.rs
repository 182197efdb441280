//! Steps, values and what they mean.

use std::sync::Arc;

use super::weights::{FloatWeights, Matrix, MatrixRows, Table};

/// A value of a [`Program`]: one f32 row a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// Some neighbouring columns of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operand {
    /// The value.
    pub value: ValueId,
    /// The first column.
    pub start: usize,
    /// How many columns.
    pub width: usize,
}

/// A pointwise function.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// x · sigmoid(x), also called swish.
    Silu,
    /// Gaussian error linear unit, by the error function.
    GeluErf,
    /// Its tanh approximation.
    GeluTanh,
    /// x · sigmoid(alpha · x).
    QuickGelu(f32),
    /// max(x, 0).
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// c · tanh(x / c).
    Softcap(f32),
}

/// Which normalisation a step does over each group of columns.
#[derive(Debug, Clone)]
pub enum NormKind {
    /// x / sqrt(mean(x²) + epsilon) · weight.
    Rms,
    /// (x − mean) / sqrt(variance + epsilon) · weight + bias.
    Layer {
        /// Added at the end.
        bias: Option<Arc<[f32]>>,
    },
}

/// One rotation table: row p holds the cosines and sines of position p.
#[derive(Debug, Clone)]
pub struct RopeVariant {
    /// `[at least rows, dimensions / 2]`.
    pub cosines: FloatWeights,
    /// `[at least rows, dimensions / 2]`.
    pub sines: FloatWeights,
    /// The rows from this one on are not used.
    pub rows: usize,
    /// Added to a position to get its row.
    pub row_offset: usize,
}

/// The rotary position embedding of some layers.
#[derive(Debug, Clone)]
pub struct Rope {
    /// How many elements of a head rotate.
    pub dimensions: usize,
    /// One table, or two for LongRoPE: the second applies to sequences of [`Program::switch_length`] positions and more.
    pub variants: Vec<RopeVariant>,
}

/// Keys and values per position of one attention step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerShape {
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_size: usize,
}

/// Index of an attention step's keys and values in a KV cache.
pub type KeyValue = usize;

/// Grouped-query attention over the cached positions and the new ones
/// (`com.microsoft::GroupQueryAttention`).
#[derive(Debug, Clone)]
pub struct Attention {
    /// `[tokens, heads · head_size]`.
    pub query: Operand,
    /// `[tokens, kv_heads · head_size]`.
    pub key: Operand,
    /// `[tokens, kv_heads · head_size]`.
    pub value: Operand,
    /// Query heads; a multiple of the layer's `kv_heads`.
    pub heads: usize,
    /// Where the keys and values are kept.
    pub cache: KeyValue,
    /// Multiplies the scores.
    pub scale: f32,
    /// Soft cap of the scores, after the scale.
    pub softcap: Option<f32>,
    /// How many positions, its own included, a token sees; all earlier ones if `None`.
    pub window: Option<usize>,
    /// Rotation of queries and keys, as an index into [`Program::ropes`], and whether pairs are interleaved.
    pub rope: Option<(usize, bool)>,
    /// Per query head a logit that joins the softmax denominator and attends to nothing.
    pub sinks: Option<Arc<[f32]>>,
}

/// What a step computes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Operation {
    /// Rows of a table by token id.
    Embed {
        /// The table.
        table: Table,
    },
    /// input · weightsᵀ + bias (+ residual).
    Multiply {
        /// The left side.
        input: Operand,
        /// The right side.
        weights: MatrixRows,
        /// Added to the product.
        bias: Option<Arc<[f32]>>,
        /// Added last.
        residual: Option<Operand>,
    },
    /// activation(input · gateᵀ) · (input · upᵀ).
    GatedMultiply {
        /// The left side of both products.
        input: Operand,
        /// The activated side.
        gate: MatrixRows,
        /// Added to the gate's product.
        gate_bias: Option<Arc<[f32]>>,
        /// The other side.
        up: MatrixRows,
        /// Added to the other product.
        up_bias: Option<Arc<[f32]>>,
        /// The function of the gate.
        activation: Activation,
    },
    /// activation(gate) · up.
    Gated {
        /// The activated side.
        gate: Operand,
        /// The other side.
        up: Operand,
        /// The function of the gate.
        activation: Activation,
    },
    /// Normalises each group of `weight.len()` columns.
    Norm {
        /// The rows.
        input: Operand,
        /// The formula.
        kind: NormKind,
        /// Multiplies the normalised group.
        weight: Arc<[f32]>,
        /// Keeps the denominator above zero.
        epsilon: f32,
    },
    /// A pointwise function.
    Activate {
        /// Its argument.
        input: Operand,
        /// The function.
        activation: Activation,
    },
    /// left + right.
    Add {
        /// One side.
        left: Operand,
        /// The other.
        right: Operand,
    },
    /// left · right, element by element.
    Mul {
        /// One side.
        left: Operand,
        /// The other.
        right: Operand,
    },
    /// input + constant, a row that is the same for every token.
    AddRow {
        /// The rows.
        input: Operand,
        /// As long as the operand is wide.
        row: Arc<[f32]>,
    },
    /// input · constant, a row that is the same for every token.
    MulRow {
        /// The rows.
        input: Operand,
        /// As long as the operand is wide.
        row: Arc<[f32]>,
    },
    /// input · factor.
    Scale {
        /// The rows.
        input: Operand,
        /// The factor.
        factor: f32,
    },
    /// Rotates each head (`com.microsoft::RotaryEmbedding`).
    Rotate {
        /// `[tokens, heads · head_size]`.
        input: Operand,
        /// Elements of a head.
        head_size: usize,
        /// Index into [`Program::ropes`].
        rope: usize,
        /// Whether pairs are neighbours rather than halves.
        interleaved: bool,
    },
    /// Attention.
    Attend(Box<Attention>),
}

impl Operation {
    /// The values that the step reads.
    #[must_use]
    pub fn operands(&self) -> Vec<Operand> {
        match self {
            Self::Embed { .. } => vec![],
            Self::Multiply { input, residual, .. } => std::iter::once(*input).chain(*residual).collect(),
            Self::GatedMultiply { input, .. }
            | Self::Norm { input, .. }
            | Self::Activate { input, .. }
            | Self::AddRow { input, .. }
            | Self::MulRow { input, .. }
            | Self::Scale { input, .. }
            | Self::Rotate { input, .. } => vec![*input],
            Self::Gated { gate: left, up: right, .. }
            | Self::Add { left, right }
            | Self::Mul { left, right } => vec![*left, *right],
            Self::Attend(attention) => vec![attention.query, attention.key, attention.value],
        }
    }

    /// The matrices that the step multiplies by.
    #[must_use]
    pub fn matrices(&self) -> Vec<&Matrix> {
        match self {
            Self::Multiply { weights, .. } => vec![&weights.matrix],
            Self::GatedMultiply { gate, up, .. } => vec![&gate.matrix, &up.matrix],
            _ => vec![],
        }
    }
}

/// One operation and the value that it makes.
#[derive(Debug, Clone)]
pub struct Step {
    /// Operator and name of the node in the file that the step came from.
    pub node: String,
    /// What it computes.
    pub operation: Operation,
    /// What it makes.
    pub output: ValueId,
}

/// A decoder as steps in order of execution.
#[derive(Debug, Clone)]
pub struct Program {
    /// The steps; each reads only what earlier ones made.
    pub steps: Vec<Step>,
    /// Columns of every value.
    pub widths: Vec<usize>,
    /// The value that holds the logits.
    pub logits: ValueId,
    /// Shape of each attention step's keys and values, by cache index.
    pub layers: Vec<LayerShape>,
    /// The rotations in use.
    pub ropes: Vec<Rope>,
    /// The sequence length from which [`Rope::variants`]' second table applies.
    pub switch_length: Option<usize>,
    /// Entries of the embedding table: token ids are below this.
    pub table_rows: usize,
    /// The most positions that every rotation table covers.
    pub positions: Option<usize>,
}

impl Program {
    /// Logits per position.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.widths.get(self.logits.0).copied().unwrap_or(0)
    }

    /// The whole of a value.
    #[must_use]
    pub fn whole(&self, value: ValueId) -> Operand {
        Operand { value, start: 0, width: self.widths.get(value.0).copied().unwrap_or(0) }
    }
}
