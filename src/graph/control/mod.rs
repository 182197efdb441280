//! Evaluates the small integer part of a graph: masks, lengths, positions.
//!
//! Decoder graphs derive lengths and positions from `attention_mask` and `position_ids` with a few dozen integer nodes,
//! written differently by every exporter. The engine computes those itself; this interpreter runs the nodes for sample
//! inputs so that loading can check that they mean the same, whatever way they are written.

mod tensor;

use std::collections::HashMap;
use std::rc::Rc;

use self::tensor::{
    MAXIMUM_ELEMENTS, broadcast, concat, cumulative_sum, element_count, expand, filled, gather, map, reduce,
    reshape, reshape_axes, slice,
};
use crate::error::{Error, ErrorKind, Result};
use crate::onnx::{AttributeValue, DataType, Dimension, Node};

use super::view::GraphView;

pub(crate) use self::tensor::{Small, clamped, reshaped_dims, squeezed_dims};

/// Deeper than any chain of integer nodes in a decoder graph.
const MAXIMUM_DEPTH: usize = 200;

/// The most elements that the values of one evaluation have together: several masks of a million positions.
const HELD_ELEMENTS: usize = 1 << 23;

/// More elements than all values of one load take together: a few million for a context of a million positions.
const ELEMENT_BUDGET: usize = 1 << 26;

/// The longest call whose values are kept: the short ones are asked for again by every layer.
const KEPT_LENGTH: usize = 64;

/// An extent that the file does not tell; whatever is computed with it overflows or differs from what is expected.
const UNKNOWN_EXTENT: i64 = i64::MIN;

/// Graph inputs that say how many of the last positions get logits.
const LOGITS_TO_KEEP: [&str; 2] = ["num_logits_to_keep", "logits_to_keep"];

/// The inputs of one call: a sequence with `past` cached positions and `new` tokens, batch 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) past: usize,
    pub(crate) new: usize,
    /// The value of an input such as `num_logits_to_keep`; 0 stands for all.
    pub(crate) logits_to_keep: usize,
}

impl Call {
    /// A call that asks for all logits.
    pub(crate) fn of(past: usize, new: usize) -> Self {
        Self { past, new, logits_to_keep: 0 }
    }

    pub(crate) fn total(self) -> usize {
        self.past + self.new
    }
}

/// Evaluates values of `view` for any call, within one budget.
pub(crate) struct Control<'v, 'a> {
    view: &'v GraphView<'a>,
    elements_left: usize,
    known: HashMap<Call, HashMap<String, Rc<Small>>>,
    /// Columns of the values that are rows, whose shape is [1, new tokens, columns].
    widths: HashMap<&'a str, usize>,
}

impl<'v, 'a> Control<'v, 'a> {
    pub(crate) fn new(view: &'v GraphView<'a>) -> Self {
        Self { view, elements_left: ELEMENT_BUDGET, known: HashMap::new(), widths: HashMap::new() }
    }

    /// Notes that `name` has one row of `width` columns a token.
    pub(crate) fn note_rows(&mut self, name: &'a str, width: usize) {
        self.widths.insert(name, width);
    }

    /// The value called `name` in `call`, or an error naming the node that cannot be evaluated.
    pub(crate) fn value(&mut self, call: Call, name: &str) -> Result<Rc<Small>> {
        let known = self.known.remove(&call).unwrap_or_default();
        let (widths, elements_left) = (&self.widths, &mut self.elements_left);
        let mut evaluation = Evaluation { view: self.view, call, known, widths, elements_left, held: 0 };
        let value = evaluation.at_depth(name, 0);
        let known = evaluation.known;
        if call.total() <= KEPT_LENGTH {
            self.known.insert(call, known);
        }
        value
    }

    /// Which branch of an `If` node runs in `call`.
    pub(crate) fn branch_taken(&mut self, call: Call, node: &Node<'_>) -> Result<bool> {
        let condition = node.inputs.first().copied().unwrap_or("");
        match self.value(call, condition)?.elements.as_slice() {
            [value] => Ok(*value != 0),
            other => {
                Err(invalid(format!("the condition has {} elements", other.len())).with_node(node.label()))
            }
        }
    }
}

/// The values of one call.
struct Evaluation<'e, 'v, 'a> {
    view: &'v GraphView<'a>,
    call: Call,
    known: HashMap<String, Rc<Small>>,
    widths: &'e HashMap<&'a str, usize>,
    elements_left: &'e mut usize,
    /// Elements that this evaluation has added to `known`.
    held: usize,
}

impl Evaluation<'_, '_, '_> {
    fn at_depth(&mut self, name: &str, depth: usize) -> Result<Rc<Small>> {
        if let Some(known) = self.known.get(name) {
            return Ok(Rc::clone(known));
        }
        if depth > MAXIMUM_DEPTH {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                "a cycle, or a chain of integer nodes that is too long",
            )
            .with_node(name));
        }
        let value = Rc::new(self.compute(name, depth)?);
        self.held += value.elements.len();
        if self.held > HELD_ELEMENTS {
            return Err(unsupported("masks and positions that hold too much at a time").with_node(name));
        }
        // A value without elements takes room too.
        *self.elements_left = self
            .elements_left
            .checked_sub(value.elements.len() + 1)
            .ok_or_else(|| unsupported("masks and positions of too many elements").with_node(name))?;
        self.known.insert(name.to_owned(), Rc::clone(&value));
        Ok(value)
    }

    fn compute(&mut self, name: &str, depth: usize) -> Result<Small> {
        if let Some(tensor) = self.view.constant(name)? {
            let dims = tensor.dims.iter().map(|dim| to_size(*dim)).collect::<Result<Vec<_>>>()?;
            element_count(&dims)?;
            if matches!(tensor.data_type, DataType::Float32 | DataType::Float16 | DataType::Bfloat16) {
                let row = self.view.row(&tensor)?;
                let whole = row.iter().map(|value| whole_number(*value)).collect::<Option<Vec<_>>>();
                let elements =
                    whole.ok_or_else(|| unsupported("a fraction among integer nodes").with_node(name))?;
                return Small::checked(dims, elements);
            }
            return Small::checked(dims, self.view.integers(&tensor)?);
        }
        let (names, call) = (self.view.names, self.call);
        if name == names.attention_mask {
            return filled(vec![1, call.total()], 1);
        }
        if name == names.position_ids {
            let positions = (call.past..call.total()).map(|position| position as i64).collect();
            return Small::checked(vec![1, call.new], positions);
        }
        if name == names.input_ids {
            return filled(vec![1, call.new], 0);
        }
        if LOGITS_TO_KEEP.contains(&name) && self.view.is_input(name) {
            return filled(vec![], call.logits_to_keep as i64);
        }
        let Some(node) = self.view.producer(name) else {
            return Err(unsupported(format!("the value {name} is not derived from lengths and positions")));
        };
        self.node(node, depth).map_err(|error| error.with_node(node.label()))
    }

    fn node(&mut self, node: &Node<'_>, depth: usize) -> Result<Small> {
        if !node.domain.is_empty() {
            return Err(not_evaluated());
        }
        if node.op_type == "Shape"
            && let Some(dims) = node.inputs.first().and_then(|input| self.float_dims(input))
        {
            return shape(node, &dims);
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            inputs.push(if input.is_empty() { None } else { Some(self.at_depth(input, depth + 1)?) });
        }
        operate(node, &inputs)
    }

    /// The shape of the rows, the cached keys or the cached values called `name`.
    fn float_dims(&self, name: &str) -> Option<Vec<i64>> {
        if let Some(width) = self.widths.get(name) {
            return Some(vec![1, self.call.new as i64, *width as i64]);
        }
        let names = self.view.names;
        let is_cache = names.past_key.layer_of(name).is_some() || names.past_value.layer_of(name).is_some();
        let declared = self.view.input(name).filter(|_| is_cache)?.shape.as_deref();
        let fixed = |axis: usize| match declared.and_then(|dims| dims.get(axis)) {
            Some(Dimension::Fixed(extent)) => *extent,
            _ => UNKNOWN_EXTENT,
        };
        Some(vec![1, fixed(1), self.call.past as i64, fixed(3)])
    }
}

/// What `node` gives for `inputs`.
fn operate(node: &Node<'_>, inputs: &[Option<Rc<Small>>]) -> Result<Small> {
    let optional = |index: usize| inputs.get(index).and_then(Option::as_deref);
    let input = |index: usize| optional(index).ok_or_else(|| invalid(format!("input {index} is missing")));
    let axes = || match (optional(1), node.attribute("axes")) {
        (Some(axes), _) => Some(axes.elements.clone()),
        (None, Some(AttributeValue::Ints(axes))) => Some(axes.clone()),
        _ => None,
    };
    match node.op_type {
        "Identity" => Ok(input(0)?.clone()),
        "Cast" => {
            let small = input(0)?;
            let boolean = integer(node, "to", 0) == 9;
            Ok(map(small, |value| if boolean { i64::from(value != 0) } else { value }))
        }
        "Shape" => {
            let dims: Vec<i64> = input(0)?.dims.iter().map(|dim| *dim as i64).collect();
            shape(node, &dims)
        }
        "Add" => broadcast(input(0)?, input(1)?, |a, b| a.checked_add(b)),
        "Sub" => broadcast(input(0)?, input(1)?, |a, b| a.checked_sub(b)),
        "Mul" => broadcast(input(0)?, input(1)?, |a, b| a.checked_mul(b)),
        "Div" => broadcast(input(0)?, input(1)?, |a, b| a.checked_div(b)),
        "Max" => broadcast(input(0)?, input(1)?, |a, b| Some(a.max(b))),
        "Min" => broadcast(input(0)?, input(1)?, |a, b| Some(a.min(b))),
        "Greater" => broadcast(input(0)?, input(1)?, |a, b| Some(i64::from(a > b))),
        "GreaterOrEqual" => broadcast(input(0)?, input(1)?, |a, b| Some(i64::from(a >= b))),
        "Less" => broadcast(input(0)?, input(1)?, |a, b| Some(i64::from(a < b))),
        "LessOrEqual" => broadcast(input(0)?, input(1)?, |a, b| Some(i64::from(a <= b))),
        "Equal" => broadcast(input(0)?, input(1)?, |a, b| Some(i64::from(a == b))),
        "And" => broadcast(input(0)?, input(1)?, |a, b| Some(i64::from(a != 0 && b != 0))),
        "Or" => broadcast(input(0)?, input(1)?, |a, b| Some(i64::from(a != 0 || b != 0))),
        "Not" => Ok(map(input(0)?, |value| i64::from(value == 0))),
        "Neg" => Ok(map(input(0)?, i64::wrapping_neg)),
        "Where" => {
            let chosen = broadcast(input(0)?, input(1)?, |condition, value| {
                Some(if condition != 0 { value } else { 0 })
            })?;
            let rejected = broadcast(input(0)?, input(2)?, |condition, value| {
                Some(if condition != 0 { 0 } else { value })
            })?;
            broadcast(&chosen, &rejected, |a, b| a.checked_add(b))
        }
        "ReduceSum" | "ReduceMax" | "ReduceMin" => {
            let fold: fn(i64, i64) -> Option<i64> = match node.op_type {
                "ReduceSum" => i64::checked_add,
                "ReduceMax" => |a, b| Some(a.max(b)),
                _ => |a, b| Some(a.min(b)),
            };
            reduce(input(0)?, axes(), integer(node, "keepdims", 1) != 0, fold)
        }
        "CumSum" => {
            if integer(node, "exclusive", 0) != 0 || integer(node, "reverse", 0) != 0 {
                return Err(unsupported("an exclusive or reverse CumSum"));
            }
            cumulative_sum(input(0)?, scalar(input(1)?)?)
        }
        "Gather" => gather(input(0)?, input(1)?, integer(node, "axis", 0)),
        "Slice" => {
            let axes = optional(3).map(|axes| axes.elements.as_slice());
            if optional(4).is_some_and(|steps| steps.elements.iter().any(|step| *step != 1)) {
                return Err(unsupported("Slice with a step other than 1"));
            }
            slice(input(0)?, &input(1)?.elements, &input(2)?.elements, axes)
        }
        "Expand" => expand(input(0)?, &input(1)?.elements),
        "ConstantOfShape" => {
            let dims = input(0)?.elements.iter().map(|dim| extent(*dim)).collect::<Result<Vec<_>>>()?;
            filled(dims, fill_value(node)?)
        }
        "Unsqueeze" | "Squeeze" => reshape_axes(input(0)?, axes(), node.op_type == "Unsqueeze"),
        "Reshape" => reshape(input(0)?, &input(1)?.elements),
        "Concat" => {
            let parts = (0..inputs.len()).map(input).collect::<Result<Vec<_>>>()?;
            concat(&parts, integer(node, "axis", 0))
        }
        "Range" => {
            let (start, limit, delta) = (scalar(input(0)?)?, scalar(input(1)?)?, scalar(input(2)?)?);
            if delta != 1 || limit.saturating_sub(start) > MAXIMUM_ELEMENTS as i64 {
                return Err(unsupported("Range with a step other than 1 or with too many elements"));
            }
            Ok(Small::row((start..limit).collect()))
        }
        _ => Err(not_evaluated()),
    }
}

fn integer(node: &Node<'_>, name: &str, default: i64) -> i64 {
    match node.attribute(name) {
        Some(AttributeValue::Int(value)) => *value,
        _ => default,
    }
}

/// The extents from attribute `start` up to attribute `end` of a value with extents `dims`.
fn shape(node: &Node<'_>, dims: &[i64]) -> Result<Small> {
    let rank = dims.len() as i64;
    let place =
        |value: i64| if value < 0 { value.saturating_add(rank) } else { value }.clamp(0, rank) as usize;
    let (start, end) = (place(integer(node, "start", 0)), place(integer(node, "end", rank)));
    Ok(Small::row(dims.get(start..end).unwrap_or_default().to_vec()))
}

/// The element of `ConstantOfShape`: 0 unless the node has one.
fn fill_value(node: &Node<'_>) -> Result<i64> {
    let Some(value) = node.attribute("value") else { return Ok(0) };
    let AttributeValue::Tensor(tensor) = value else {
        return Err(invalid("attribute value is not a tensor"));
    };
    let whole = match &tensor.content {
        crate::onnx::TensorContent::Int64(list) => list.first().copied(),
        crate::onnx::TensorContent::Int32(list) => list.first().map(|value| i64::from(*value)),
        crate::onnx::TensorContent::Float32(list) => list.first().copied().and_then(whole_number),
        crate::onnx::TensorContent::Inline(bytes) => match (tensor.data_type, *bytes) {
            (DataType::Int64, bytes) => bytes.first_chunk().map(|bytes| i64::from_le_bytes(*bytes)),
            (DataType::Int32, bytes) => {
                bytes.first_chunk().map(|bytes| i64::from(i32::from_le_bytes(*bytes)))
            }
            (DataType::Float32, bytes) => {
                bytes.first_chunk().map(|bytes| f32::from_le_bytes(*bytes)).and_then(whole_number)
            }
            (DataType::Bool, bytes) => bytes.first().map(|byte| i64::from(*byte)),
            _ => None,
        },
        _ => None,
    };
    whole.ok_or_else(|| unsupported("attribute value is not a whole number"))
}

fn scalar(small: &Small) -> Result<i64> {
    small.elements.first().copied().ok_or_else(|| invalid("an input without elements"))
}

fn extent(dim: i64) -> Result<usize> {
    usize::try_from(dim).map_err(|_| invalid(format!("a dimension of {dim}")))
}

fn not_evaluated() -> Error {
    unsupported("this operator cannot be evaluated on lengths and positions")
}

fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidModel, message)
}

fn to_size(dim: u64) -> Result<usize> {
    usize::try_from(dim).map_err(|_| invalid(format!("a dimension of {dim}")))
}

fn whole_number(value: f32) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 9.0e15).then_some(value as i64)
}

#[cfg(test)]
mod tests;
