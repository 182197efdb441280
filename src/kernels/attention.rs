//! Attention over blocks of 64 cached positions with an online softmax (Milakov and Gimelshein, 2018;
//! Rabe and Staats, 2021).

mod block;

pub use block::{KvBlock, KvBlockMut, SCALE_COLUMNS};
pub(super) use block::{store_key, store_value};

use std::ops::Range;

use self::block::{Codes, Element, Part};
use super::lanes::Lanes;
use super::math::{exp, tanh};

/// Positions of a block of the KV cache.
pub const BLOCK_POSITIONS: usize = 64;

/// Queries that share a pass over a block.
const TILE_QUERIES: usize = 4;

/// Columns of the values that are mixed with one set of scaled weights after the other.
const MIXED_COLUMNS: usize = 64;

/// Softmax weights, or scores, of a tile of queries.
type Weights = [[f32; BLOCK_POSITIONS]; TILE_QUERIES];

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
        (
            KvBlock::Int8 { codes: key_codes, scales: key_scales },
            KvBlock::Int8 { codes: value_codes, scales: value_scales },
        ) => {
            let keys = Codes { codes: key_codes, scales: key_scales };
            let values = Codes { codes: value_codes, scales: value_scales };
            attend(lanes, queries, keys, values, visible, scale, state);
        }
        // The table has checked that both have the same precision.
        _ => {}
    }
}

#[inline(always)]
fn attend<L: Lanes, P: Part>(
    lanes: L,
    queries: &[f32],
    keys: P,
    values: P,
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
            1 => scores::<L, P, 1>(lanes, queries, head_dim, keys, masks, &mut weights),
            _ => scores::<L, P, 4>(lanes, queries, head_dim, keys, masks, &mut weights),
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
            1 => mix::<L, P, 1>(lanes, &weights, &seen, values, head_dim, totals),
            _ => mix::<L, P, 4>(lanes, &weights, &seen, values, head_dim, totals),
        }
        first += count;
    }
}

/// Products of `Q` queries with the keys.
#[inline(always)]
fn scores<L: Lanes, P: Part, const Q: usize>(
    lanes: L,
    queries: &[f32],
    head_dim: usize,
    keys: P,
    masks: &[u64],
    scores: &mut Weights,
) {
    // Where there are fewer than `Q` queries the last is repeated.
    let mut queries_of = [&queries[queries.len() - head_dim..]; Q];
    for (query, row) in queries_of.iter_mut().zip(queries.chunks(head_dim)) {
        *query = row;
    }
    let seen = masks.iter().fold(0, |all, mask| all | mask);
    if L::WIDE && seen >> 32 != 0 {
        scores_of::<L, P, Q, 4>(lanes, queries_of, keys, 0, scores);
        return;
    }
    for vector in 0..BLOCK_POSITIONS / 16 {
        if seen >> (16 * vector) & 0xffff != 0 {
            scores_of::<L, P, Q, 1>(lanes, queries_of, keys, vector, scores);
        }
    }
}

/// The same for the 16 `V` positions from vector `first` on.
#[inline(always)]
fn scores_of<L: Lanes, P: Part, const Q: usize, const V: usize>(
    lanes: L,
    queries: [&[f32]; Q],
    keys: P,
    first: usize,
    scores: &mut Weights,
) {
    let head_dim = queries[0].len();
    let rows = keys.elements().as_chunks::<BLOCK_POSITIONS>().0;
    let mut sums = [[lanes.splat(0.0); V]; Q];
    if P::SCALED {
        for (group, columns) in (0..head_dim).step_by(SCALE_COLUMNS).enumerate() {
            let end = head_dim.min(columns + SCALE_COLUMNS);
            let products = products::<L, P, Q, V>(lanes, queries, rows, columns..end, first);
            for vector in 0..V {
                let scale = keys.scales(lanes, group, first + vector);
                for query in 0..Q {
                    sums[query][vector] = lanes.fma(products[query][vector], scale, sums[query][vector]);
                }
            }
        }
    } else {
        sums = products::<L, P, Q, V>(lanes, queries, rows, 0..head_dim, first);
    }
    for query in 0..Q {
        let to = &mut scores[query].as_chunks_mut::<16>().0[first..][..V];
        for vector in 0..V {
            lanes.store(sums[query][vector], &mut to[vector]);
        }
    }
}

/// Lanes over positions, a sequential sum over `columns` of the head dimension.
#[inline(always)]
fn products<L: Lanes, P: Part, const Q: usize, const V: usize>(
    lanes: L,
    queries: [&[f32]; Q],
    rows: &[[P::Element; BLOCK_POSITIONS]],
    columns: Range<usize>,
    first: usize,
) -> [[L::Float; V]; Q] {
    let mut queries = queries;
    for query in &mut queries {
        *query = &query[columns.clone()];
    }
    let mut sums = [[lanes.splat(0.0); V]; Q];
    for (index, keys) in rows[columns].iter().enumerate() {
        let keys = &keys.as_chunks::<16>().0[first..][..V];
        for vector in 0..V {
            let key = P::Element::load(lanes, &keys[vector]);
            for query in 0..Q {
                let value = lanes.splat(queries[query][index]);
                sums[query][vector] = lanes.fma(value, key, sums[query][vector]);
            }
        }
    }
    sums
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
fn mix<L: Lanes, P: Part, const Q: usize>(
    lanes: L,
    weights: &Weights,
    masks: &[u64; TILE_QUERIES],
    values: P,
    head_dim: usize,
    totals: &mut [f32],
) {
    for first in (0..head_dim).step_by(MIXED_COLUMNS) {
        let end = head_dim.min(first + MIXED_COLUMNS);
        let mut scaled = [[[0.0; BLOCK_POSITIONS]; TILE_QUERIES]; MIXED_COLUMNS / SCALE_COLUMNS];
        if P::SCALED {
            let groups = first / SCALE_COLUMNS..end.div_ceil(SCALE_COLUMNS);
            for (scaled, group) in scaled.iter_mut().zip(groups) {
                scale_weights::<L, P, Q>(lanes, weights, values, group, scaled);
            }
        }
        let weights_of = |column: usize| if P::SCALED { &scaled[column / SCALE_COLUMNS] } else { weights };
        if L::WIDE && end - first == MIXED_COLUMNS {
            let weights = [weights_of(0), weights_of(16), weights_of(32), weights_of(48)];
            mix_of::<L, P, Q, 4>(lanes, weights, masks, values, head_dim, first, totals);
            continue;
        }
        let mut column = first;
        while column + 16 <= end {
            let weights = [weights_of(column - first)];
            mix_of::<L, P, Q, 1>(lanes, weights, masks, values, head_dim, column, totals);
            column += 16;
        }
        if column < end {
            mix_rest(lanes, weights_of(column - first), masks, values, head_dim, column, totals);
        }
    }
}

/// The weights times the scales of `group`, position by position.
#[inline(always)]
fn scale_weights<L: Lanes, P: Part, const Q: usize>(
    lanes: L,
    weights: &Weights,
    values: P,
    group: usize,
    scaled: &mut Weights,
) {
    for vector in 0..BLOCK_POSITIONS / 16 {
        let scales = values.scales(lanes, group, vector);
        for query in 0..Q {
            let weight = lanes.load(&weights[query].as_chunks().0[vector]);
            lanes.store(lanes.mul(weight, scales), &mut scaled[query].as_chunks_mut().0[vector]);
        }
    }
}

/// The same for `V` vectors of the head dimension from `first` on, each with its weights.
#[inline(always)]
fn mix_of<L: Lanes, P: Part, const Q: usize, const V: usize>(
    lanes: L,
    weights: [&Weights; V],
    masks: &[u64; TILE_QUERIES],
    values: P,
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
        let row = &values.elements()[position * head_dim + first..].as_chunks::<16>().0[..V];
        let mut vectors = [lanes.splat(0.0); V];
        for vector in 0..V {
            vectors[vector] = P::Element::load(lanes, &row[vector]);
        }
        if common >> position & 1 == 1 {
            for query in 0..Q {
                for vector in 0..V {
                    let weight = lanes.splat(weights[vector][query][position]);
                    sums[query][vector] = lanes.fma(weight, vectors[vector], sums[query][vector]);
                }
            }
        } else {
            for query in 0..Q {
                if masks[query] >> position & 1 == 1 {
                    for vector in 0..V {
                        let weight = lanes.splat(weights[vector][query][position]);
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

/// The same for the last columns, from `first` on, which are fewer than 16.
#[inline(always)]
fn mix_rest<L: Lanes, P: Part>(
    lanes: L,
    weights: &Weights,
    masks: &[u64; TILE_QUERIES],
    values: P,
    head_dim: usize,
    first: usize,
    totals: &mut [f32],
) {
    for (query, total) in totals.chunks_mut(head_dim).enumerate() {
        let total = &mut total[first..];
        let mut sum = lanes.load_partial(total);
        let mut mask = masks[query];
        while mask != 0 {
            let position = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let row =
                P::Element::load_partial(lanes, &values.elements()[position * head_dim..][first..head_dim]);
            sum = lanes.fma(lanes.splat(weights[query][position]), row, sum);
        }
        lanes.store_partial(sum, total);
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
