//! The nodes that turn token ids into the residual stream.

use super::{BATCH, DecoderLayout, Fixed, Microsoft, SEQUENCE, Standard};
use crate::import::decoder_spec::{Embedding, Storage};
use crate::import::graph_builder::Value;
use crate::import::weights::{Layout, Role, Weight};
use crate::onnx::DataType;

impl DecoderLayout<'_> {
    /// The embedding of the input tokens, which starts the residual stream.
    pub(super) fn embedding(&mut self) {
        let spec = self.spec;
        let base = "/model/embed_tokens";
        let mut embedded = match (spec.embedding, spec.head) {
            (Embedding::Tied, Storage::Blocks(_)) => self.gather_block_quantized(base, &self.head_weight()),
            (Embedding::Blocks(format), _) => {
                let table = self.table(Layout::Blocks(format, spec.float_type));
                self.place(table.clone());
                self.gather_block_quantized(base, &table)
            }
            (Embedding::Tied, Storage::Dense) => {
                let transposed = format!("{base}/Transpose/output_0");
                let axes = vec![("perm", Value::Ints(vec![1, 0]))];
                let name = format!("{base}/Transpose");
                self.graph.node(
                    Standard("Transpose"),
                    name,
                    &["lm_head.MatMul.weight"],
                    &[&transposed],
                    axes,
                );
                let shape = [Fixed(spec.vocabulary_size), Fixed(spec.hidden_size)];
                self.graph.value(&transposed, self.float(), &shape);
                self.gather(base, &transposed)
            }
            (Embedding::Table, _) => {
                let table = self.table(Layout::Rows(spec.float_type));
                self.place(table.clone());
                self.gather(base, &table.name)
            }
        };
        self.activation(&embedded, self.float(), spec.hidden_size);
        if spec.embedding_scale != 1.0 {
            let scale = self.float_constant(spec.embedding_scale);
            let output = format!("{base}/Mul/output_0");
            self.graph.node(Standard("Mul"), format!("{base}/Mul"), &[&embedded, &scale], &[&output], vec![]);
            self.activation(&output, self.float(), spec.hidden_size);
            embedded = output;
        }
        if self.wide_norms() {
            let shape = [BATCH, SEQUENCE, Fixed(spec.hidden_size)];
            embedded = self.cast(&format!("{base}/Cast"), &embedded, DataType::Float32, &shape);
        }
        self.residual = embedded;
    }

    fn gather(&mut self, base: &str, table: &str) -> String {
        let output = format!("{base}/Gather/output_0");
        self.graph.node(
            Standard("Gather"),
            format!("{base}/Gather"),
            &[table, "input_ids"],
            &[&output],
            vec![],
        );
        output
    }

    /// A table of the embedding's own.
    fn table(&self, layout: Layout) -> Weight {
        Weight {
            name: "model.embed_tokens.weight".to_owned(),
            role: Role::Embedding,
            layout,
            rows: self.spec.vocabulary_size,
            columns: self.spec.hidden_size,
        }
    }

    /// Rows of a quantised table, which may be the lm_head.
    fn gather_block_quantized(&mut self, base: &str, table: &Weight) -> String {
        let spec = self.spec;
        let Layout::Blocks(format, _) = table.layout else { return String::new() };
        let padded = spec.hidden_size.next_multiple_of(format.block_size);
        let row_bytes = padded * usize::from(format.bits) / 8;
        let shape = self.graph.integers(&[spec.vocabulary_size as i64, row_bytes as i64], false);
        let mut names = table.parts().into_iter().map(|part| format!("{}{}", table.name, part.suffix));
        let quants = names.next().unwrap_or_default();
        let reshaped = format!("{base}/Reshape/output_0");
        self.graph.node(
            Standard("Reshape"),
            format!("{base}/Reshape"),
            &[&quants, &shape],
            &[&reshaped],
            vec![],
        );
        self.graph.value(&reshaped, DataType::Uint8, &[Fixed(spec.vocabulary_size), Fixed(row_bytes)]);

        let rest: Vec<String> = names.collect();
        let mut inputs = vec![reshaped.as_str(), "input_ids"];
        inputs.extend(rest.iter().map(String::as_str));
        let gathered = format!("{base}/GatherBlockQuantized/output_0");
        let attributes = vec![
            ("bits", Value::Int(i64::from(format.bits))),
            ("block_size", Value::Int(format.block_size as i64)),
            ("gather_axis", Value::Int(0)),
            ("quantize_axis", Value::Int(1)),
        ];
        let name = format!("{base}/GatherBlockQuantized");
        self.graph.node(Microsoft("GatherBlockQuantized"), name, &inputs, &[&gathered], attributes);
        if padded == spec.hidden_size {
            return gathered;
        }
        self.activation(&gathered, self.float(), padded);
        let start = self.graph.integers(&[0], false);
        let end = self.graph.integers(&[spec.hidden_size as i64], false);
        let axis = self.graph.integers(&[-1], false);
        let sliced = format!("{base}/Slice/output_0");
        let inputs = [&*gathered, &*start, &*end, &*axis];
        self.graph.node(Standard("Slice"), format!("{base}/Slice"), &inputs, &[&sliced], vec![]);
        sliced
    }
}
