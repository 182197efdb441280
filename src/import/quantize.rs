//! Block-wise symmetric quantisation, as ONNX Runtime's default quantiser does it.
//!
//! Source: `MlasBlockwiseQuantizer` of ONNX Runtime. The weight of largest magnitude in a block becomes q = 0, so a
//! scale is negative where that weight is positive.

use super::blocks::BlockRow;
use super::decoder_spec::BlockFormat;

/// Quantises a row into blocks of `format`, whose zero points are symmetric; the last block is padded with zeros.
pub(super) fn quantise_row(weights: &[f32], format: BlockFormat, output: &mut BlockRow) {
    output.clear();
    let (middle, block_size) = (format.middle(), format.block_size);
    for block in weights.chunks(block_size) {
        let largest = block.iter().copied().fold(0.0_f32, f32::max);
        let smallest = block.iter().copied().fold(0.0_f32, f32::min);
        let extreme = if largest.abs() > smallest.abs() { largest } else { smallest };
        let scale = extreme / -middle;
        let reciprocal = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let quantise =
            |weight: &f32| (weight * reciprocal + middle).round().clamp(0.0, 2.0 * middle - 1.0) as u8;
        output.quants.extend(block.iter().map(quantise));
        output.quants.extend(std::iter::repeat_n(middle as u8, block_size - block.len()));
        output.scales.push(scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::decoder_spec::ZeroPoints;

    #[test]
    fn the_largest_magnitude_gets_the_lowest_value() {
        let format = |bits, block_size| BlockFormat { bits, block_size, zero_points: ZeroPoints::Symmetric };
        let mut row = BlockRow::default();
        // Block 1: extreme 4, scale −0.5; block 2: extreme −8, scale 1; block 3: zeros, padded.
        let weights = [4.0, -3.5, 0.26, 0.0, -8.0, 7.0, 1.5, 7.6, 0.0];
        quantise_row(&weights, format(4, 4), &mut row);
        assert_eq!(row.quants, [0, 15, 7, 8, 0, 15, 10, 15, 8, 8, 8, 8]);
        assert_eq!(row.scales, [-0.5, 1.0, 0.0]);
        assert!(row.minimums.is_empty());
        quantise_row(&[-1.0, 0.5], format(8, 2), &mut row);
        assert_eq!((row.quants.as_slice(), row.scales[0]), ([0, 192].as_slice(), 1.0 / 128.0));
    }
}
