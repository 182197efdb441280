//! AVX-512 with VNNI: 16 lanes are one register. With tiles, those of [`amx`](super::amx) too.

use std::arch::x86_64::*;

use super::{F16, F32, Lanes, Spread, size_of_format};
use crate::activations::{NaturalChunk, SplitChunk};
#[cfg(target_os = "linux")]
use crate::{activations::GroupBlock, multiply_panel::Quad};

/// Proof that the CPU has AVX-512 F, BW, VL and VNNI, F16C and FMA; with `TILES`, that this process may use AMX.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const TILES: bool>(());

impl<const TILES: bool> Avx512<TILES> {
    /// # Safety
    /// The CPU must have the instructions.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Self(())
    }
}

#[derive(Clone, Copy)]
pub(crate) struct LaneSpread {
    mask: u16,
    index: __m512i,
}

macro_rules! simd {
    ($body:expr) => {
        // SAFETY: the existence of an `Avx512` proves that the CPU has the instructions, and what is loaded or stored
        // lies inside the references or slices given.
        unsafe { $body }
    };
}

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// The lowest `count` bits of 64.
#[inline(always)]
fn low_bits(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

impl<const TILES: bool> Avx512<TILES> {
    #[inline(always)]
    fn split(self, [first, last]: [__m512i; 2], flip: u8) -> [__m512i; 4] {
        simd! {{
            let even_words = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd_words = _mm512_or_si512(even_words, _mm512_set1_epi32(1));
            let flip = _mm512_set1_epi8(flip as i8);
            let low = _mm512_set1_epi8(15);
            let halves = |words| {
                let bytes = _mm512_permutex2var_epi32(first, words, last);
                // (a ^ b) & c
                let even = _mm512_ternarylogic_epi32::<0x28>(bytes, flip, low);
                let odd = _mm512_ternarylogic_epi32::<0x28>(_mm512_srli_epi16::<4>(bytes), flip, low);
                [even, odd]
            };
            let ([a, b], [c, d]) = (halves(even_words), halves(odd_words));
            [a, b, c, d]
        }}
    }
}

impl<const TILES: bool> Lanes for Avx512<TILES> {
    type Float = __m512;
    type Nibbles = [__m512i; 4];
    type Dots = __m512i;
    type Bytes = __m512i;
    type Spread = LaneSpread;
    const WIDE: bool = true;
    const TILES: bool = TILES;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        simd!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> __m512 {
        simd!(_mm512_loadu_ps(values.as_ptr()))
    }

    #[inline(always)]
    fn store(self, values: __m512, to: &mut [f32; 16]) {
        simd!(_mm512_storeu_ps(to.as_mut_ptr(), values));
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 32]) -> __m512 {
        simd!(_mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_bf16(self, bytes: &[u8; 32]) -> __m512 {
        simd! {{
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(bytes.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
        }}
    }

    #[inline(always)]
    fn store_f16(self, values: __m512, to: &mut [u8; 32]) {
        simd! {{
            let halves = _mm512_cvtps_ph::<NEAREST>(values);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), halves);
        }}
    }

    #[inline(always)]
    fn nibbles_to_floats(self, nibbles: u64) -> __m512 {
        simd! {{
            let bytes = _mm_cvtsi64_si128(nibbles as i64);
            let low = _mm_set1_epi8(15);
            let even = _mm_and_si128(bytes, low);
            let odd = _mm_and_si128(_mm_srli_epi16::<4>(bytes), low);
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_unpacklo_epi8(even, odd)))
        }}
    }

    #[inline(always)]
    fn bytes_to_floats(self, bytes: &[u8; 16]) -> __m512 {
        simd!(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))))
    }

    #[inline(always)]
    fn codes_to_floats(self, codes: &[i8; 16]) -> __m512 {
        simd!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(codes.as_ptr().cast()))))
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        simd!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        simd!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        simd!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        simd!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        simd!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        simd!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        simd!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        simd!(_mm512_abs_ps(a))
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        simd!(_mm512_roundscale_ps::<NEAREST>(a))
    }

    #[inline(always)]
    fn power_of_two(self, exponent: __m512) -> __m512 {
        simd! {{
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(exponent), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }}
    }

    #[inline(always)]
    fn times_power_of_two(self, a: __m512, exponent: __m512) -> __m512 {
        simd!(_mm512_scalef_ps(a, exponent))
    }

    #[inline(always)]
    fn select_greater(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        simd!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), y, x))
    }

    #[inline(always)]
    fn select(self, bits: u16, x: __m512, y: __m512) -> __m512 {
        simd!(_mm512_mask_blend_ps(bits, y, x))
    }

    #[inline(always)]
    fn to_bytes(self, values: __m512) -> [i8; 16] {
        let mut bytes = [0; 16];
        simd! {{
            let narrow = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(values));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), narrow);
        }}
        bytes
    }

    #[inline(always)]
    fn load_nibbles(self, bytes: &[u8; 128], flip: u8) -> [__m512i; 4] {
        let bytes = simd! {[
            _mm512_loadu_si512(bytes.as_ptr().cast()),
            _mm512_loadu_si512(bytes[64..].as_ptr().cast()),
        ]};
        self.split(bytes, flip)
    }

    #[inline(always)]
    fn load_nibbles_partial(self, bytes: &[u8], flip: u8) -> [__m512i; 4] {
        let (first, last) = bytes.split_at(bytes.len().min(64));
        let load =
            |bytes: &[u8]| simd!(_mm512_maskz_loadu_epi8(low_bits(bytes.len()), bytes.as_ptr().cast()));
        self.split([load(first), load(last)], flip)
    }

    #[inline(always)]
    fn store_nibbles(self, [a, b, c, d]: [__m512i; 4], to: [&mut [[u8; 16]; 4]; 4]) {
        simd! {{
            let pairs = [_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b)];
            let others = [_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d)];
            let store = |to: &mut [[u8; 16]; 4], codes| {
                let codes = if TILES { _mm512_sub_epi8(codes, _mm512_set1_epi8(8)) } else { codes };
                _mm512_storeu_si512(to.as_mut_ptr().cast(), codes);
            };
            let [first, second, third, fourth] = to;
            store(first, _mm512_unpacklo_epi64(pairs[0], others[0]));
            store(second, _mm512_unpackhi_epi64(pairs[0], others[0]));
            store(third, _mm512_unpacklo_epi64(pairs[1], others[1]));
            store(fourth, _mm512_unpackhi_epi64(pairs[1], others[1]));
        }}
    }

    #[inline(always)]
    fn begin_dots(self, offsets: &[i32; 16]) -> __m512i {
        simd!(_mm512_loadu_si512(offsets.as_ptr().cast()))
    }

    #[inline(always)]
    fn add_dots(self, dots: __m512i, weights: [u8; 4], codes: &[i8; 64]) -> __m512i {
        simd! {{
            let weights = _mm512_set1_epi32(i32::from_le_bytes(weights));
            _mm512_dpbusd_epi32(dots, weights, _mm512_loadu_si512(codes.as_ptr().cast()))
        }}
    }

    #[inline(always)]
    fn end_dots(self, dots: __m512i, _offsets: &[i32; 16]) -> __m512 {
        simd!(_mm512_cvtepi32_ps(dots))
    }

    #[cfg(target_os = "linux")]
    #[inline(always)]
    fn begin_tiles(self) {
        if TILES {
            // SAFETY: the existence of an `Avx512<true>` proves that the process may use tiles.
            unsafe { super::amx::configure() }
        }
    }

    #[cfg(target_os = "linux")]
    #[inline(always)]
    fn end_tiles(self) {
        if TILES {
            // SAFETY: as above.
            unsafe { super::amx::release() }
        }
    }

    #[cfg(target_os = "linux")]
    #[inline(always)]
    fn dot_tile(self, rows: &[Quad], at: usize, tokens: &GroupBlock, to: &mut [[i32; 16]; 16]) {
        assert!(TILES && rows.len() == super::amx::TILE_ROWS && at < 4, "a tile of {} rows", rows.len());
        let weights = rows[0].codes[at].as_ptr();
        // SAFETY: between `begin_tiles` and `end_tiles` this thread has tiles; 16 rows lie one quad apart from the first on.
        unsafe { super::amx::multiply(weights, size_of::<Quad>(), &tokens.parts, to) }
    }

    #[inline(always)]
    fn transpose_quads(self, [a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
        simd! {{
            let low_pairs = |a, b| _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
            let high_pairs = |a, b| _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
            let (low, high) = ([low_pairs(a, b), low_pairs(c, d)], [high_pairs(a, b), high_pairs(c, d)]);
            [
                _mm512_castpd_ps(_mm512_unpacklo_pd(low[0], low[1])),
                _mm512_castpd_ps(_mm512_unpackhi_pd(low[0], low[1])),
                _mm512_castpd_ps(_mm512_unpacklo_pd(high[0], high[1])),
                _mm512_castpd_ps(_mm512_unpackhi_pd(high[0], high[1])),
            ]
        }}
    }

    #[inline(always)]
    fn store_strided(self, values: __m512, to: [&mut [f32; 4]; 4]) {
        simd! {{
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let values = _mm512_permutexvar_ps(order, values);
            let [a, b, c, d] = to;
            _mm_storeu_ps(a.as_mut_ptr(), _mm512_castps512_ps128(values));
            _mm_storeu_ps(b.as_mut_ptr(), _mm512_extractf32x4_ps::<1>(values));
            _mm_storeu_ps(c.as_mut_ptr(), _mm512_extractf32x4_ps::<2>(values));
            _mm_storeu_ps(d.as_mut_ptr(), _mm512_extractf32x4_ps::<3>(values));
        }}
    }

    #[inline(always)]
    fn largest(self, values: __m512) -> f32 {
        simd!(_mm512_reduce_max_ps(values))
    }

    #[inline(always)]
    fn largest_magnitude(self, values: __m512) -> f32 {
        simd! {{
            let bits = _mm512_and_si512(_mm512_castps_si512(values), _mm512_set1_epi32(i32::MAX));
            f32::from_bits(_mm512_reduce_max_epu32(bits))
        }}
    }

    #[inline(always)]
    fn split_codes(self, codes: &[i8; 16]) -> [[i8; 4]; 4] {
        simd!(super::avx2::split_codes(codes))
    }

    #[inline(always)]
    fn dot_nibbles(self, weights: [__m512i; 4], chunk: &SplitChunk) -> __m512 {
        simd! {{
            let codes = |part: usize| _mm512_load_si512(chunk.parts[part].as_ptr().cast());
            let sum = _mm512_load_si512(chunk.offsets.as_ptr().cast());
            let sum = _mm512_dpbusd_epi32(sum, weights[0], codes(0));
            let sum = _mm512_dpbusd_epi32(sum, weights[1], codes(1));
            let sum = _mm512_dpbusd_epi32(sum, weights[2], codes(2));
            let sum = _mm512_dpbusd_epi32(sum, weights[3], codes(3));
            _mm512_cvtepi32_ps(sum)
        }}
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8; 64], flip: u8) -> __m512i {
        simd! {{
            let bytes = _mm512_loadu_si512(bytes.as_ptr().cast());
            _mm512_xor_si512(bytes, _mm512_set1_epi8(flip as i8))
        }}
    }

    #[inline(always)]
    fn load_bytes_partial(self, bytes: &[u8], flip: u8) -> __m512i {
        let mask = low_bits(bytes.len());
        simd! {{
            let bytes = _mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast());
            _mm512_xor_si512(bytes, _mm512_set1_epi8(flip as i8))
        }}
    }

    #[inline(always)]
    fn dot_bytes(self, weights: __m512i, chunk: &NaturalChunk) -> __m512 {
        simd! {{
            let sum = _mm512_load_si512(chunk.offsets.as_ptr().cast());
            let codes = _mm512_load_si512(chunk.codes.as_ptr().cast());
            _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(sum, weights, codes))
        }}
    }

    #[inline(always)]
    fn spread(self, spread: Spread) -> LaneSpread {
        let mut index = [0; 16];
        for (lane, index) in index.iter_mut().enumerate() {
            *index = (lane >> spread.shift) as i32;
        }
        LaneSpread {
            mask: low_bits(spread.count) as u16,
            index: simd!(_mm512_loadu_si512(index.as_ptr().cast())),
        }
    }

    #[inline(always)]
    unsafe fn spread_scales<const FORMAT: u8>(self, spread: LaneSpread, bytes: *const u8) -> __m512 {
        simd! {{
            let scales = if FORMAT == F32 {
                _mm512_maskz_loadu_ps(spread.mask, bytes.cast())
            } else {
                let halves = _mm256_maskz_loadu_epi16(spread.mask, bytes.cast());
                if FORMAT == F16 {
                    _mm512_cvtph_ps(halves)
                } else {
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
                }
            };
            _mm512_permutexvar_ps(spread.index, scales)
        }}
    }

    #[inline(always)]
    fn spread_scales_partial<const FORMAT: u8>(self, spread: LaneSpread, bytes: &[u8]) -> __m512 {
        let mask = spread.mask & low_bits(bytes.len() / size_of_format(FORMAT)) as u16;
        // SAFETY: only scales inside `bytes` are read.
        unsafe { self.spread_scales::<FORMAT>(LaneSpread { mask, ..spread }, bytes.as_ptr()) }
    }

    #[inline(always)]
    fn prefetch(self, address: *const u8) {
        simd!(_mm_prefetch::<_MM_HINT_T1>(address.cast()));
    }

    #[inline(always)]
    fn sum(self, values: __m512) -> f32 {
        self.sum4([values; 4])[0]
    }

    #[inline(always)]
    fn sum4(self, values: [__m512; 4]) -> [f32; 4] {
        let [a, b, c, d] = values;
        let mut totals = [0.0; 16];
        simd! {{
            // Upper on lower half: two vectors of two sums of 8 lanes.
            let ab = _mm512_add_ps(
                _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b),
                _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b),
            );
            let cd = _mm512_add_ps(
                _mm512_shuffle_f32x4::<0b01_00_01_00>(c, d),
                _mm512_shuffle_f32x4::<0b11_10_11_10>(c, d),
            );
            let quarters = _mm512_add_ps(
                _mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd),
                _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd),
            );
            let pairs = _mm512_add_ps(quarters, _mm512_permute_ps::<0b01_00_11_10>(quarters));
            let all = _mm512_add_ps(pairs, _mm512_permute_ps::<0b10_11_00_01>(pairs));
            _mm512_storeu_ps(totals.as_mut_ptr(), all);
        }}
        [totals[0], totals[4], totals[8], totals[12]]
    }

    #[inline(always)]
    fn load_partial(self, values: &[f32]) -> __m512 {
        simd!(_mm512_maskz_loadu_ps(low_bits(values.len()) as u16, values.as_ptr()))
    }

    #[inline(always)]
    fn store_partial(self, values: __m512, to: &mut [f32]) {
        simd!(_mm512_mask_storeu_ps(to.as_mut_ptr(), low_bits(to.len()) as u16, values));
    }

    #[inline(always)]
    fn load_floats<const FORMAT: u8>(self, bytes: &[u8]) -> __m512 {
        simd! {{
            if FORMAT == F32 {
                let mask = low_bits(bytes.len() / 4) as u16;
                return _mm512_maskz_loadu_ps(mask, bytes.as_ptr().cast());
            }
            let halves = _mm256_maskz_loadu_epi16(low_bits(bytes.len() / 2) as u16, bytes.as_ptr().cast());
            if FORMAT == F16 {
                _mm512_cvtph_ps(halves)
            } else {
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
            }
        }}
    }
}
