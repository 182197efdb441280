//! Keys and values of one sequence, in blocks that are made as the sequence grows.

use std::any::Any;
use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;
use zeroize::Zeroize;

use crate::engine::budget::{MemoryBudget, Reservation};
use crate::engine::{Accuracy, KvCache, KvPrecision};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::LayerShape;
use crate::kernels::{BLOCK_POSITIONS, KvBlock, KvBlockMut, SCALE_COLUMNS};

/// What a cache holds of each key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheFormat {
    F16,
    F32,
    Int8,
}

impl CacheFormat {
    pub(crate) fn new(accuracy: Accuracy, precision: KvPrecision) -> Self {
        match (precision, accuracy) {
            (KvPrecision::Int8, _) => Self::Int8,
            (KvPrecision::Auto, Accuracy::Default | Accuracy::Precise) => Self::F16,
            (KvPrecision::Auto, Accuracy::Strict) => Self::F32,
        }
    }

    /// As it is told.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }

    /// Bytes of a key or a value of `head_size` elements.
    fn bytes(self, head_size: usize) -> usize {
        match self {
            Self::F16 => head_size * size_of::<f16>(),
            Self::F32 => head_size * size_of::<f32>(),
            Self::Int8 => head_size + scales_of(head_size) * size_of::<f16>(),
        }
    }
}

/// Scales of a key or a value in codes.
fn scales_of(head_size: usize) -> usize {
    head_size.div_ceil(SCALE_COLUMNS)
}

/// Keys `[head_size][positions]`, then values `[positions][head_size]`, of one head and [`BLOCK_POSITIONS`] positions.
pub(crate) enum HeadBlock {
    Half(Box<[f16]>),
    Single(Box<[f32]>),
    Codes {
        codes: Box<[i8]>,
        /// Of the keys, then of the values, both `[scales of a row][positions]`.
        scales: Box<[f16]>,
    },
}

impl HeadBlock {
    fn new(head_size: usize, format: CacheFormat) -> Result<Self> {
        let elements = 2 * head_size * BLOCK_POSITIONS;
        Ok(match format {
            CacheFormat::F16 => Self::Half(zeros(elements, f16::ZERO)?),
            CacheFormat::F32 => Self::Single(zeros(elements, 0.0)?),
            CacheFormat::Int8 => Self::Codes {
                codes: zeros(elements, 0)?,
                scales: zeros(2 * scales_of(head_size) * BLOCK_POSITIONS, f16::ZERO)?,
            },
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
            Self::Codes { codes, scales } => {
                let (keys, values) = codes.split_at(codes.len() / 2);
                let (of_keys, of_values) = scales.split_at(scales.len() / 2);
                (
                    KvBlock::Int8 { codes: keys, scales: of_keys },
                    KvBlock::Int8 { codes: values, scales: of_values },
                )
            }
        }
    }

    /// Overwrites the positions from `first` on with zeros.
    fn wipe(&mut self, first: usize) {
        match self {
            Self::Half(elements) => wipe_positions(elements.reinterpret_cast_mut(), first),
            Self::Single(elements) => wipe_positions(elements, first),
            Self::Codes { codes, scales } => {
                wipe_positions(codes, first);
                wipe_columns(scales.reinterpret_cast_mut(), first);
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
            Self::Codes { codes, scales } => {
                let (keys, values) = codes.split_at_mut(codes.len() / 2);
                let (of_keys, of_values) = scales.split_at_mut(scales.len() / 2);
                (
                    KvBlockMut::Int8 { codes: keys, scales: of_keys },
                    KvBlockMut::Int8 { codes: values, scales: of_values },
                )
            }
        }
    }
}

fn wipe_positions<T: Zeroize>(elements: &mut [T], first: usize)
where
    [T]: Zeroize,
{
    let (keys, values) = elements.split_at_mut(elements.len() / 2);
    wipe_columns(keys, first);
    let row = values.len() / BLOCK_POSITIONS;
    values[row * first..].zeroize();
}

/// The same in rows that have an element for each position.
fn wipe_columns<T: Zeroize>(elements: &mut [T], first: usize)
where
    [T]: Zeroize,
{
    for row in elements.chunks_mut(BLOCK_POSITIONS) {
        row[first..].zeroize();
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
    format: CacheFormat,
    budget: Arc<MemoryBudget>,
    reservation: Option<Reservation>,
}

impl CpuCache {
    pub(crate) fn new(
        owner: usize,
        shapes: Arc<[LayerShape]>,
        format: CacheFormat,
        budget: Arc<MemoryBudget>,
    ) -> Self {
        let layers =
            shapes.iter().map(|shape| (0..shape.kv_heads).map(|_| HeadCache::default()).collect()).collect();
        Self { owner, length: 0, rope_variant: 0, layers, shapes, format, budget, reservation: None }
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
        let bytes = cache_bytes(&self.shapes, self.format, missing * BLOCK_POSITIONS);
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
                    head.blocks.push(HeadBlock::new(shape.head_size, self.format)?);
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
pub(crate) fn cache_bytes(shapes: &[LayerShape], format: CacheFormat, positions: usize) -> u64 {
    let of_layer = |shape: &LayerShape| 2 * (shape.kv_heads * format.bytes(shape.head_size)) as u64;
    let per_position: u64 = shapes.iter().map(of_layer).sum();
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
        let of_column = |rows: &[f32]| rows.chunks(BLOCK_POSITIONS).all(|row| row[column] == 0.0);
        let zero = |elements: Vec<f32>| {
            let (keys, values) = elements.split_at(elements.len() / 2);
            let row = values.len() / BLOCK_POSITIONS;
            of_column(keys) && values[row * column..][..row].iter().all(|value| *value == 0.0)
        };
        let widen = |elements: &[f16]| elements.iter().map(|element| element.to_f32()).collect::<Vec<_>>();
        cache.layers.iter().flatten().all(|head| match &head.blocks[block] {
            HeadBlock::Half(elements) => zero(widen(elements)),
            HeadBlock::Single(elements) => zero(elements.to_vec()),
            HeadBlock::Codes { codes, scales } => {
                let codes = codes.iter().map(|code| f32::from(*code)).collect();
                let (codes, scales) = (zero(codes), of_column(&widen(scales)));
                assert_eq!(codes, scales, "codes and scales");
                codes
            }
        })
    }

    #[test]
    fn what_is_forgotten_is_wiped_and_nothing_else() {
        let shapes: Arc<[LayerShape]> = Arc::from([LayerShape { kv_heads: 2, head_size: 3 }; 2]);
        for format in [CacheFormat::F16, CacheFormat::F32, CacheFormat::Int8] {
            let budget = MemoryBudget::new(1 << 20);
            let mut cache = CpuCache::new(0, Arc::clone(&shapes), format, budget);
            cache.grow(150).unwrap();
            for head in cache.layers.iter_mut().flatten() {
                for block in &mut head.blocks {
                    match block {
                        HeadBlock::Half(elements) => elements.fill(f16::ONE),
                        HeadBlock::Single(elements) => elements.fill(1.0),
                        HeadBlock::Codes { codes, scales } => {
                            codes.fill(1);
                            scales.fill(f16::ONE);
                        }
                    }
                }
            }
            cache.length = 150;
            cache.truncate(200);
            assert!((0..192).all(|position| !is_wiped(&cache, position)));
            cache.truncate(70);
            assert!((0..70).all(|position| !is_wiped(&cache, position)), "{format:?}");
            assert!((70..192).all(|position| is_wiped(&cache, position)), "{format:?}");
            cache.truncate(0);
            assert!((0..192).all(|position| is_wiped(&cache, position)), "{format:?}");
        }
    }

    #[test]
    fn blocks_hold_as_many_bytes_as_are_told() {
        for (head_size, format, row) in [
            (64, CacheFormat::F16, 128),
            (64, CacheFormat::F32, 256),
            (64, CacheFormat::Int8, 64 + 2 * 2),
            (80, CacheFormat::Int8, 80 + 3 * 2),
        ] {
            let shapes: Arc<[LayerShape]> = Arc::from([LayerShape { kv_heads: 3, head_size }]);
            let told = cache_bytes(&shapes, format, 65);
            assert_eq!(told, 2 * 3 * 128 * row, "{format:?} {head_size}");
            let mut cache = CpuCache::new(0, shapes, format, MemoryBudget::new(told));
            cache.grow(65).unwrap();
            let held = cache.layers[0].iter().flat_map(|head| &head.blocks).map(|block| match block {
                HeadBlock::Half(elements) => size_of_val(&**elements),
                HeadBlock::Single(elements) => size_of_val(&**elements),
                HeadBlock::Codes { codes, scales } => size_of_val(&**codes) + size_of_val(&**scales),
            });
            assert_eq!((held.sum::<usize>() as u64, cache.bytes()), (told, told), "{format:?} {head_size}");
            assert_eq!(cache.grow(129).unwrap_err().kind(), ErrorKind::MemoryBudget);
        }
    }
}
