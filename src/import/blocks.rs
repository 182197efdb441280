//! Block-quantised rows on their way into an ONNX file.
//!
//! Packing: the `MatMulNBits` operator of `com.microsoft`, where element 2j of a 4-bit block is the low half of byte j.

use super::decoder_spec::BlockFormat;

/// A block-quantised row: w = scale · q + minimum, or where there are no minimums w = scale · (q − middle), with the
/// middle of the codes' range: 8 for 4 bits, 128 for 8.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct BlockRow {
    /// One unsigned value per element.
    pub quants: Vec<u8>,
    /// One scale per block.
    pub scales: Vec<f32>,
    /// One minimum per block, the weight that q = 0 stands for; empty where zero points are symmetric.
    pub minimums: Vec<f32>,
}

impl BlockRow {
    /// Empties the row and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.quants.clear();
        self.scales.clear();
        self.minimums.clear();
    }

    /// Appends the weights to `output`. A weight is rounded once if the product of scale and q fits 24 bits.
    pub(super) fn weights(&self, format: BlockFormat, output: &mut Vec<f32>) {
        let blocks = self.quants.chunks(format.block_size).zip(&self.scales);
        if self.minimums.is_empty() {
            let middle = format.middle();
            for (quants, scale) in blocks {
                output.extend(quants.iter().map(|&quant| scale * (f32::from(quant) - middle)));
            }
        } else {
            for ((quants, scale), minimum) in blocks.zip(&self.minimums) {
                output.extend(quants.iter().map(|&quant| scale * f32::from(quant) + minimum));
            }
        }
    }

    /// Makes every block representable as scale · (q − zero point).
    ///
    /// A block whose scale is 0 holds its minimum in every element; it becomes q = 1 with that as its scale.
    pub(super) fn resolve_constant_blocks(&mut self, block_size: usize) {
        let blocks = self.quants.chunks_mut(block_size).zip(&mut self.scales).zip(&mut self.minimums);
        for ((quants, scale), minimum) in blocks {
            if *scale == 0.0 && *minimum != 0.0 {
                quants.fill(1);
                *scale = *minimum;
                *minimum = 0.0;
            }
        }
    }

    /// Appends the zero points −minimum / scale, one a block.
    pub(super) fn append_float_zero_points(&self, output: &mut Vec<f32>) {
        let zero_point =
            |(&scale, &minimum): (&f32, &f32)| if minimum == 0.0 { 0.0 } else { -minimum / scale };
        output.extend(self.scales.iter().zip(&self.minimums).map(zero_point));
    }
}

/// Packs one unsigned value per element into `bits` bits each, the first in the lowest bits of a byte.
///
/// An odd count of 4-bit values leaves the last high half 0.
pub(super) fn pack(quants: &[u8], bits: u8, output: &mut Vec<u8>) {
    if bits == 8 {
        output.extend_from_slice(quants);
    } else {
        output.extend(quants.chunks(2).map(|pair| match *pair {
            [low, high] => low & 15 | high << 4,
            _ => pair.first().map_or(0, |low| low & 15),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_puts_even_elements_into_low_halves() {
        let mut packed = Vec::new();
        pack(&(0..16).collect::<Vec<u8>>(), 4, &mut packed);
        assert_eq!(packed, [0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe]);
        packed.clear();
        pack(&[1, 2, 3], 4, &mut packed);
        assert_eq!(packed, [0x21, 0x03]);
        packed.clear();
        pack(&[200, 3], 8, &mut packed);
        assert_eq!(packed, [200, 3]);
    }

    #[test]
    fn a_block_without_scale_keeps_its_minimum() {
        let mut blocks = BlockRow {
            quants: (0..16).chain([0; 16]).collect(),
            scales: vec![0.0, 0.0],
            minimums: vec![-1.5, 0.0],
        };
        blocks.resolve_constant_blocks(16);
        let mut zero_points = Vec::new();
        blocks.append_float_zero_points(&mut zero_points);
        assert_eq!((blocks.scales, zero_points), (vec![-1.5, 0.0], vec![0.0, 0.0]));
        assert_eq!(blocks.quants, [[1; 16], [0; 16]].concat());
    }
}
