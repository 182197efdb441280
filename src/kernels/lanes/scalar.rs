//! Plain Rust, for CPUs without a row of their own. With `TILES` it does what a matrix unit does, so that the kernels around one
//! are tested on every machine.
//!
//! Operations are calls: inlined, they would make the kernels many times as large and hardly faster.

use half::{bf16, f16};

use super::{Lanes, Spread, size_of_format};
use crate::activations::{GroupBlock, NaturalChunk, SplitChunk};
use crate::multiply_panel::Quad;

#[derive(Clone, Copy)]
pub(crate) struct Scalar<const TILES: bool>;

macro_rules! map {
    ($($name:ident($($input:ident),+) => $value:expr;)+) => {$(
        #[inline(never)]
        fn $name(self, $($input: [f32; 16]),+) -> [f32; 16] {
            let mut lanes = [0.0; 16];
            for (lane, value) in lanes.iter_mut().enumerate() {
                $(let $input = $input[lane];)+
                *value = $value;
            }
            lanes
        }
    )+};
}

impl<const TILES: bool> Lanes for Scalar<TILES> {
    type Float = [f32; 16];
    type Nibbles = [[u8; 64]; 4];
    type Dots = [i32; 16];
    type Bytes = [u8; 64];
    type Spread = Spread;
    const WIDE: bool = false;
    const TILES: bool = TILES;

    #[inline(never)]
    fn splat(self, value: f32) -> [f32; 16] {
        [value; 16]
    }

    #[inline(never)]
    fn load(self, values: &[f32; 16]) -> [f32; 16] {
        *values
    }

    #[inline(never)]
    fn store(self, values: [f32; 16], to: &mut [f32; 16]) {
        *to = values;
    }

    #[inline(never)]
    fn load_f16(self, bytes: &[u8; 32]) -> [f32; 16] {
        let mut lanes = [0.0; 16];
        for (lane, bytes) in lanes.iter_mut().zip(bytes.as_chunks().0) {
            *lane = f16::from_le_bytes(*bytes).to_f32();
        }
        lanes
    }

    #[inline(never)]
    fn load_bf16(self, bytes: &[u8; 32]) -> [f32; 16] {
        let mut lanes = [0.0; 16];
        for (lane, bytes) in lanes.iter_mut().zip(bytes.as_chunks().0) {
            *lane = bf16::from_le_bytes(*bytes).to_f32();
        }
        lanes
    }

    #[inline(never)]
    fn store_f16(self, values: [f32; 16], to: &mut [u8; 32]) {
        for (to, value) in to.as_chunks_mut().0.iter_mut().zip(values) {
            *to = f16::from_f32(value).to_le_bytes();
        }
    }

    #[inline(never)]
    fn nibbles_to_floats(self, nibbles: u64) -> [f32; 16] {
        let mut lanes = [0.0; 16];
        for (lane, value) in lanes.iter_mut().enumerate() {
            *value = ((nibbles >> (4 * lane)) & 15) as f32;
        }
        lanes
    }

    #[inline(never)]
    fn bytes_to_floats(self, bytes: &[u8; 16]) -> [f32; 16] {
        bytes.map(f32::from)
    }

    map! {
        add(a, b) => a + b;
        sub(a, b) => a - b;
        mul(a, b) => a * b;
        div(a, b) => a / b;
        fma(a, b, c) => a.mul_add(b, c);
        max(a, b) => if a > b { a } else { b };
        min(a, b) => if a < b { a } else { b };
        abs(a) => a.abs();
        round(a) => a.round_ties_even();
        power_of_two(a) => f32::from_bits((a as i32).wrapping_add(127).wrapping_shl(23) as u32);
        select_greater(a, b, x, y) => if a > b { x } else { y };
    }

    #[inline(never)]
    fn select(self, bits: u16, x: [f32; 16], y: [f32; 16]) -> [f32; 16] {
        let mut lanes = y;
        for (lane, value) in lanes.iter_mut().enumerate() {
            if bits >> lane & 1 == 1 {
                *value = x[lane];
            }
        }
        lanes
    }

    #[inline(never)]
    fn to_bytes(self, values: [f32; 16]) -> [i8; 16] {
        values.map(|value| value as i8)
    }

    #[inline(never)]
    fn load_nibbles(self, bytes: &[u8; 128], flip: u8) -> Self::Nibbles {
        let mut parts = [[0; 64]; 4];
        for (lane, bytes) in bytes.as_chunks::<8>().0.iter().enumerate() {
            for index in 0..4 {
                let (first, last) = (bytes[index] ^ flip, bytes[index + 4] ^ flip);
                for (part, code) in parts.iter_mut().zip([first & 15, first >> 4, last & 15, last >> 4]) {
                    part[4 * lane + index] = code;
                }
            }
        }
        parts
    }

    #[inline(never)]
    fn store_nibbles(self, weights: Self::Nibbles, to: [&mut [[u8; 16]; 4]; 4]) {
        for (first, to) in to.into_iter().enumerate() {
            for (fourth, to) in to.iter_mut().enumerate() {
                let lane = 4 * fourth + first;
                for (part, to) in weights.iter().zip(to.as_chunks_mut::<4>().0) {
                    for (to, code) in to.iter_mut().zip(&part[4 * lane..]) {
                        *to = if TILES { code.wrapping_sub(8) } else { *code };
                    }
                }
            }
        }
    }

    #[inline(never)]
    fn begin_dots(self, offsets: &[i32; 16]) -> [i32; 16] {
        *offsets
    }

    #[inline(never)]
    fn add_dots(self, mut dots: [i32; 16], weights: [u8; 4], codes: &[i8; 64]) -> [i32; 16] {
        for (dot, codes) in dots.iter_mut().zip(codes.as_chunks::<4>().0) {
            for (weight, code) in weights.iter().zip(codes) {
                *dot += i32::from(*weight) * i32::from(*code);
            }
        }
        dots
    }

    #[inline(never)]
    fn end_dots(self, dots: [i32; 16], _offsets: &[i32; 16]) -> [f32; 16] {
        dots.map(|dot| dot as f32)
    }

    #[inline(never)]
    fn dot_tile(self, rows: &[Quad], at: usize, tokens: &GroupBlock, to: &mut [[i32; 16]; 16]) {
        for (row, to) in rows.iter().zip(to) {
            let weights = row.codes[at].map(u8::cast_signed);
            *to = [0; 16];
            for (weights, codes) in weights.as_chunks::<4>().0.iter().zip(&tokens.parts) {
                for (dot, codes) in to.iter_mut().zip(codes.as_chunks::<4>().0) {
                    for (weight, code) in weights.iter().zip(codes) {
                        *dot += i32::from(*weight) * i32::from(*code);
                    }
                }
            }
        }
    }

    #[inline(never)]
    fn transpose_quads(self, vectors: [[f32; 16]; 4]) -> [[f32; 16]; 4] {
        let mut transposed = vectors;
        for (i, vector) in vectors.iter().enumerate() {
            for (lane, value) in vector.iter().enumerate() {
                transposed[lane % 4][lane / 4 * 4 + i] = *value;
            }
        }
        transposed
    }

    #[inline(never)]
    fn dot_nibbles(self, weights: Self::Nibbles, chunk: &SplitChunk) -> [f32; 16] {
        let mut lanes = [0.0; 16];
        for (lane, value) in lanes.iter_mut().enumerate() {
            let mut sum = chunk.offsets[lane];
            for (weights, codes) in weights.iter().zip(&chunk.parts) {
                for index in 4 * lane..4 * lane + 4 {
                    sum += i32::from(weights[index]) * i32::from(codes[index]);
                }
            }
            *value = sum as f32;
        }
        lanes
    }

    #[inline(never)]
    fn load_bytes(self, bytes: &[u8; 64], flip: u8) -> [u8; 64] {
        bytes.map(|byte| byte ^ flip)
    }

    #[inline(never)]
    fn dot_bytes(self, weights: [u8; 64], chunk: &NaturalChunk) -> [f32; 16] {
        let mut lanes = [0.0; 16];
        for (lane, value) in lanes.iter_mut().enumerate() {
            let mut sum = chunk.offsets[lane];
            for index in 4 * lane..4 * lane + 4 {
                sum += i32::from(weights[index]) * i32::from(chunk.codes[index]);
            }
            *value = sum as f32;
        }
        lanes
    }

    #[inline(never)]
    fn spread(self, spread: Spread) -> Spread {
        spread
    }

    #[inline(never)]
    unsafe fn spread_scales<const FORMAT: u8>(self, spread: Spread, bytes: *const u8) -> [f32; 16] {
        // SAFETY: the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(bytes, spread.count * size_of_format(FORMAT)) };
        let scales = self.load_floats::<FORMAT>(bytes);
        let mut lanes = [0.0; 16];
        for (lane, value) in lanes.iter_mut().enumerate() {
            *value = scales[lane >> spread.shift];
        }
        lanes
    }

    #[inline(never)]
    fn prefetch(self, _address: *const u8) {}
}
