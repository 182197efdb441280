//! What attention takes besides a layer's own values: lengths from the mask, and LongRoPE's rotation tables.

use super::{BATCH, DecoderLayout, Fixed, Standard, Symbol};
use crate::import::graph_builder::{Constant, GraphBuilder, Value};
use crate::import::rope::{LongRope, Part, RopeScaling};
use crate::onnx::DataType;

const MASK: &str = "/model/attn_mask_reformat/attn_mask_subgraph";

impl DecoderLayout<'_> {
    /// What `GroupQueryAttention` takes besides the layer's own values: lengths from the mask, and LongRoPE's caches.
    pub(super) fn sequence_lengths_and_rope(&mut self) {
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
}
