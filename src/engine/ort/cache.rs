//! Keys and values of one sequence, as tensors of ONNX Runtime.

#![forbid(unsafe_code)]

use std::any::Any;
use std::sync::Arc;

use half::{bf16, f16};
use ort::memory::Allocator;
use ort::session::IoBinding;
use ort::value::{DynTensor, TensorElementType};
use zeroize::Zeroize;

use super::failure::of_run;
use super::interface::CacheTensor;
use crate::engine::KvCache;
use crate::engine::budget::{MemoryBudget, Reservation};
use crate::error::Result;
use crate::onnx::DataType;

/// Positions by which a cache grows.
pub(super) const STEP: usize = 128;

/// The engine's [`KvCache`].
///
/// Where attention writes in place, the tensors are `[1, heads, capacity, size]` and bound as input and output at once.
/// Elsewhere they are `[1, heads, length, size]`, and a pass replaces them.
pub(super) struct OrtCache {
    /// Which engine made it.
    pub(super) owner: usize,
    pub(super) length: usize,
    /// Which of LongRoPE's tables the cached keys were rotated with.
    pub(super) variant: usize,
    pub(super) capacity: usize,
    pub(super) tensors: Vec<DynTensor>,
    /// The session's binding that holds the tensors, where they are shared.
    pub(super) binding: Option<IoBinding>,
    pub(super) reservation: Option<Reservation>,
    shapes: Arc<[CacheTensor]>,
    pub(super) is_shared: bool,
    /// Whether this process can read the tensors' memory.
    on_host: bool,
}

impl OrtCache {
    pub(super) fn new(owner: usize, shapes: Arc<[CacheTensor]>, is_shared: bool, on_host: bool) -> Self {
        Self {
            owner,
            length: 0,
            variant: 0,
            capacity: 0,
            tensors: Vec::new(),
            binding: None,
            reservation: None,
            shapes,
            is_shared,
            on_host,
        }
    }

    /// Sets memory aside for `positions`.
    pub(super) fn reserve(&mut self, budget: &Arc<MemoryBudget>, bytes: u64) -> Result<()> {
        let held = self.reservation.as_ref().map_or(0, Reservation::bytes);
        if bytes > held {
            let more = budget.reserve(bytes - held)?;
            match &mut self.reservation {
                Some(held) => held.merge(more),
                None => self.reservation = Some(more),
            }
        }
        Ok(())
    }

    /// Overwrites rows with zeros, where the memory can be reached: what was said is not to be read from it later.
    pub(super) fn wipe(tensors: &mut [DynTensor], first: usize) {
        for tensor in tensors {
            each_head(tensor, |head, size| match head {
                Rows::F32(rows) => rows.get_mut(first * size..).into_iter().for_each(Zeroize::zeroize),
                Rows::Bits(rows) => rows.get_mut(first * size..).into_iter().for_each(Zeroize::zeroize),
            });
        }
    }

    /// Keeps the first `length` rows of tensors that are as long as what is in them.
    fn shorten(&mut self, length: usize) -> Result<()> {
        let mut kept = Vec::with_capacity(self.tensors.len());
        for (tensor, shape) in self.tensors.iter_mut().zip(self.shapes.iter()) {
            let mut new = allocate(&Allocator::default(), shape, length)?;
            let mut heads: Vec<OwnedRows> = Vec::with_capacity(shape.heads);
            each_head(tensor, |head, size| {
                heads.push(match head {
                    Rows::F32(rows) => OwnedRows::F32(rows.get(..length * size).unwrap_or_default().to_vec()),
                    Rows::Bits(rows) => {
                        OwnedRows::Bits(rows.get(..length * size).unwrap_or_default().to_vec())
                    }
                });
            });
            let mut heads = heads.into_iter();
            each_head(&mut new, |head, _| match (head, heads.next()) {
                (Rows::F32(to), Some(OwnedRows::F32(mut from))) if to.len() == from.len() => {
                    to.copy_from_slice(&from);
                    from.zeroize();
                }
                (Rows::Bits(to), Some(OwnedRows::Bits(mut from))) if to.len() == from.len() => {
                    to.copy_from_slice(&from);
                    from.zeroize();
                }
                _ => {}
            });
            kept.push(new);
        }
        let mut old = std::mem::replace(&mut self.tensors, kept);
        Self::wipe(&mut old, 0);
        Ok(())
    }

    /// Takes the tensors of a longer sequence in place of its own.
    pub(super) fn replace(&mut self, tensors: Vec<DynTensor>) {
        let mut old = std::mem::replace(&mut self.tensors, tensors);
        if self.on_host {
            Self::wipe(&mut old, 0);
        }
    }

    fn clear(&mut self) {
        self.length = 0;
        if self.on_host {
            Self::wipe(&mut self.tensors, 0);
        }
        if !self.is_shared {
            self.tensors.clear();
        }
    }
}

impl KvCache for OrtCache {
    fn len(&self) -> usize {
        self.length
    }

    fn truncate(&mut self, length: usize) {
        if length >= self.length {
            return;
        }
        if self.is_shared {
            self.length = length;
            if self.on_host {
                Self::wipe(&mut self.tensors, length);
            }
        } else if length == 0 || !self.on_host || self.shorten(length).is_err() {
            // A cache in a device's memory cannot be cut; what was in it is computed again.
            self.clear();
        } else {
            self.length = length;
        }
    }

    fn bytes(&self) -> u64 {
        self.reservation.as_ref().map_or(0, Reservation::bytes)
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl Drop for OrtCache {
    fn drop(&mut self) {
        if self.on_host {
            Self::wipe(&mut self.tensors, 0);
        }
    }
}

/// A tensor of `positions` rows a head.
pub(super) fn allocate(allocator: &Allocator, shape: &CacheTensor, positions: usize) -> Result<DynTensor> {
    let data_type = match shape.data_type {
        DataType::Float16 => TensorElementType::Float16,
        DataType::Bfloat16 => TensorElementType::Bfloat16,
        _ => TensorElementType::Float32,
    };
    DynTensor::new(allocator, data_type, [1, shape.heads, positions, shape.head_size])
        .map_err(|error| of_run(&error))
}

/// The rows of one head.
enum Rows<'a> {
    F32(&'a mut [f32]),
    Bits(&'a mut [u16]),
}

enum OwnedRows {
    F32(Vec<f32>),
    Bits(Vec<u16>),
}

/// Calls `work` with each head's rows and the size of a row. The tensor's memory must be the process's; others have no rows.
fn each_head(tensor: &mut DynTensor, mut work: impl FnMut(Rows<'_>, usize)) {
    let dims: Vec<usize> = tensor.shape().iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect();
    let [_, _, positions, size] = dims.as_slice() else { return };
    let (size, chunk) = (*size, positions * size);
    if chunk == 0 {
        return;
    }
    if let Ok((_, elements)) = tensor.try_extract_tensor_mut::<f32>() {
        elements.chunks_exact_mut(chunk).for_each(|head| work(Rows::F32(head), size));
    } else if let Ok((_, elements)) = tensor.try_extract_tensor_mut::<f16>() {
        let bits = half_bits(elements);
        bits.chunks_exact_mut(chunk).for_each(|head| work(Rows::Bits(head), size));
    } else if let Ok((_, elements)) = tensor.try_extract_tensor_mut::<bf16>() {
        let bits = half_bits(elements);
        bits.chunks_exact_mut(chunk).for_each(|head| work(Rows::Bits(head), size));
    }
}

fn half_bits<H>(elements: &mut [H]) -> &mut [u16]
where
    [H]: half::slice::HalfFloatSliceExt,
{
    half::slice::HalfFloatSliceExt::reinterpret_cast_mut(elements)
}
