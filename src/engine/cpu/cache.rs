//! Keys and values of one sequence, in blocks that are made as the sequence grows.

use std::any::Any;
use std::sync::Arc;

use half::f16;

use super::budget::{MemoryBudget, Reservation};
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
        self.length = self.length.min(length);
    }

    fn bytes(&self) -> u64 {
        self.reservation.as_ref().map_or(0, Reservation::bytes)
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
