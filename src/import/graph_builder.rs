//! A graph under construction, whose names it owns.

use std::collections::HashSet;

use crate::onnx::{
    Attribute, AttributeValue, DataType, Dimension, Graph, Node, Tensor, TensorContent, ValueInfo,
};

/// One dimension of a declared shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Fixed(usize),
    Symbol(&'static str),
}

/// A constant inside the graph file.
#[derive(Debug)]
pub(super) struct Constant {
    pub(super) name: String,
    pub(super) data_type: DataType,
    pub(super) dims: Vec<u64>,
    pub(super) bytes: Vec<u8>,
}

/// An attribute's value.
#[derive(Debug)]
pub(super) enum Value {
    Int(i64),
    Float(f32),
    String(&'static str),
    Ints(Vec<i64>),
    Tensor(Constant),
    Graph(GraphBuilder),
}

#[derive(Debug)]
struct NodeEntry {
    operator: Operator,
    name: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    attributes: Vec<(&'static str, Value)>,
}

/// An operator and its domain.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operator {
    /// Of `ai.onnx`.
    Standard(&'static str),
    /// Of `com.microsoft`.
    Microsoft(&'static str),
}

#[derive(Debug)]
struct Declaration {
    name: String,
    data_type: DataType,
    shape: Option<Vec<Extent>>,
}

#[derive(Debug)]
struct External {
    name: String,
    data_type: DataType,
    dims: Vec<u64>,
    offset: u64,
    length: u64,
}

/// A graph under construction.
#[derive(Debug)]
pub(super) struct GraphBuilder {
    name: &'static str,
    nodes: Vec<NodeEntry>,
    external: Vec<External>,
    inputs: Vec<Declaration>,
    outputs: Vec<Declaration>,
    values: Vec<Declaration>,
    constants: HashSet<String>,
}

impl GraphBuilder {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            nodes: Vec::new(),
            external: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            values: Vec::new(),
            constants: HashSet::new(),
        }
    }

    pub(super) fn input(&mut self, name: impl Into<String>, data_type: DataType, shape: &[Extent]) {
        self.inputs.push(Declaration { name: name.into(), data_type, shape: Some(shape.to_vec()) });
    }

    pub(super) fn output(&mut self, name: impl Into<String>, data_type: DataType, shape: &[Extent]) {
        self.outputs.push(Declaration { name: name.into(), data_type, shape: Some(shape.to_vec()) });
    }

    /// Declares the type of an intermediate value.
    pub(super) fn value(&mut self, name: &str, data_type: DataType, shape: &[Extent]) {
        self.values.push(Declaration { name: name.to_owned(), data_type, shape: Some(shape.to_vec()) });
    }

    /// Adds an initializer whose elements lie in the data file.
    pub(super) fn external(
        &mut self,
        name: &str,
        data_type: DataType,
        dims: &[usize],
        offset: u64,
        length: u64,
    ) {
        let dims = dims.iter().map(|&dim| dim as u64).collect();
        self.external.push(External { name: name.to_owned(), data_type, dims, offset, length });
    }

    pub(super) fn node(
        &mut self,
        operator: Operator,
        name: impl Into<String>,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<(&'static str, Value)>,
    ) {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let (inputs, outputs) = (owned(inputs), owned(outputs));
        self.nodes.push(NodeEntry { operator, name: name.into(), inputs, outputs, attributes });
    }

    /// A `Constant` node, made on first use, and the name of its output. `label` is the value as names spell it.
    pub(super) fn constant(
        &mut self,
        data_type: DataType,
        type_name: &str,
        label: &str,
        dims: &[u64],
        bytes: Vec<u8>,
    ) -> String {
        let output = format!("/model/constants/{type_name}/{label}");
        if self.constants.insert(output.clone()) {
            let node = format!("/model/constant_nodes/{type_name}/{label}");
            let tensor = Constant { name: output.clone(), data_type, dims: dims.to_vec(), bytes };
            self.node(
                Operator::Standard("Constant"),
                node,
                &[],
                &[&output],
                vec![("value", Value::Tensor(tensor))],
            );
            self.values.push(Declaration { name: output.clone(), data_type, shape: None });
        }
        output
    }

    /// A constant of one or more 64-bit integers; a scalar when `dims` is empty.
    pub(super) fn integers(&mut self, values: &[i64], scalar: bool) -> String {
        let list = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (label, dims) =
            if scalar { (list, vec![]) } else { (format!("[{list}]"), vec![values.len() as u64]) };
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(DataType::Int64, "INT64", &label, &dims, bytes)
    }

    /// The graph as the ONNX writer takes it.
    pub(super) fn view<'a>(&'a self, data_file: &'a str) -> Graph<'a> {
        let initializer = |entry: &'a External| Tensor {
            name: &entry.name,
            data_type: entry.data_type,
            dims: entry.dims.clone(),
            content: TensorContent::External {
                location: data_file,
                offset: entry.offset,
                length: Some(entry.length),
            },
        };
        let weights = self.external.iter().map(|entry| ValueInfo {
            name: &entry.name,
            data_type: Some(entry.data_type),
            shape: Some(entry.dims.iter().map(|&dim| Dimension::Fixed(dim as i64)).collect()),
        });
        Graph {
            name: self.name,
            nodes: self.nodes.iter().map(|node| node.view(data_file)).collect(),
            initializers: self.external.iter().map(initializer).collect(),
            inputs: self.inputs.iter().map(Declaration::view).collect(),
            outputs: self.outputs.iter().map(Declaration::view).collect(),
            value_info: weights.chain(self.values.iter().map(Declaration::view)).collect(),
        }
    }
}

impl NodeEntry {
    fn view<'a>(&'a self, data_file: &'a str) -> Node<'a> {
        let (domain, op_type) = match self.operator {
            Operator::Standard(name) => ("", name),
            Operator::Microsoft(name) => ("com.microsoft", name),
        };
        let attribute = |(name, value): &'a (&'static str, Value)| Attribute {
            name,
            value: match value {
                Value::Int(value) => AttributeValue::Int(*value),
                Value::Float(value) => AttributeValue::Float(*value),
                Value::String(value) => AttributeValue::String(value.as_bytes()),
                Value::Ints(values) => AttributeValue::Ints(values.clone()),
                Value::Tensor(tensor) => AttributeValue::Tensor(Tensor {
                    name: &tensor.name,
                    data_type: tensor.data_type,
                    dims: tensor.dims.clone(),
                    content: TensorContent::Inline(&tensor.bytes),
                }),
                Value::Graph(graph) => AttributeValue::Graph(Box::new(graph.view(data_file))),
            },
        };
        Node {
            name: &self.name,
            op_type,
            domain,
            inputs: self.inputs.iter().map(String::as_str).collect(),
            outputs: self.outputs.iter().map(String::as_str).collect(),
            attributes: self.attributes.iter().map(attribute).collect(),
        }
    }
}

impl Declaration {
    fn view(&self) -> ValueInfo<'_> {
        let dimension = |extent: &Extent| match *extent {
            Extent::Fixed(extent) => Dimension::Fixed(extent as i64),
            Extent::Symbol(name) => Dimension::Symbol(name),
        };
        ValueInfo {
            name: &self.name,
            data_type: Some(self.data_type),
            shape: self.shape.as_ref().map(|shape| shape.iter().map(dimension).collect()),
        }
    }
}
