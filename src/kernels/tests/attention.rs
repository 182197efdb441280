use half::f16;

use super::{Random, assert_same_bits, rows_under_test, scalar};
use crate::{AttentionScale, AttentionState, KernelTable, KvBlock, KvBlockMut};

/// Keys and values of some positions, as rows.
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

    /// Attends through the kernels; unwritten positions hold NaN.
    fn attend(
        &self,
        kernels: &KernelTable,
        half: bool,
        queries: &[f32],
        visible: &[Vec<u64>],
        scale: AttentionScale,
        sinks: Option<&[f32]>,
    ) -> Vec<f32> {
        let count = visible.len();
        let mut state = AttentionState::new();
        state.reset(count + 3, self.head_dim + 1);
        state.reset(count, self.head_dim);
        let size = 64 * self.head_dim;
        for block in 0..self.keys.len().div_ceil(64) {
            let rows = 64 * block..self.keys.len().min(64 * block + 64);
            let masks: Vec<_> = visible.iter().map(|masks| masks[block]).collect();
            if half {
                let mut keys = vec![f16::NAN; size];
                let mut values = vec![f16::INFINITY; size];
                for (position, row) in rows.enumerate() {
                    kernels.store_key(&self.keys[row], KvBlockMut::F16(&mut keys), position);
                    kernels.store_value(&self.values[row], KvBlockMut::F16(&mut values), position);
                }
                let (keys, values) = (KvBlock::F16(&keys), KvBlock::F16(&values));
                kernels.attend_block(queries, keys, values, &masks, scale, &mut state);
            } else {
                let mut keys = vec![f32::NAN; size];
                let mut values = vec![f32::INFINITY; size];
                for (position, row) in rows.enumerate() {
                    kernels.store_key(&self.keys[row], KvBlockMut::F32(&mut keys), position);
                    kernels.store_value(&self.values[row], KvBlockMut::F32(&mut values), position);
                }
                let (keys, values) = (KvBlock::F32(&keys), KvBlock::F32(&values));
                kernels.attend_block(queries, keys, values, &masks, scale, &mut state);
            }
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
    let last = random.below(positions);
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
    for head_dim in [1, 8, 16, 17, 40, 64, 80, 96, 128, 256] {
        for positions in [1, 2, 16, 17, 63, 64, 65, 130] {
            let count = 1 + random.below(10);
            let cache = Cache::new(&mut random, head_dim, positions);
            let queries = random.vector(count * head_dim);
            let visible: Vec<_> = (0..count).map(|query| masks(&mut random, positions, query % 4)).collect();
            let softcap = [None, Some(5.0)][random.below(2)];
            let scale = AttentionScale { scale: 1.0 / (head_dim as f32).sqrt(), softcap };
            let sinks = random.vector(count);
            let sinks = [None, Some(&sinks[..])][random.below(2)];
            let expected = cache.attend(scalar(), true, &queries, &visible, scale, sinks);
            for (query, actual) in expected.chunks(head_dim).enumerate() {
                let q = &queries[query * head_dim..][..head_dim];
                let exact = cache.exact(q, &visible[query], scale, sinks.map(|sinks| sinks[query]));
                for (actual, exact) in actual.iter().zip(exact) {
                    assert!((f64::from(*actual) - exact).abs() < 2e-6, "{head_dim} {actual} {exact}");
                }
            }
            for kernels in rows_under_test() {
                let what = format!("{} {head_dim} x {positions}", kernels.name());
                for half in [true, false] {
                    let all = cache.attend(kernels, half, &queries, &visible, scale, sinks);
                    assert_same_bits(&what, &all, &expected);
                }
                for query in 0..count {
                    let alone = cache.attend(
                        kernels,
                        true,
                        &queries[query * head_dim..][..head_dim],
                        &visible[query..][..1],
                        scale,
                        sinks.map(|sinks| &sinks[query..][..1]),
                    );
                    assert_same_bits(&what, &alone, &expected[query * head_dim..][..head_dim]);
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
        let out = cache.attend(kernels, false, &[-1.0], &[vec![3]], scale, None);
        assert_eq!(out, [0.0], "{}", kernels.name());
        let out = cache.attend(kernels, false, &[-1.0], &[vec![3]], scale, Some(&[0.0]));
        assert_eq!(out, [0.0], "{}", kernels.name());
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
            let attend =
                |masks: [u64; 2]| cache.attend(kernels, true, &[1.0], &[masks.to_vec()], scale, None)[0];
            assert!(attend(all).is_nan() && attend(only).is_nan(), "{} {positions}", kernels.name());
            assert!(!attend(others).is_nan(), "{} {positions}", kernels.name());
        }
    }
}
