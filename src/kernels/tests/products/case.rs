//! Random block-quantised matrices, unpacked and as the bytes of a file in every form.

use half::{bf16, f16};

use crate::reference::Unpacked;
use crate::tests::Random;
use crate::{BlockActivations, BlockMatrix, BlockMatrixKn, BlockShape, Floats, KernelTable, ZeroPoints};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Format {
    F32,
    F16,
    Bf16,
}

pub(super) const FORMATS: [Format; 3] = [Format::F32, Format::F16, Format::Bf16];

impl Format {
    pub(super) fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }

    pub(super) fn bytes(self, values: &[f32]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|&value| match self {
                Self::F32 => value.to_le_bytes().to_vec(),
                Self::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
                Self::Bf16 => bf16::from_f32(value).to_le_bytes().to_vec(),
            })
            .collect()
    }

    pub(super) fn floats(self, bytes: &[u8]) -> Floats<'_> {
        match self {
            Self::F32 => Floats::F32(bytes),
            Self::F16 => Floats::F16(bytes),
            Self::Bf16 => Floats::Bf16(bytes),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Zero {
    None,
    Same,
    Packed,
    PackedTight,
    Floats(Format),
}

pub(super) const ZEROS: [Zero; 6] = [
    Zero::None,
    Zero::Same,
    Zero::Packed,
    Zero::PackedTight,
    Zero::Floats(Format::F32),
    Zero::Floats(Format::F16),
];

#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) shape: BlockShape,
    pub(super) scales: Format,
    pub(super) zero: Zero,
    /// Whether rows are not padded to whole blocks.
    pub(super) tight: bool,
    pub(super) bias: bool,
    pub(super) tokens: usize,
    /// Bytes before each tensor, so that it is not aligned.
    pub(super) shift: usize,
    pub(super) seed: u64,
}

/// A matrix unpacked, and as the bytes of a file.
pub(super) struct Matrix {
    pub(super) case: Case,
    pub(super) unpacked: Unpacked,
    pub(super) codes: Vec<u8>,
    pub(super) scales: Vec<u8>,
    pub(super) zero_points: Vec<u8>,
    pub(super) same: f32,
    pub(super) x: Vec<f32>,
}

/// Packs codes from the low bits up; each row of `stride` codes.
fn pack(codes: &[i32], width: usize, stride: usize, bits: u32, random: &mut Random) -> Vec<u8> {
    let rows = codes.len() / width;
    let mut bytes = vec![0; (rows * stride * bits as usize).div_ceil(8)];
    // Whatever pads rows must not matter.
    bytes.iter_mut().for_each(|byte| *byte = random.next() as u8);
    for (row, codes) in codes.chunks(width).enumerate() {
        for (column, &code) in codes.iter().enumerate() {
            let index = row * stride + column;
            if bits == 8 {
                bytes[index] = code as u8;
            } else {
                let byte = &mut bytes[index / 2];
                let nibble = code as u8 & 15;
                *byte =
                    if index.is_multiple_of(2) { *byte & 0xf0 | nibble } else { *byte & 15 | nibble << 4 };
            }
        }
    }
    bytes
}

pub(super) fn transpose<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

impl Matrix {
    pub(super) fn new(case: Case) -> Self {
        let mut random = Random(case.seed);
        let shape = case.shape;
        let blocks = shape.blocks();
        let range = 1 << shape.bits;
        let lowest = if shape.signed { -(range / 2) } else { 0 };
        let code = |random: &mut Random| match random.below(8) {
            0 => lowest,
            1 => lowest + range - 1,
            _ => lowest + random.below(range as usize) as i32,
        };
        let codes: Vec<_> = (0..shape.rows * shape.columns).map(|_| code(&mut random)).collect();
        let scales: Vec<_> =
            (0..shape.rows * blocks).map(|_| case.scales.round(random.unit() * 0.05)).collect();
        let middle = if shape.signed { 0.0 } else { (range / 2) as f32 };
        let same = (lowest + random.below(range as usize) as i32) as f32;
        let zero_points: Vec<_> = (0..shape.rows * blocks)
            .map(|_| match case.zero {
                Zero::None => middle,
                Zero::Same => same,
                Zero::Packed | Zero::PackedTight => code(&mut random) as f32,
                Zero::Floats(format) => format.round(middle + 4.0 * random.unit()),
            })
            .collect();
        let bias = case.bias.then(|| random.vector(shape.rows));
        let mut x = random.vector(case.tokens * shape.columns);
        for (index, block) in x.chunks_mut(32).enumerate() {
            let factor = [1.0, 1e-3, 50.0, 0.0, 1.0][index % 5];
            block.iter_mut().for_each(|value| *value *= factor);
        }
        let unpacked = Unpacked { shape, codes, scales, zero_points, bias };
        Self { case, unpacked, codes: vec![], scales: vec![], zero_points: vec![], same, x }
    }

    fn shifted(&self, bytes: Vec<u8>) -> Vec<u8> {
        let mut shifted = vec![0xa5; self.case.shift];
        shifted.extend(bytes);
        shifted
    }

    /// Lays the matrix out as `[N][K]`.
    pub(super) fn nk(&mut self) {
        let mut random = Random(self.case.seed ^ 1);
        let shape = self.case.shape;
        let tight = self.case.tight && (shape.columns * shape.bits as usize).is_multiple_of(8);
        let stride = if tight { shape.columns } else { shape.blocks() * shape.block_size };
        self.codes = self.shifted(pack(&self.unpacked.codes, shape.columns, stride, shape.bits, &mut random));
        let blocks = shape.blocks();
        let zero_stride = match self.case.zero {
            Zero::Packed if shape.bits == 4 => blocks.next_multiple_of(2),
            _ => blocks,
        };
        self.set_parameters(&self.unpacked.scales.clone(), &self.unpacked.zero_points.clone(), zero_stride);
    }

    /// Lays the matrix out as `[K][N]`.
    pub(super) fn kn(&mut self) {
        let mut random = Random(self.case.seed ^ 1);
        let shape = self.case.shape;
        let codes = transpose(&self.unpacked.codes, shape.columns);
        self.codes = self.shifted(pack(&codes, shape.rows, shape.rows, shape.bits, &mut random));
        let scales = transpose(&self.unpacked.scales, shape.blocks());
        let zero_points = transpose(&self.unpacked.zero_points, shape.blocks());
        self.set_parameters(&scales, &zero_points, shape.blocks());
    }

    fn set_parameters(&mut self, scales: &[f32], zero_points: &[f32], stride: usize) {
        let mut random = Random(self.case.seed ^ 2);
        let shape = self.case.shape;
        self.scales = self.shifted(self.case.scales.bytes(scales));
        let bytes = match self.case.zero {
            Zero::None | Zero::Same => vec![],
            Zero::Packed | Zero::PackedTight => {
                let codes: Vec<_> = zero_points.iter().map(|&zero| zero as i32).collect();
                pack(&codes, shape.blocks(), stride, shape.bits, &mut random)
            }
            Zero::Floats(format) => format.bytes(zero_points),
        };
        self.zero_points = self.shifted(bytes);
    }

    fn zero(&self) -> ZeroPoints<'_> {
        let bytes = &self.zero_points[self.case.shift..];
        match self.case.zero {
            Zero::None => ZeroPoints::None,
            Zero::Same => ZeroPoints::Same(self.same),
            Zero::Packed | Zero::PackedTight => ZeroPoints::Packed(bytes),
            Zero::Floats(format) => ZeroPoints::Floats(format.floats(bytes)),
        }
    }

    pub(super) fn block_matrix(&self) -> BlockMatrix<'_> {
        let shift = self.case.shift;
        let scales = self.case.scales.floats(&self.scales[shift..]);
        let bias = self.unpacked.bias.as_deref();
        BlockMatrix::new(self.case.shape, &self.codes[shift..], scales, self.zero(), bias).unwrap()
    }

    pub(super) fn block_matrix_kn(&self) -> BlockMatrixKn<'_> {
        let shift = self.case.shift;
        let scales = self.case.scales.floats(&self.scales[shift..]);
        let bias = self.unpacked.bias.as_deref();
        BlockMatrixKn::new(self.case.shape, &self.codes[shift..], scales, self.zero(), bias).unwrap()
    }

    pub(super) fn activations(&self, kernels: &KernelTable, matrix: &BlockMatrix<'_>) -> BlockActivations {
        let mut activations = BlockActivations::new();
        // A buffer that has been used for something larger.
        let large = kernels.layout(4, self.case.tokens + 1);
        activations.reset(self.case.tokens + 1, matrix.columns() + 128, large);
        let layout = kernels.layout(self.case.shape.bits, self.case.tokens);
        activations.reset(self.case.tokens, matrix.columns(), layout);
        self.quantise(kernels, activations)
    }

    /// In two planes.
    pub(super) fn planes(&self, kernels: &KernelTable, matrix: &BlockMatrix<'_>) -> BlockActivations {
        let mut activations = BlockActivations::new();
        let layout = kernels.layout(self.case.shape.bits, 2 * self.case.tokens);
        activations.reset_planes(self.case.tokens, 2, matrix.columns(), layout);
        self.quantise(kernels, activations)
    }

    fn quantise(&self, kernels: &KernelTable, mut activations: BlockActivations) -> BlockActivations {
        let columns = activations.columns();
        for (mut token, x) in activations.tokens_mut().into_iter().zip(self.x.chunks(columns)) {
            kernels.quantise(x, &mut token);
        }
        activations
    }
}
