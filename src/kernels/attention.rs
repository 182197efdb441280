//! Attention over blocks of 64 cached positions with an online softmax (Milakov and Gimelshein, 2018;
//! Rabe and Staats, 2021).

use half::f16;

use super::lanes::Lanes;
use super::math::{exp, tanh};

/// Positions of a block of the KV cache.
pub const BLOCK_POSITIONS: usize = 64;

/// Queries that share a pass over a block.
const TILE_QUERIES: usize = 4;

/// The keys or the values of one block and one key/value head.
///
/// Keys lie transposed, `[head_dim][64]`; values `[64][head_dim]`.
#[derive(Debug, Clone, Copy)]
pub enum KvBlock<'a> {
    /// Half precision.
    F16(&'a [f16]),
    /// Single precision.
    F32(&'a [f32]),
}

/// The keys or the values of one block, to be written.
#[derive(Debug)]
pub enum KvBlockMut<'a> {
    /// Half precision; storing rounds to nearest even.
    F16(&'a mut [f16]),
    /// Single precision.
    F32(&'a mut [f32]),
}

impl KvBlock<'_> {
    pub(super) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }
}

impl KvBlockMut<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }
}

/// The running softmax of some queries: to be reset, fed block after block, and finished.
#[derive(Debug, Clone, Default)]
pub struct AttentionState {
    queries: usize,
    head_dim: usize,
    largest: Vec<f32>,
    sums: Vec<f32>,
    totals: Vec<f32>,
}

impl AttentionState {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins anew for `queries` queries of `head_dim`; allocates only when the buffer has never been so large.
    pub fn reset(&mut self, queries: usize, head_dim: usize) {
        (self.queries, self.head_dim) = (queries, head_dim);
        for (buffer, length, value) in [
            (&mut self.largest, queries, f32::NEG_INFINITY),
            (&mut self.sums, queries, 0.0),
            (&mut self.totals, queries * head_dim, 0.0),
        ] {
            buffer.clear();
            buffer.resize(length, value);
        }
    }

    /// How many queries.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// Numbers of a query.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }
}

/// Numbers of a cache, as the kernels read them.
trait Element: Copy {
    fn load<L: Lanes>(lanes: L, values: &[Self; 16]) -> L::Float;
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

/// Writes a key row into column `position` of its block.
pub(super) fn store_key<L: Lanes>(lanes: L, row: &[f32], block: KvBlockMut<'_>, position: usize) {
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
    }
}

/// Writes a value row into row `position` of its block.
#[inline(always)]
pub(super) fn store_value<L: Lanes>(lanes: L, row: &[f32], block: KvBlockMut<'_>, position: usize) {
    match block {
        KvBlockMut::F16(block) => {
            let to = &mut block[position * row.len()..][..row.len()];
            for (values, to) in row.chunks(16).zip(to.chunks_mut(16)) {
                let mut bytes = [0; 32];
                lanes.store_f16(lanes.load_partial(values), &mut bytes);
                for (to, bytes) in to.iter_mut().zip(bytes.as_chunks().0) {
                    *to = f16::from_le_bytes(*bytes);
                }
            }
        }
        KvBlockMut::F32(block) => block[position * row.len()..][..row.len()].copy_from_slice(row),
    }
}

/// Parameters of [`attend_block`](super::KernelTable::attend_block).
#[derive(Debug, Clone, Copy)]
pub struct AttentionScale {
    /// What scores are multiplied with, such as 1 / sqrt(head_dim).
    pub scale: f32,
    /// Scores become cap * tanh(score / cap).
    pub softcap: Option<f32>,
}

/// Adds one block to the state; the caller has checked all lengths.
#[inline(always)]
pub(super) fn attend_block<L: Lanes>(
    lanes: L,
    queries: &[f32],
    keys: KvBlock<'_>,
    values: KvBlock<'_>,
    visible: &[u64],
    scale: AttentionScale,
    state: &mut AttentionState,
) {
    match (keys, values) {
        (KvBlock::F16(keys), KvBlock::F16(values)) => {
            attend(lanes, queries, keys, values, visible, scale, state);
        }
        (KvBlock::F32(keys), KvBlock::F32(values)) => {
            attend(lanes, queries, keys, values, visible, scale, state);
        }
        // The table has checked that both have the same precision.
        _ => {}
    }
}

#[inline(always)]
fn attend<L: Lanes, K: Element, V: Element>(
    lanes: L,
    queries: &[f32],
    keys: &[K],
    values: &[V],
    visible: &[u64],
    scale: AttentionScale,
    state: &mut AttentionState,
) {
    let head_dim = state.head_dim;
    let mut first = 0;
    while first < visible.len() {
        let count = TILE_QUERIES.min(visible.len() - first);
        let masks = &visible[first..][..count];
        let queries = &queries[first * head_dim..][..count * head_dim];
        let mut weights = [[0.0; BLOCK_POSITIONS]; TILE_QUERIES];
        match count {
            1 => scores::<L, K, 1>(lanes, queries, head_dim, keys, masks, &mut weights),
            _ => scores::<L, K, 4>(lanes, queries, head_dim, keys, masks, &mut weights),
        }
        let mut seen = [0; TILE_QUERIES];
        for (index, &mask) in masks.iter().enumerate() {
            let query = first + index;
            let totals = &mut state.totals[query * head_dim..][..head_dim];
            let (largest, sum) = (&mut state.largest[query], &mut state.sums[query]);
            if soften(lanes, &mut weights[index], mask, scale, largest, sum, totals) {
                seen[index] = mask;
            }
        }
        let totals = &mut state.totals[first * head_dim..][..count * head_dim];
        match count {
            1 => mix::<L, V, 1>(lanes, &weights, &seen, values, head_dim, totals),
            _ => mix::<L, V, 4>(lanes, &weights, &seen, values, head_dim, totals),
        }
        first += count;
    }
}

/// Products of `Q` queries with the keys: lanes over positions, a sequential sum over the head dimension.
#[inline(always)]
fn scores<L: Lanes, K: Element, const Q: usize>(
    lanes: L,
    queries: &[f32],
    head_dim: usize,
    keys: &[K],
    masks: &[u64],
    scores: &mut [[f32; BLOCK_POSITIONS]; TILE_QUERIES],
) {
    let seen = masks.iter().fold(0, |all, mask| all | mask);
    if L::WIDE && seen >> 32 != 0 {
        scores_of::<L, K, Q, 4>(lanes, queries, head_dim, keys, 0, scores);
        return;
    }
    for vector in 0..BLOCK_POSITIONS / 16 {
        if seen >> (16 * vector) & 0xffff != 0 {
            scores_of::<L, K, Q, 1>(lanes, queries, head_dim, keys, vector, scores);
        }
    }
}

/// The same for the 16 `V` positions from vector `first` on.
#[inline(always)]
fn scores_of<L: Lanes, K: Element, const Q: usize, const V: usize>(
    lanes: L,
    queries: &[f32],
    head_dim: usize,
    keys: &[K],
    first: usize,
    scores: &mut [[f32; BLOCK_POSITIONS]; TILE_QUERIES],
) {
    // Where there are fewer than `Q` queries the last is repeated.
    let mut queries_of = [&queries[queries.len() - head_dim..]; Q];
    for (query, row) in queries_of.iter_mut().zip(queries.chunks(head_dim)) {
        *query = row;
    }
    let mut sums = [[lanes.splat(0.0); V]; Q];
    for (index, keys) in keys.as_chunks::<BLOCK_POSITIONS>().0[..head_dim].iter().enumerate() {
        let keys = &keys.as_chunks::<16>().0[first..][..V];
        for vector in 0..V {
            let key = K::load(lanes, &keys[vector]);
            for query in 0..Q {
                let value = lanes.splat(queries_of[query][index]);
                sums[query][vector] = lanes.fma(value, key, sums[query][vector]);
            }
        }
    }
    for query in 0..Q {
        let to = &mut scores[query].as_chunks_mut::<16>().0[first..][..V];
        for vector in 0..V {
            lanes.store(sums[query][vector], &mut to[vector]);
        }
    }
}

/// Turns a query's products into softmax weights and rescales what it has; false when nothing is visible.
#[inline(always)]
fn soften<L: Lanes>(
    lanes: L,
    scores: &mut [f32; BLOCK_POSITIONS],
    mask: u64,
    scale: AttentionScale,
    largest: &mut f32,
    sum: &mut f32,
    totals: &mut [f32],
) -> bool {
    if mask == 0 {
        return false;
    }
    let vectors = scores.as_chunks_mut::<16>().0;
    let mut highest = lanes.splat(f32::NEG_INFINITY);
    for (index, scores) in vectors.iter_mut().enumerate() {
        let mut score = lanes.mul(lanes.load(scores), lanes.splat(scale.scale));
        if let Some(cap) = scale.softcap {
            let cap = lanes.splat(cap);
            score = lanes.mul(cap, tanh(lanes, lanes.div(score, cap)));
        }
        let visible = (mask >> (16 * index)) as u16;
        score = lanes.select(visible, score, lanes.splat(f32::NEG_INFINITY));
        // A NaN is not the highest; its weight makes the sum NaN.
        highest = lanes.max(score, highest);
        lanes.store(score, scores);
    }
    let highest = lanes.largest(highest);
    let mut new = if highest > *largest { highest } else { *largest };
    if new == f32::NEG_INFINITY {
        if !vectors.as_flattened().iter().any(|score| score.is_nan()) {
            return false;
        }
        new = f32::NAN;
    }
    let factor = if new == *largest {
        1.0
    } else {
        let mut lane = [0.0; 16];
        lanes.store(exp(lanes, lanes.splat(*largest - new)), &mut lane);
        lane[0]
    };
    let shift = lanes.splat(new);
    let mut parts = [lanes.splat(0.0); 4];
    for (index, scores) in vectors.iter_mut().enumerate() {
        let weight = exp(lanes, lanes.sub(lanes.load(scores), shift));
        lanes.store(weight, scores);
        parts[index] = weight;
    }
    let part = lanes.add(lanes.add(parts[0], parts[1]), lanes.add(parts[2], parts[3]));
    *sum = sum.mul_add(factor, lanes.sum(part));
    *largest = new;
    if factor != 1.0 {
        super::vector::scale(lanes, totals, factor);
    }
    true
}

/// Adds the weighted values: lanes over the head dimension, a sequential sum over visible positions.
#[inline(always)]
fn mix<L: Lanes, E: Element, const Q: usize>(
    lanes: L,
    weights: &[[f32; BLOCK_POSITIONS]; TILE_QUERIES],
    masks: &[u64; TILE_QUERIES],
    values: &[E],
    head_dim: usize,
    totals: &mut [f32],
) {
    let whole = head_dim / 16;
    let mut vector = 0;
    while L::WIDE && vector + 4 <= whole {
        mix_of::<L, E, Q, 4>(lanes, weights, masks, values, head_dim, 16 * vector, totals);
        vector += 4;
    }
    while vector < whole {
        mix_of::<L, E, Q, 1>(lanes, weights, masks, values, head_dim, 16 * vector, totals);
        vector += 1;
    }
    let first = 16 * whole;
    if first == head_dim {
        return;
    }
    for (query, total) in totals.chunks_mut(head_dim).enumerate() {
        let total = &mut total[first..];
        let mut sum = lanes.load_partial(total);
        let mut mask = masks[query];
        while mask != 0 {
            let position = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let row = E::load_partial(lanes, &values[position * head_dim..][first..head_dim]);
            sum = lanes.fma(lanes.splat(weights[query][position]), row, sum);
        }
        lanes.store_partial(sum, total);
    }
}

/// The same for `V` vectors of the head dimension from `first` on.
#[inline(always)]
fn mix_of<L: Lanes, E: Element, const Q: usize, const V: usize>(
    lanes: L,
    weights: &[[f32; BLOCK_POSITIONS]; TILE_QUERIES],
    masks: &[u64; TILE_QUERIES],
    values: &[E],
    head_dim: usize,
    first: usize,
    totals: &mut [f32],
) {
    let queries = totals.len() / head_dim;
    let (mut any, mut common) = (0, u64::MAX);
    for mask in &masks[..queries] {
        any |= mask;
        common &= mask;
    }
    let mut sums = [[lanes.splat(0.0); V]; Q];
    for (sums, total) in sums.iter_mut().zip(totals.chunks(head_dim)) {
        let total = total[first..].as_chunks::<16>().0;
        for vector in 0..V {
            sums[vector] = lanes.load(&total[vector]);
        }
    }
    while any != 0 {
        let position = any.trailing_zeros() as usize;
        any &= any - 1;
        let row = &values[position * head_dim + first..].as_chunks::<16>().0[..V];
        let mut vectors = [lanes.splat(0.0); V];
        for vector in 0..V {
            vectors[vector] = E::load(lanes, &row[vector]);
        }
        if common >> position & 1 == 1 {
            for query in 0..Q {
                let weight = lanes.splat(weights[query][position]);
                for vector in 0..V {
                    sums[query][vector] = lanes.fma(weight, vectors[vector], sums[query][vector]);
                }
            }
        } else {
            for query in 0..Q {
                if masks[query] >> position & 1 == 1 {
                    let weight = lanes.splat(weights[query][position]);
                    for vector in 0..V {
                        sums[query][vector] = lanes.fma(weight, vectors[vector], sums[query][vector]);
                    }
                }
            }
        }
    }
    for (sums, total) in sums.iter().zip(totals.chunks_mut(head_dim)) {
        let total = total[first..].as_chunks_mut::<16>().0;
        for vector in 0..V {
            lanes.store(sums[vector], &mut total[vector]);
        }
    }
}

/// Divides by the sums; `sinks` holds one more logit a query that takes part in the softmax but has no value.
#[inline(always)]
pub(super) fn finish<L: Lanes>(lanes: L, state: &AttentionState, sinks: Option<&[f32]>, out: &mut [f32]) {
    for query in 0..state.queries {
        let mut sum = state.sums[query];
        let mut factor = 1.0;
        if let Some(&sink) = sinks.and_then(|sinks| sinks.get(query)) {
            let largest = state.largest[query];
            let new = if sink > largest { sink } else { largest };
            if new > f32::NEG_INFINITY {
                let mut terms = [0.0; 16];
                terms[0] = largest - new;
                terms[1] = sink - new;
                let exponents = exp(lanes, lanes.load(&terms));
                lanes.store(exponents, &mut terms);
                factor = terms[0];
                sum = sum.mul_add(factor, terms[1]);
            }
        }
        let row = &mut out[query * state.head_dim..][..state.head_dim];
        if sum == 0.0 {
            row.fill(0.0);
            continue;
        }
        row.copy_from_slice(&state.totals[query * state.head_dim..][..state.head_dim]);
        super::vector::scale(lanes, row, factor / sum);
    }
}
