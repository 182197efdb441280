//! From ONNX nodes to a [`Program`].

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{GraphFiles, GraphNames};
use crate::onnx::{self, AttributeValue, Node};
use crate::ops::{self, Partial};

use super::control::Control;
use super::program::{LayerShape, Operand, Operation, Program, Rope, Step, ValueId};
use super::rope::{RotationOptions, Rotations};
use super::view::GraphView;

/// Operators of quantised graphs in forms that the engine does not read.
const OTHER_QUANTISATION: [&str; 6] = [
    "DynamicQuantizeMatMul",
    "MatMulBnb4",
    "MatMulIntegerToFloat",
    "QAttention",
    "QLinearMatMul",
    "QuantizeLinear",
];

/// More steps than any decoder takes: some hundred layers of some dozen steps.
const MAXIMUM_STEPS: usize = 1 << 16;

/// More key and value heads than all layers of a decoder have together.
const MAXIMUM_CACHED_HEADS: usize = 1 << 18;

/// What lowering needs to know besides the graph.
#[derive(Debug, Clone, Default)]
pub struct ProgramOptions {
    /// Names of the graph's inputs and outputs.
    pub names: GraphNames,
    /// The longest sequence that will be run; `None` for as long as the rotation tables allow.
    pub context_length: Option<usize>,
    /// The row of the rotation tables at which those for long sequences begin, where the execution provider would be told.
    pub rotary_cache_offset: Option<usize>,
}

/// Turns a parsed graph into a program, without rewriting it.
///
/// # Errors
/// [`ErrorKind::Unsupported`] naming the node and attribute that the program cannot express;
/// [`ErrorKind::InvalidModel`] when the graph contradicts itself.
pub fn lower(model: &onnx::Model<'_>, files: &GraphFiles<'_>, options: &ProgramOptions) -> Result<Program> {
    let view = GraphView::new(&model.graph, files, &options.names)?;
    let logits_name = options.names.logits.as_str();
    if !model.graph.outputs.iter().any(|output| output.name == logits_name) {
        let outputs: Vec<_> = model.graph.outputs.iter().map(|output| output.name).collect();
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the graph has no output called {logits_name}"),
        )
        .with_hint(format!("its outputs are {}", outputs.join(", "))));
    }
    if !view.is_input(&options.names.input_ids) {
        let inputs: Vec<_> = model.graph.inputs.iter().map(|input| input.name).collect();
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the graph has no input called {}", options.names.input_ids),
        )
        .with_hint(format!("it must take token ids; its inputs are {}", inputs.join(", "))));
    }
    let mut lowering = Lowering {
        view: &view,
        control: Control::new(&view),
        rows: HashMap::new(),
        partials: HashMap::new(),
        steps: Vec::new(),
        widths: Vec::new(),
        layers: Vec::new(),
        cached_heads: 0,
        rotations: Rotations::new(RotationOptions {
            context_length: options.context_length,
            second_table: options.rotary_cache_offset,
        }),
        table_rows: None,
        has_choice: false,
    };
    for index in execution_order(&view, logits_name)? {
        let Some(node) = model.graph.nodes.get(index) else { continue };
        lowering.node(node).map_err(|error| error.with_node(node.label()))?;
    }
    let logits = *lowering.rows.get(logits_name).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, format!("the output {logits_name} does not depend on the tokens"))
    })?;
    if logits.operand.start != 0 || logits.operand.width != lowering.widths[logits.operand.value.0] {
        return Err(Error::new(ErrorKind::Unsupported, "the logits are a part of a wider value"));
    }
    let (ropes, switch_length, positions) = lowering.rotations.finish();
    let table_rows = lowering
        .table_rows
        .ok_or_else(|| Error::new(ErrorKind::Unsupported, "the graph has no token embedding"))?;
    Ok(Program {
        steps: lowering.steps,
        widths: lowering.widths,
        logits: logits.operand.value,
        layers: lowering.layers,
        ropes,
        switch_length,
        table_rows,
        positions,
    })
}

/// The nodes that `output` depends on, each after those it depends on.
fn execution_order(view: &GraphView<'_>, output: &str) -> Result<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; view.graph.nodes.len()];
    let mut order = Vec::new();
    let inputs_of = |index: usize| view.graph.nodes.get(index).map(inputs).unwrap_or_default().into_iter();
    let mut stack: Vec<_> =
        view.producer_index(output).map(|index| (index, inputs_of(index))).into_iter().collect();
    while let Some((index, mut rest)) = stack.pop() {
        let Some(node) = view.graph.nodes.get(index) else { continue };
        marks[index] = Mark::Open;
        match rest.next() {
            None => {
                marks[index] = Mark::Done;
                order.push(index);
            }
            Some(input) => {
                stack.push((index, rest));
                match view.producer_index(input).map(|producer| (producer, marks[producer])) {
                    Some((producer, Mark::New)) => stack.push((producer, inputs_of(producer))),
                    Some((_, Mark::Open)) => {
                        return Err(Error::new(
                            ErrorKind::InvalidModel,
                            format!("the input {input} depends on the node's own output"),
                        )
                        .with_node(node.label()));
                    }
                    Some((_, Mark::Done)) | None => {}
                }
            }
        }
    }
    Ok(order)
}

/// What a node reads: its inputs, and what the graphs in its attributes take from around it.
fn inputs<'a>(node: &Node<'a>) -> Vec<&'a str> {
    let mut names = node.inputs.clone();
    for attribute in &node.attributes {
        if let AttributeValue::Graph(graph) = &attribute.value {
            names.extend(graph.nodes.iter().flat_map(inputs));
            names.extend(graph.outputs.iter().map(|output| output.name));
        }
    }
    names
}

/// Columns of a value, and how the tensor's axes are laid over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) operand: Operand,
    /// The extent of the last axis, which normalisation works over.
    pub(crate) group: usize,
    /// How many entries of the axis before it belong to one token: more than one where a reshape joins tokens and heads.
    pub(crate) per_token: usize,
}

/// The state of [`lower`].
pub(crate) struct Lowering<'v, 'a> {
    pub(crate) view: &'v GraphView<'a>,
    pub(crate) control: Control<'v, 'a>,
    rows: HashMap<&'a str, Rows>,
    partials: HashMap<&'a str, Partial<'a>>,
    steps: Vec<Step>,
    widths: Vec<usize>,
    layers: Vec<LayerShape>,
    cached_heads: usize,
    rotations: Rotations,
    table_rows: Option<usize>,
    has_choice: bool,
}

impl<'v, 'a> Lowering<'v, 'a> {
    fn node(&mut self, node: &'a Node<'a>) -> Result<()> {
        let depends_on_tokens = inputs(node).into_iter().any(|input| {
            self.rows.contains_key(input) || self.partials.contains_key(input) || self.is_tokens(input)
        });
        if !depends_on_tokens || node.op_type == "Shape" {
            return Ok(());
        }
        if self.steps.len() >= MAXIMUM_STEPS {
            let message = format!("the graph computes more than {MAXIMUM_STEPS} values from the tokens");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        match ops::find(node.domain, node.op_type) {
            Some(entry) => (entry.lower)(self, node),
            None => {
                let domain = if node.domain.is_empty() { "ai.onnx" } else { node.domain };
                let message = format!("the CPU engine has no operator {domain}::{}", node.op_type);
                let hint = if OTHER_QUANTISATION.contains(&node.op_type) {
                    "it multiplies by MatMulNBits of 4 and 8 bits, by dynamically quantised int8 and by floats: \
                     choose the variant q4, q4f16 or fp16 of the model"
                } else {
                    "it runs fused decoder graphs, as the onnxruntime-genai model builder writes them: \
                     build the model with that tool"
                };
                Err(Error::new(ErrorKind::Unsupported, message).with_hint(hint))
            }
        }
    }

    /// The rows that input `index` of `node` holds.
    pub(crate) fn input(&self, node: &Node<'a>, index: usize) -> Result<Rows> {
        let name = self.input_name(node, index)?;
        self.rows.get(name).copied().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("input {index} ({name}) does not hold one row a token"),
            )
        })
    }

    /// The rows called `name`, if it is a value that depends on the tokens.
    pub(crate) fn find(&self, name: &str) -> Option<Rows> {
        self.rows.get(name).copied()
    }

    /// Whether the value called `name` is the token ids, of whatever integer type.
    pub(crate) fn is_tokens(&self, name: &'a str) -> bool {
        self.view.origin(name).is_ok_and(|origin| origin == self.view.names.input_ids)
    }

    /// What the value called `name` is a part of, if it is.
    pub(crate) fn partial(&self, name: &str) -> Option<Partial<'a>> {
        self.partials.get(name).copied()
    }

    /// Says what output `index` of `node` is a part of.
    pub(crate) fn bind_partial(&mut self, node: &Node<'a>, index: usize, partial: Partial<'a>) {
        if let Some(name) = node.outputs.get(index).filter(|name| !name.is_empty()) {
            self.partials.insert(name, partial);
        }
    }

    /// The operation that makes `operand`, if that is a whole value.
    pub(crate) fn made_by(&self, operand: Operand) -> Option<&Operation> {
        let width = *self.widths.get(operand.value.0)?;
        let is_whole = operand.start == 0 && operand.width == width;
        self.steps.get(operand.value.0).filter(|_| is_whole).map(|step| &step.operation)
    }

    /// The name of input `index`, which must be there.
    pub(crate) fn input_name(&self, node: &Node<'a>, index: usize) -> Result<&'a str> {
        optional_input(node, index)
            .ok_or_else(|| Error::new(ErrorKind::InvalidModel, format!("input {index} is missing")))
    }

    /// Appends a step that makes a value of `width` columns.
    pub(crate) fn push(&mut self, node: &Node<'a>, operation: Operation, width: usize) -> Operand {
        let value = ValueId(self.widths.len());
        self.widths.push(width);
        self.steps.push(Step { node: node.label(), operation, output: value });
        Operand { value, start: 0, width }
    }

    /// Gives output `index` of `node` its rows.
    pub(crate) fn bind(&mut self, node: &Node<'a>, index: usize, rows: Rows) {
        if let Some(name) = node.outputs.get(index).filter(|name| !name.is_empty()) {
            self.rows.insert(name, rows);
            if rows.group == rows.operand.width {
                self.control.note_rows(name, rows.group);
            }
        }
    }

    /// Gives the first output of `node` all columns of `operand`.
    pub(crate) fn bind_whole(&mut self, node: &Node<'a>, operand: Operand) {
        self.bind(node, 0, Rows { operand, group: operand.width, per_token: 1 });
    }

    /// A new slot for the keys and values of an attention step.
    pub(crate) fn add_layer(&mut self, shape: LayerShape) -> Result<usize> {
        self.cached_heads = self.cached_heads.saturating_add(shape.kv_heads);
        if self.cached_heads > MAXIMUM_CACHED_HEADS {
            let message = format!("the layers have more than {MAXIMUM_CACHED_HEADS} key and value heads");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        self.layers.push(shape);
        Ok(self.layers.len() - 1)
    }

    /// Notes that from here on only some tokens' rows may be meant.
    pub(crate) fn note_choice(&mut self) {
        self.has_choice = true;
    }

    /// Whether rows of some tokens were chosen.
    pub(crate) fn has_choice(&self) -> bool {
        self.has_choice
    }

    /// Notes how many tokens the embedding knows.
    pub(crate) fn note_table(&mut self, entries: usize) {
        self.table_rows = Some(self.table_rows.map_or(entries, |rows| rows.min(entries)));
    }

    /// The rotation that a node's caches and positions describe.
    pub(crate) fn rope(
        &mut self,
        cosines: &'a str,
        sines: &'a str,
        positions: Option<&'a str>,
    ) -> Result<usize> {
        self.rotations.resolve(self.view, &mut self.control, cosines, sines, positions)
    }

    /// The rotations found so far.
    pub(crate) fn rope_at(&self, index: usize) -> Option<&Rope> {
        self.rotations.get(index)
    }
}

/// The name of input `index`, unless it is omitted.
pub(crate) fn optional_input<'a>(node: &Node<'a>, index: usize) -> Option<&'a str> {
    node.inputs.get(index).copied().filter(|name| !name.is_empty())
}
