//! The weights of a decoder as they lie in its data file.

use std::io::Write;

use super::decoder_spec::{BlockFormat, FloatType, ZeroPoints};
use super::rope::Part;
use crate::error::{Error, ErrorKind, Result};
use crate::onnx::DataType;

/// What a weight is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// The embedding table.
    Embedding,
    /// Cosines or sines of the rotary position embedding.
    RopeCache(Part),
    /// A weight of the layer with the given index.
    Layer(usize, LayerWeight),
    /// The norm after the last layer.
    FinalNorm,
    /// The projection to logits.
    LmHead,
}

/// The weights of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LayerWeight {
    /// The norm before attention.
    InputNorm,
    /// The norm after attention: before the feed-forward part, or on the attention's output in Gemma 2.
    PostAttentionNorm,
    /// The norm before the feed-forward part in Gemma 2.
    PreFeedforwardNorm,
    /// The norm on the feed-forward part's output in Gemma 2.
    PostFeedforwardNorm,
    /// Query, key and value projection, one below the other.
    Qkv,
    /// The bias of all three.
    QkvBias,
    /// The query projection.
    Query,
    /// Its bias.
    QueryBias,
    /// The key projection.
    Key,
    /// Its bias.
    KeyBias,
    /// The value projection.
    Value,
    /// Its bias.
    ValueBias,
    /// The projection after attention.
    Output,
    /// The gate projection.
    Gate,
    /// The up projection.
    Up,
    /// The down projection.
    Down,
}

/// How a weight of `rows` × `columns` lies in the file. A matrix has one row per output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One row of floats, declared with one dimension.
    Vector(FloatType),
    /// Floats, row after row.
    Rows(FloatType),
    /// Floats, column after column: declared as `[columns, rows]`, as `MatMul` takes it.
    Columns(FloatType),
    /// Quantised values of all rows, then scales of the given type, then zero points where there are any.
    Blocks(BlockFormat, FloatType),
}

/// A weight of the data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Weight {
    /// The initializer's name; a quantised weight has several, with a suffix each.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// How it lies in the file.
    pub layout: Layout,
    /// Outputs of the projection, tokens of the embedding, positions of a cache; 1 for a vector.
    pub rows: usize,
    /// Elements of a row.
    pub columns: usize,
}

/// One initializer of a weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WeightPart {
    pub(super) suffix: &'static str,
    pub(super) data_type: DataType,
    pub(super) dims: Vec<usize>,
    pub(super) bytes: u64,
}

impl Weight {
    /// The weight's initializers in file order.
    pub(super) fn parts(&self) -> Vec<WeightPart> {
        let (rows, columns) = (self.rows, self.columns);
        let part = |suffix, data_type: DataType, dims: Vec<usize>| {
            let elements: u64 = dims.iter().map(|&dim| dim as u64).product();
            WeightPart { suffix, data_type, dims, bytes: elements * data_type.bits().unwrap_or(0) / 8 }
        };
        match self.layout {
            Layout::Vector(float) => vec![part("", float.data_type(), vec![columns])],
            Layout::Rows(float) => vec![part("", float.data_type(), vec![rows, columns])],
            Layout::Columns(float) => vec![part("", float.data_type(), vec![columns, rows])],
            Layout::Blocks(format, float) => {
                let blocks = columns.div_ceil(format.block_size);
                let block_bytes = format.block_size * usize::from(format.bits) / 8;
                let suffix = if format.bits == 8 { "_Q8" } else { "_Q4" };
                let mut parts = vec![
                    part(suffix, DataType::Uint8, vec![rows, blocks, block_bytes]),
                    part("_scales", float.data_type(), vec![rows, blocks]),
                ];
                match format.zero_points {
                    ZeroPoints::Symmetric => {}
                    ZeroPoints::Packed => {
                        let row_bytes = (blocks * usize::from(format.bits)).div_ceil(8);
                        parts.push(part("_zero_points", DataType::Uint8, vec![rows, row_bytes]));
                    }
                    ZeroPoints::Float => {
                        parts.push(part("_zero_points", float.data_type(), vec![rows, blocks]));
                    }
                }
                parts
            }
        }
    }

    /// Bytes of all parts.
    #[must_use]
    pub(super) fn bytes(&self) -> u64 {
        self.parts().iter().map(|part| part.bytes).sum()
    }
}

/// Where the weights of a decoder come from.
pub(super) trait WeightSource {
    /// Writes the bytes of `weight`, all its parts in order.
    ///
    /// # Errors
    /// Whatever keeps the source from reading it, and errors of `output`, as
    /// [`ErrorKind::Io`].
    fn write(&mut self, weight: &Weight, output: &mut dyn Write) -> Result<()>;
}

/// Appends `bytes` to a weight's output.
///
/// # Errors
/// [`ErrorKind::Io`].
pub(super) fn append(output: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    output.write_all(bytes).map_err(|error| Error::new(ErrorKind::Io, error.to_string()).with_source(error))
}
