//! The keys or the values of one block of the KV cache: how they are stored, and how the kernels read them.

use half::f16;

use super::BLOCK_POSITIONS;
use crate::lanes::Lanes;

/// Elements of the head dimension that share a scale in a block of 8-bit codes. Keys have single large elements: the fewer share a
/// scale with them, the less their neighbours lose.
pub const SCALE_COLUMNS: usize = 32;

/// The keys or the values of one block and one key/value head.
///
/// Keys lie transposed, `[head_dim][64]`; values `[64][head_dim]`.
#[derive(Debug, Clone, Copy)]
pub enum KvBlock<'a> {
    /// Half precision.
    F16(&'a [f16]),
    /// Single precision.
    F32(&'a [f32]),
    /// Codes times scales.
    Int8 {
        /// From -127 to 127.
        codes: &'a [i8],
        /// Keys and values alike `[head_dim / SCALE_COLUMNS, rounded up][64]`.
        scales: &'a [f16],
    },
}

/// The keys or the values of one block, to be written.
#[derive(Debug)]
pub enum KvBlockMut<'a> {
    /// Half precision; storing rounds to nearest even.
    F16(&'a mut [f16]),
    /// Single precision.
    F32(&'a mut [f32]),
    /// Codes times scales, as in [`KvBlock::Int8`]. A NaN, an infinity or a number beyond 127 times the largest f16 leaves the
    /// elements with which it shares a scale with codes of zero and a scale that is not finite, so that what reads them becomes NaN.
    Int8 {
        /// As many as elements.
        codes: &'a mut [i8],
        /// `[head_dim / SCALE_COLUMNS, rounded up][64]`
        scales: &'a mut [f16],
    },
}

/// Scales of a block.
fn scale_count(head_dim: usize) -> usize {
    head_dim.div_ceil(SCALE_COLUMNS) * BLOCK_POSITIONS
}

impl KvBlock<'_> {
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Whether the lengths are those of a block of `head_dim`.
    pub(crate) fn fits(&self, head_dim: usize) -> bool {
        let elements = match self {
            Self::F16(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::Int8 { scales, .. } if scales.len() != scale_count(head_dim) => return false,
            Self::Int8 { codes, .. } => codes.len(),
        };
        elements == head_dim * BLOCK_POSITIONS
    }
}

impl KvBlockMut<'_> {
    /// Whether the lengths are those of a block of `head_dim`.
    pub(crate) fn fits(&self, head_dim: usize) -> bool {
        match self {
            Self::F16(values) => KvBlock::F16(values),
            Self::F32(values) => KvBlock::F32(values),
            Self::Int8 { codes, scales } => KvBlock::Int8 { codes, scales },
        }
        .fits(head_dim)
    }
}

/// Numbers of a block.
pub(super) trait Element: Copy {
    fn load<L: Lanes>(lanes: L, values: &[Self; 16]) -> L::Float;
    /// At most 16, zero in the lanes beyond.
    fn load_partial<L: Lanes>(lanes: L, values: &[Self]) -> L::Float;
}

impl Element for f16 {
    #[inline(always)]
    fn load<L: Lanes>(lanes: L, values: &[Self; 16]) -> L::Float {
        // SAFETY: f16 is a transparent u16, so 16 of them are 32 readable bytes.
        lanes.load_f16(unsafe { &*std::ptr::from_ref(values).cast() })
    }

    #[inline(always)]
    fn load_partial<L: Lanes>(lanes: L, values: &[Self]) -> L::Float {
        let mut whole = [f16::ZERO; 16];
        whole[..values.len()].copy_from_slice(values);
        Self::load(lanes, &whole)
    }
}

impl Element for f32 {
    #[inline(always)]
    fn load<L: Lanes>(lanes: L, values: &[Self; 16]) -> L::Float {
        lanes.load(values)
    }

    #[inline(always)]
    fn load_partial<L: Lanes>(lanes: L, values: &[Self]) -> L::Float {
        lanes.load_partial(values)
    }
}

impl Element for i8 {
    #[inline(always)]
    fn load<L: Lanes>(lanes: L, values: &[Self; 16]) -> L::Float {
        lanes.codes_to_floats(values)
    }

    #[inline(always)]
    fn load_partial<L: Lanes>(lanes: L, values: &[Self]) -> L::Float {
        let mut whole = [0; 16];
        whole[..values.len()].copy_from_slice(values);
        Self::load(lanes, &whole)
    }
}

/// The keys or the values of a block, as the kernels read them.
pub(super) trait Part: Copy {
    type Element: Element;
    /// Whether elements are to be multiplied with scales.
    const SCALED: bool;

    fn elements(&self) -> &[Self::Element];
    /// The scales of 16 positions, from 16 `vector` on, for the `group`th [`SCALE_COLUMNS`] elements of the head dimension.
    fn scales<L: Lanes>(self, lanes: L, group: usize, vector: usize) -> L::Float;
}

impl<E: Element> Part for &[E] {
    type Element = E;
    const SCALED: bool = false;

    #[inline(always)]
    fn elements(&self) -> &[E] {
        self
    }

    #[inline(always)]
    fn scales<L: Lanes>(self, lanes: L, _group: usize, _vector: usize) -> L::Float {
        lanes.splat(1.0)
    }
}

/// The parts of [`KvBlock::Int8`].
#[derive(Clone, Copy)]
pub(super) struct Codes<'a> {
    pub(super) codes: &'a [i8],
    pub(super) scales: &'a [f16],
}

impl Part for Codes<'_> {
    type Element = i8;
    const SCALED: bool = true;

    #[inline(always)]
    fn elements(&self) -> &[i8] {
        self.codes
    }

    #[inline(always)]
    fn scales<L: Lanes>(self, lanes: L, group: usize, vector: usize) -> L::Float {
        f16::load(lanes, &self.scales.as_chunks().0[group * (BLOCK_POSITIONS / 16) + vector])
    }
}

/// Writes a key row into column `position` of its block.
pub(crate) fn store_key<L: Lanes>(lanes: L, row: &[f32], block: KvBlockMut<'_>, position: usize) {
    match block {
        KvBlockMut::F16(block) => {
            let mut to = block[position..].iter_mut().step_by(BLOCK_POSITIONS);
            for values in row.chunks(16) {
                let mut bytes = [0; 32];
                lanes.store_f16(lanes.load_partial(values), &mut bytes);
                for (to, bytes) in to.by_ref().zip(bytes.as_chunks().0).take(values.len()) {
                    *to = f16::from_le_bytes(*bytes);
                }
            }
        }
        KvBlockMut::F32(block) => {
            for (to, value) in block[position..].iter_mut().step_by(BLOCK_POSITIONS).zip(row) {
                *to = *value;
            }
        }
        KvBlockMut::Int8 { codes, scales } => {
            let to = codes.as_chunks_mut::<BLOCK_POSITIONS>().0.chunks_mut(SCALE_COLUMNS);
            let scales = scales.as_chunks_mut::<BLOCK_POSITIONS>().0;
            for ((values, to), scales) in row.chunks(SCALE_COLUMNS).zip(to).zip(scales) {
                let (codes, scale) = quantise(lanes, values);
                scales[position] = scale;
                for (to, code) in to.iter_mut().zip(codes) {
                    to[position] = code;
                }
            }
        }
    }
}

/// Writes a value row into row `position` of its block.
#[inline(always)]
pub(crate) fn store_value<L: Lanes>(lanes: L, row: &[f32], block: KvBlockMut<'_>, position: usize) {
    let range = position * row.len()..(position + 1) * row.len();
    match block {
        KvBlockMut::F16(block) => {
            for (values, to) in row.chunks(16).zip(block[range].chunks_mut(16)) {
                let mut bytes = [0; 32];
                lanes.store_f16(lanes.load_partial(values), &mut bytes);
                for (to, bytes) in to.iter_mut().zip(bytes.as_chunks().0) {
                    *to = f16::from_le_bytes(*bytes);
                }
            }
        }
        KvBlockMut::F32(block) => block[range].copy_from_slice(row),
        KvBlockMut::Int8 { codes, scales } => {
            let to = codes[range].chunks_mut(SCALE_COLUMNS);
            let scales = scales.as_chunks_mut::<BLOCK_POSITIONS>().0;
            for ((values, to), scales) in row.chunks(SCALE_COLUMNS).zip(to).zip(scales) {
                let (codes, scale) = quantise(lanes, values);
                scales[position] = scale;
                to.copy_from_slice(&codes[..to.len()]);
            }
        }
    }
}

/// The codes of at most [`SCALE_COLUMNS`] values, zero beyond, and their scale, which is rounded up. The codes are those for the
/// scale as it is stored.
#[inline(always)]
fn quantise<L: Lanes>(lanes: L, values: &[f32]) -> ([i8; SCALE_COLUMNS], f16) {
    let mut codes = [0; SCALE_COLUMNS];
    let mut largest = 0;
    for values in values.chunks(16) {
        // As bits a NaN is above infinity.
        largest = lanes.largest_magnitude(lanes.load_partial(values)).to_bits().max(largest);
    }
    let exact = f32::from_bits(largest) / 127.0;
    let mut scale = f16::from_f32(exact);
    // A smaller scale has no code for the largest element, by up to a quarter where it is subnormal.
    if scale.to_f32() < exact {
        scale = f16::from_bits(scale.to_bits() + 1);
    }
    if scale > f16::ZERO && scale.is_finite() {
        let divisor = lanes.splat(scale.to_f32());
        for (values, codes) in values.chunks(16).zip(codes.as_chunks_mut::<16>().0) {
            let quotient = lanes.round(lanes.div(lanes.load_partial(values), divisor));
            *codes = lanes.to_bytes(lanes.max(lanes.min(quotient, lanes.splat(127.0)), lanes.splat(-127.0)));
        }
    }
    (codes, scale)
}
