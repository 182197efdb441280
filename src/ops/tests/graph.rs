//! Small graphs with one node under test.

use crate::error::Result;
use crate::graph::{Program, ProgramOptions, lower};
use crate::model::{FileOptions, GraphFiles, Load};
use crate::onnx::{
    self, Attribute, AttributeValue, DataType, Graph, Model, Node, OperatorSet, Tensor, TensorContent,
    ValueInfo,
};

/// The name of the node under test.
pub(super) const TESTED: &str = "tested";

/// A graph under construction.
#[derive(Default)]
pub(super) struct OneNodeGraph {
    nodes: Vec<Node<'static>>,
    constants: Vec<Tensor<'static>>,
}

impl OneNodeGraph {
    /// A graph in which the value x holds `rows[t]` for token t.
    pub(super) fn of(rows: &[Vec<f32>]) -> Self {
        Self::default().value("x", "x table", rows)
    }

    /// A second value, `name`, which holds `rows[t]` for token t.
    pub(super) fn and(self, name: &'static str, rows: &[Vec<f32>]) -> Self {
        self.value(name, "another table", rows)
    }

    fn value(self, name: &'static str, table: &'static str, rows: &[Vec<f32>]) -> Self {
        let dims = [rows.len() as u64, rows[0].len() as u64];
        self.constant(table, floats(&dims, &rows.concat())).node(onnx(
            "Gather",
            &[table, "input_ids"],
            &[name],
            vec![],
        ))
    }

    pub(super) fn constant(mut self, name: &'static str, tensor: Tensor<'static>) -> Self {
        self.constants.push(Tensor { name, ..tensor });
        self
    }

    /// Adds a node that the test needs but is not about. It is called like its first output.
    pub(super) fn node(mut self, node: Node<'static>) -> Self {
        self.nodes.push(Node { name: node.outputs[0], ..node });
        self
    }

    /// Adds the node under test.
    pub(super) fn tested(mut self, node: Node<'static>) -> Self {
        self.nodes.push(Node { name: TESTED, ..node });
        self
    }

    pub(super) fn tested_node(&mut self) -> &mut Node<'static> {
        self.nodes.iter_mut().find(|node| node.name == TESTED).unwrap()
    }

    /// Domain and name of the operator under test.
    pub(super) fn operator(&self) -> (&'static str, &'static str) {
        let node = self.nodes.iter().find(|node| node.name == TESTED).unwrap();
        (node.domain, node.op_type)
    }

    /// Writes the graph as a file, reads that and lowers it.
    pub(super) fn lower(&self) -> Result<Program> {
        let value = |name| ValueInfo { name, data_type: None, shape: None };
        let inputs = ["input_ids", "attention_mask", "position_ids", "past_key", "past_value"];
        let model = Model {
            ir_version: 10,
            operator_sets: vec![
                OperatorSet { domain: "", version: 21 },
                OperatorSet { domain: "com.microsoft", version: 1 },
            ],
            graph: Graph {
                name: "one node",
                nodes: self.nodes.clone(),
                initializers: self.constants.clone(),
                inputs: inputs.map(value).to_vec(),
                outputs: vec![value("logits")],
                value_info: vec![],
            },
            ..Model::default()
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.onnx");
        std::fs::write(&path, onnx::write(&model).unwrap()).unwrap();
        let files =
            GraphFiles::open(&path, FileOptions { load: Load::Copy, ..FileOptions::default() }).unwrap();
        let options = ProgramOptions { context_length: Some(128), ..ProgramOptions::default() };
        lower(&files.parse().unwrap(), &files, &options)
    }
}

/// A node of `ai.onnx`.
pub(super) fn onnx(
    op_type: &'static str,
    inputs: &[&'static str],
    outputs: &[&'static str],
    attributes: Vec<Attribute<'static>>,
) -> Node<'static> {
    Node { name: "", op_type, domain: "", inputs: inputs.to_vec(), outputs: outputs.to_vec(), attributes }
}

/// A node of `com.microsoft`.
pub(super) fn microsoft(
    op_type: &'static str,
    inputs: &[&'static str],
    outputs: &[&'static str],
    attributes: Vec<Attribute<'static>>,
) -> Node<'static> {
    Node { domain: "com.microsoft", ..onnx(op_type, inputs, outputs, attributes) }
}

pub(super) fn int(name: &'static str, value: i64) -> Attribute<'static> {
    Attribute { name, value: AttributeValue::Int(value) }
}

pub(super) fn ints(name: &'static str, values: &[i64]) -> Attribute<'static> {
    Attribute { name, value: AttributeValue::Ints(values.to_vec()) }
}

pub(super) fn float(name: &'static str, value: f32) -> Attribute<'static> {
    Attribute { name, value: AttributeValue::Float(value) }
}

pub(super) fn text(name: &'static str, value: &'static str) -> Attribute<'static> {
    Attribute { name, value: AttributeValue::String(value.as_bytes()) }
}

fn tensor(data_type: DataType, dims: &[u64], content: TensorContent<'static>) -> Tensor<'static> {
    Tensor { name: "", data_type, dims: dims.to_vec(), content }
}

pub(super) fn floats(dims: &[u64], values: &[f32]) -> Tensor<'static> {
    tensor(DataType::Float32, dims, TensorContent::Float32(values.to_vec()))
}

/// Rounded to f16.
pub(super) fn halves(dims: &[u64], values: &[f32]) -> Tensor<'static> {
    let bits = values.iter().map(|value| half::f16::from_f32(*value).to_bits().into()).collect();
    tensor(DataType::Float16, dims, TensorContent::Int32(bits))
}

/// Rounded to bf16.
pub(super) fn bfloats(dims: &[u64], values: &[f32]) -> Tensor<'static> {
    let bits = values.iter().map(|value| half::bf16::from_f32(*value).to_bits().into()).collect();
    tensor(DataType::Bfloat16, dims, TensorContent::Int32(bits))
}

pub(super) fn integers(dims: &[u64], values: &[i64]) -> Tensor<'static> {
    tensor(DataType::Int64, dims, TensorContent::Int64(values.to_vec()))
}

/// Elements of 8 bits, or pairs of 4 bits.
pub(super) fn bytes(data_type: DataType, dims: &[u64], bytes: &[u8]) -> Tensor<'static> {
    let values = bytes.iter().map(|byte| i32::from(*byte)).collect();
    tensor(data_type, dims, TensorContent::Int32(values))
}
