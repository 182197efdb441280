//! Sixteen lanes of f32 on one instruction set. Every kernel is written once over [`Lanes`].
//!
//! A value of an implementing type is a proof that the CPU has its instructions: only the kernel table makes
//! one, after it has asked the CPU. Each operation is one IEEE operation a lane (fused where it says so), so a kernel gives
//! the same bits on every instruction set.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) mod amx;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;

use super::activations::{GroupBlock, NaturalChunk, SplitChunk};
use super::multiply_panel::Quad;

/// How a run of weight scales is spread over the 16 lanes of a chunk: 1, 2, 4, 8 or 16 scales, each on neighbouring lanes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    /// Scales in a chunk.
    pub(super) count: usize,
    /// Base-2 logarithm of the lanes of one scale.
    pub(super) shift: u32,
}

/// Formats of floating-point numbers, as constant parameters.
pub(super) const F32: u8 = 0;
pub(super) const F16: u8 = 1;
pub(super) const BF16: u8 = 2;

/// Bytes of a number of `FORMAT`.
pub(super) const fn size_of_format(format: u8) -> usize {
    if format == F32 { 4 } else { 2 }
}

/// Lane l is `values[l]` everywhere; see the module.
///
/// Implementations apply no closure through `array::map` in a kernel's loop: the compiler may leave it a call, without the row's
/// instructions.
pub(super) trait Lanes: Copy {
    /// 16 f32.
    type Float: Copy;
    /// 128 bytes that hold 256 4-bit codes, split into the parts of a [`SplitChunk`].
    type Nibbles: Copy;
    /// Unfinished dot products of 16 tokens.
    type Dots: Copy;
    /// 64 8-bit codes.
    type Bytes: Copy;
    /// What [`spread_scales`](Self::spread_scales) needs to know about a [`Spread`].
    type Spread: Copy;
    /// Whether 16 accumulators of [`Self::Float`] fit the registers.
    const WIDE: bool;
    /// Whether a matrix unit multiplies 16 rows with 16 tokens at once: [`dot_tile`](Self::dot_tile).
    const TILES: bool = false;

    fn splat(self, value: f32) -> Self::Float;
    fn load(self, values: &[f32; 16]) -> Self::Float;
    fn store(self, values: Self::Float, to: &mut [f32; 16]);
    /// Little-endian f16.
    fn load_f16(self, bytes: &[u8; 32]) -> Self::Float;
    /// Little-endian bf16.
    fn load_bf16(self, bytes: &[u8; 32]) -> Self::Float;
    /// Rounds to nearest even.
    fn store_f16(self, values: Self::Float, to: &mut [u8; 32]);
    /// Lane l is nibble l, from the low bits up.
    fn nibbles_to_floats(self, nibbles: u64) -> Self::Float;
    fn bytes_to_floats(self, bytes: &[u8; 16]) -> Self::Float;
    #[inline(always)]
    fn codes_to_floats(self, codes: &[i8; 16]) -> Self::Float {
        let mut bytes = [0; 16];
        for (byte, code) in bytes.iter_mut().zip(codes) {
            *byte = code.cast_unsigned() ^ 0x80;
        }
        self.sub(self.bytes_to_floats(&bytes), self.splat(128.0))
    }

    fn add(self, a: Self::Float, b: Self::Float) -> Self::Float;
    fn sub(self, a: Self::Float, b: Self::Float) -> Self::Float;
    fn mul(self, a: Self::Float, b: Self::Float) -> Self::Float;
    fn div(self, a: Self::Float, b: Self::Float) -> Self::Float;
    /// a * b + c, rounded once.
    fn fma(self, a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;
    /// a > b ? a : b
    fn max(self, a: Self::Float, b: Self::Float) -> Self::Float;
    /// a < b ? a : b
    fn min(self, a: Self::Float, b: Self::Float) -> Self::Float;
    fn abs(self, a: Self::Float) -> Self::Float;
    /// To the nearest integer, ties to even.
    fn round(self, a: Self::Float) -> Self::Float;
    /// 2 to the power of an integer from -126 to 127; anything for other exponents.
    fn power_of_two(self, exponent: Self::Float) -> Self::Float;
    /// a times 2 to the power of an integer from -151 to 129, rounded once; |a| is from 0.5 to 2, or NaN.
    #[inline(always)]
    fn times_power_of_two(self, a: Self::Float, exponent: Self::Float) -> Self::Float {
        // Two factors, since the result may be subnormal; the first product is exact.
        let half = self.round(self.mul(exponent, self.splat(0.5)));
        let rest = self.sub(exponent, half);
        self.mul(self.mul(a, self.power_of_two(half)), self.power_of_two(rest))
    }
    /// a > b ? x : y
    fn select_greater(self, a: Self::Float, b: Self::Float, x: Self::Float, y: Self::Float) -> Self::Float;
    /// Lane l is `x` where bit l of `bits` is set, else `y`.
    fn select(self, bits: u16, x: Self::Float, y: Self::Float) -> Self::Float;
    /// Integers within i8, as bytes; anything for other values.
    fn to_bytes(self, values: Self::Float) -> [i8; 16];
    /// The largest magnitude; a NaN is larger than any.
    #[inline(always)]
    fn largest_magnitude(self, values: Self::Float) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(values, &mut lanes);
        let mut bits = lanes.map(|value: f32| value.to_bits() & i32::MAX as u32);
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                bits[lane] = bits[lane].max(bits[lane + half]);
            }
        }
        f32::from_bits(bits[0])
    }
    /// The largest value; there is no NaN.
    #[inline(always)]
    fn largest(self, values: Self::Float) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(values, &mut lanes);
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                let (one, other) = (lanes[lane], lanes[lane + half]);
                lanes[lane] = if one > other { one } else { other };
            }
        }
        lanes[0]
    }
    /// The first four even codes, the first four odd ones, the last four even ones and the last four odd ones.
    #[inline(always)]
    fn split_codes(self, codes: &[i8; 16]) -> [[i8; 4]; 4] {
        let mut parts = [[0; 4]; 4];
        for index in 0..4 {
            parts[0][index] = codes[2 * index];
            parts[1][index] = codes[2 * index + 1];
            parts[2][index] = codes[2 * index + 8];
            parts[3][index] = codes[2 * index + 9];
        }
        parts
    }

    /// XORs each byte with `flip` and splits them.
    fn load_nibbles(self, bytes: &[u8; 128], flip: u8) -> Self::Nibbles;
    /// Number i of `to` gets at 16j the parts of lane 4j + i, 4 codes of each; less 8 where there are [`TILES`](Self::TILES).
    fn store_nibbles(self, weights: Self::Nibbles, to: [&mut [[u8; 16]; 4]; 4]);
    /// The sums (w - 8) * q of each lane of `chunk`.
    fn dot_nibbles(self, weights: Self::Nibbles, chunk: &SplitChunk) -> Self::Float;
    /// Begins the dot products of 16 tokens with the 4-bit codes of 16 k; [`end_dots`](Self::end_dots) gets the same offsets.
    fn begin_dots(self, offsets: &[i32; 16]) -> Self::Dots;
    /// Adds the products of 4 codes, up to four times.
    fn add_dots(self, dots: Self::Dots, weights: [u8; 4], codes: &[i8; 64]) -> Self::Dots;
    fn end_dots(self, dots: Self::Dots, offsets: &[i32; 16]) -> Self::Float;
    /// Between this and [`end_tiles`](Self::end_tiles) a thread may call [`dot_tile`](Self::dot_tile).
    #[inline(always)]
    fn begin_tiles(self) {}
    #[inline(always)]
    fn end_tiles(self) {}
    /// The dot products of 16 tokens with block `at` of each row, by row and token, ready for [`begin_dots`](Self::begin_dots).
    /// Only where there are [`TILES`](Self::TILES).
    #[inline(always)]
    fn dot_tile(self, _rows: &[Quad], _at: usize, _tokens: &GroupBlock, _to: &mut [[i32; 16]; 16]) {}
    /// Lane 4j + k of vector i becomes lane 4j + i of vector k.
    fn transpose_quads(self, vectors: [Self::Float; 4]) -> [Self::Float; 4];
    /// Number i of `to` gets lanes i, 4 + i, 8 + i and 12 + i.
    #[inline(always)]
    fn store_strided(self, values: Self::Float, to: [&mut [f32; 4]; 4]) {
        let mut lanes = [0.0; 16];
        self.store(values, &mut lanes);
        for (first, to) in to.into_iter().enumerate() {
            *to = [lanes[first], lanes[first + 4], lanes[first + 8], lanes[first + 12]];
        }
    }
    /// XORs each byte with `flip`.
    fn load_bytes(self, bytes: &[u8; 64], flip: u8) -> Self::Bytes;
    /// The sums (w - 128) * q of each lane of `chunk`.
    fn dot_bytes(self, weights: Self::Bytes, chunk: &NaturalChunk) -> Self::Float;
    fn spread(self, spread: Spread) -> Self::Spread;
    /// Loads the scales of a chunk.
    ///
    /// # Safety
    /// The scales of `spread`, in `FORMAT`, can be read from `bytes` on.
    unsafe fn spread_scales<const FORMAT: u8>(self, spread: Self::Spread, bytes: *const u8) -> Self::Float;

    /// As [`spread_scales`](Self::spread_scales), with zeros past the end of `bytes`.
    #[inline(always)]
    fn spread_scales_partial<const FORMAT: u8>(self, spread: Self::Spread, bytes: &[u8]) -> Self::Float {
        let whole = padded::<64>(bytes);
        // SAFETY: at most 16 scales of 4 bytes.
        unsafe { self.spread_scales::<FORMAT>(spread, whole.as_ptr()) }
    }

    /// Asks for the cache line at `address`, which may be any, in the second-level cache.
    fn prefetch(self, address: *const u8);

    /// The sum in a fixed order: upper half on lower half, four times.
    #[inline(always)]
    fn sum(self, values: Self::Float) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(values, &mut lanes);
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
        }
        lanes[0]
    }

    /// Four sums, each as [`sum`](Self::sum).
    #[inline(always)]
    fn sum4(self, values: [Self::Float; 4]) -> [f32; 4] {
        [self.sum(values[0]), self.sum(values[1]), self.sum(values[2]), self.sum(values[3])]
    }

    /// At most 16 values, zero in the lanes beyond.
    #[inline(always)]
    fn load_partial(self, values: &[f32]) -> Self::Float {
        let mut lanes = [0.0; 16];
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane = *value;
        }
        self.load(&lanes)
    }

    /// As many lanes as `to` holds, at most 16.
    #[inline(always)]
    fn store_partial(self, values: Self::Float, to: &mut [f32]) {
        let mut lanes = [0.0; 16];
        self.store(values, &mut lanes);
        for (to, lane) in to.iter_mut().zip(lanes) {
            *to = lane;
        }
    }

    /// As [`load_nibbles`](Self::load_nibbles), with `0 ^ flip` past the end of `bytes`.
    #[inline(always)]
    fn load_nibbles_partial(self, bytes: &[u8], flip: u8) -> Self::Nibbles {
        self.load_nibbles(&padded(bytes), flip)
    }

    /// As [`load_bytes`](Self::load_bytes), with `0 ^ flip` past the end of `bytes`.
    #[inline(always)]
    fn load_bytes_partial(self, bytes: &[u8], flip: u8) -> Self::Bytes {
        self.load_bytes(&padded(bytes), flip)
    }

    /// Up to 16 numbers of `FORMAT` from the start of `bytes`, zero in the lanes beyond its end.
    #[inline(always)]
    fn load_floats<const FORMAT: u8>(self, bytes: &[u8]) -> Self::Float {
        if FORMAT == F32 {
            let whole: [u8; 64] = match bytes.first_chunk() {
                Some(whole) => *whole,
                None => padded(bytes),
            };
            let mut lanes = [0.0; 16];
            for (lane, bytes) in lanes.iter_mut().zip(whole.as_chunks().0) {
                *lane = f32::from_le_bytes(*bytes);
            }
            return self.load(&lanes);
        }
        let whole: &[u8; 32] = match bytes.first_chunk() {
            Some(whole) => whole,
            None => &padded(bytes),
        };
        if FORMAT == F16 { self.load_f16(whole) } else { self.load_bf16(whole) }
    }
}

/// The array of `$body` for each `$index`. A loop may be kept as one, and its accumulators in memory.
macro_rules! unroll {
    ($index:ident in $($value:literal),+ => $body:expr) => {
        [$({ let $index = $value; $body }),+]
    };
}
pub(super) use unroll;

/// The first `N` of `bytes`, with zeros when there are fewer.
#[inline(always)]
pub(super) fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut whole = [0; N];
    let count = bytes.len().min(N);
    whole[..count].copy_from_slice(&bytes[..count]);
    whole
}
