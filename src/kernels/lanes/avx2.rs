//! AVX2 with FMA and F16C, and with or without VNNI: 16 lanes are two registers.

use std::arch::x86_64::*;

use super::{F16, F32, Lanes, Spread, size_of_format};
use crate::activations::{NaturalChunk, SplitChunk};

/// Proof that the CPU has AVX2, FMA and F16C, and AVX-VNNI if `VNNI`.
#[derive(Clone, Copy)]
pub(crate) struct Avx2<const VNNI: bool>(());

impl<const VNNI: bool> Avx2<VNNI> {
    /// # Safety
    /// The CPU must have the instructions.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Self(())
    }
}

macro_rules! simd {
    ($body:expr) => {
        // SAFETY: the existence of an `Avx2` proves that the CPU has the instructions, and what is loaded or stored
        // lies inside the references or slices given.
        unsafe { $body }
    };
}

/// Defines operations on 16 lanes by those on 8.
macro_rules! halves {
    ($($name:ident($($input:ident),+) => $value:expr;)+) => {$(
        #[inline(always)]
        fn $name(self, $($input: [__m256; 2]),+) -> [__m256; 2] {
            simd! {{
                let low = { $(let $input = $input[0];)+ $value };
                let high = { $(let $input = $input[1];)+ $value };
                [low, high]
            }}
        }
    )+};
}

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

#[derive(Clone, Copy)]
pub(crate) struct LaneSpread {
    count: usize,
    index: [__m256i; 2],
}

/// Codes of 8 bits: unsigned with VNNI; otherwise signed, with their magnitudes.
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    codes: [__m256i; 2],
    magnitudes: [__m256i; 2],
}

impl<const VNNI: bool> Avx2<VNNI> {
    #[inline(always)]
    fn load_halves(self, bytes: &[u8; 64]) -> [__m256i; 2] {
        let pointer: *const __m256i = bytes.as_ptr().cast();
        simd!([_mm256_loadu_si256(pointer), _mm256_loadu_si256(pointer.add(1))])
    }

    #[inline(always)]
    fn load_codes(self, codes: &[i8; 64]) -> [__m256i; 2] {
        let pointer: *const __m256i = codes.as_ptr().cast();
        simd!([_mm256_loadu_si256(pointer), _mm256_loadu_si256(pointer.add(1))])
    }

    #[inline(always)]
    fn load_offsets(self, offsets: &[i32; 16]) -> [__m256i; 2] {
        let pointer: *const __m256i = offsets.as_ptr().cast();
        simd!([_mm256_loadu_si256(pointer), _mm256_loadu_si256(pointer.add(1))])
    }

    /// 8 f16 or bf16 as f32.
    #[inline(always)]
    fn widen<const FORMAT: u8>(self, halves: __m128i) -> __m256 {
        simd! {{
            if FORMAT == F16 {
                _mm256_cvtph_ps(halves)
            } else {
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
            }
        }}
    }

    /// 16 bytes as f32.
    #[inline(always)]
    fn floats(self, bytes: __m128i) -> [__m256; 2] {
        simd! {[
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes))),
        ]}
    }
}

/// As [`Lanes::split_codes`].
///
/// # Safety
/// The CPU must have SSSE3.
#[inline(always)]
pub(super) unsafe fn split_codes(codes: &[i8; 16]) -> [[i8; 4]; 4] {
    let mut parts = [[0; 4]; 4];
    simd! {{
        let order = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
        let codes = _mm_shuffle_epi8(_mm_loadu_si128(codes.as_ptr().cast()), order);
        _mm_storeu_si128(parts.as_mut_ptr().cast(), codes);
    }}
    parts
}

impl<const VNNI: bool> Lanes for Avx2<VNNI> {
    type Float = [__m256; 2];
    type Nibbles = [[__m256i; 2]; 4];
    type Dots = [__m256i; 2];
    type Bytes = Bytes;
    type Spread = LaneSpread;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> [__m256; 2] {
        simd!([_mm256_set1_ps(value); 2])
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> [__m256; 2] {
        simd!([_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values.as_ptr().add(8))])
    }

    #[inline(always)]
    fn store(self, values: [__m256; 2], to: &mut [f32; 16]) {
        simd! {{
            _mm256_storeu_ps(to.as_mut_ptr(), values[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), values[1]);
        }}
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 32]) -> [__m256; 2] {
        let pointer: *const __m128i = bytes.as_ptr().cast();
        simd!([
            self.widen::<F16>(_mm_loadu_si128(pointer)),
            self.widen::<F16>(_mm_loadu_si128(pointer.add(1)))
        ])
    }

    #[inline(always)]
    fn load_bf16(self, bytes: &[u8; 32]) -> [__m256; 2] {
        let pointer: *const __m128i = bytes.as_ptr().cast();
        simd!([
            self.widen::<{ super::BF16 }>(_mm_loadu_si128(pointer)),
            self.widen::<{ super::BF16 }>(_mm_loadu_si128(pointer.add(1)))
        ])
    }

    #[inline(always)]
    fn store_f16(self, values: [__m256; 2], to: &mut [u8; 32]) {
        let pointer: *mut __m128i = to.as_mut_ptr().cast();
        simd! {{
            _mm_storeu_si128(pointer, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values[0]));
            _mm_storeu_si128(pointer.add(1), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values[1]));
        }}
    }

    #[inline(always)]
    fn nibbles_to_floats(self, nibbles: u64) -> [__m256; 2] {
        simd! {{
            let bytes = _mm_cvtsi64_si128(nibbles as i64);
            let low = _mm_set1_epi8(15);
            let even = _mm_and_si128(bytes, low);
            let odd = _mm_and_si128(_mm_srli_epi16::<4>(bytes), low);
            self.floats(_mm_unpacklo_epi8(even, odd))
        }}
    }

    #[inline(always)]
    fn bytes_to_floats(self, bytes: &[u8; 16]) -> [__m256; 2] {
        self.floats(simd!(_mm_loadu_si128(bytes.as_ptr().cast())))
    }

    #[inline(always)]
    fn codes_to_floats(self, codes: &[i8; 16]) -> [__m256; 2] {
        let codes = simd!(_mm_loadu_si128(codes.as_ptr().cast()));
        simd! {[
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128::<8>(codes))),
        ]}
    }

    halves! {
        add(a, b) => _mm256_add_ps(a, b);
        sub(a, b) => _mm256_sub_ps(a, b);
        mul(a, b) => _mm256_mul_ps(a, b);
        div(a, b) => _mm256_div_ps(a, b);
        fma(a, b, c) => _mm256_fmadd_ps(a, b, c);
        max(a, b) => _mm256_max_ps(a, b);
        min(a, b) => _mm256_min_ps(a, b);
        abs(a) => _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        round(a) => _mm256_round_ps::<NEAREST>(a);
        power_of_two(a) => {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(a), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        };
        select_greater(a, b, x, y) => _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b));
    }

    #[inline(always)]
    fn select(self, bits: u16, x: [__m256; 2], y: [__m256; 2]) -> [__m256; 2] {
        simd! {{
            let bits = _mm256_set1_epi32(i32::from(bits));
            let low = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let high = _mm256_slli_epi32::<8>(low);
            let low = _mm256_cmpeq_epi32(_mm256_and_si256(bits, low), low);
            let high = _mm256_cmpeq_epi32(_mm256_and_si256(bits, high), high);
            [
                _mm256_blendv_ps(y[0], x[0], _mm256_castsi256_ps(low)),
                _mm256_blendv_ps(y[1], x[1], _mm256_castsi256_ps(high)),
            ]
        }}
    }

    #[inline(always)]
    fn to_bytes(self, values: [__m256; 2]) -> [i8; 16] {
        let mut bytes = [0; 16];
        simd! {{
            let [a, b] = [_mm256_cvtps_epi32(values[0]), _mm256_cvtps_epi32(values[1])];
            let a = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
            let b = _mm_packs_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256::<1>(b));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm_packs_epi16(a, b));
        }}
        bytes
    }

    #[inline(always)]
    fn load_nibbles(self, bytes: &[u8; 128], flip: u8) -> Self::Nibbles {
        let flip = simd!(_mm256_set1_epi8(flip as i8));
        let low = simd!(_mm256_set1_epi8(15));
        let mut parts = [[low; 2]; 4];
        for half in 0..2 {
            let [a, b] = self.load_halves(bytes[64 * half..].first_chunk().unwrap_or(&[0; 64]));
            simd! {{
                let [a, b] = [_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)];
                let words = [
                    _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b)),
                    _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b)),
                ];
                for (index, words) in words.into_iter().enumerate() {
                    let bytes = _mm256_xor_si256(_mm256_permute4x64_epi64::<0b11_01_10_00>(words), flip);
                    parts[2 * index][half] = _mm256_and_si256(bytes, low);
                    parts[2 * index + 1][half] = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low);
                }
            }}
        }
        parts
    }

    #[inline(always)]
    fn store_nibbles(self, [a, b, c, d]: Self::Nibbles, to: [&mut [[u8; 16]; 4]; 4]) {
        let [first, second, third, fourth] = to.map(|to| to.as_mut_ptr().cast::<__m256i>());
        for half in 0..2 {
            simd! {{
                let pairs = [_mm256_unpacklo_epi32(a[half], b[half]), _mm256_unpackhi_epi32(a[half], b[half])];
                let others = [_mm256_unpacklo_epi32(c[half], d[half]), _mm256_unpackhi_epi32(c[half], d[half])];
                _mm256_storeu_si256(first.add(half), _mm256_unpacklo_epi64(pairs[0], others[0]));
                _mm256_storeu_si256(second.add(half), _mm256_unpackhi_epi64(pairs[0], others[0]));
                _mm256_storeu_si256(third.add(half), _mm256_unpacklo_epi64(pairs[1], others[1]));
                _mm256_storeu_si256(fourth.add(half), _mm256_unpackhi_epi64(pairs[1], others[1]));
            }}
        }
    }

    #[inline(always)]
    fn begin_dots(self, offsets: &[i32; 16]) -> [__m256i; 2] {
        if VNNI { self.load_offsets(offsets) } else { [simd!(_mm256_setzero_si256()); 2] }
    }

    #[inline(always)]
    fn add_dots(self, dots: [__m256i; 2], weights: [u8; 4], codes: &[i8; 64]) -> [__m256i; 2] {
        let [a, b] = self.load_codes(codes);
        simd! {{
            let weights = _mm256_set1_epi32(i32::from_le_bytes(weights));
            if VNNI {
                [_mm256_dpbusd_avx_epi32(dots[0], weights, a), _mm256_dpbusd_avx_epi32(dots[1], weights, b)]
            } else {
                // Pairs of products in 16 bits: after four times 8 * 15 * 127 at most.
                [
                    _mm256_add_epi16(dots[0], _mm256_maddubs_epi16(weights, a)),
                    _mm256_add_epi16(dots[1], _mm256_maddubs_epi16(weights, b)),
                ]
            }
        }}
    }

    #[inline(always)]
    fn end_dots(self, dots: [__m256i; 2], offsets: &[i32; 16]) -> [__m256; 2] {
        let offsets = self.load_offsets(offsets);
        let mut lanes = self.splat(0.0);
        for half in 0..2 {
            lanes[half] = simd! {{
                _mm256_cvtepi32_ps(if VNNI {
                    dots[half]
                } else {
                    _mm256_add_epi32(offsets[half], _mm256_madd_epi16(dots[half], _mm256_set1_epi16(1)))
                })
            }};
        }
        lanes
    }

    #[inline(always)]
    fn store_strided(self, values: [__m256; 2], to: [&mut [f32; 4]; 4]) {
        simd! {{
            let [low, high] = values;
            let (a, b) = (_mm256_castps256_ps128(low), _mm256_extractf128_ps::<1>(low));
            let (c, d) = (_mm256_castps256_ps128(high), _mm256_extractf128_ps::<1>(high));
            let (ab, ab_last) = (_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
            let (cd, cd_last) = (_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
            let quarters = [
                _mm_movelh_ps(ab, cd),
                _mm_movehl_ps(cd, ab),
                _mm_movelh_ps(ab_last, cd_last),
                _mm_movehl_ps(cd_last, ab_last),
            ];
            for (to, quarter) in to.into_iter().zip(quarters) {
                _mm_storeu_ps(to.as_mut_ptr(), quarter);
            }
        }}
    }

    #[inline(always)]
    fn transpose_quads(self, [a, b, c, d]: [[__m256; 2]; 4]) -> [[__m256; 2]; 4] {
        let mut vectors = [a; 4];
        for half in 0..2 {
            simd! {{
                let pd = |pairs| _mm256_castps_pd(pairs);
                let ps = |pairs| _mm256_castpd_ps(pairs);
                let (a, b, c, d) = (a[half], b[half], c[half], d[half]);
                let low = [pd(_mm256_unpacklo_ps(a, b)), pd(_mm256_unpacklo_ps(c, d))];
                let high = [pd(_mm256_unpackhi_ps(a, b)), pd(_mm256_unpackhi_ps(c, d))];
                vectors[0][half] = ps(_mm256_unpacklo_pd(low[0], low[1]));
                vectors[1][half] = ps(_mm256_unpackhi_pd(low[0], low[1]));
                vectors[2][half] = ps(_mm256_unpacklo_pd(high[0], high[1]));
                vectors[3][half] = ps(_mm256_unpackhi_pd(high[0], high[1]));
            }}
        }
        vectors
    }

    #[inline(always)]
    fn split_codes(self, codes: &[i8; 16]) -> [[i8; 4]; 4] {
        simd!(split_codes(codes))
    }

    #[inline(always)]
    fn dot_nibbles(self, weights: Self::Nibbles, chunk: &SplitChunk) -> [__m256; 2] {
        let [a, b, c, d] = &chunk.parts;
        let codes = [self.load_codes(a), self.load_codes(b), self.load_codes(c), self.load_codes(d)];
        let offsets = self.load_offsets(&chunk.offsets);
        let mut lanes = self.splat(0.0);
        for half in 0..2 {
            lanes[half] = simd! {{
                let sum = if VNNI {
                    let sum = _mm256_dpbusd_avx_epi32(offsets[half], weights[0][half], codes[0][half]);
                    let sum = _mm256_dpbusd_avx_epi32(sum, weights[1][half], codes[1][half]);
                    let sum = _mm256_dpbusd_avx_epi32(sum, weights[2][half], codes[2][half]);
                    _mm256_dpbusd_avx_epi32(sum, weights[3][half], codes[3][half])
                } else {
                    // At most 8 * 15 * 127 in 16 bits.
                    let pairs = |part: usize| _mm256_maddubs_epi16(weights[part][half], codes[part][half]);
                    let pairs = _mm256_add_epi16(
                        _mm256_add_epi16(pairs(0), pairs(1)),
                        _mm256_add_epi16(pairs(2), pairs(3)),
                    );
                    _mm256_add_epi32(offsets[half], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
                };
                _mm256_cvtepi32_ps(sum)
            }};
        }
        lanes
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8; 64], flip: u8) -> Bytes {
        let [a, b] = self.load_halves(bytes);
        simd! {{
            let flip = _mm256_set1_epi8((if VNNI { flip } else { flip ^ 0x80 }) as i8);
            let codes = [_mm256_xor_si256(a, flip), _mm256_xor_si256(b, flip)];
            Bytes { codes, magnitudes: [_mm256_abs_epi8(codes[0]), _mm256_abs_epi8(codes[1])] }
        }}
    }

    #[inline(always)]
    fn dot_bytes(self, weights: Bytes, chunk: &NaturalChunk) -> [__m256; 2] {
        let codes = self.load_codes(&chunk.codes);
        let offsets = self.load_offsets(&chunk.offsets);
        let mut lanes = self.splat(0.0);
        for half in 0..2 {
            lanes[half] = simd! {{
                let sum = if VNNI {
                    _mm256_dpbusd_avx_epi32(offsets[half], weights.codes[half], codes[half])
                } else {
                    // At most 2 * 128 * 127 in 16 bits.
                    let signed = _mm256_sign_epi8(codes[half], weights.codes[half]);
                    let pairs = _mm256_maddubs_epi16(weights.magnitudes[half], signed);
                    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
                };
                _mm256_cvtepi32_ps(sum)
            }};
        }
        lanes
    }

    #[inline(always)]
    fn spread(self, spread: Spread) -> LaneSpread {
        let mut index = [0; 16];
        for (lane, index) in index.iter_mut().enumerate() {
            *index = (lane >> spread.shift) as i32;
        }
        let pointer: *const __m256i = index.as_ptr().cast();
        LaneSpread {
            count: spread.count,
            index: simd!([_mm256_loadu_si256(pointer), _mm256_loadu_si256(pointer.add(1))]),
        }
    }

    #[inline(always)]
    unsafe fn spread_scales<const FORMAT: u8>(self, spread: LaneSpread, bytes: *const u8) -> [__m256; 2] {
        let pointer = bytes;
        simd! {{
            if spread.count == 16 {
                return if FORMAT == F32 {
                    [_mm256_loadu_ps(pointer.cast()), _mm256_loadu_ps(pointer.cast::<f32>().add(8))]
                } else {
                    let pointer: *const __m128i = pointer.cast();
                    [
                        self.widen::<FORMAT>(_mm_loadu_si128(pointer)),
                        self.widen::<FORMAT>(_mm_loadu_si128(pointer.add(1))),
                    ]
                };
            }
            let scales = if FORMAT == F32 {
                match spread.count {
                    1 => return [_mm256_broadcast_ss(&pointer.cast::<f32>().read_unaligned()); 2],
                    2 => _mm256_castps128_ps256(_mm_castsi128_ps(_mm_loadl_epi64(pointer.cast()))),
                    4 => _mm256_castps128_ps256(_mm_loadu_ps(pointer.cast())),
                    _ => _mm256_loadu_ps(pointer.cast()),
                }
            } else {
                self.widen::<FORMAT>(match spread.count {
                    1 => _mm_cvtsi32_si128(i32::from(pointer.cast::<u16>().read_unaligned())),
                    2 => _mm_cvtsi32_si128(pointer.cast::<i32>().read_unaligned()),
                    4 => _mm_loadl_epi64(pointer.cast()),
                    _ => _mm_loadu_si128(pointer.cast()),
                })
            };
            [
                _mm256_permutevar8x32_ps(scales, spread.index[0]),
                _mm256_permutevar8x32_ps(scales, spread.index[1]),
            ]
        }}
    }

    #[inline(always)]
    fn prefetch(self, address: *const u8) {
        simd!(_mm_prefetch::<_MM_HINT_T1>(address.cast()));
    }

    #[inline(always)]
    fn sum4(self, values: [[__m256; 2]; 4]) -> [f32; 4] {
        let mut totals = [0.0; 4];
        simd! {{
            let mut quarters = [_mm_setzero_ps(); 4];
            for (quarter, value) in quarters.iter_mut().zip(values) {
                let eight = _mm256_add_ps(value[0], value[1]);
                *quarter = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            }
            // Columns of the transposed quarters are lanes 0 to 3 of the four sums.
            let [a, b, c, d] = quarters;
            let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
            let lanes_0 = _mm_movelh_ps(ab, cd);
            let lanes_1 = _mm_movehl_ps(cd, ab);
            let lanes_2 = _mm_movelh_ps(ab_high, cd_high);
            let lanes_3 = _mm_movehl_ps(cd_high, ab_high);
            let sum = _mm_add_ps(_mm_add_ps(lanes_0, lanes_2), _mm_add_ps(lanes_1, lanes_3));
            _mm_storeu_ps(totals.as_mut_ptr(), sum);
        }}
        totals
    }

    #[inline(always)]
    fn load_floats<const FORMAT: u8>(self, bytes: &[u8]) -> [__m256; 2] {
        let size = 16 * size_of_format(FORMAT);
        let padded;
        let pointer = if bytes.len() >= size {
            bytes.as_ptr()
        } else {
            padded = super::padded::<64>(bytes);
            padded.as_ptr()
        };
        simd! {{
            if FORMAT == F32 {
                return [_mm256_loadu_ps(pointer.cast()), _mm256_loadu_ps(pointer.cast::<f32>().add(8))];
            }
            let pointer: *const __m128i = pointer.cast();
            [
                self.widen::<FORMAT>(_mm_loadu_si128(pointer)),
                self.widen::<FORMAT>(_mm_loadu_si128(pointer.add(1))),
            ]
        }}
    }
}
