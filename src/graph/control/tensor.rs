//! Small integer tensors and the operators on them that lengths and positions are derived with.

use super::{invalid, unsupported};
use crate::error::Result;

/// More elements than any mask or position tensor of a decoder graph needs.
pub(super) const MAXIMUM_ELEMENTS: usize = 1 << 22;
/// More axes than any tensor of a decoder graph has.
const MAXIMUM_RANK: usize = 8;

/// A small tensor; booleans are 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Small {
    pub(crate) dims: Vec<usize>,
    pub(crate) elements: Vec<i64>,
}

impl Small {
    pub(super) fn checked(dims: Vec<usize>, elements: Vec<i64>) -> Result<Self> {
        if element_count(&dims)? != elements.len() {
            return Err(invalid(format!("{} elements do not fit the shape {dims:?}", elements.len())));
        }
        Ok(Self { dims, elements })
    }

    pub(super) fn row(elements: Vec<i64>) -> Self {
        Self { dims: vec![elements.len()], elements }
    }
}

pub(super) fn map(small: &Small, function: impl Fn(i64) -> i64) -> Small {
    Small {
        dims: small.dims.clone(),
        elements: small.elements.iter().map(|value| function(*value)).collect(),
    }
}

/// How many elements a tensor has; neither they nor its axes may be too many, even where an extent of 0 leaves none.
pub(super) fn element_count(dims: &[usize]) -> Result<usize> {
    let too_large = || unsupported("an integer tensor with too many elements");
    if dims.len() > MAXIMUM_RANK {
        return Err(unsupported(format!("an integer tensor of {} axes", dims.len())));
    }
    dims.iter()
        .try_fold(1_usize, |product, dim| product.checked_mul((*dim).max(1)))
        .filter(|count| *count <= MAXIMUM_ELEMENTS)
        .ok_or_else(too_large)?;
    Ok(dims.iter().product())
}

/// A tensor of one number.
pub(super) fn filled(dims: Vec<usize>, value: i64) -> Result<Small> {
    let elements = vec![value; element_count(&dims)?];
    Ok(Small { dims, elements })
}

fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

pub(super) fn broadcast(
    left: &Small,
    right: &Small,
    function: impl Fn(i64, i64) -> Option<i64>,
) -> Result<Small> {
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

/// The axes in order, each once.
fn distinct_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut distinct = axes.iter().map(|axis| axis_index(*axis, rank)).collect::<Result<Vec<_>>>()?;
    distinct.sort_unstable();
    distinct.dedup();
    Ok(distinct)
}

pub(super) fn reduce(
    small: &Small,
    axes: Option<Vec<i64>>,
    keep: bool,
    fold: impl Fn(i64, i64) -> Option<i64>,
) -> Result<Small> {
    let rank = small.dims.len();
    let axes = match axes.filter(|axes| !axes.is_empty()) {
        None => (0..rank).collect(),
        Some(axes) => distinct_axes(&axes, rank)?,
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

pub(super) fn gather(data: &Small, indices: &Small, axis: i64) -> Result<Small> {
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

/// The extents after `Unsqueeze` (`insert`) or `Squeeze` of a tensor of extents `dims`.
pub(crate) fn squeezed_dims(dims: &[usize], axes: Option<&[i64]>, insert: bool) -> Result<Vec<usize>> {
    if !insert {
        let removed = match axes {
            Some(axes) => distinct_axes(axes, dims.len())?,
            None => (0..dims.len()).filter(|axis| dims[*axis] == 1).collect(),
        };
        if removed.iter().any(|axis| dims[*axis] != 1) {
            return Err(invalid("only axes of extent 1 can be removed"));
        }
        let kept = dims.iter().enumerate().filter(|(axis, _)| removed.binary_search(axis).is_err());
        return Ok(kept.map(|(_, dim)| *dim).collect());
    }
    let axes = axes.ok_or_else(|| invalid("no axes"))?;
    if axes.len() > MAXIMUM_RANK {
        return Err(unsupported(format!("{} axes to insert", axes.len())));
    }
    let places = distinct_axes(axes, dims.len() + axes.len())?;
    if places.len() != axes.len() {
        return Err(invalid("axes are repeated"));
    }
    let mut dims = dims.to_vec();
    for place in places {
        dims.insert(place, 1);
    }
    Ok(dims)
}

pub(super) fn reshape_axes(small: &Small, axes: Option<Vec<i64>>, insert: bool) -> Result<Small> {
    let dims = squeezed_dims(&small.dims, axes.as_deref(), insert)?;
    Small::checked(dims, small.elements.clone())
}

/// The extents that `Reshape` to `shape` gives a tensor of extents `dims`: 0 copies an extent, one −1 is what is left.
pub(crate) fn reshaped_dims(dims: &[usize], shape: &[i64]) -> Result<Vec<usize>> {
    let fits = || invalid(format!("extents {dims:?} do not fit the shape {shape:?}"));
    let product = |dims: &[usize]| dims.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
    let mut reshaped = Vec::with_capacity(shape.len());
    let mut inferred = None;
    for (axis, dim) in shape.iter().enumerate() {
        reshaped.push(match *dim {
            -1 if inferred.is_none() => {
                inferred = Some(axis);
                1
            }
            0 => *dims.get(axis).ok_or_else(fits)?,
            dim => usize::try_from(dim).map_err(|_| fits())?,
        });
    }
    let total = product(dims).ok_or_else(fits)?;
    if let Some(axis) = inferred {
        let rest = product(&reshaped).ok_or_else(fits)?;
        reshaped[axis] = total.checked_div(rest).ok_or_else(fits)?;
    }
    if product(&reshaped) == Some(total) { Ok(reshaped) } else { Err(fits()) }
}

pub(super) fn reshape(small: &Small, shape: &[i64]) -> Result<Small> {
    let dims = reshaped_dims(&small.dims, shape)?;
    Small::checked(dims, small.elements.clone())
}

/// The part from `starts` up to `ends` along `axes`, which are all from the first on where they are not given.
pub(super) fn slice(small: &Small, starts: &[i64], ends: &[i64], axes: Option<&[i64]>) -> Result<Small> {
    let rank = small.dims.len();
    if starts.len() != ends.len()
        || starts.len() > rank
        || axes.is_some_and(|axes| axes.len() != starts.len())
    {
        return Err(invalid(format!("{} starts and {} ends for {rank} axes", starts.len(), ends.len())));
    }
    let mut part = small.clone();
    for (place, (start, end)) in starts.iter().zip(ends).enumerate() {
        let axis = match axes.and_then(|axes| axes.get(place)) {
            Some(axis) => axis_index(*axis, rank)?,
            None => place,
        };
        let extent = part.dims[axis];
        let (start, end) = (clamped(*start, extent), clamped(*end, extent));
        let inner: usize = part.dims[axis + 1..].iter().product();
        let chunk = extent * inner;
        let kept = start * inner..end.max(start) * inner;
        let chunks = part.elements.chunks(chunk.max(1));
        part.elements = chunks.flat_map(|chunk| chunk[kept.clone()].iter().copied()).collect();
        part.dims[axis] = end.saturating_sub(start);
    }
    Ok(part)
}

/// A bound of a slice: negative counts from the end, and what lies outside is the nearest end.
pub(crate) fn clamped(bound: i64, extent: usize) -> usize {
    let bound = if bound < 0 { bound.saturating_add_unsigned(extent as u64) } else { bound };
    usize::try_from(bound.max(0)).unwrap_or(usize::MAX).min(extent)
}

pub(super) fn expand(small: &Small, shape: &[i64]) -> Result<Small> {
    let dims =
        shape.iter().map(|dim| usize::try_from(*dim).map_err(|_| invalid(format!("a dimension of {dim}"))));
    let shape = filled(dims.collect::<Result<Vec<_>>>()?, 0)?;
    broadcast(small, &shape, |value, _| Some(value))
}

/// Sums from the first element on along `axis`.
pub(super) fn cumulative_sum(small: &Small, axis: i64) -> Result<Small> {
    let axis = axis_index(axis, small.dims.len())?;
    let inner: usize = small.dims[axis + 1..].iter().product();
    let chunk = (small.dims[axis] * inner).max(1);
    let mut elements = small.elements.clone();
    for chunk in elements.chunks_mut(chunk) {
        for place in inner..chunk.len() {
            let sum = chunk[place].checked_add(chunk[place - inner]);
            chunk[place] = sum.ok_or_else(|| invalid("integer overflow"))?;
        }
    }
    Ok(Small { dims: small.dims.clone(), elements })
}

/// The parts after one another along `axis`, in whose extent alone they differ.
pub(super) fn concat(parts: &[&Small], axis: i64) -> Result<Small> {
    let Some(first) = parts.first() else { return Err(invalid("Concat of nothing")) };
    let rank = first.dims.len().max(1);
    let axis = axis_index(axis, rank)?;
    // Exporters join scalars as if they were rows.
    let dims_of = |part: &Small| if part.dims.is_empty() { vec![1] } else { part.dims.clone() };
    let mut dims = dims_of(first);
    dims[axis] = 0;
    for part in parts {
        let mut other = dims_of(part);
        if other.len() != rank {
            return Err(invalid("Concat of tensors of different ranks"));
        }
        dims[axis] += other[axis];
        other[axis] = dims[axis];
        if other != dims {
            return Err(invalid(format!("extents {:?} and {:?} do not combine", first.dims, part.dims)));
        }
        element_count(&dims)?;
    }
    let outer: usize = dims[..axis].iter().product();
    let mut elements = Vec::with_capacity(element_count(&dims)?);
    for block in 0..outer {
        for part in parts {
            let chunk = part.elements.len() / outer;
            elements.extend_from_slice(&part.elements[block * chunk..(block + 1) * chunk]);
        }
    }
    Ok(Small { dims, elements })
}
