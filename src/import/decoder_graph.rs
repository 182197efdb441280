//! The ONNX graph of a decoder, as the model builder of onnxruntime-genai 0.18 writes it.
//!
//! Operators, names, attributes and the order of nodes and of the data file follow that builder, so that
//! whatever loads its directories loads these.

mod embedding;

use std::collections::HashSet;

use half::f16;

use super::decoder_spec::{Activation, DecoderSpec, FloatType, LayerStorage, QkvStorage, Storage};
use super::graph_builder::{Constant, Extent, GraphBuilder, Operator, Value};
use super::rope::{LongRope, Part, RopeScaling};
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
const MASK: &str = "/model/attn_mask_reformat/attn_mask_subgraph";
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

/// The norms of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Norm {
    Input,
    PostAttention,
    PreFeedforward,
    PostFeedforward,
    Final,
}

impl Norm {
    fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::PostAttention => "post_attention",
            Self::PreFeedforward => "pre_feedforward",
            Self::PostFeedforward => "post_feedforward",
            Self::Final => "final_norm",
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

    /// What `GroupQueryAttention` takes besides the layer's own values: lengths from the mask, and LongRoPE's caches.
    fn sequence_lengths_and_rope(&mut self) {
        let shape = format!("{MASK}/Shape/output_0");
        let gathered = format!("{MASK}/Gather/output_0");
        if let RopeScaling::Long(long) = &self.spec.rope.scaling {
            let threshold = self.graph.integers(&[long.original_context as i64], true);
            self.mask_width(&shape, &gathered);
            self.long_rope(long, &gathered, &threshold);
            self.mask_sums();
        } else {
            self.mask_sums();
            self.mask_width(&shape, &gathered);
        }
        self.cast(&format!("{MASK}/Gather/Cast"), &gathered, DataType::Int32, &[]);
    }

    fn mask_sums(&mut self) {
        let one = self.graph.integers(&[1], false);
        let sum = format!("{MASK}/ReduceSum/output_0");
        let keep = vec![("keepdims", Value::Int(0))];
        self.graph.node(
            Standard("ReduceSum"),
            format!("{MASK}/ReduceSum"),
            &["attention_mask", &one],
            &[&sum],
            keep,
        );
        self.graph.value(&sum, DataType::Int64, &[BATCH]);
        let less = format!("{MASK}/Sub/output_0");
        self.graph.node(Standard("Sub"), format!("{MASK}/Sub"), &[&sum, &one], &[&less], vec![]);
        self.graph.value(&less, DataType::Int64, &[BATCH]);
        self.cast(&format!("{MASK}/Sub/Cast"), &less, DataType::Int32, &[BATCH]);
    }

    fn mask_width(&mut self, shape: &str, gathered: &str) {
        self.graph.node(Standard("Shape"), format!("{MASK}/Shape"), &["attention_mask"], &[shape], vec![]);
        self.graph.value(shape, DataType::Int64, &[Fixed(2)]);
        let one = self.graph.integers(&[1], true);
        let axis = vec![("axis", Value::Int(0))];
        self.graph.node(Standard("Gather"), format!("{MASK}/Gather"), &[shape, &one], &[gathered], axis);
        self.graph.value(gathered, DataType::Int64, &[]);
    }

    fn cast(&mut self, name: &str, input: &str, to: DataType, shape: &[Extent]) -> String {
        let output = format!("{name}/output_0");
        let attributes = vec![("to", Value::Int(i64::from(to.code())))];
        self.graph.node(Standard("Cast"), name, &[input], &[&output], attributes);
        self.graph.value(&output, to, shape);
        output
    }

    /// Both pairs of LongRoPE caches, as constants in the branches of an `If`.
    fn long_rope(&mut self, long: &LongRope, length: &str, threshold: &str) {
        let base = "/model/rope_caches_subgraph";
        let condition = format!("{base}/Greater/output_0");
        self.graph.node(
            Standard("Greater"),
            format!("{base}/Greater"),
            &[length, threshold],
            &[&condition],
            vec![],
        );
        self.graph.value(&condition, DataType::Bool, &[]);
        let small = self.rope_branch("small", long.original_context, &long.short_factors, long.magnitude);
        let large = self.rope_branch("large", self.spec.context_length, &long.long_factors, long.magnitude);
        let branches = vec![("else_branch", Value::Graph(small)), ("then_branch", Value::Graph(large))];
        let caches = ["cos_cache", "sin_cache"];
        self.graph.node(Standard("If"), format!("{base}/If"), &[&condition], &caches, branches);
        for cache in caches {
            self.graph.value(cache, self.float(), &[Symbol("max_sequence_length"), Symbol("head_dim / 2")]);
        }
    }

    fn rope_branch(
        &self,
        size: &'static str,
        positions: usize,
        factors: &[f64],
        magnitude: f64,
    ) -> GraphBuilder {
        let name = if size == "small" { "small_rope_caches_graph" } else { "large_rope_caches_graph" };
        let mut graph = GraphBuilder::new(name);
        let spec = self.spec;
        let columns = spec.rope.pairs();
        for (cache, part) in [("cos_cache", Part::Cos), ("sin_cache", Part::Sin)] {
            let output = format!("{cache}_{size}");
            let mut row = spec.rope.rows(part, factors, magnitude, spec.float_type);
            let mut bytes = Vec::with_capacity(positions * columns * spec.float_type.bytes());
            (0..positions).for_each(|position| row(position, &mut bytes));
            let dims = vec![positions as u64, columns as u64];
            let tensor = Constant { name: String::new(), data_type: self.float(), dims, bytes };
            let node = format!("/{size}/{cache}/Constant");
            graph.node(Standard("Constant"), node, &[], &[&output], vec![("value", Value::Tensor(tensor))]);
            graph.output(output, self.float(), &[Fixed(positions), Fixed(columns)]);
        }
        graph
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

    /// A norm; one that is not on the branch also adds the branch to the residual stream.
    fn norm(&mut self, layer: usize, norm: Norm) -> String {
        let spec = self.spec;
        let on_branch = spec.norms_after && matches!(norm, Norm::PostAttention | Norm::PostFeedforward);
        let first = norm == Norm::Input && layer == 0;
        let skip = !on_branch && !first;
        let wide = self.wide_norms();
        let data_type = if wide { DataType::Float32 } else { self.float() };
        let float_type = if wide { FloatType::F32 } else { spec.float_type };
        let location = norm.name();
        let weight = format!("model.layers.{layer}.{location}_layernorm.weight");
        self.place(Weight {
            name: weight.clone(),
            role: match norm {
                Norm::Input => Role::Layer(layer, LayerWeight::InputNorm),
                Norm::PostAttention => Role::Layer(layer, LayerWeight::PostAttentionNorm),
                Norm::PreFeedforward => Role::Layer(layer, LayerWeight::PreFeedforwardNorm),
                Norm::PostFeedforward => Role::Layer(layer, LayerWeight::PostFeedforwardNorm),
                Norm::Final => Role::FinalNorm,
            },
            layout: Layout::Vector(float_type),
            rows: 1,
            columns: spec.hidden_size,
        });
        let base = format!("/model/layers.{layer}/{location}_layernorm");
        let name = format!("{base}/{}LayerNorm", if skip { "Skip" } else { "" });
        let hidden = [BATCH, SEQUENCE, Fixed(spec.hidden_size)];
        let output = format!("{base}/output_0");
        let narrowed = wide && !on_branch;
        let produced = if narrowed { format!("{name}/output_0/Cast/output_0") } else { output.clone() };
        let epsilon = ("epsilon", Value::Float(spec.norm_epsilon));
        if skip {
            let sum = format!("{base}/output_3");
            let outputs =
                if norm == Norm::Final { vec![&*produced] } else { vec![&*produced, "", "", &*sum] };
            let inputs = [&*self.residual, &*self.branch, &*weight];
            let operator = Microsoft("SkipSimplifiedLayerNormalization");
            self.graph.node(operator, &*name, &inputs, &outputs, vec![epsilon]);
            self.graph.value(&produced, data_type, &hidden);
            if norm != Norm::Final {
                self.graph.value(&sum, data_type, &hidden);
                self.residual = sum;
            }
        } else {
            let mut input = if on_branch { self.branch.clone() } else { self.residual.clone() };
            if wide && on_branch {
                input = self.cast(&format!("{name}/root_input/Cast"), &input, DataType::Float32, &hidden);
            }
            let attributes = vec![epsilon, ("axis", Value::Int(-1)), ("stash_type", Value::Int(1))];
            let operator = Standard("SimplifiedLayerNormalization");
            self.graph.node(operator, &*name, &[&input, &weight], &[&produced], attributes);
            self.graph.value(&produced, data_type, &hidden);
        }
        if narrowed {
            let to = vec![("to", Value::Int(i64::from(self.float().code())))];
            self.graph.node(Standard("Cast"), format!("{name}/output_0/Cast"), &[&produced], &[&output], to);
            self.graph.value(&output, self.float(), &hidden);
        }
        output
    }

    fn attention(&mut self, layer: usize, storage: &LayerStorage, normed: &str) -> String {
        let spec = self.spec;
        let base = format!("/model/layers.{layer}/attn");
        let (query, kv) = (spec.query_size(), spec.kv_size());
        let projections = match storage.qkv {
            QkvStorage::Packed(storage) => {
                vec![("qkv_proj", LayerWeight::Qkv, LayerWeight::QkvBias, storage, query + 2 * kv)]
            }
            QkvStorage::Separate { query: query_storage, key, value } => vec![
                ("q_proj", LayerWeight::Query, LayerWeight::QueryBias, query_storage, query),
                ("k_proj", LayerWeight::Key, LayerWeight::KeyBias, key, kv),
                ("v_proj", LayerWeight::Value, LayerWeight::ValueBias, value, kv),
            ],
        };
        let mut projected = Vec::new();
        for &(name, weight, _, storage, rows) in &projections {
            let place = format!("{base}/{name}/MatMul");
            let matrix = self.matrix(&place, Role::Layer(layer, weight), storage, rows, spec.hidden_size);
            projected.push(self.product(&place, matrix, normed, None));
        }
        if spec.qkv_bias {
            for (&(name, _, bias, _, rows), value) in projections.iter().zip(&mut projected) {
                *value = self.bias(layer, &format!("{base}/{name}/Add"), value, bias, rows);
            }
        }
        projected.resize(3, String::new());
        self.rope_caches();

        let past = ["key", "value"].map(|part| format!("past_key_values.{layer}.{part}"));
        let present = ["key", "value"].map(|part| format!("present.{layer}.{part}"));
        let mut inputs: Vec<&str> = projected.iter().chain(&past).map(String::as_str).collect();
        inputs.extend([SEQUENCE_LENGTHS, TOTAL_LENGTH, "cos_cache", "sin_cache", "", "", ""]);
        let output = format!("{base}/GroupQueryAttention/output_0");
        let window = spec.window.as_ref().filter(|window| window.layers.contains(&layer));
        let mut attributes = vec![
            ("num_heads", Value::Int(spec.attention_heads as i64)),
            ("kv_num_heads", Value::Int(spec.kv_heads as i64)),
            ("scale", Value::Float(spec.attention_scale)),
            ("local_window_size", Value::Int(window.map_or(-1, |window| window.size as i64))),
            ("softcap", Value::Float(spec.attention_soft_cap)),
            ("do_rotary", Value::Int(1)),
            ("rotary_interleaved", Value::Int(0)),
        ];
        if window.is_some_and(|window| window.window_sized_cache) {
            attributes.push(("sliding_window_cache", Value::Int(1)));
        }
        let outputs = [&*output, &*present[0], &*present[1]];
        let name = format!("{base}/GroupQueryAttention");
        self.graph.node(Microsoft("GroupQueryAttention"), name, &inputs, &outputs, attributes);
        self.activation(&output, self.float(), query);
        output
    }

    /// The caches of a rope without switch are weights.
    fn rope_caches(&mut self) {
        let spec = self.spec;
        if !matches!(spec.rope.scaling, RopeScaling::Long(_)) {
            for (name, part) in [("cos_cache", Part::Cos), ("sin_cache", Part::Sin)] {
                self.place(Weight {
                    name: name.to_owned(),
                    role: Role::RopeCache(part),
                    layout: Layout::Rows(spec.float_type),
                    rows: spec.context_length,
                    columns: spec.rope.pairs(),
                });
            }
        }
    }

    fn bias(&mut self, layer: usize, name: &str, input: &str, bias: LayerWeight, columns: usize) -> String {
        let weight = format!("{}.bias", dotted(name));
        self.place(Weight {
            name: weight.clone(),
            role: Role::Layer(layer, bias),
            layout: Layout::Vector(self.spec.float_type),
            rows: 1,
            columns,
        });
        let output = format!("{name}/output_0");
        self.graph.node(Standard("Add"), name, &[input, &weight], &[&output], vec![]);
        self.activation(&output, self.float(), columns);
        output
    }

    fn feed_forward(&mut self, layer: usize, storage: &LayerStorage, normed: &str) {
        let spec = self.spec;
        let (hidden, inner) = (spec.hidden_size, spec.feed_forward_size);
        let base = format!("/model/layers.{layer}/mlp");
        let mut project = |name: &str, weight, storage, rows, columns, input: &str| {
            let place = format!("{base}/{name}/MatMul");
            let matrix = self.matrix(&place, Role::Layer(layer, weight), storage, rows, columns);
            self.product(&place, matrix, input, None)
        };
        let gate = project("gate_proj", LayerWeight::Gate, storage.gate, inner, hidden, normed);
        let up = project("up_proj", LayerWeight::Up, storage.up, inner, hidden, normed);

        let activated = match spec.activation {
            Activation::Silu => {
                let sigmoid = format!("{base}/act_fn/Sigmoid/output_0");
                self.graph.node(
                    Standard("Sigmoid"),
                    format!("{base}/act_fn/Sigmoid"),
                    &[&gate],
                    &[&sigmoid],
                    vec![],
                );
                self.activation(&sigmoid, self.float(), inner);
                let output = format!("{base}/act_fn/Mul/output_0");
                self.graph.node(
                    Standard("Mul"),
                    format!("{base}/act_fn/Mul"),
                    &[&gate, &sigmoid],
                    &[&output],
                    vec![],
                );
                output
            }
            Activation::GeluTanh => {
                let output = format!("{base}/act_fn/FastGelu/output_0");
                let tanh = vec![("approximate", Value::String("tanh"))];
                self.graph.node(
                    Standard("Gelu"),
                    format!("{base}/act_fn/FastGelu"),
                    &[&gate],
                    &[&output],
                    tanh,
                );
                output
            }
        };
        self.activation(&activated, self.float(), inner);
        let gated = format!("{base}/Mul/output_0");
        self.graph.node(Standard("Mul"), format!("{base}/Mul"), &[&activated, &up], &[&gated], vec![]);
        self.activation(&gated, self.float(), inner);

        let place = format!("{base}/down_proj/MatMul");
        let matrix = self.matrix(&place, Role::Layer(layer, LayerWeight::Down), storage.down, hidden, inner);
        self.branch = self.product(&place, matrix, &gated, None);
    }

    fn head_weight(&self) -> Weight {
        let spec = self.spec;
        self.matrix("/lm_head/MatMul", Role::LmHead, spec.head, spec.vocabulary_size, spec.hidden_size)
    }

    fn head(&mut self, normed: &str) {
        let spec = self.spec;
        let capped = spec.logit_soft_cap != 0.0;
        let matrix = self.head_weight();
        let product = self.product("/lm_head/MatMul", matrix, normed, (!capped).then_some("logits"));
        if capped {
            let cap = self.float_constant(spec.logit_soft_cap);
            let divided = "/lm_head/softcap/Div/output_0";
            self.graph.node(Standard("Div"), "/lm_head/softcap/Div", &[&product, &cap], &[divided], vec![]);
            self.activation(divided, self.float(), spec.vocabulary_size);
            let tanh = "/lm_head/softcap/Tanh/output_0";
            self.graph.node(Standard("Tanh"), "/lm_head/softcap/Tanh", &[divided], &[tanh], vec![]);
            self.activation(tanh, self.float(), spec.vocabulary_size);
            self.graph.node(Standard("Mul"), "/lm_head/softcap/Mul", &[tanh, &cap], &["logits"], vec![]);
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

#[cfg(test)]
mod tests;
