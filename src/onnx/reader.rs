//! The messages of `onnx.proto`.

#![deny(clippy::as_conversions, clippy::indexing_slicing)]

use std::collections::HashSet;

use super::values::{AttributeFields, AttributeKind, ExternalData, TensorFields, check_length, shown};
use super::wire::{Fault, Field, Message, Parsed, narrow};
use super::{Attribute, DataType, Dimension, Graph, Model, Node, OperatorSet, Tensor, ValueInfo};
use crate::error::Result;

/// How deeply graphs may lie in the attributes of other graphs' nodes.
const MAXIMUM_GRAPH_DEPTH: usize = 16;

/// How many nodes, attributes, tensors and other messages a model may have: a thousand times those of a large
/// decoder. The structs that hold them are larger than their shortest encodings, so the file's size alone would
/// not bound memory well.
const MAXIMUM_MESSAGES: usize = 1 << 20;

/// How many strings and variable-length integers a model may have. Long constants come as `raw_data` or floats,
/// which this does not count.
const MAXIMUM_ELEMENTS: usize = 1 << 24;

impl<'a> Model<'a> {
    /// Parses the bytes of an ONNX file.
    ///
    /// The lengths of tensors that the file itself holds agree with their dims and types. Fields that no supported
    /// operator needs are skipped: functions, sparse initializers, quantisation annotations, training information.
    ///
    /// # Errors
    /// [`InvalidModel`](crate::ErrorKind::InvalidModel) with the byte position and the message (such as
    /// `graph.node[12].attribute[0]`) when the bytes are not a well-formed model, when graphs are nested more than
    /// 16 deep, or when there are more than 2²⁰ messages or 2²⁴ strings and integers.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut parser = Parser { messages: 0, elements: 0 };
        Ok(parser.model(Message::whole(bytes))?)
    }
}

struct Parser {
    messages: usize,
    elements: usize,
}

impl Parser {
    fn model<'a>(&mut self, mut message: Message<'a>) -> Parsed<Model<'a>> {
        let end = message;
        let mut model = Model::default();
        let mut graph = None;
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => model.ir_version = field.int64().map_err(|fault| fault.within("ir_version"))?,
                2 => model.producer_name = field.text().map_err(|fault| fault.within("producer_name"))?,
                3 => {
                    model.producer_version = field.text().map_err(|fault| fault.within("producer_version"))?
                }
                7 => once("graph", &mut graph, &field, |field| self.graph(field.message()?, 1))?,
                8 => self.push("opset_import", &mut model.operator_sets, &field, |_, message| {
                    operator_set(message)
                })?,
                14 => {
                    self.push("metadata_props", &mut model.metadata, &field, |_, message| entry(message))?
                }
                _ => {}
            }
        }
        model.graph = graph.ok_or_else(|| Fault::new(end.position(), "the model has no graph"))?;
        Ok(model)
    }

    fn graph<'a>(&mut self, mut message: Message<'a>, depth: usize) -> Parsed<Graph<'a>> {
        if depth > MAXIMUM_GRAPH_DEPTH {
            let text = format!("graphs are nested more than {MAXIMUM_GRAPH_DEPTH} deep");
            return Err(Fault::new(message.position(), text));
        }
        let mut graph = Graph::default();
        let mut names = HashSet::new();
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => self
                    .push("node", &mut graph.nodes, &field, |parser, message| parser.node(message, depth))?,
                2 => graph.name = field.text().map_err(|fault| fault.within("name"))?,
                5 => self.push("initializer", &mut graph.initializers, &field, |parser, message| {
                    let tensor = parser.tensor(message)?;
                    if tensor.name.is_empty() {
                        return Err(Fault::new(message.position(), "an initializer has no name"));
                    }
                    if !names.insert(tensor.name) {
                        let text = format!("two initializers are called {}", shown(tensor.name));
                        return Err(Fault::new(message.position(), text));
                    }
                    Ok(tensor)
                })?,
                11 => self.push("input", &mut graph.inputs, &field, Self::value_info)?,
                12 => self.push("output", &mut graph.outputs, &field, Self::value_info)?,
                13 => self.push("value_info", &mut graph.value_info, &field, Self::value_info)?,
                _ => {}
            }
        }
        Ok(graph)
    }

    fn node<'a>(&mut self, mut message: Message<'a>, depth: usize) -> Parsed<Node<'a>> {
        let start = message.position();
        let mut node = Node {
            name: "",
            op_type: "",
            domain: "",
            inputs: Vec::new(),
            outputs: Vec::new(),
            attributes: Vec::new(),
        };
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => node
                    .inputs
                    .push(self.element(&field, Field::text).map_err(|fault| fault.within("input"))?),
                2 => {
                    node.outputs
                        .push(self.element(&field, Field::text).map_err(|fault| fault.within("output"))?);
                }
                3 => node.name = field.text().map_err(|fault| fault.within("name"))?,
                4 => node.op_type = field.text().map_err(|fault| fault.within("op_type"))?,
                5 => self.push("attribute", &mut node.attributes, &field, |parser, message| {
                    parser.attribute(message, depth)
                })?,
                7 => node.domain = field.text().map_err(|fault| fault.within("domain"))?,
                _ => {}
            }
        }
        if node.op_type.is_empty() {
            return Err(Fault::new(start, "a node has no op_type"));
        }
        // The specification makes both spellings the same operator set.
        if node.domain == "ai.onnx" {
            node.domain = "";
        }
        Ok(node)
    }

    fn attribute<'a>(&mut self, mut message: Message<'a>, depth: usize) -> Parsed<Attribute<'a>> {
        let start = message.position();
        let mut name = "";
        let mut declared = AttributeKind::Undefined;
        let mut fields = AttributeFields::default();
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => name = field.text().map_err(|fault| fault.within("name"))?,
                2 => fields.float = Some(field.float32().map_err(|fault| fault.within("f"))?),
                3 => fields.int = Some(field.int64().map_err(|fault| fault.within("i"))?),
                4 => fields.string = Some(field.bytes().map_err(|fault| fault.within("s"))?),
                5 => {
                    self.charge(field.position)?;
                    once("t", &mut fields.tensor, &field, |field| self.tensor(field.message()?))?;
                }
                6 => {
                    self.charge(field.position)?;
                    once("g", &mut fields.graph, &field, |field| {
                        let inner = self.graph(field.message()?, depth.saturating_add(1))?;
                        Ok(Box::new(inner))
                    })?;
                }
                7 => floats32(&field, &mut fields.floats).map_err(|fault| fault.within("floats"))?,
                8 => self.integers(&field, &mut fields.ints).map_err(|fault| fault.within("ints"))?,
                9 => {
                    let string =
                        self.element(&field, Field::bytes).map_err(|fault| fault.within("strings"))?;
                    fields.strings.push(string);
                }
                10 | 11 | 14 | 15 | 22 | 23 => fields.other = true,
                20 => {
                    let code = field.int32().map_err(|fault| fault.within("type"))?;
                    declared = AttributeKind::from_code(code);
                }
                _ => {}
            }
        }
        if name.is_empty() {
            return Err(Fault::new(start, "an attribute has no name"));
        }
        let value = fields
            .value(declared)
            .map_err(|text| Fault::new(start, format!("attribute {}: {text}", shown(name))))?;
        Ok(Attribute { name, value })
    }

    fn tensor<'a>(&mut self, mut message: Message<'a>) -> Parsed<Tensor<'a>> {
        let start = message.position();
        let mut name = "";
        let mut data_type = DataType::Other(0);
        let mut dims = Vec::new();
        let mut fields = TensorFields::default();
        let mut external = ExternalData::default();
        let mut is_external = false;
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => self.integers(&field, &mut dims).map_err(|fault| fault.within("dims"))?,
                2 => {
                    let code = field.int32().map_err(|fault| fault.within("data_type"))?;
                    data_type = DataType::from_code(code);
                }
                3 => return Err(Fault::new(field.position, "tensors in segments are not supported")),
                4 => floats32(&field, &mut fields.float32).map_err(|fault| fault.within("float_data"))?,
                5 => {
                    self.integers32(&field, &mut fields.int32).map_err(|fault| fault.within("int32_data"))?
                }
                6 | 11 => fields.other = true,
                7 => self.integers(&field, &mut fields.int64).map_err(|fault| fault.within("int64_data"))?,
                8 => name = field.text().map_err(|fault| fault.within("name"))?,
                9 => fields.raw = Some(field.bytes().map_err(|fault| fault.within("raw_data"))?),
                10 => floats64(&field, &mut fields.float64).map_err(|fault| fault.within("double_data"))?,
                13 => {
                    self.charge(field.position)?;
                    let pair = field.message().and_then(entry);
                    external
                        .add(pair.map_err(|fault| fault.within("external_data"))?)
                        .map_err(|text| Fault::new(field.position, text).within("external_data"))?;
                }
                14 => {
                    is_external = match field.int32().map_err(|fault| fault.within("data_location"))? {
                        0 => false,
                        1 => true,
                        other => {
                            let text =
                                format!("data_location is {other}; it can be 0 (here) or 1 (external)");
                            return Err(Fault::new(field.position, text));
                        }
                    };
                }
                _ => {}
            }
        }
        let dims = dims.into_iter().map(u64::try_from).collect::<Result<Vec<u64>, _>>();
        let dims = dims.map_err(|_| format!("tensor {} has a negative dim", shown(name)));
        let tensor = dims.and_then(|dims| {
            let content = if is_external { external.content() } else { fields.content(data_type) };
            let content = content.map_err(|text| format!("tensor {}: {text}", shown(name)))?;
            let tensor = Tensor { name, data_type, dims, content };
            check_length(&tensor)?;
            Ok(tensor)
        });
        tensor.map_err(|text| Fault::new(start, text))
    }

    fn value_info<'a>(&mut self, mut message: Message<'a>) -> Parsed<ValueInfo<'a>> {
        let mut info = ValueInfo { name: "", data_type: None, shape: None };
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => info.name = field.text().map_err(|fault| fault.within("name"))?,
                2 => {
                    let mut type_message = field.message().map_err(|fault| fault.within("type"))?;
                    while let Some(field) = type_message.next_field().map_err(|fault| fault.within("type"))? {
                        if field.number == 1 {
                            self.tensor_type(&field, &mut info)
                                .map_err(|fault| fault.within("tensor_type").within("type"))?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(info)
    }

    fn tensor_type<'a>(&mut self, field: &Field<'a>, info: &mut ValueInfo<'a>) -> Parsed<()> {
        let mut message = field.message()?;
        while let Some(field) = message.next_field()? {
            match field.number {
                1 => {
                    let code = field.int32().map_err(|fault| fault.within("elem_type"))?;
                    info.data_type = (code != 0).then(|| DataType::from_code(code));
                }
                2 => {
                    let mut shape = Vec::new();
                    let mut message = field.message().map_err(|fault| fault.within("shape"))?;
                    while let Some(field) = message.next_field().map_err(|fault| fault.within("shape"))? {
                        if field.number == 1 {
                            self.push("dim", &mut shape, &field, |_, message| dimension(message))
                                .map_err(|fault| fault.within("shape"))?;
                        }
                    }
                    info.shape = Some(shape);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Parses the message in `field`, one item of the repeated field called `name`, and appends it to `list`.
    fn push<'a, T>(
        &mut self,
        name: &str,
        list: &mut Vec<T>,
        field: &Field<'a>,
        parse: impl FnOnce(&mut Self, Message<'a>) -> Parsed<T>,
    ) -> Parsed<()> {
        let item = self.charge(field.position).and_then(|()| field.message());
        let item = item.and_then(|message| parse(self, message));
        list.push(item.map_err(|fault| fault.within_item(name, list.len()))?);
        Ok(())
    }

    fn charge(&mut self, position: usize) -> Parsed<()> {
        if self.messages >= MAXIMUM_MESSAGES {
            let text =
                format!("the model has more than {MAXIMUM_MESSAGES} nodes, tensors and other messages");
            return Err(Fault::new(position, text));
        }
        self.messages = self.messages.saturating_add(1);
        Ok(())
    }

    fn charge_element(&mut self, position: usize) -> Parsed<()> {
        if self.elements >= MAXIMUM_ELEMENTS {
            let text = format!("the model has more than {MAXIMUM_ELEMENTS} strings and integers");
            return Err(Fault::new(position, text));
        }
        self.elements = self.elements.saturating_add(1);
        Ok(())
    }

    fn element<'a, T>(
        &mut self,
        field: &Field<'a>,
        parse: impl FnOnce(&Field<'a>) -> Parsed<T>,
    ) -> Parsed<T> {
        self.charge_element(field.position)?;
        parse(field)
    }

    /// Appends the integers of a field, packed or single.
    fn integers(&mut self, field: &Field<'_>, list: &mut Vec<i64>) -> Parsed<()> {
        let Some(mut packed) = field.packed() else {
            list.push(self.element(field, Field::int64)?);
            return Ok(());
        };
        while !packed.is_empty() {
            self.charge_element(packed.position())?;
            list.push(packed.varint()?.cast_signed());
        }
        Ok(())
    }

    /// Appends the 32-bit integers of a field, packed or single.
    fn integers32(&mut self, field: &Field<'_>, list: &mut Vec<i32>) -> Parsed<()> {
        let Some(mut packed) = field.packed() else {
            list.push(self.element(field, Field::int32)?);
            return Ok(());
        };
        while !packed.is_empty() {
            let position = packed.position();
            self.charge_element(position)?;
            list.push(narrow(packed.varint()?.cast_signed(), position)?);
        }
        Ok(())
    }
}

/// Parses a message that may occur once only: the wire format would merge two, which no writer of ONNX relies on.
fn once<'a, T>(
    name: &str,
    slot: &mut Option<T>,
    field: &Field<'a>,
    parse: impl FnOnce(&Field<'a>) -> Parsed<T>,
) -> Parsed<()> {
    if slot.is_some() {
        return Err(Fault::new(field.position, "the field occurs twice").within(name));
    }
    *slot = Some(parse(field).map_err(|fault| fault.within(name))?);
    Ok(())
}

/// Appends the 32-bit floats of a field, packed or single.
fn floats32(field: &Field<'_>, list: &mut Vec<f32>) -> Parsed<()> {
    let Some(mut packed) = field.packed() else {
        list.push(field.float32()?);
        return Ok(());
    };
    while !packed.is_empty() {
        list.push(f32::from_le_bytes(packed.array()?));
    }
    Ok(())
}

/// Appends the 64-bit floats of a field, packed or single.
fn floats64(field: &Field<'_>, list: &mut Vec<f64>) -> Parsed<()> {
    let Some(mut packed) = field.packed() else {
        list.push(field.float64()?);
        return Ok(());
    };
    while !packed.is_empty() {
        list.push(f64::from_le_bytes(packed.array()?));
    }
    Ok(())
}

fn operator_set(mut message: Message<'_>) -> Parsed<OperatorSet<'_>> {
    let mut set = OperatorSet { domain: "", version: 0 };
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => set.domain = field.text().map_err(|fault| fault.within("domain"))?,
            2 => set.version = field.int64().map_err(|fault| fault.within("version"))?,
            _ => {}
        }
    }
    if set.domain == "ai.onnx" {
        set.domain = "";
    }
    Ok(set)
}

/// A key and its value.
fn entry(mut message: Message<'_>) -> Parsed<(&str, &str)> {
    let (mut key, mut value) = ("", "");
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => key = field.text().map_err(|fault| fault.within("key"))?,
            2 => value = field.text().map_err(|fault| fault.within("value"))?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// One dimension; some tools write a negative extent for an unknown one.
fn dimension(mut message: Message<'_>) -> Parsed<Dimension<'_>> {
    let mut dimension = Dimension::Symbol("");
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => {
                let extent = field.int64().map_err(|fault| fault.within("dim_value"))?;
                dimension = if extent < 0 { Dimension::Symbol("") } else { Dimension::Fixed(extent) };
            }
            2 => dimension = Dimension::Symbol(field.text().map_err(|fault| fault.within("dim_param"))?),
            _ => {}
        }
    }
    Ok(dimension)
}
