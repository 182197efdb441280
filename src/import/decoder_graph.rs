//! The ONNX graph of a decoder, as the model builder of onnxruntime-genai 0.18 writes it.
//!
//! Operators, names, attributes and the order of nodes and of the data file follow that builder, so that
//! whatever loads its directories loads these.

mod attention;
mod embedding;
mod feed_forward;
mod head;
mod lengths;
mod norm;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use half::f16;

use self::norm::Norm;
use super::decoder_spec::{DecoderSpec, FloatType, LayerStorage, Storage};
use super::graph_builder::{Extent, GraphBuilder, Operator, Value};
use super::weights::{LayerWeight, Layout, Role, Weight};
use crate::error::Result;
use crate::onnx::{DataType, Model, OperatorSet};

/// Name of the file with the weights, beside the graph.
pub(super) const DATA_FILE: &str = "model.onnx.data";
/// Name of the graph's file.
pub(super) const GRAPH_FILE: &str = "model.onnx";

use Extent::{Fixed, Symbol};
use Operator::{Microsoft, Standard};

const BATCH: Extent = Symbol("batch_size");
const SEQUENCE: Extent = Symbol("sequence_length");
const SEQUENCE_LENGTHS: &str = "/model/attn_mask_reformat/attn_mask_subgraph/Sub/Cast/output_0";
const TOTAL_LENGTH: &str = "/model/attn_mask_reformat/attn_mask_subgraph/Gather/Cast/output_0";

/// A decoder's graph and the weights that belong into its data file, in file order.
#[derive(Debug)]
pub struct DecoderGraph {
    graph: GraphBuilder,
    weights: Vec<Weight>,
}

impl DecoderGraph {
    /// Lays out the graph and the data file of `spec`.
    ///
    /// # Errors
    /// As [`DecoderSpec::check`].
    pub fn new(spec: &DecoderSpec) -> Result<Self> {
        spec.check()?;
        let mut layout = DecoderLayout {
            spec,
            graph: GraphBuilder::new("main_graph"),
            dense: Vec::new(),
            blocks: Vec::new(),
            placed: HashSet::new(),
            residual: String::new(),
            branch: String::new(),
        };
        layout.declare_inputs_and_outputs();
        layout.sequence_lengths_and_rope();
        layout.embedding();
        for (layer, storage) in spec.layers.iter().enumerate() {
            layout.layer(layer, storage);
        }
        let normed = layout.norm(spec.layers.len(), Norm::Final);
        layout.head(&normed);

        let DecoderLayout { mut graph, dense, blocks, .. } = layout;
        let weights: Vec<Weight> = dense.into_iter().chain(blocks).collect();
        let mut offset = 0;
        for weight in &weights {
            for part in weight.parts() {
                let name = format!("{}{}", weight.name, part.suffix);
                graph.external(&name, part.data_type, &part.dims, offset, part.bytes);
                offset += part.bytes;
            }
        }
        Ok(Self { graph, weights })
    }

    /// The weights in the order of the data file.
    #[must_use]
    pub(super) fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// Bytes of the data file.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.weights.iter().map(Weight::bytes).sum()
    }

    /// The ONNX model, for the writer.
    #[must_use]
    pub fn model(&self) -> Model<'_> {
        Model {
            ir_version: 10,
            producer_name: "edgeslm",
            producer_version: env!("CARGO_PKG_VERSION"),
            operator_sets: vec![
                OperatorSet { domain: "", version: 22 },
                OperatorSet { domain: "com.microsoft", version: 1 },
            ],
            metadata: Vec::new(),
            graph: self.graph.view(DATA_FILE),
        }
    }
}

struct DecoderLayout<'s> {
    spec: &'s DecoderSpec,
    graph: GraphBuilder,
    /// Float weights in order of first use; they come first in the data file.
    dense: Vec<Weight>,
    /// Quantised weights in order of first use.
    blocks: Vec<Weight>,
    /// Names of the weights that have their place.
    placed: HashSet<String>,
    /// The value that holds the residual stream.
    residual: String,
    /// The value to be added to the residual stream by the next norm.
    branch: String,
}

impl DecoderLayout<'_> {
    fn float(&self) -> DataType {
        self.spec.float_type.data_type()
    }

    /// Whether norms and the residual stream are 32-bit in a 16-bit graph, as in Gemma 2.
    fn wide_norms(&self) -> bool {
        self.spec.norms_after && self.spec.float_type == FloatType::F16
    }

    fn place(&mut self, weight: Weight) {
        if self.placed.insert(weight.name.clone()) {
            match weight.layout {
                Layout::Blocks(..) => self.blocks.push(weight),
                _ => self.dense.push(weight),
            }
        }
    }

    fn activation(&mut self, name: &str, data_type: DataType, columns: usize) {
        self.graph.value(name, data_type, &[BATCH, SEQUENCE, Fixed(columns)]);
    }

    /// A float constant of the graph's type.
    fn float_constant(&mut self, value: f32) -> String {
        let label = format!("{value:?}");
        match self.spec.float_type {
            FloatType::F32 => {
                self.graph.constant(DataType::Float32, "FLOAT", &label, &[], value.to_le_bytes().to_vec())
            }
            FloatType::F16 => {
                let bytes = f16::from_f32(value).to_le_bytes().to_vec();
                self.graph.constant(DataType::Float16, "FLOAT16", &label, &[], bytes)
            }
        }
    }

    fn declare_inputs_and_outputs(&mut self) {
        let spec = self.spec;
        self.graph.input("input_ids", DataType::Int64, &[BATCH, SEQUENCE]);
        self.graph.input("attention_mask", DataType::Int64, &[BATCH, Symbol("total_sequence_length")]);
        self.graph.output("logits", self.float(), &[BATCH, SEQUENCE, Fixed(spec.vocabulary_size)]);
        for part in ["key", "value"] {
            for layer in 0..spec.layers.len() {
                let (past, present) = match &spec.window {
                    Some(window) if window.window_sized_cache && window.layers.contains(&layer) => {
                        ("past_sliding_length", "total_sliding_length")
                    }
                    _ => ("past_sequence_length", "total_sequence_length"),
                };
                let shape = |length| [BATCH, Fixed(spec.kv_heads), Symbol(length), Symbol("kv_cache_dim")];
                self.graph.input(format!("past_key_values.{layer}.{part}"), self.float(), &shape(past));
                self.graph.output(format!("present.{layer}.{part}"), self.float(), &shape(present));
            }
        }
    }

    fn cast(&mut self, name: &str, input: &str, to: DataType, shape: &[Extent]) -> String {
        let output = format!("{name}/output_0");
        let attributes = vec![("to", Value::Int(i64::from(to.code())))];
        self.graph.node(Standard("Cast"), name, &[input], &[&output], attributes);
        self.graph.value(&output, to, shape);
        output
    }

    fn layer(&mut self, layer: usize, storage: &LayerStorage) {
        let spec = self.spec;
        let normed = self.norm(layer, Norm::Input);
        let attended = self.attention(layer, storage, &normed);
        let place = format!("/model/layers.{layer}/attn/o_proj/MatMul");
        let role = Role::Layer(layer, LayerWeight::Output);
        let matrix = self.matrix(&place, role, storage.output, spec.hidden_size, spec.query_size());
        self.branch = self.product(&place, matrix, &attended, None);
        if spec.norms_after {
            self.branch = self.norm(layer, Norm::PostAttention);
        }
        let before_feed_forward = if spec.norms_after { Norm::PreFeedforward } else { Norm::PostAttention };
        let normed = self.norm(layer, before_feed_forward);
        self.feed_forward(layer, storage, &normed);
        if spec.norms_after {
            self.branch = self.norm(layer, Norm::PostFeedforward);
        }
    }

    fn matrix(&self, place: &str, role: Role, storage: Storage, rows: usize, columns: usize) -> Weight {
        let layout = match storage {
            Storage::Dense => Layout::Columns(self.spec.float_type),
            Storage::Blocks(format) => Layout::Blocks(format, self.spec.float_type),
        };
        Weight { name: format!("{}.weight", dotted(place)), role, layout, rows, columns }
    }

    /// `input` times the transposed matrix; the name of the result.
    fn product(&mut self, place: &str, matrix: Weight, input: &str, output: Option<&str>) -> String {
        let output = output.map_or_else(|| format!("{place}/output_0"), str::to_owned);
        let names: Vec<String> =
            matrix.parts().iter().map(|part| format!("{}{}", matrix.name, part.suffix)).collect();
        let mut inputs = vec![input];
        inputs.extend(names.iter().map(String::as_str));
        if let Layout::Blocks(format, _) = matrix.layout {
            let mut attributes =
                vec![("K", Value::Int(matrix.columns as i64)), ("N", Value::Int(matrix.rows as i64))];
            attributes.extend(self.spec.accuracy_level.map(|level| ("accuracy_level", Value::Int(level))));
            attributes.push(("bits", Value::Int(i64::from(format.bits))));
            attributes.push(("block_size", Value::Int(format.block_size as i64)));
            let name = format!("{place}_Q{}", format.bits);
            self.graph.node(Microsoft("MatMulNBits"), name, &inputs, &[&output], attributes);
        } else {
            self.graph.node(Standard("MatMul"), place, &inputs, &[&output], vec![]);
        }
        if output != "logits" {
            self.activation(&output, self.float(), matrix.rows);
        }
        self.place(matrix);
        output
    }
}

/// A node's name as initializers spell it.
fn dotted(name: &str) -> String {
    name.trim_start_matches('/').replace('/', ".")
}
