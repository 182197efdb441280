use half::f16;

use super::{Random, assert_same_bits, rows_under_test, scalar};
use crate::{
    AttentionScale, AttentionState, BLOCK_POSITIONS, KernelTable, KvBlock, KvBlockMut, SCALE_COLUMNS,
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Precision {
    F16,
    F32,
    Int8,
}

const PRECISIONS: [Precision; 3] = [Precision::F16, Precision::F32, Precision::Int8];

/// The keys or the values of a block, with what must not matter in the places that are not written.
enum Block {
    F16(Vec<f16>),
    F32(Vec<f32>),
    Int8(Vec<i8>, Vec<f16>),
}

impl Block {
    fn new(precision: Precision, head_dim: usize, filling: f32) -> Self {
        let size = BLOCK_POSITIONS * head_dim;
        match precision {
            Precision::F16 => Self::F16(vec![f16::from_f32(filling); size]),
            Precision::F32 => Self::F32(vec![filling; size]),
            Precision::Int8 => {
                let scales = BLOCK_POSITIONS * head_dim.div_ceil(SCALE_COLUMNS);
                Self::Int8(vec![i8::MIN; size], vec![f16::from_f32(filling); scales])
            }
        }
    }

    fn get(&self) -> KvBlock<'_> {
        match self {
            Self::F16(values) => KvBlock::F16(values),
            Self::F32(values) => KvBlock::F32(values),
            Self::Int8(codes, scales) => KvBlock::Int8 { codes, scales },
        }
    }

    fn get_mut(&mut self) -> KvBlockMut<'_> {
        match self {
            Self::F16(values) => KvBlockMut::F16(values),
            Self::F32(values) => KvBlockMut::F32(values),
            Self::Int8(codes, scales) => KvBlockMut::Int8 { codes, scales },
        }
    }
}

/// The codes and scales of a row, one number after the other.
fn codes(row: &[f32]) -> (Vec<i8>, Vec<f16>) {
    let (mut codes, mut scales) = (Vec::new(), Vec::new());
    for group in row.chunks(SCALE_COLUMNS) {
        let is_number = group.iter().all(|value| !value.is_nan());
        let largest = group.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let exact = if is_number { largest / 127.0 } else { f32::NAN };
        let rounded = f16::from_f32(exact);
        let scale = if rounded.to_f32() < exact { f16::from_bits(rounded.to_bits() + 1) } else { rounded };
        scales.push(scale);
        let usable = scale.is_finite() && scale > f16::ZERO;
        let code = |value: &f32| if usable { (value / scale.to_f32()).round_ties_even() } else { 0.0 };
        codes.extend(group.iter().map(|value| code(value).clamp(-127.0, 127.0) as i8));
    }
    (codes, scales)
}

/// Keys and values of some positions, as rows.
#[derive(Clone)]
struct Cache {
    head_dim: usize,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl Cache {
    fn new(random: &mut Random, head_dim: usize, positions: usize) -> Self {
        let mut rows = |scale: f32| -> Vec<Vec<f32>> {
            (0..positions)
                .map(|_| random.vector(head_dim).iter().map(|x| f16::from_f32(x * scale).to_f32()).collect())
                .collect()
        };
        Self { head_dim, keys: rows(2.0), values: rows(1.0) }
    }

    /// What a block in `precision` holds of them.
    fn rounded(&self, precision: Precision) -> Self {
        if precision != Precision::Int8 {
            return self.clone();
        }
        let rounded = |row: &Vec<f32>| {
            let (codes, scales) = codes(row);
            let scale = |column: usize| scales[column / SCALE_COLUMNS].to_f32();
            codes.iter().enumerate().map(|(column, code)| f32::from(*code) * scale(column)).collect()
        };
        Self {
            head_dim: self.head_dim,
            keys: self.keys.iter().map(rounded).collect(),
            values: self.values.iter().map(rounded).collect(),
        }
    }

    /// Attends through the kernels; unwritten positions hold NaN and infinity.
    fn attend(
        &self,
        kernels: &KernelTable,
        precision: Precision,
        queries: &[f32],
        visible: &[Vec<u64>],
        scale: AttentionScale,
        sinks: Option<&[f32]>,
    ) -> Vec<f32> {
        let count = visible.len();
        let mut state = AttentionState::new();
        state.reset(count + 3, self.head_dim + 1);
        state.reset(count, self.head_dim);
        for block in 0..self.keys.len().div_ceil(64) {
            let rows = 64 * block..self.keys.len().min(64 * block + 64);
            let masks: Vec<_> = visible.iter().map(|masks| masks[block]).collect();
            let mut keys = Block::new(precision, self.head_dim, f32::NAN);
            let mut values = Block::new(precision, self.head_dim, f32::INFINITY);
            for (position, row) in rows.enumerate() {
                kernels.store_key(&self.keys[row], keys.get_mut(), position);
                kernels.store_value(&self.values[row], values.get_mut(), position);
            }
            kernels.attend_block(queries, keys.get(), values.get(), &masks, scale, &mut state);
        }
        let mut out = vec![f32::NAN; count * self.head_dim];
        kernels.finish_attention(&state, sinks, &mut out);
        out
    }

    /// The same in f64 with a plain softmax.
    fn exact(&self, query: &[f32], visible: &[u64], scale: AttentionScale, sink: Option<f32>) -> Vec<f64> {
        let mut out = vec![0.0; self.head_dim];
        let mut sum = sink.map_or(0.0, |sink| f64::from(sink).exp());
        for position in 0..self.keys.len() {
            if visible[position / 64] >> (position % 64) & 1 == 0 {
                continue;
            }
            let dot: f64 =
                query.iter().zip(&self.keys[position]).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
            let mut score = dot * f64::from(scale.scale);
            if let Some(cap) = scale.softcap {
                score = f64::from(cap) * (score / f64::from(cap)).tanh();
            }
            let weight = score.exp();
            sum += weight;
            for (out, &value) in out.iter_mut().zip(&self.values[position]) {
                *out += weight * f64::from(value);
            }
        }
        out.iter().map(|value| if sum == 0.0 { 0.0 } else { value / sum }).collect()
    }
}

/// Masks for one query: up to a position, from a position, at random, or nothing.
fn masks(random: &mut Random, positions: usize, kind: usize) -> Vec<u64> {
    let last = random.below(positions.max(1));
    let first = random.below(last + 1);
    let sees = |position: usize, random: &mut Random| match kind {
        0 => position <= last,
        1 => (first..=last).contains(&position),
        2 => random.below(3) == 0,
        _ => false,
    };
    let mut masks = vec![0; positions.div_ceil(64)];
    for position in 0..positions {
        if sees(position, random) {
            masks[position / 64] |= 1 << (position % 64);
        }
    }
    masks
}

#[test]
fn attention_agrees_with_f64_and_between_rows() {
    let mut random = Random(1);
    for head_dim in [1, 8, 16, 17, 32, 33, 40, 64, 80, 96, 100, 128, 256] {
        for positions in [0, 1, 2, 16, 17, 63, 64, 65, 130] {
            let count = 1 + random.below(10);
            let cache = Cache::new(&mut random, head_dim, positions);
            let queries = random.vector(count * head_dim);
            let visible: Vec<_> = (0..count).map(|query| masks(&mut random, positions, query % 4)).collect();
            let softcap = [None, Some(5.0)][random.below(2)];
            let scale = AttentionScale { scale: 1.0 / (head_dim as f32).sqrt(), softcap };
            let sinks = random.vector(count);
            let sinks = [None, Some(&sinks[..])][random.below(2)];
            for precision in PRECISIONS {
                let expected = cache.attend(scalar(), precision, &queries, &visible, scale, sinks);
                let rounded = cache.rounded(precision);
                for (query, actual) in expected.chunks(head_dim).enumerate() {
                    let q = &queries[query * head_dim..][..head_dim];
                    let exact = rounded.exact(q, &visible[query], scale, sinks.map(|sinks| sinks[query]));
                    for (actual, exact) in actual.iter().zip(exact) {
                        let error = (f64::from(*actual) - exact).abs();
                        assert!(error < 2e-6, "{precision:?} {head_dim} {actual} {exact}");
                    }
                }
                for kernels in rows_under_test() {
                    let what = format!("{} {precision:?} {head_dim} x {positions}", kernels.name());
                    let all = cache.attend(kernels, precision, &queries, &visible, scale, sinks);
                    assert_same_bits(&what, &all, &expected);
                    for query in 0..count {
                        let alone = cache.attend(
                            kernels,
                            precision,
                            &queries[query * head_dim..][..head_dim],
                            &visible[query..][..1],
                            scale,
                            sinks.map(|sinks| &sinks[query..][..1]),
                        );
                        assert_same_bits(&what, &alone, &expected[query * head_dim..][..head_dim]);
                    }
                }
            }
            let [halves, singles] = [Precision::F16, Precision::F32]
                .map(|precision| cache.attend(scalar(), precision, &queries, &visible, scale, sinks));
            assert_same_bits("numbers that an f16 holds", &halves, &singles);
        }
    }
}

/// Rows whose groups have every kind of scale: ordinary, of zeros, subnormal, rounded to zero, and too large for a number.
fn rows_to_store(random: &mut Random, head_dim: usize) -> Vec<Vec<f32>> {
    let mut rows: Vec<Vec<f32>> = [1.0, 1e-5, 1e-9, 0.0, 1e6, 3e7, f32::MAX]
        .iter()
        .map(|factor| random.vector(head_dim).iter().map(|value| value * factor).collect())
        .collect();
    for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut row = random.vector(head_dim);
        row[head_dim / 2] = special;
        rows.push(row);
    }
    rows
}

#[test]
fn codes_are_stored_in_their_places_and_nowhere_else() {
    let mut random = Random(2);
    let canary = f16::from_f32(7.0);
    for head_dim in [1, 15, 16, 31, 32, 33, 64, 80, 100] {
        for row in rows_to_store(&mut random, head_dim) {
            let (codes, scales) = codes(&row);
            for kernels in rows_under_test() {
                for position in [0, 15, 63] {
                    let what = format!("{} {head_dim} at {position}", kernels.name());
                    let of = |store: &dyn Fn(KvBlockMut<'_>)| {
                        let mut block = Block::new(Precision::Int8, head_dim, canary.to_f32());
                        store(block.get_mut());
                        let Block::Int8(codes, scales) = block else { panic!("another precision") };
                        (codes, scales)
                    };
                    let keys = of(&|block| kernels.store_key(&row, block, position));
                    let values = of(&|block| kernels.store_value(&row, block, position));
                    for column in 0..head_dim {
                        for other in 0..BLOCK_POSITIONS {
                            let expected = if other == position { codes[column] } else { i8::MIN };
                            assert_eq!(keys.0[column * BLOCK_POSITIONS + other], expected, "{what}");
                            assert_eq!(values.0[other * head_dim + column], expected, "{what}");
                        }
                    }
                    for found in [keys.1, values.1] {
                        for (index, found) in found.into_iter().enumerate() {
                            let (group, other) = (index / BLOCK_POSITIONS, index % BLOCK_POSITIONS);
                            let expected = if other == position { scales[group] } else { canary };
                            let both_are_none = found.is_nan() && expected.is_nan();
                            assert!(both_are_none || found == expected, "{what}: {found} {expected}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn codes_are_within_half_a_step_of_every_number() {
    let mut random = Random(4);
    for exponent in -12..6 {
        let magnitude = 10.0_f32.powi(exponent);
        let row: Vec<f32> = random.vector(SCALE_COLUMNS).iter().map(|value| value * magnitude).collect();
        for kernels in rows_under_test() {
            let mut block = Block::new(Precision::Int8, SCALE_COLUMNS, 0.0);
            kernels.store_value(&row, block.get_mut(), 0);
            let Block::Int8(codes, scales) = block else { panic!("another precision") };
            let scale = scales[0].to_f32();
            for (code, value) in codes.iter().zip(&row) {
                let lost = (f32::from(*code) * scale - value).abs();
                assert!(lost <= 0.501 * scale, "{}: {value} is {code} times {scale}", kernels.name());
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let mut random = Random(3);
    let scale = AttentionScale { scale: 0.1, softcap: None };
    for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for head_dim in [1, 40, 64] {
            let cache = Cache::new(&mut random, head_dim, 3);
            let queries: Vec<f32> = random.vector(head_dim).iter().map(|value| value.abs()).collect();
            let mut of_keys = cache.clone();
            of_keys.keys[1] = vec![special; head_dim];
            let mut of_values = cache;
            of_values.values[1] = vec![special; head_dim];
            for kernels in rows_under_test() {
                for precision in PRECISIONS {
                    let attend = |cache: &Cache, visible| {
                        cache.attend(kernels, precision, &queries, &[vec![visible]], scale, None)
                    };
                    let what = format!("{} {precision:?} {special} {head_dim}", kernels.name());
                    let values = attend(&of_values, 7);
                    assert!(values.iter().all(|value| !value.is_finite()), "{what}: {values:?}");
                    // With numbers a key of negative infinity only weighs nothing.
                    if precision == Precision::Int8 || special != f32::NEG_INFINITY {
                        let values = attend(&of_keys, 7);
                        assert!(values.iter().all(|value| value.is_nan()), "{what}: {values:?}");
                    }
                    assert!(attend(&of_keys, 5).iter().all(|value| value.is_finite()), "{what}");
                    assert!(attend(&of_values, 5).iter().all(|value| value.is_finite()), "{what}");
                }
            }
        }
    }
}

#[test]
fn scores_of_negative_infinity_weigh_nothing() {
    let cache = Cache { head_dim: 1, keys: vec![vec![1.0], vec![2.0]], values: vec![vec![3.0], vec![5.0]] };
    let scale = AttentionScale { scale: f32::INFINITY, softcap: None };
    for kernels in rows_under_test() {
        for precision in PRECISIONS {
            let out = cache.attend(kernels, precision, &[-1.0], &[vec![3]], scale, None);
            assert_eq!(out, [0.0], "{}", kernels.name());
            let out = cache.attend(kernels, precision, &[-1.0], &[vec![3]], scale, Some(&[0.0]));
            assert_eq!(out, [0.0], "{}", kernels.name());
        }
    }
}

#[test]
fn a_score_that_is_no_number_shows_in_the_output() {
    for (positions, poisoned) in [(1, 0), (20, 3), (64, 40), (70, 66)] {
        let mut keys = vec![vec![0.5]; positions];
        keys[poisoned] = vec![f32::NAN];
        let cache = Cache { head_dim: 1, keys, values: vec![vec![1.0]; positions] };
        let scale = AttentionScale { scale: 1.0, softcap: None };
        let (mut all, mut only, mut others) = ([0; 2], [0; 2], [0; 2]);
        for position in 0..positions {
            all[position / 64] |= 1 << (position % 64);
        }
        only[poisoned / 64] |= 1 << (poisoned % 64);
        for block in 0..2 {
            others[block] = all[block] & !only[block];
        }
        for kernels in rows_under_test() {
            for precision in PRECISIONS {
                let what = format!("{} {precision:?} {positions}", kernels.name());
                let attend = |masks: [u64; 2]| {
                    cache.attend(kernels, precision, &[1.0], &[masks.to_vec()], scale, None)[0]
                };
                assert!(attend(all).is_nan() && attend(only).is_nan(), "{what}");
                assert!(!attend(others).is_nan(), "{what}");
            }
        }
    }
}
