//! Look-ups over a parsed ONNX graph.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{GraphFiles, GraphNames};
use crate::onnx::{AttributeValue, DataType, Graph, Node, Tensor, TensorContent};

use super::weights::{FloatKind, FloatWeights};

/// A graph with its names resolved.
pub(crate) struct GraphView<'a> {
    pub(crate) graph: &'a Graph<'a>,
    pub(crate) files: &'a GraphFiles,
    pub(crate) names: &'a GraphNames,
    producers: HashMap<&'a str, usize>,
    initializers: HashMap<&'a str, &'a Tensor<'a>>,
}

impl<'a> GraphView<'a> {
    pub(crate) fn new(graph: &'a Graph<'a>, files: &'a GraphFiles, names: &'a GraphNames) -> Result<Self> {
        let mut producers = HashMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|output| !output.is_empty()) {
                if producers.insert(*output, index).is_some() {
                    return Err(Error::new(
                        ErrorKind::InvalidModel,
                        format!("two nodes make the value {output}"),
                    )
                    .with_node(node.label()));
                }
            }
        }
        let initializers = graph.initializers.iter().map(|tensor| (tensor.name, tensor)).collect();
        Ok(Self { graph, files, names, producers, initializers })
    }

    /// The node that makes `name`.
    pub(crate) fn producer(&self, name: &str) -> Option<&'a Node<'a>> {
        self.producer_index(name).and_then(|index| self.graph.nodes.get(index))
    }

    pub(crate) fn producer_index(&self, name: &str) -> Option<usize> {
        self.producers.get(name).copied()
    }

    pub(crate) fn is_input(&self, name: &str) -> bool {
        self.graph.inputs.iter().any(|input| input.name == name)
    }

    /// The constant tensor called `name`: an initializer or the output of a `Constant` node.
    pub(crate) fn constant(&self, name: &str) -> Result<Option<Cow<'a, Tensor<'a>>>> {
        if let Some(tensor) = self.initializers.get(name) {
            return Ok(Some(Cow::Borrowed(*tensor)));
        }
        match self.producer(name) {
            Some(node) if node.op_type == "Constant" && node.domain.is_empty() => {
                constant_value(node).map(Some)
            }
            Some(node) if node.op_type == "Identity" && node.domain.is_empty() => match node.inputs.first() {
                Some(input) if *input != name => self.constant(input),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// A constant of floats, in place.
    pub(crate) fn floats(&self, tensor: &Tensor<'_>) -> Result<FloatWeights> {
        let kind = FloatKind::from_data_type(tensor.data_type).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("elements of type {:?} where floats are expected", tensor.data_type),
            )
            .with_node(tensor.name.to_owned())
        })?;
        Ok(FloatWeights { kind, bytes: self.files.resolve(tensor)? })
    }

    /// A small constant as f32 values.
    pub(crate) fn row(&self, tensor: &Tensor<'_>) -> Result<Arc<[f32]>> {
        self.floats(tensor)?.to_row()
    }

    /// A small constant as integers.
    pub(crate) fn integers(&self, tensor: &Tensor<'_>) -> Result<Vec<i64>> {
        let bytes = self.files.resolve(tensor)?;
        let bytes = bytes.as_bytes();
        if bytes.len() > 1 << 20 {
            return Err(Error::new(ErrorKind::Unsupported, "an integer constant of more than 1 MiB")
                .with_node(tensor.name.to_owned()));
        }
        Ok(match tensor.data_type {
            DataType::Int64 => bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
            DataType::Int32 => {
                bytes.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect()
            }
            DataType::Bool | DataType::Uint8 => bytes.iter().map(|byte| i64::from(*byte)).collect(),
            DataType::Int8 => bytes.iter().map(|byte| i64::from(byte.cast_signed())).collect(),
            other => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("elements of type {other:?} where integers are expected"),
                )
                .with_node(tensor.name.to_owned()));
            }
        })
    }
}

fn constant_value<'a>(node: &'a Node<'a>) -> Result<Cow<'a, Tensor<'a>>> {
    let list = |data_type, dims: Vec<u64>, content| {
        Ok(Cow::Owned(Tensor { name: node.outputs.first().copied().unwrap_or(""), data_type, dims, content }))
    };
    let attribute = node.attributes.first();
    match attribute.map(|attribute| (attribute.name, &attribute.value)) {
        Some(("value", AttributeValue::Tensor(tensor))) => Ok(Cow::Borrowed(tensor)),
        Some(("value_float", AttributeValue::Float(value))) => {
            list(DataType::Float32, vec![], TensorContent::Float32(vec![*value]))
        }
        Some(("value_floats", AttributeValue::Floats(values))) => {
            list(DataType::Float32, vec![values.len() as u64], TensorContent::Float32(values.clone()))
        }
        Some(("value_int", AttributeValue::Int(value))) => {
            list(DataType::Int64, vec![], TensorContent::Int64(vec![*value]))
        }
        Some(("value_ints", AttributeValue::Ints(values))) => {
            list(DataType::Int64, vec![values.len() as u64], TensorContent::Int64(values.clone()))
        }
        other => {
            let name = other.map_or("", |(name, _)| name);
            Err(Error::new(ErrorKind::Unsupported, format!("attribute {name} holds no constant"))
                .with_node(node.label()))
        }
    }
}
