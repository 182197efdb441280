//! NEON, plain, with the dot product of Armv8.2 or with the integer matrix product of Armv8.6: 16 lanes are four registers.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{BF16, F32, Lanes, Spread};
use crate::activations::{NaturalChunk, SplitChunk};

/// NEON alone.
pub(crate) const PLAIN: u8 = 0;
/// And the dot product.
pub(crate) const DOTPROD: u8 = 1;
/// And the integer matrix product.
pub(crate) const I8MM: u8 = 2;

/// Proof that the CPU has NEON and what `LEVEL` adds.
#[derive(Clone, Copy)]
pub(crate) struct Neon<const LEVEL: u8>(());

impl<const LEVEL: u8> Neon<LEVEL> {
    /// # Safety
    /// The CPU must have the instructions.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Self(())
    }
}

macro_rules! simd {
    ($body:expr) => {
        // SAFETY: the existence of a `Neon` proves that the CPU has the instructions, and what is loaded or stored
        // lies inside the references or slices given.
        unsafe { $body }
    };
}

/// Defines operations on 16 lanes by those on 4.
macro_rules! quarters {
    ($($name:ident($($input:ident),+) => $value:expr;)+) => {$(
        #[inline(always)]
        fn $name(self, $($input: [float32x4_t; 4]),+) -> [float32x4_t; 4] {
            simd! {[
                { $(let $input = $input[0];)+ $value },
                { $(let $input = $input[1];)+ $value },
                { $(let $input = $input[2];)+ $value },
                { $(let $input = $input[3];)+ $value },
            ]}
        }
    )+};
}

impl<const LEVEL: u8> Neon<LEVEL> {
    /// 4 f16 as f32.
    #[inline(always)]
    fn widen(self, halves: uint16x4_t) -> float32x4_t {
        let floats;
        // SAFETY: FCVTL reads and writes registers only, and every CPU with NEON has it. There is no stable intrinsic for it
        // in the oldest compiler that this crate supports.
        unsafe {
            asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) floats, in(vreg) halves,
                options(pure, nomem, nostack, preserves_flags));
        }
        floats
    }

    /// 4 f32 as f16, to nearest even.
    #[inline(always)]
    fn narrow(self, floats: float32x4_t) -> uint16x4_t {
        let halves;
        // SAFETY: as in `widen`.
        unsafe {
            asm!("fcvtn {0:v}.4h, {1:v}.4s", out(vreg) halves, in(vreg) floats,
                options(pure, nomem, nostack, preserves_flags));
        }
        halves
    }

    #[inline(always)]
    fn widen_bf16(self, halves: uint16x4_t) -> float32x4_t {
        simd!(vreinterpretq_f32_u32(vshll_n_u16::<16>(halves)))
    }

    /// Adds the products of four neighbouring bytes to each lane.
    #[inline(always)]
    fn dot(self, mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: SDOT reads and writes registers only, and this is used only from `DOTPROD` on, which
        // proves that the CPU has it; the intrinsic is not stable.
        unsafe {
            asm!(".arch_extension dotprod", "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
                inout(vreg) sum, in(vreg) a, in(vreg) b,
                options(pure, nomem, nostack, preserves_flags));
        }
        sum
    }

    /// 16 bytes as f32.
    #[inline(always)]
    fn floats(self, bytes: uint8x16_t) -> [float32x4_t; 4] {
        simd! {{
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes)));
            [
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
                vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
                vcvtq_f32_u32(vmovl_u16(vget_high_u16(high))),
            ]
        }}
    }
}

impl Neon<I8MM> {
    /// Adds the products of two rows of 8 bytes with two others: first with first, first with second, second with
    /// first, second with second.
    #[inline(always)]
    pub(crate) fn matrix_product(self, mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: SMMLA reads and writes registers only, and a `Neon<I8MM>` proves that the CPU has it; the intrinsic is
        // not stable.
        unsafe {
            asm!(".arch_extension i8mm", "smmla {0:v}.4s, {1:v}.16b, {2:v}.16b",
                inout(vreg) sums, in(vreg) a, in(vreg) b,
                options(pure, nomem, nostack, preserves_flags));
        }
        sums
    }
}

/// Number i of lane k becomes number k of lane i.
#[inline(always)]
fn transpose([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    simd! {{
        let pairs = |a, b| [vzip1q_f32(a, b), vzip2q_f32(a, b)].map(|pairs| vreinterpretq_f64_f32(pairs));
        let ([ab, ab_last], [cd, cd_last]) = (pairs(a, b), pairs(c, d));
        [
            vreinterpretq_f32_f64(vzip1q_f64(ab, cd)),
            vreinterpretq_f32_f64(vzip2q_f64(ab, cd)),
            vreinterpretq_f32_f64(vzip1q_f64(ab_last, cd_last)),
            vreinterpretq_f32_f64(vzip2q_f64(ab_last, cd_last)),
        ]
    }}
}

impl<const LEVEL: u8> Lanes for Neon<LEVEL> {
    type Float = [float32x4_t; 4];
    type Nibbles = [[int8x16_t; 4]; 4];
    /// Sums of four tokens a register with dot products; sums of half as many k of two tokens without.
    type Dots = [int32x4_t; 8];
    type Bytes = [int8x16_t; 4];
    type Spread = Spread;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> [float32x4_t; 4] {
        simd!([vdupq_n_f32(value); 4])
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> [float32x4_t; 4] {
        let pointer = values.as_ptr();
        simd!([
            vld1q_f32(pointer),
            vld1q_f32(pointer.add(4)),
            vld1q_f32(pointer.add(8)),
            vld1q_f32(pointer.add(12))
        ])
    }

    #[inline(always)]
    fn store(self, values: [float32x4_t; 4], to: &mut [f32; 16]) {
        for (quarter, to) in values.into_iter().zip(to.as_chunks_mut::<4>().0) {
            simd!(vst1q_f32(to.as_mut_ptr(), quarter));
        }
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 32]) -> [float32x4_t; 4] {
        let mut lanes = self.splat(0.0);
        for quarter in 0..4 {
            let halves = simd!(vreinterpret_u16_u8(vld1_u8(bytes.as_ptr().add(8 * quarter))));
            lanes[quarter] = self.widen(halves);
        }
        lanes
    }

    #[inline(always)]
    fn load_bf16(self, bytes: &[u8; 32]) -> [float32x4_t; 4] {
        let mut lanes = self.splat(0.0);
        for quarter in 0..4 {
            let halves = simd!(vreinterpret_u16_u8(vld1_u8(bytes.as_ptr().add(8 * quarter))));
            lanes[quarter] = self.widen_bf16(halves);
        }
        lanes
    }

    #[inline(always)]
    fn store_f16(self, values: [float32x4_t; 4], to: &mut [u8; 32]) {
        for quarter in 0..4 {
            let halves = self.narrow(values[quarter]);
            simd!(vst1_u8(to.as_mut_ptr().add(8 * quarter), vreinterpret_u8_u16(halves)));
        }
    }

    #[inline(always)]
    fn nibbles_to_floats(self, nibbles: u64) -> [float32x4_t; 4] {
        let bytes = simd! {{
            let bytes = vcreate_u8(nibbles);
            let (even, odd) = (vand_u8(bytes, vdup_n_u8(15)), vshr_n_u8::<4>(bytes));
            vcombine_u8(vzip1_u8(even, odd), vzip2_u8(even, odd))
        }};
        self.floats(bytes)
    }

    #[inline(always)]
    fn bytes_to_floats(self, bytes: &[u8; 16]) -> [float32x4_t; 4] {
        self.floats(simd!(vld1q_u8(bytes.as_ptr())))
    }

    quarters! {
        add(a, b) => vaddq_f32(a, b);
        sub(a, b) => vsubq_f32(a, b);
        mul(a, b) => vmulq_f32(a, b);
        div(a, b) => vdivq_f32(a, b);
        fma(a, b, c) => vfmaq_f32(c, a, b);
        max(a, b) => vbslq_f32(vcgtq_f32(a, b), a, b);
        min(a, b) => vbslq_f32(vcltq_f32(a, b), a, b);
        abs(a) => vabsq_f32(a);
        round(a) => vrndnq_f32(a);
        power_of_two(a) => {
            let biased = vaddq_s32(vcvtnq_s32_f32(a), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        };
        select_greater(a, b, x, y) => vbslq_f32(vcgtq_f32(a, b), x, y);
    }

    #[inline(always)]
    fn select(self, bits: u16, x: [float32x4_t; 4], y: [float32x4_t; 4]) -> [float32x4_t; 4] {
        let mut lanes = y;
        for quarter in 0..4 {
            let bits = u32::from(bits) >> (4 * quarter);
            lanes[quarter] = simd! {{
                let mask = vtstq_u32(vdupq_n_u32(bits), vld1q_u32([1, 2, 4, 8].as_ptr()));
                vbslq_f32(mask, x[quarter], y[quarter])
            }};
        }
        lanes
    }

    #[inline(always)]
    fn to_bytes(self, values: [float32x4_t; 4]) -> [i8; 16] {
        let mut bytes = [0; 16];
        simd! {{
            let low = vcombine_s16(
                vqmovn_s32(vcvtnq_s32_f32(values[0])),
                vqmovn_s32(vcvtnq_s32_f32(values[1])),
            );
            let high = vcombine_s16(
                vqmovn_s32(vcvtnq_s32_f32(values[2])),
                vqmovn_s32(vcvtnq_s32_f32(values[3])),
            );
            vst1q_s8(bytes.as_mut_ptr(), vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
        }}
        bytes
    }

    #[inline(always)]
    fn load_nibbles(self, bytes: &[u8; 128], flip: u8) -> Self::Nibbles {
        simd! {{
            let flip = vdupq_n_u8(flip);
            let mut parts = [[vdupq_n_s8(0); 4]; 4];
            for quarter in 0..4 {
                let load = |at: usize| {
                    let bytes = vld1q_u8(bytes.as_ptr().add(32 * quarter + at));
                    vreinterpretq_u32_u8(veorq_u8(bytes, flip))
                };
                let (a, b) = (load(0), load(16));
                for (index, words) in [vuzp1q_u32(a, b), vuzp2q_u32(a, b)].into_iter().enumerate() {
                    let bytes = vreinterpretq_u8_u32(words);
                    parts[2 * index][quarter] = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)));
                    parts[2 * index + 1][quarter] = vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes));
                }
            }
            parts
        }}
    }

    #[inline(always)]
    fn store_nibbles(self, weights: Self::Nibbles, mut to: [&mut [[u8; 16]; 4]; 4]) {
        for quarter in 0..4 {
            let words = weights.each_ref().map(|part| simd!(vreinterpretq_f32_s8(part[quarter])));
            for (to, words) in to.iter_mut().zip(transpose(words)) {
                simd!(vst1q_u8(to[quarter].as_mut_ptr(), vreinterpretq_u8_f32(words)));
            }
        }
    }

    #[inline(always)]
    fn begin_dots(self, offsets: &[i32; 16]) -> Self::Dots {
        let mut dots = [simd!(vdupq_n_s32(0)); 8];
        if LEVEL >= DOTPROD {
            for quarter in 0..4 {
                dots[quarter] = simd!(vld1q_s32(offsets.as_ptr().add(4 * quarter)));
            }
        }
        dots
    }

    #[inline(always)]
    fn add_dots(self, mut dots: Self::Dots, weights: [u8; 4], codes: &[i8; 64]) -> Self::Dots {
        simd! {{
            let weights = vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(weights)));
            for quarter in 0..4 {
                let codes = vld1q_s8(codes.as_ptr().add(16 * quarter));
                if LEVEL >= DOTPROD {
                    dots[quarter] = self.dot(dots[quarter], weights, codes);
                } else {
                    // Products in 16 bits: after four times 4 * 15 * 127 at most.
                    let low = vreinterpretq_s16_s32(dots[2 * quarter]);
                    let high = vreinterpretq_s16_s32(dots[2 * quarter + 1]);
                    let low = vmlal_s8(low, vget_low_s8(weights), vget_low_s8(codes));
                    let high = vmlal_high_s8(high, weights, codes);
                    dots[2 * quarter] = vreinterpretq_s32_s16(low);
                    dots[2 * quarter + 1] = vreinterpretq_s32_s16(high);
                }
            }
            dots
        }}
    }

    #[inline(always)]
    fn end_dots(self, dots: Self::Dots, offsets: &[i32; 16]) -> [float32x4_t; 4] {
        let mut lanes = self.splat(0.0);
        for quarter in 0..4 {
            lanes[quarter] = simd! {{
                vcvtq_f32_s32(if LEVEL >= DOTPROD {
                    dots[quarter]
                } else {
                    let low = vpaddlq_s16(vreinterpretq_s16_s32(dots[2 * quarter]));
                    let high = vpaddlq_s16(vreinterpretq_s16_s32(dots[2 * quarter + 1]));
                    vaddq_s32(vld1q_s32(offsets.as_ptr().add(4 * quarter)), vpaddq_s32(low, high))
                })
            }};
        }
        lanes
    }

    #[inline(always)]
    fn store_strided(self, values: [float32x4_t; 4], to: [&mut [f32; 4]; 4]) {
        for (to, quarter) in to.into_iter().zip(transpose(values)) {
            simd!(vst1q_f32(to.as_mut_ptr(), quarter));
        }
    }

    #[inline(always)]
    fn transpose_quads(self, vectors: [[float32x4_t; 4]; 4]) -> [[float32x4_t; 4]; 4] {
        let mut transposed = vectors;
        for quarter in 0..4 {
            let quads = transpose(vectors.each_ref().map(|vector| vector[quarter]));
            for (vector, quad) in transposed.iter_mut().zip(quads) {
                vector[quarter] = quad;
            }
        }
        transposed
    }

    #[inline(always)]
    fn dot_nibbles(self, weights: Self::Nibbles, chunk: &SplitChunk) -> [float32x4_t; 4] {
        let mut lanes = self.splat(0.0);
        for quarter in 0..4 {
            lanes[quarter] = simd! {{
                let offset = vld1q_s32(chunk.offsets.as_ptr().add(4 * quarter));
                let codes = chunk.parts.each_ref().map(|codes| vld1q_s8(codes.as_ptr().add(16 * quarter)));
                let weights = weights.each_ref().map(|weights| weights[quarter]);
                let sum = if LEVEL >= DOTPROD {
                    let sum = self.dot(self.dot(offset, weights[0], codes[0]), weights[1], codes[1]);
                    self.dot(self.dot(sum, weights[2], codes[2]), weights[3], codes[3])
                } else {
                    // At most 4 * 15 * 127 in 16 bits.
                    let low = vmull_s8(vget_low_s8(weights[0]), vget_low_s8(codes[0]));
                    let low = vmlal_s8(low, vget_low_s8(weights[1]), vget_low_s8(codes[1]));
                    let low = vmlal_s8(low, vget_low_s8(weights[2]), vget_low_s8(codes[2]));
                    let low = vmlal_s8(low, vget_low_s8(weights[3]), vget_low_s8(codes[3]));
                    let high = vmull_high_s8(weights[0], codes[0]);
                    let high = vmlal_high_s8(high, weights[1], codes[1]);
                    let high = vmlal_high_s8(high, weights[2], codes[2]);
                    let high = vmlal_high_s8(high, weights[3], codes[3]);
                    vaddq_s32(offset, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)))
                };
                vcvtq_f32_s32(sum)
            }};
        }
        lanes
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8; 64], flip: u8) -> Self::Bytes {
        simd! {{
            // Signed, so that no offset is needed.
            let flip = vdupq_n_u8(flip ^ 0x80);
            let mut codes = [vdupq_n_s8(0); 4];
            for quarter in 0..4 {
                let bytes = vld1q_u8(bytes.as_ptr().add(16 * quarter));
                codes[quarter] = vreinterpretq_s8_u8(veorq_u8(bytes, flip));
            }
            codes
        }}
    }

    #[inline(always)]
    fn dot_bytes(self, weights: Self::Bytes, chunk: &NaturalChunk) -> [float32x4_t; 4] {
        let mut lanes = self.splat(0.0);
        for quarter in 0..4 {
            lanes[quarter] = simd! {{
                let codes = vld1q_s8(chunk.codes.as_ptr().add(16 * quarter));
                let sum = if LEVEL >= DOTPROD {
                    self.dot(vdupq_n_s32(0), weights[quarter], codes)
                } else {
                    let low = vmull_s8(vget_low_s8(weights[quarter]), vget_low_s8(codes));
                    let high = vmull_high_s8(weights[quarter], codes);
                    vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))
                };
                vcvtq_f32_s32(sum)
            }};
        }
        lanes
    }

    #[inline(always)]
    fn spread(self, spread: Spread) -> Spread {
        spread
    }

    #[inline(always)]
    unsafe fn spread_scales<const FORMAT: u8>(self, spread: Spread, bytes: *const u8) -> [float32x4_t; 4] {
        if spread.count == 16 {
            let mut lanes = self.splat(0.0);
            for quarter in 0..4 {
                // SAFETY: the caller's promise.
                lanes[quarter] = unsafe {
                    if FORMAT == F32 {
                        vld1q_f32(bytes.cast::<f32>().add(4 * quarter))
                    } else {
                        let halves = vcreate_u16(bytes.cast::<u64>().add(quarter).read_unaligned());
                        if FORMAT == BF16 { self.widen_bf16(halves) } else { self.widen(halves) }
                    }
                };
            }
            return lanes;
        }
        let (low, high) = if FORMAT == F32 {
            let pointer: *const f32 = bytes.cast();
            // SAFETY: the caller's promise.
            unsafe {
                match spread.count {
                    1 => return self.splat(pointer.read_unaligned()),
                    2 => {
                        let pair = vld1_f32(pointer);
                        (vcombine_f32(pair, pair), vdupq_n_f32(0.0))
                    }
                    4 => (vld1q_f32(pointer), vdupq_n_f32(0.0)),
                    _ => (vld1q_f32(pointer), vld1q_f32(pointer.add(4))),
                }
            }
        } else {
            // SAFETY: the caller's promise.
            let halves = unsafe {
                let (low, high) = match spread.count {
                    1 => (u64::from(bytes.cast::<u16>().read_unaligned()), 0),
                    2 => (u64::from(bytes.cast::<u32>().read_unaligned()), 0),
                    4 => (bytes.cast::<u64>().read_unaligned(), 0),
                    _ => (bytes.cast::<u64>().read_unaligned(), bytes.add(8).cast::<u64>().read_unaligned()),
                };
                [vcreate_u16(low), vcreate_u16(high)]
            };
            if FORMAT == BF16 {
                (self.widen_bf16(halves[0]), self.widen_bf16(halves[1]))
            } else {
                (self.widen(halves[0]), self.widen(halves[1]))
            }
        };
        simd! {
            match spread.count {
                1 => [vdupq_laneq_f32::<0>(low); 4],
                2 => {
                    let (first, second) = (vdupq_laneq_f32::<0>(low), vdupq_laneq_f32::<1>(low));
                    [first, first, second, second]
                }
                4 => [
                    vdupq_laneq_f32::<0>(low),
                    vdupq_laneq_f32::<1>(low),
                    vdupq_laneq_f32::<2>(low),
                    vdupq_laneq_f32::<3>(low),
                ],
                _ => [
                    vzip1q_f32(low, low),
                    vzip2q_f32(low, low),
                    vzip1q_f32(high, high),
                    vzip2q_f32(high, high),
                ],
            }
        }
    }

    #[inline(always)]
    fn prefetch(self, address: *const u8) {
        // SAFETY: PRFM is a hint and may name any address.
        unsafe {
            asm!("prfm pldl2keep, [{0}]", in(reg) address, options(readonly, nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn sum4(self, values: [[float32x4_t; 4]; 4]) -> [f32; 4] {
        let mut totals = [0.0; 4];
        simd! {{
            let mut quarters = [vdupq_n_f32(0.0); 4];
            for (quarter, value) in quarters.iter_mut().zip(values) {
                *quarter = vaddq_f32(vaddq_f32(value[0], value[2]), vaddq_f32(value[1], value[3]));
            }
            // Columns of the transposed quarters are lanes 0 to 3 of the four sums.
            let [a, b, c, d] = quarters;
            let (even_ab, odd_ab) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
            let (even_cd, odd_cd) = (vtrn1q_f32(c, d), vtrn2q_f32(c, d));
            let lanes_0 = vcombine_f32(vget_low_f32(even_ab), vget_low_f32(even_cd));
            let lanes_1 = vcombine_f32(vget_low_f32(odd_ab), vget_low_f32(odd_cd));
            let lanes_2 = vcombine_f32(vget_high_f32(even_ab), vget_high_f32(even_cd));
            let lanes_3 = vcombine_f32(vget_high_f32(odd_ab), vget_high_f32(odd_cd));
            let sum = vaddq_f32(vaddq_f32(lanes_0, lanes_2), vaddq_f32(lanes_1, lanes_3));
            vst1q_f32(totals.as_mut_ptr(), sum);
        }}
        totals
    }
}
