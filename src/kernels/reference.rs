//! The products in plain loops over unpacked numbers, in the documented order: what every row must give, to the bit.

use super::matrix::BlockShape;

/// The sum of 16 lanes, upper half on lower half four times.
pub(super) fn tree(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

/// Codes, and the scale of each block of 16.
pub(super) fn quantise(x: &[f32]) -> (Vec<i32>, Vec<f32>) {
    let mut codes = Vec::new();
    let mut scales = Vec::new();
    for block in x.chunks(16) {
        let largest = block.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        scales.push(scale);
        for value in block {
            let code = if scale == 0.0 { 0.0 } else { (value / scale).round_ties_even() };
            codes.push(code.clamp(-127.0, 127.0) as i32);
        }
    }
    (codes, scales)
}

/// What the codes of a first plane leave.
pub(super) fn remainder(x: &[f32]) -> Vec<f32> {
    let (codes, scales) = quantise(x);
    let left = |(index, value): (usize, &f32)| (-codes[index] as f32).mul_add(scales[index / 16], *value);
    x.iter().enumerate().map(left).collect()
}

/// A quantised matrix of which everything has been unpacked.
#[derive(Debug, Clone)]
pub(super) struct Unpacked {
    pub(super) shape: BlockShape,
    /// `[N][K]`, as numbers: signed codes are negative.
    pub(super) codes: Vec<i32>,
    /// `[N][blocks]`
    pub(super) scales: Vec<f32>,
    /// `[N][blocks]`
    pub(super) zero_points: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
}

impl Unpacked {
    pub(super) fn middle(&self) -> f32 {
        if self.shape.signed { 0.0 } else { 2.0_f32.powi(self.shape.bits as i32 - 1) }
    }

    fn bias(&self, row: usize, sum: f32) -> f32 {
        self.bias.as_ref().map_or(sum, |bias| sum + bias[row])
    }

    pub(super) fn weight(&self, row: usize, k: usize) -> f32 {
        let block = row * self.shape.blocks() + k / self.shape.block_size;
        (self.codes[row * self.shape.columns + k] as f32 - self.zero_points[block]) * self.scales[block]
    }

    /// The integer product with one token.
    pub(super) fn multiply_int8(&self, row: usize, x: &[f32]) -> f32 {
        let (columns, blocks, size) = (self.shape.columns, self.shape.blocks(), self.shape.block_size);
        let (codes, scales) = quantise(x);
        let lane_columns = if self.shape.bits == 4 { 16 } else { 4 };
        let chunk_columns = 16 * lane_columns;
        let middle = self.middle();
        let mut sums = [0.0_f32; 16];
        for chunk in 0..columns.div_ceil(chunk_columns) {
            for (lane, sum) in sums.iter_mut().enumerate() {
                let first = chunk * chunk_columns + lane * lane_columns;
                let mut product = 0;
                for k in first..columns.min(first + lane_columns) {
                    product += (self.codes[row * columns + k] - middle as i32) * codes[k];
                }
                let weight_scale =
                    if first / size < blocks { self.scales[row * blocks + first / size] } else { 0.0 };
                let scale = scales.get(first / 16).copied().unwrap_or(0.0);
                *sum = (product as f32).mul_add(weight_scale * scale, *sum);
            }
        }
        let mut total = tree(sums);
        if (0..blocks).any(|block| self.zero_points[row * blocks + block] != middle) {
            let mut sums = [0.0_f32; 16];
            for block in 0..blocks {
                let index = row * blocks + block;
                let weight = self.scales[index] * (self.zero_points[index] - middle);
                let u = block_sum(&codes, &scales, block * size, size);
                sums[block % 16] = weight.mul_add(u, sums[block % 16]);
            }
            total -= tree(sums);
        }
        self.bias(row, total)
    }

    /// The f32 product with one token, lanes over k.
    pub(super) fn multiply_f32(&self, row: usize, x: &[f32]) -> f32 {
        let sum = chains(x, |k| self.weight(row, k));
        self.bias(row, sum)
    }

    /// The f32 product with one token, one chain over k.
    pub(super) fn multiply_kn(&self, row: usize, x: &[f32]) -> f32 {
        let sum =
            x.iter().enumerate().fold(0.0_f32, |sum, (k, value)| value.mul_add(self.weight(row, k), sum));
        self.bias(row, sum)
    }
}

/// 16 chains over k, then the tree.
pub(super) fn chains(x: &[f32], weight: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0_f32; 16];
    for k in 0..x.len().next_multiple_of(16) {
        let (weight, value) = if k < x.len() { (weight(k), x[k]) } else { (0.0, 0.0) };
        sums[k % 16] = weight.mul_add(value, sums[k % 16]);
    }
    tree(sums)
}

/// The sum of scale times code over `size` k: 16 at a time, in pairs up to 128, from there in order.
fn block_sum(codes: &[i32], scales: &[f32], start: usize, size: usize) -> f32 {
    if size > 128 {
        return (0..size / 128)
            .map(|unit| block_sum(codes, scales, start + 128 * unit, 128))
            .fold(0.0, |sum, unit| sum + unit);
    }
    if size > 16 {
        return block_sum(codes, scales, start, size / 2)
            + block_sum(codes, scales, start + size / 2, size / 2);
    }
    let sum: i32 = codes.iter().skip(start).take(16).sum();
    scales.get(start / 16).copied().unwrap_or(0.0) * sum as f32
}
