//! Look-ups over a parsed ONNX graph.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{GraphFiles, GraphNames};
use crate::onnx::{AttributeValue, DataType, Graph, Node, Tensor, TensorContent, ValueInfo};

use super::control::{reshaped_dims, squeezed_dims};
use super::weights::{FloatKind, FloatWeights};

/// More nodes than any decoder graph has; the decomposed ones have some ten thousand.
const MAXIMUM_NODES: usize = 1 << 16;

/// More nodes that only pass a value on than any graph has after one another.
pub(crate) const MAXIMUM_CHAIN: usize = 256;

/// More elements than the constant rows of a decoder have together, as f32: 256 MiB. Rows are copied, unlike matrices.
const MAXIMUM_ROW_ELEMENTS: usize = 1 << 26;

/// A graph with its names resolved.
pub(crate) struct GraphView<'a> {
    pub(crate) graph: &'a Graph<'a>,
    pub(crate) files: &'a GraphFiles<'a>,
    pub(crate) names: &'a GraphNames,
    producers: HashMap<&'a str, usize>,
    initializers: HashMap<&'a str, &'a Tensor<'a>>,
    inputs: HashMap<&'a str, &'a ValueInfo<'a>>,
    row_elements: Cell<usize>,
}

impl<'a> GraphView<'a> {
    pub(crate) fn new(
        graph: &'a Graph<'a>,
        files: &'a GraphFiles<'a>,
        names: &'a GraphNames,
    ) -> Result<Self> {
        if graph.nodes.len() > MAXIMUM_NODES {
            let message = format!("{} nodes are more than {MAXIMUM_NODES}", graph.nodes.len());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
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
        let inputs = graph.inputs.iter().map(|input| (input.name, input)).collect();
        Ok(Self { graph, files, names, producers, initializers, inputs, row_elements: Cell::new(0) })
    }

    /// The node that makes `name`.
    pub(crate) fn producer(&self, name: &str) -> Option<&'a Node<'a>> {
        self.producer_index(name).and_then(|index| self.graph.nodes.get(index))
    }

    pub(crate) fn producer_index(&self, name: &str) -> Option<usize> {
        self.producers.get(name).copied()
    }

    pub(crate) fn is_input(&self, name: &str) -> bool {
        self.inputs.contains_key(name)
    }

    /// The graph's input called `name`, as declared.
    pub(crate) fn input(&self, name: &str) -> Option<&'a ValueInfo<'a>> {
        self.inputs.get(name).copied()
    }

    /// The value that `name` is, but for `Identity` and `Cast` nodes in between.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] when these nodes go in a circle.
    pub(crate) fn origin(&self, name: &'a str) -> Result<&'a str> {
        let mut origin = name;
        for _ in 0..MAXIMUM_CHAIN {
            match self.producer(origin) {
                Some(node) if node.domain.is_empty() && matches!(node.op_type, "Identity" | "Cast") => {
                    match node.inputs.first() {
                        Some(input) => origin = input,
                        None => return Ok(origin),
                    }
                }
                _ => return Ok(origin),
            }
        }
        Err(too_long(name))
    }

    /// The constant tensor called `name`: an initializer or the output of a `Constant` node, also where nodes give it
    /// another shape or cast it from one float or integer type to another. Its elements stay as they are stored.
    pub(crate) fn constant(&self, name: &str) -> Result<Option<Cow<'a, Tensor<'a>>>> {
        // The innermost shape of a `Reshape` may itself be reshaped once.
        self.constant_behind(name, 2)
    }

    fn constant_behind(&self, name: &str, shapes: usize) -> Result<Option<Cow<'a, Tensor<'a>>>> {
        let mut passed = Vec::new();
        let mut current = name;
        let mut tensor = loop {
            if let Some(tensor) = self.initializers.get(current) {
                break Cow::Borrowed(*tensor);
            }
            let Some(node) = self.producer(current).filter(|node| node.domain.is_empty()) else {
                return Ok(None);
            };
            match (node.op_type, node.inputs.first()) {
                ("Constant", _) => break constant_value(node)?,
                ("Identity" | "Cast" | "Reshape" | "Squeeze" | "Unsqueeze", Some(input)) => current = input,
                _ => return Ok(None),
            }
            passed.push(node);
            if passed.len() > MAXIMUM_CHAIN {
                return Err(too_long(name));
            }
        };
        for node in passed.into_iter().rev() {
            match node.op_type {
                "Identity" => {}
                "Cast" if keeps_values(tensor.data_type, node) => {}
                "Reshape" | "Squeeze" | "Unsqueeze" if shapes > 0 => {
                    let dims = self
                        .dims_after(node, &tensor, shapes - 1)
                        .map_err(|error| error.with_node(node.label()))?;
                    let Some(dims) = dims else { return Ok(None) };
                    if dims != tensor.dims {
                        tensor.to_mut().dims = dims;
                    }
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(tensor))
    }

    /// The shape that `node` gives `tensor`, or `None` if it is not known before a run.
    fn dims_after(&self, node: &Node<'_>, tensor: &Tensor<'_>, shapes: usize) -> Result<Option<Vec<u64>>> {
        let wrong = || {
            let message =
                format!("a constant of shape {:?} cannot be given the shape asked for", tensor.dims);
            Error::new(ErrorKind::InvalidModel, message)
        };
        let stated = match (node.inputs.get(1).filter(|name| !name.is_empty()), node.attribute("axes")) {
            (Some(name), _) => match self.constant_behind(name, shapes)? {
                Some(stated) => Some(self.integers(&stated)?),
                None => return Ok(None),
            },
            (None, Some(AttributeValue::Ints(axes))) => Some(axes.clone()),
            _ => None,
        };
        let dims = tensor.dims.iter().map(|dim| usize::try_from(*dim)).collect::<Result<Vec<_>, _>>();
        let dims = dims.map_err(|_| wrong())?;
        let changed = match node.op_type {
            "Reshape" => reshaped_dims(&dims, &stated.ok_or_else(wrong)?)?,
            op_type => squeezed_dims(&dims, stated.as_deref(), op_type == "Unsqueeze")?,
        };
        Ok(Some(changed.into_iter().map(|dim| dim as u64).collect()))
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
        let floats = self.floats(tensor)?;
        self.count_row(floats.len())?;
        floats.to_row()
    }

    /// Counts the elements of a constant row that is about to be made.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryBudget`] when all rows together are larger than those of any decoder.
    pub(crate) fn count_row(&self, elements: usize) -> Result<()> {
        let all = self.row_elements.get().saturating_add(elements);
        self.row_elements.set(all);
        if all <= MAXIMUM_ROW_ELEMENTS {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::MemoryBudget,
            format!("the constant rows of the graph have more than {MAXIMUM_ROW_ELEMENTS} elements"),
        ))
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

fn too_long(name: &str) -> Error {
    Error::new(ErrorKind::InvalidModel, "a circle, or too many nodes that only pass a value on")
        .with_node(name)
}

/// Whether a `Cast` from `from` leaves the numbers alone, but for rounding: between floats, or between integers.
fn keeps_values(from: DataType, cast: &Node<'_>) -> bool {
    let to = match cast.attribute("to") {
        Some(AttributeValue::Int(to)) => *to,
        _ => return false,
    };
    match from {
        DataType::Float32 | DataType::Float16 | DataType::Bfloat16 => matches!(to, 1 | 10 | 16),
        DataType::Int64 | DataType::Int32 | DataType::Uint8 | DataType::Int8 | DataType::Bool => {
            matches!(to, 6 | 7)
        }
        _ => false,
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
