//! Serialises the messages of `onnx.proto`.

use super::{Attribute, AttributeValue, Dimension, Graph, Model, Node, Tensor, TensorContent, ValueInfo};
use crate::error::{Error, ErrorKind, Result};

/// Protobuf readers refuse larger messages.
const MAXIMUM_BYTES: usize = i32::MAX as usize;

/// The bytes of an ONNX file that holds `model`.
///
/// [`Model::parse`] reads them back as the same model. External tensors are written as references; their elements
/// are not touched.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for an attribute or tensor content of kind `Other`, and for a model above 2 GiB,
/// the limit of protobuf.
pub fn write(model: &Model<'_>) -> Result<Vec<u8>> {
    let mut output = Message(Vec::new());
    output.int(1, model.ir_version);
    output.text(2, model.producer_name);
    output.text(3, model.producer_version);
    output.message(7, |message| graph(message, &model.graph))?;
    for set in &model.operator_sets {
        output.message(8, |message| {
            message.text(1, set.domain);
            message.int(2, set.version);
            Ok(())
        })?;
    }
    for (key, value) in &model.metadata {
        output.entry(14, key, value)?;
    }
    if output.0.len() > MAXIMUM_BYTES {
        return Err(Error::new(ErrorKind::InvalidArgument, "the ONNX file would be larger than 2 GiB")
            .with_hint("keep large tensors in an external data file"));
    }
    Ok(output.0)
}

fn graph(output: &mut Message, graph: &Graph<'_>) -> Result<()> {
    for item in &graph.nodes {
        output.message(1, |message| node(message, item))?;
    }
    output.text(2, graph.name);
    for item in &graph.initializers {
        output.message(5, |message| tensor(message, item))?;
    }
    for (field, values) in [(11, &graph.inputs), (12, &graph.outputs), (13, &graph.value_info)] {
        for value in values {
            output.message(field, |message| value_info(message, value))?;
        }
    }
    Ok(())
}

fn node(output: &mut Message, node: &Node<'_>) -> Result<()> {
    for name in &node.inputs {
        output.bytes(1, name.as_bytes());
    }
    for name in &node.outputs {
        output.bytes(2, name.as_bytes());
    }
    output.text(3, node.name);
    output.text(4, node.op_type);
    for item in &node.attributes {
        output
            .message(5, |message| attribute(message, item))
            .map_err(|error| error.with_node(node.label()))?;
    }
    output.text(7, node.domain);
    Ok(())
}

fn attribute(output: &mut Message, attribute: &Attribute<'_>) -> Result<()> {
    output.text(1, attribute.name);
    let kind = match &attribute.value {
        AttributeValue::Float(value) => {
            output.float(2, *value);
            1
        }
        AttributeValue::Int(value) => {
            output.int(3, *value);
            2
        }
        AttributeValue::String(value) => {
            output.bytes(4, value);
            3
        }
        AttributeValue::Tensor(value) => {
            output.message(5, |message| tensor(message, value))?;
            4
        }
        AttributeValue::Graph(value) => {
            output.message(6, |message| graph(message, value))?;
            5
        }
        AttributeValue::Floats(values) => {
            values.iter().for_each(|value| output.float(7, *value));
            6
        }
        AttributeValue::Ints(values) => {
            values.iter().for_each(|value| output.int(8, *value));
            7
        }
        AttributeValue::Strings(values) => {
            values.iter().for_each(|value| output.bytes(9, value));
            8
        }
        AttributeValue::Other => {
            let message = format!("attribute {} has no value to write", attribute.name);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
    };
    output.int(20, kind);
    Ok(())
}

fn tensor(output: &mut Message, tensor: &Tensor<'_>) -> Result<()> {
    for &dim in &tensor.dims {
        output.tagged_varint(1, dim);
    }
    output.int(2, tensor.data_type.code().into());
    output.text(8, tensor.name);
    match &tensor.content {
        TensorContent::Inline(bytes) => output.bytes(9, bytes),
        TensorContent::External { location, offset, length } => {
            output.entry(13, "location", location)?;
            output.entry(13, "offset", &offset.to_string())?;
            if let Some(length) = length {
                output.entry(13, "length", &length.to_string())?;
            }
            output.int(14, 1);
        }
        TensorContent::Int32(values) => output.message(5, |packed| {
            values.iter().for_each(|&value| packed.varint(i64::from(value) as u64));
            Ok(())
        })?,
        TensorContent::Int64(values) => output.message(7, |packed| {
            values.iter().for_each(|&value| packed.varint(value as u64));
            Ok(())
        })?,
        TensorContent::Float32(values) => output.message(4, |packed| {
            values.iter().for_each(|value| packed.0.extend(value.to_le_bytes()));
            Ok(())
        })?,
        TensorContent::Other => {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "the tensor's elements are of a kind not kept",
            )
            .with_node(tensor.name));
        }
        TensorContent::Float64(values) => output.message(10, |packed| {
            values.iter().for_each(|value| packed.0.extend(value.to_le_bytes()));
            Ok(())
        })?,
    }
    Ok(())
}

fn value_info(output: &mut Message, value: &ValueInfo<'_>) -> Result<()> {
    output.text(1, value.name);
    if value.data_type.is_none() && value.shape.is_none() {
        return Ok(());
    }
    output.message(2, |value_type| {
        value_type.message(1, |tensor_type| {
            if let Some(data_type) = value.data_type {
                tensor_type.int(1, data_type.code().into());
            }
            let Some(shape) = &value.shape else { return Ok(()) };
            tensor_type.message(2, |message| {
                for dimension in shape {
                    message.message(1, |message| {
                        match dimension {
                            Dimension::Fixed(extent) => message.int(1, *extent),
                            Dimension::Symbol(name) => message.text(2, name),
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            })
        })
    })
}

/// A message under construction.
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tagged_varint(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn int(&mut self, field: u64, value: i64) {
        self.tagged_varint(field, value as u64);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A string, which is left out when it is empty.
    fn text(&mut self, field: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn entry(&mut self, field: u64, key: &str, value: &str) -> Result<()> {
        self.message(field, |message| {
            message.text(1, key);
            message.text(2, value);
            Ok(())
        })
    }

    /// A message inside this one. Its length goes in front of it once it is known, which moves it by a few bytes.
    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.varint(field << 3 | 2);
        let start = self.0.len();
        fill(self)?;
        let mut length = Self(Vec::new());
        length.varint((self.0.len() - start) as u64);
        self.0.splice(start..start, length.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DataType, OperatorSet};
    use super::*;

    fn tensor<'a>(data_type: DataType, dims: &[u64], content: TensorContent<'a>) -> Tensor<'a> {
        Tensor { name: "t", data_type, dims: dims.to_vec(), content }
    }

    fn model_with(value: AttributeValue<'_>) -> Model<'_> {
        let node = Node {
            name: "n",
            op_type: "Op",
            domain: "com.microsoft",
            inputs: vec!["a", "", "b"],
            outputs: vec!["c", ""],
            attributes: vec![Attribute { name: "x", value }],
        };
        let info = |name, shape| ValueInfo { name, data_type: Some(DataType::Float16), shape };
        let graph = Graph {
            name: "g",
            nodes: vec![node],
            initializers: vec![tensor(
                DataType::Uint8,
                &[3, 2],
                TensorContent::External { location: "data", offset: 1 << 40, length: Some(6) },
            )],
            inputs: vec![info(
                "a",
                Some(vec![
                    Dimension::Fixed(1 << 40),
                    Dimension::Symbol("n"),
                    Dimension::Symbol(""),
                    Dimension::Fixed(0),
                ]),
            )],
            outputs: vec![info("c", Some(vec![]))],
            value_info: vec![info("b", None), ValueInfo { name: "u", data_type: None, shape: None }],
        };
        Model {
            ir_version: 10,
            producer_name: "p",
            producer_version: "1",
            operator_sets: vec![
                OperatorSet { domain: "", version: 22 },
                OperatorSet { domain: "d", version: 1 },
            ],
            metadata: vec![("key", "value")],
            graph,
        }
    }

    #[test]
    fn the_reader_reads_back_what_the_writer_writes() {
        let bytes = vec![7; 300];
        let values = [
            AttributeValue::Float(-1.5),
            AttributeValue::Int(i64::MIN),
            AttributeValue::String(b"\xff\x00"),
            AttributeValue::Floats(vec![1.0, f32::MIN]),
            AttributeValue::Ints(vec![0, -1, i64::MAX]),
            AttributeValue::Strings(vec![b"a", b""]),
            AttributeValue::Tensor(tensor(DataType::Uint8, &[300], TensorContent::Inline(&bytes))),
            AttributeValue::Tensor(tensor(DataType::Int32, &[2], TensorContent::Int32(vec![-1, 300]))),
            AttributeValue::Tensor(tensor(DataType::Int64, &[1], TensorContent::Int64(vec![-300]))),
            AttributeValue::Tensor(tensor(DataType::Float32, &[1], TensorContent::Float32(vec![0.5]))),
            AttributeValue::Tensor(tensor(DataType::Float64, &[1], TensorContent::Float64(vec![0.1]))),
            AttributeValue::Graph(Box::new(model_with(AttributeValue::Int(3)).graph)),
        ];
        for value in values {
            let model = model_with(value);
            let bytes = write(&model).unwrap();
            assert_eq!(Model::parse(&bytes).unwrap(), model);
        }
    }

    #[test]
    fn an_attribute_without_value_is_refused() {
        let error = write(&model_with(AttributeValue::Other)).unwrap_err();
        assert_eq!((error.kind(), error.node()), (ErrorKind::InvalidArgument, Some("Op n")));
    }
}
