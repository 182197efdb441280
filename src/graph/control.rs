//! Evaluates the small integer part of a graph: masks, lengths, positions.
//!
//! Decoder graphs derive lengths and positions from `attention_mask` and `position_ids` with a few dozen integer nodes,
//! written differently by every exporter. The engine computes those itself; this interpreter runs the nodes for sample
//! inputs so that loading can check that they mean the same, whatever way they are written.

use std::collections::HashMap;
use std::rc::Rc;

use crate::error::{Error, ErrorKind, Result};
use crate::onnx::{AttributeValue, DataType, Node};

use super::view::GraphView;

/// More elements than any mask or position tensor of a decoder graph needs.
const MAXIMUM_ELEMENTS: usize = 1 << 22;
/// Deeper than any chain of integer nodes in a decoder graph.
const MAXIMUM_DEPTH: usize = 200;

/// A small tensor; booleans are 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Small {
    pub(crate) dims: Vec<usize>,
    pub(crate) elements: Vec<i64>,
}

impl Small {
    fn checked(dims: Vec<usize>, elements: Vec<i64>) -> Result<Self> {
        if element_count(&dims)? != elements.len() {
            return Err(invalid(format!("{} elements do not fit the shape {dims:?}", elements.len())));
        }
        Ok(Self { dims, elements })
    }

    fn row(elements: Vec<i64>) -> Self {
        Self { dims: vec![elements.len()], elements }
    }
}

/// The inputs of one call: a sequence with `past` cached positions and `new` tokens, batch 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) past: usize,
    pub(crate) new: usize,
}

impl Call {
    pub(crate) fn total(self) -> usize {
        self.past + self.new
    }
}

/// Evaluates values of `view` for one call.
pub(crate) struct Evaluation<'v, 'a> {
    view: &'v GraphView<'a>,
    call: Call,
    known: HashMap<String, Rc<Small>>,
}

impl<'v, 'a> Evaluation<'v, 'a> {
    pub(crate) fn new(view: &'v GraphView<'a>, call: Call) -> Self {
        Self { view, call, known: HashMap::new() }
    }

    /// The value called `name`, or an error naming the node that cannot be evaluated.
    pub(crate) fn value(&mut self, name: &str) -> Result<Rc<Small>> {
        self.at_depth(name, 0)
    }

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
        self.known.insert(name.to_owned(), Rc::clone(&value));
        Ok(value)
    }

    fn compute(&mut self, name: &str, depth: usize) -> Result<Small> {
        if let Some(tensor) = self.view.constant(name)? {
            let dims = tensor.dims.iter().map(|dim| to_size(*dim)).collect::<Result<Vec<_>>>()?;
            if matches!(tensor.data_type, DataType::Float32 | DataType::Float16 | DataType::Bfloat16) {
                let row = self.view.row(&tensor)?;
                let whole = row.iter().map(|value| whole_number(*value)).collect::<Option<Vec<_>>>();
                let elements =
                    whole.ok_or_else(|| unsupported("a fraction among integer nodes").with_node(name))?;
                return Small::checked(dims, elements);
            }
            return Small::checked(dims, self.view.integers(&tensor)?);
        }
        let names = self.view.names;
        if name == names.attention_mask {
            return Ok(Small { dims: vec![1, self.call.total()], elements: vec![1; self.call.total()] });
        }
        if name == names.position_ids {
            let positions = (self.call.past..self.call.total()).map(|position| position as i64).collect();
            return Ok(Small { dims: vec![1, self.call.new], elements: positions });
        }
        if name == names.input_ids {
            return Ok(Small { dims: vec![1, self.call.new], elements: vec![0; self.call.new] });
        }
        let Some(node) = self.view.producer(name) else {
            return Err(unsupported(format!("the value {name} is not derived from lengths and positions")));
        };
        self.node(node, depth).map_err(|error| error.with_node(node.label()))
    }

    fn node(&mut self, node: &Node<'_>, depth: usize) -> Result<Small> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            inputs.push(match *input {
                "" => None,
                past if self.view.is_input(past) && past.starts_with("past") && node.op_type == "Shape" => {
                    None
                }
                name => Some(self.at_depth(name, depth + 1)?),
            });
        }
        let input = |index: usize| -> Result<&Small> {
            inputs
                .get(index)
                .and_then(Option::as_deref)
                .ok_or_else(|| invalid(format!("input {index} is missing")))
        };
        let integers = |name: &str| match node.attribute(name) {
            Some(AttributeValue::Ints(values)) => Some(values.clone()),
            _ => None,
        };
        let integer = |name: &str, default: i64| match node.attribute(name) {
            Some(AttributeValue::Int(value)) => *value,
            _ => default,
        };
        if !node.domain.is_empty() {
            return Err(unsupported("this operator cannot be evaluated on lengths and positions"));
        }
        match node.op_type {
            "Identity" => Ok(input(0)?.clone()),
            "Cast" => {
                let small = input(0)?.clone();
                let boolean = integer("to", 0) == 9;
                Ok(if boolean { map(&small, |value| i64::from(value != 0)) } else { small })
            }
            "Shape" => {
                let dims = &input(0)?.dims;
                Ok(Small::row(dims.iter().map(|dim| *dim as i64).collect()))
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
                let axes = match inputs.get(1).and_then(Option::as_deref) {
                    Some(axes) => Some(axes.elements.clone()),
                    None => integers("axes"),
                };
                let fold: fn(i64, i64) -> Option<i64> = match node.op_type {
                    "ReduceSum" => i64::checked_add,
                    "ReduceMax" => |a, b| Some(a.max(b)),
                    _ => |a, b| Some(a.min(b)),
                };
                reduce(input(0)?, axes, integer("keepdims", 1) != 0, fold)
            }
            "Gather" => gather(input(0)?, input(1)?, integer("axis", 0)),
            "Unsqueeze" | "Squeeze" => {
                let axes = match inputs.get(1).and_then(Option::as_deref) {
                    Some(axes) => Some(axes.elements.clone()),
                    None => integers("axes"),
                };
                reshape_axes(input(0)?, axes, node.op_type == "Unsqueeze")
            }
            "Reshape" => {
                let shape = input(1)?.elements.clone();
                reshape(input(0)?, &shape)
            }
            "Concat" => {
                let parts = (0..inputs.len()).map(input).collect::<Result<Vec<_>>>()?;
                if parts.iter().any(|part| part.dims.len() > 1) {
                    return Err(unsupported("Concat of tensors with more than one axis"));
                }
                Ok(Small::row(parts.iter().flat_map(|part| part.elements.iter().copied()).collect()))
            }
            "Range" => {
                let value = |index| {
                    input(index).and_then(|small| {
                        small.elements.first().copied().ok_or_else(|| invalid("empty input"))
                    })
                };
                let (start, limit, delta) = (value(0)?, value(1)?, value(2)?);
                if delta != 1 || limit.saturating_sub(start) > MAXIMUM_ELEMENTS as i64 {
                    return Err(unsupported("Range with a step other than 1 or with too many elements"));
                }
                Ok(Small::row((start..limit).collect()))
            }
            _ => Err(unsupported("this operator cannot be evaluated on lengths and positions")),
        }
    }
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

fn map(small: &Small, function: impl Fn(i64) -> i64) -> Small {
    Small {
        dims: small.dims.clone(),
        elements: small.elements.iter().map(|value| function(*value)).collect(),
    }
}

fn element_count(dims: &[usize]) -> Result<usize> {
    dims.iter()
        .try_fold(1_usize, |product, dim| product.checked_mul(*dim))
        .filter(|count| *count <= MAXIMUM_ELEMENTS)
        .ok_or_else(|| unsupported("an integer tensor with too many elements"))
}

fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

fn broadcast(left: &Small, right: &Small, function: impl Fn(i64, i64) -> Option<i64>) -> Result<Small> {
    let rank = left.dims.len().max(right.dims.len());
    let padded = |dims: &[usize]| [vec![1; rank - dims.len()], dims.to_vec()].concat();
    let (left_dims, right_dims) = (padded(&left.dims), padded(&right.dims));
    let mut dims = Vec::with_capacity(rank);
    for (a, b) in left_dims.iter().zip(&right_dims) {
        dims.push(match (*a, *b) {
            (a, b) if a == b => a,
            (1, b) => b,
            (a, 1) => a,
            _ => return Err(invalid(format!("shapes {:?} and {:?} do not combine", left.dims, right.dims))),
        });
    }
    let count = element_count(&dims)?;
    let (out_strides, left_strides, right_strides) =
        (strides(&dims), strides(&left_dims), strides(&right_dims));
    let mut elements = Vec::with_capacity(count);
    for index in 0..count {
        let (mut a, mut b) = (0, 0);
        for axis in 0..rank {
            let coordinate = index / out_strides[axis] % dims[axis];
            a += if left_dims[axis] == 1 { 0 } else { coordinate * left_strides[axis] };
            b += if right_dims[axis] == 1 { 0 } else { coordinate * right_strides[axis] };
        }
        let value = function(left.elements[a], right.elements[b]);
        elements.push(value.ok_or_else(|| invalid("integer overflow or division by zero"))?);
    }
    Ok(Small { dims, elements })
}

fn axis_index(axis: i64, rank: usize) -> Result<usize> {
    let wrapped = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(wrapped)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| invalid(format!("axis {axis} of a tensor of rank {rank}")))
}

fn reduce(
    small: &Small,
    axes: Option<Vec<i64>>,
    keep: bool,
    fold: impl Fn(i64, i64) -> Option<i64>,
) -> Result<Small> {
    let rank = small.dims.len();
    let axes = match axes.filter(|axes| !axes.is_empty()) {
        None => (0..rank).collect(),
        Some(axes) => axes.iter().map(|axis| axis_index(*axis, rank)).collect::<Result<Vec<_>>>()?,
    };
    let kept: Vec<usize> =
        (0..rank).map(|axis| if axes.contains(&axis) { 1 } else { small.dims[axis] }).collect();
    let (in_strides, kept_strides) = (strides(&small.dims), strides(&kept));
    let mut elements: Vec<Option<i64>> = vec![None; element_count(&kept)?];
    for (index, value) in small.elements.iter().enumerate() {
        let mut target = 0;
        for axis in 0..rank {
            let coordinate = index / in_strides[axis] % small.dims[axis];
            target += if axes.contains(&axis) { 0 } else { coordinate * kept_strides[axis] };
        }
        elements[target] = match elements[target] {
            None => Some(*value),
            Some(so_far) => Some(fold(so_far, *value).ok_or_else(|| invalid("integer overflow"))?),
        };
    }
    let dims = if keep {
        kept
    } else {
        (0..rank).filter(|axis| !axes.contains(axis)).map(|axis| small.dims[axis]).collect()
    };
    Ok(Small { dims, elements: elements.into_iter().map(|value| value.unwrap_or(0)).collect() })
}

fn gather(data: &Small, indices: &Small, axis: i64) -> Result<Small> {
    let axis = axis_index(axis, data.dims.len())?;
    let extent = data.dims[axis];
    let inner: usize = data.dims[axis + 1..].iter().product();
    let outer: usize = data.dims[..axis].iter().product();
    let dims = [&data.dims[..axis], &indices.dims, &data.dims[axis + 1..]].concat();
    let mut elements = Vec::with_capacity(element_count(&dims)?);
    for block in 0..outer {
        for index in &indices.elements {
            let index = axis_index(*index, extent)?;
            let start = (block * extent + index) * inner;
            elements.extend_from_slice(&data.elements[start..start + inner]);
        }
    }
    Ok(Small { dims, elements })
}

fn reshape_axes(small: &Small, axes: Option<Vec<i64>>, insert: bool) -> Result<Small> {
    let mut dims = small.dims.clone();
    if insert {
        let axes = axes.ok_or_else(|| invalid("no axes"))?;
        let rank = dims.len() + axes.len();
        let mut places = axes.iter().map(|axis| axis_index(*axis, rank)).collect::<Result<Vec<_>>>()?;
        places.sort_unstable();
        for place in places {
            if place > dims.len() {
                return Err(invalid("axes are repeated"));
            }
            dims.insert(place, 1);
        }
    } else {
        let rank = dims.len();
        let removed = match axes {
            Some(axes) => axes.iter().map(|axis| axis_index(*axis, rank)).collect::<Result<Vec<_>>>()?,
            None => (0..rank).filter(|axis| dims[*axis] == 1).collect(),
        };
        if removed.iter().any(|axis| dims[*axis] != 1) {
            return Err(invalid("only axes of extent 1 can be removed"));
        }
        dims = (0..rank).filter(|axis| !removed.contains(axis)).map(|axis| small.dims[axis]).collect();
    }
    Ok(Small { dims, elements: small.elements.clone() })
}

fn reshape(small: &Small, shape: &[i64]) -> Result<Small> {
    let mut dims = Vec::with_capacity(shape.len());
    let mut inferred = None;
    for (axis, dim) in shape.iter().enumerate() {
        match *dim {
            -1 if inferred.is_none() => {
                inferred = Some(axis);
                dims.push(1);
            }
            0 => {
                dims.push(*small.dims.get(axis).ok_or_else(|| invalid("a copied axis that does not exist"))?)
            }
            dim => dims.push(usize::try_from(dim).map_err(|_| invalid(format!("a dimension of {dim}")))?),
        }
    }
    let rest = element_count(&dims)?;
    if let Some(axis) = inferred {
        dims[axis] = small.elements.len().checked_div(rest).unwrap_or(0);
    }
    if element_count(&dims)? != small.elements.len() {
        return Err(invalid(format!("{} elements do not fit the shape {shape:?}", small.elements.len())));
    }
    Ok(Small { dims, elements: small.elements.clone() })
}

/// Which branch of an `If` node runs for a call.
pub(crate) fn branch_taken(view: &GraphView<'_>, node: &Node<'_>, call: Call) -> Result<bool> {
    let condition = node.inputs.first().copied().unwrap_or("");
    let value = Evaluation::new(view, call).value(condition)?;
    match value.elements.as_slice() {
        [value] => Ok(*value != 0),
        other => Err(invalid(format!("the condition has {} elements", other.len())).with_node(node.label())),
    }
}
