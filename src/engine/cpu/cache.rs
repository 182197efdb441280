//! Keys and values of one sequence, in blocks that are made as the sequence grows.

use std::any::Any;
use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;
use zeroize::Zeroize;

use crate::engine::budget::{MemoryBudget, Reservation};
use crate::engine::{Accuracy, KvCache};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::LayerShape;
use crate::kernels::{BLOCK_POSITIONS, KvBlock, KvBlockMut};

/// Keys `[head_size][positions]`, then values `[positions][head_size]`, of one head and [`BLOCK_POSITIONS`] positions.
pub(crate) enum HeadBlock {
    Half(Box<[f16]>),
    Single(Box<[f32]>),
}

impl HeadBlock {
    fn new(head_size: usize, accuracy: Accuracy) -> Result<Self> {
        let elements = 2 * head_size * BLOCK_POSITIONS;
        Ok(match accuracy {
            Accuracy::Default => Self::Half(zeros(elements, f16::ZERO)?),
            Accuracy::Strict => Self::Single(zeros(elements, 0.0)?),
        })
    }

    /// Keys and values.
    pub(crate) fn parts(&self) -> (KvBlock<'_>, KvBlock<'_>) {
        match self {
            Self::Half(elements) => {
                let (keys, values) = elements.split_at(elements.len() / 2);
                (KvBlock::F16(keys), KvBlock::F16(values))
            }
            Self::Single(elements) => {
                let (keys, values) = elements.split_at(elements.len() / 2);
                (KvBlock::F32(keys), KvBlock::F32(values))
            }
        }
    }

    /// Overwrites the positions from `first` on with zeros.
    fn wipe(&mut self, first: usize) {
        match self {
            Self::Half(elements) => wipe_positions(elements.reinterpret_cast_mut(), first),
            Self::Single(elements) => wipe_positions(elements, first),
        }
    }

    /// Keys and values, to be written.
    pub(crate) fn parts_mut(&mut self) -> (KvBlockMut<'_>, KvBlockMut<'_>) {
        match self {
            Self::Half(elements) => {
                let (keys, values) = elements.split_at_mut(elements.len() / 2);
                (KvBlockMut::F16(keys), KvBlockMut::F16(values))
            }
            Self::Single(elements) => {
                let (keys, values) = elements.split_at_mut(elements.len() / 2);
                (KvBlockMut::F32(keys), KvBlockMut::F32(values))
            }
        }
    }
}

fn wipe_positions<T: Zeroize>(elements: &mut [T], first: usize)
where
    [T]: Zeroize,
{
    let (keys, values) = elements.split_at_mut(elements.len() / 2);
    for key in keys.chunks_mut(BLOCK_POSITIONS) {
        key[first..].zeroize();
    }
    let row = values.len() / BLOCK_POSITIONS;
    values[row * first..].zeroize();
}

fn zeros<T: Clone>(count: usize, zero: T) -> Result<Box<[T]>> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(count).map_err(|error| {
        Error::new(ErrorKind::MemoryBudget, "no memory for a block of the KV cache").with_source(error)
    })?;
    elements.resize(count, zero);
    Ok(elements.into_boxed_slice())
}

/// The blocks of one key-value head of one layer.
#[derive(Default)]
pub(crate) struct HeadCache {
    pub(crate) blocks: Vec<HeadBlock>,
}

/// The CPU engine's [`KvCache`].
pub(crate) struct CpuCache {
    /// Which model made it.
    pub(crate) owner: usize,
    pub(crate) length: usize,
    /// Which of the rotation tables the cached keys were rotated with.
    pub(crate) rope_variant: usize,
    /// Per layer, per key-value head.
    pub(crate) layers: Vec<Vec<HeadCache>>,
    shapes: Arc<[LayerShape]>,
    accuracy: Accuracy,
    budget: Arc<MemoryBudget>,
    reservation: Option<Reservation>,
}

impl CpuCache {
    pub(crate) fn new(
        owner: usize,
        shapes: Arc<[LayerShape]>,
        accuracy: Accuracy,
        budget: Arc<MemoryBudget>,
    ) -> Self {
        let layers =
            shapes.iter().map(|shape| (0..shape.kv_heads).map(|_| HeadCache::default()).collect()).collect();
        Self { owner, length: 0, rope_variant: 0, layers, shapes, accuracy, budget, reservation: None }
    }

    /// How many positions the blocks hold.
    pub(crate) fn capacity(&self) -> usize {
        let blocks = self.layers.iter().flatten().map(|head| head.blocks.len()).min();
        blocks.map_or(usize::MAX, |blocks| blocks * BLOCK_POSITIONS)
    }

    /// Makes room for `positions`, or changes nothing.
    pub(crate) fn grow(&mut self, positions: usize) -> Result<()> {
        let capacity = self.capacity();
        if positions <= capacity {
            return Ok(());
        }
        let wanted = positions.div_ceil(BLOCK_POSITIONS);
        let missing = wanted - capacity / BLOCK_POSITIONS;
        let bytes = cache_bytes(&self.shapes, self.accuracy, missing * BLOCK_POSITIONS);
        let reservation = self.budget.reserve(bytes)?;
        if let Err(error) = self.allocate(wanted) {
            let kept = capacity / BLOCK_POSITIONS;
            self.layers.iter_mut().flatten().for_each(|head| head.blocks.truncate(kept));
            return Err(error);
        }
        match &mut self.reservation {
            Some(held) => held.merge(reservation),
            None => self.reservation = Some(reservation),
        }
        Ok(())
    }

    /// Overwrites the positions from `length` on with zeros: what was said is not to be read later from memory.
    fn wipe(&mut self, length: usize) {
        let (whole, first) = (length / BLOCK_POSITIONS, length % BLOCK_POSITIONS);
        for head in self.layers.iter_mut().flatten() {
            let mut first = first;
            for block in head.blocks.iter_mut().skip(whole) {
                block.wipe(std::mem::take(&mut first));
            }
        }
    }

    fn allocate(&mut self, blocks: usize) -> Result<()> {
        for (layer, shape) in self.layers.iter_mut().zip(self.shapes.iter()) {
            for head in layer {
                while head.blocks.len() < blocks {
                    head.blocks.push(HeadBlock::new(shape.head_size, self.accuracy)?);
                }
            }
        }
        Ok(())
    }
}

impl Drop for CpuCache {
    fn drop(&mut self) {
        self.wipe(0);
    }
}

/// Bytes of blocks for `positions` positions.
pub(crate) fn cache_bytes(shapes: &[LayerShape], accuracy: Accuracy, positions: usize) -> u64 {
    let element: u64 = match accuracy {
        Accuracy::Default => 2,
        Accuracy::Strict => 4,
    };
    let per_position: u64 =
        shapes.iter().map(|shape| 2 * element * (shape.kv_heads * shape.head_size) as u64).sum();
    per_position.saturating_mul(positions.next_multiple_of(BLOCK_POSITIONS) as u64)
}

impl KvCache for CpuCache {
    fn len(&self) -> usize {
        self.length
    }

    fn truncate(&mut self, length: usize) {
        if length < self.length {
            self.length = length;
            self.wipe(length);
        }
    }

    fn bytes(&self) -> u64 {
        self.reservation.as_ref().map_or(0, Reservation::bytes)
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether keys and values of `position` are all zero in every head.
    fn is_wiped(cache: &CpuCache, position: usize) -> bool {
        let (block, column) = (position / BLOCK_POSITIONS, position % BLOCK_POSITIONS);
        let zero = |elements: Vec<f32>| {
            let (keys, values) = elements.split_at(elements.len() / 2);
            let row = values.len() / BLOCK_POSITIONS;
            keys.chunks(BLOCK_POSITIONS).all(|key| key[column] == 0.0)
                && values[row * column..][..row].iter().all(|value| *value == 0.0)
        };
        cache.layers.iter().flatten().all(|head| match &head.blocks[block] {
            HeadBlock::Half(elements) => zero(elements.iter().map(|element| element.to_f32()).collect()),
            HeadBlock::Single(elements) => zero(elements.to_vec()),
        })
    }

    #[test]
    fn what_is_forgotten_is_wiped_and_nothing_else() {
        let shapes: Arc<[LayerShape]> = Arc::from([LayerShape { kv_heads: 2, head_size: 3 }; 2]);
        for accuracy in [Accuracy::Default, Accuracy::Strict] {
            let budget = MemoryBudget::new(1 << 20);
            let mut cache = CpuCache::new(0, Arc::clone(&shapes), accuracy, budget);
            cache.grow(150).unwrap();
            for head in cache.layers.iter_mut().flatten() {
                for block in &mut head.blocks {
                    match block {
                        HeadBlock::Half(elements) => elements.fill(f16::ONE),
                        HeadBlock::Single(elements) => elements.fill(1.0),
                    }
                }
            }
            cache.length = 150;
            cache.truncate(200);
            assert!((0..192).all(|position| !is_wiped(&cache, position)));
            cache.truncate(70);
            assert!((0..70).all(|position| !is_wiped(&cache, position)), "{accuracy:?}");
            assert!((70..192).all(|position| is_wiped(&cache, position)), "{accuracy:?}");
            cache.truncate(0);
            assert!((0..192).all(|position| is_wiped(&cache, position)), "{accuracy:?}");
        }
    }
}
