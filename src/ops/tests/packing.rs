//! Quantised matrices for the vectors: codes, scales and zero points by plain formulas, packed as the operators want them.

/// How a matrix `[rows, columns]` is quantised.
#[derive(Clone, Copy)]
pub(super) struct Quantised {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) bits: usize,
    pub(super) block: usize,
    /// Codes run from −2^(bits−1) instead of from 0.
    pub(super) signed: bool,
    /// Zero point of a block of a row.
    pub(super) zero_point: fn(usize, usize) -> f32,
}

impl Quantised {
    pub(super) fn blocks(&self) -> usize {
        self.columns.div_ceil(self.block)
    }

    /// Any code of the range; neighbours in rows and columns differ.
    pub(super) fn code(&self, row: usize, column: usize) -> i32 {
        let range = 1 << self.bits;
        let code = (7 * row + 11 * column + 3 * (column / 16)) % range;
        code as i32 - if self.signed { range as i32 / 2 } else { 0 }
    }

    /// Exact in f16, positive and negative.
    pub(super) fn scale(&self, row: usize, block: usize) -> f32 {
        let size = (1 + (row + 2 * block) % 5) as f32 / 64.0;
        if (row + block).is_multiple_of(3) { -size } else { size }
    }

    pub(super) fn weight(&self, row: usize, column: usize) -> f64 {
        let block = column / self.block;
        let code = f64::from(self.code(row, column));
        (code - f64::from((self.zero_point)(row, block))) * f64::from(self.scale(row, block))
    }

    /// x · weightsᵀ
    pub(super) fn multiply(&self, x: &[Vec<f32>]) -> Vec<Vec<f64>> {
        let sum = |x: &[f32], row| -> f64 {
            x.iter().enumerate().map(|(column, x)| f64::from(*x) * self.weight(row, column)).sum()
        };
        x.iter().map(|x| (0..self.rows).map(|row| sum(x, row)).collect()).collect()
    }

    /// The codes of each row, in bytes of its own; the last block is filled with the highest code, which must not count.
    pub(super) fn padded_codes(&self) -> Vec<u8> {
        let width = self.blocks() * self.block;
        let filler = (1 << self.bits) - 1;
        let code = |row, column| if column < self.columns { self.code(row, column) } else { filler };
        (0..self.rows)
            .flat_map(|row| pack(self.bits, (0..width).map(move |column| code(row, column))))
            .collect()
    }

    /// The codes `[rows, columns]` without gaps.
    pub(super) fn codes(&self) -> Vec<u8> {
        let places = (0..self.rows).flat_map(|row| (0..self.columns).map(move |column| (row, column)));
        pack(self.bits, places.map(|(row, column)| self.code(row, column)))
    }

    /// The codes `[columns, rows]` without gaps.
    pub(super) fn transposed_codes(&self) -> Vec<u8> {
        let places = (0..self.columns).flat_map(|column| (0..self.rows).map(move |row| (row, column)));
        pack(self.bits, places.map(|(row, column)| self.code(row, column)))
    }

    /// What `of` says of each block, `[rows, blocks]`.
    pub(super) fn by_block<T>(&self, of: impl Fn(usize, usize) -> T) -> Vec<T> {
        let places = (0..self.rows).flat_map(|row| (0..self.blocks()).map(move |block| (row, block)));
        places.map(|(row, block)| of(row, block)).collect()
    }

    /// What `of` says of each block, `[blocks, rows]`.
    pub(super) fn by_block_transposed<T>(&self, of: impl Fn(usize, usize) -> T) -> Vec<T> {
        let places = (0..self.blocks()).flat_map(|block| (0..self.rows).map(move |row| (row, block)));
        places.map(|(row, block)| of(row, block)).collect()
    }

    pub(super) fn scales(&self) -> Vec<f32> {
        self.by_block(|row, block| self.scale(row, block))
    }

    /// The zero points of each row, in bytes of its own.
    pub(super) fn padded_zero_points(&self) -> Vec<u8> {
        let code = |row, block| (self.zero_point)(row, block) as i32;
        (0..self.rows)
            .flat_map(|row| pack(self.bits, (0..self.blocks()).map(move |block| code(row, block))))
            .collect()
    }

    /// The zero points `[rows, blocks]` without gaps.
    pub(super) fn zero_points(&self) -> Vec<u8> {
        pack(self.bits, self.by_block(|row, block| (self.zero_point)(row, block) as i32))
    }
}

/// Codes of 4 or 8 bits as bytes, the first in the low bits; a half byte that is left over is filled with ones.
pub(super) fn pack(bits: usize, codes: impl IntoIterator<Item = i32>) -> Vec<u8> {
    let codes: Vec<u8> = codes.into_iter().map(|code| code as u8).collect();
    if bits == 8 {
        return codes;
    }
    codes.chunks(2).map(|pair| pair[0] & 15 | pair.get(1).copied().unwrap_or(15) << 4).collect()
}

/// Rows of whole numbers from −127 to 127 with a 127 in each 16, which 8-bit activations hold exactly.
pub(super) fn exact_rows(count: usize, width: usize) -> Vec<Vec<f32>> {
    let element = |token: usize, column: usize| match column % 16 {
        0 => 127.0,
        _ => ((29 * token + 13 * column) % 255) as f32 - 127.0,
    };
    (0..count).map(|token| (0..width).map(|column| element(token, column)).collect()).collect()
}

#[test]
fn codes_are_packed_from_the_low_bits_up() {
    assert_eq!(pack(4, [1, 2, -1, 4, 5]), [0x21, 0x4F, 0xF5]);
    assert_eq!(pack(8, [1, -2, 255]), [1, 0xFE, 0xFF]);
}
