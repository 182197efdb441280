//! Programs step by step.

use std::sync::Arc;

use crate::graph::{
    Activation, Attention, DenseWeights, FloatKind, FloatWeights, LayerShape, Matrix, MatrixRows, NormKind,
    Operand, Operation, Program, Rope, RopeVariant, Step, Table, ValueId,
};

/// Entries of the tables, and rows of the rotation tables.
const ENTRIES: usize = 3;

/// Elements of a head.
pub(super) const HEAD_SIZE: usize = 8;

/// Elements of a head that the rotations rotate.
const ROTATED: usize = 4;

/// The letters that matrices are called by.
pub(super) const LETTERS: std::ops::RangeInclusive<char> = 'a'..='f';

/// Element `index` of the matrix called `letter`, in −1.25..=1.25. The first differs from letter to letter.
pub(super) fn element(letter: char, index: usize) -> f32 {
    let number = (letter as usize + 5 * index) % 11;
    number as f32 / 4.0 - 1.25
}

/// `width` columns of `operand` from `start` on.
pub(in crate::graph::passes) fn columns(operand: Operand, start: usize, width: usize) -> Operand {
    Operand { value: operand.value, start: operand.start + start, width }
}

/// A program under construction. Each method but [`attention`](Self::attention) adds a step and returns what it makes.
pub(in crate::graph::passes) struct Builder {
    program: Program,
}

impl Builder {
    /// The program of the steps that `build` adds, whose logits it returns.
    pub(super) fn program(build: impl FnOnce(&mut Self) -> Operand) -> Program {
        let rope = |letter| Rope {
            dimensions: ROTATED,
            variants: vec![RopeVariant {
                cosines: floats(letter, ENTRIES * ROTATED / 2),
                sines: floats(letter, ENTRIES * ROTATED / 2),
                rows: ENTRIES,
                row_offset: 0,
            }],
        };
        let mut builder = Self {
            program: Program {
                steps: vec![],
                widths: vec![],
                logits: ValueId(0),
                layers: vec![],
                ropes: vec![rope('a'), rope('b')],
                switch_length: None,
                table_rows: ENTRIES,
                positions: None,
            },
        };
        let logits = build(&mut builder);
        let mut program = builder.program;
        program.logits = logits.value;
        program
    }

    fn push(&mut self, operation: Operation, width: usize) -> Operand {
        let value = ValueId(self.program.widths.len());
        self.program.widths.push(width);
        self.program.steps.push(Step { node: String::new(), operation, output: value });
        Operand { value, start: 0, width }
    }

    pub(in crate::graph::passes) fn embed(&mut self, letter: char, width: usize) -> Operand {
        let matrix = matrix(letter, ENTRIES, width);
        self.push(Operation::Embed { table: Table { matrix, width } }, width)
    }

    pub(in crate::graph::passes) fn multiply(
        &mut self,
        input: Operand,
        letter: char,
        rows: usize,
    ) -> Operand {
        self.multiply_with(input, letter, rows, None, None)
    }

    /// A product that has a bias and a residual already.
    pub(in crate::graph::passes) fn multiply_with(
        &mut self,
        input: Operand,
        letter: char,
        rows: usize,
        bias: Option<&[f32]>,
        residual: Option<Operand>,
    ) -> Operand {
        let weights = MatrixRows::all(matrix(letter, rows, input.width));
        let bias = bias.map(Arc::from);
        self.push(Operation::Multiply { input, weights, bias, residual }, rows)
    }

    pub(in crate::graph::passes) fn norm(&mut self, input: Operand) -> Operand {
        let weight = vec![1.0; input.width].into();
        self.push(Operation::Norm { input, kind: NormKind::Rms, weight, epsilon: 0.5 }, input.width)
    }

    pub(in crate::graph::passes) fn layer_norm(&mut self, input: Operand, weight: &[f32]) -> Operand {
        let kind = NormKind::Layer { bias: None };
        self.push(Operation::Norm { input, kind, weight: weight.into(), epsilon: 0.5 }, input.width)
    }

    pub(in crate::graph::passes) fn activate(&mut self, input: Operand, activation: Activation) -> Operand {
        self.push(Operation::Activate { input, activation }, input.width)
    }

    pub(in crate::graph::passes) fn gated(
        &mut self,
        gate: Operand,
        up: Operand,
        activation: Activation,
    ) -> Operand {
        self.push(Operation::Gated { gate, up, activation }, gate.width)
    }

    pub(in crate::graph::passes) fn add(&mut self, left: Operand, right: Operand) -> Operand {
        self.push(Operation::Add { left, right }, left.width)
    }

    pub(in crate::graph::passes) fn mul(&mut self, left: Operand, right: Operand) -> Operand {
        self.push(Operation::Mul { left, right }, left.width)
    }

    pub(in crate::graph::passes) fn add_row(&mut self, input: Operand, row: &[f32]) -> Operand {
        self.push(Operation::AddRow { input, row: row.into() }, input.width)
    }

    pub(in crate::graph::passes) fn mul_row(&mut self, input: Operand, row: &[f32]) -> Operand {
        self.push(Operation::MulRow { input, row: row.into() }, input.width)
    }

    pub(in crate::graph::passes) fn scale(&mut self, input: Operand, factor: f32) -> Operand {
        self.push(Operation::Scale { input, factor }, input.width)
    }

    pub(in crate::graph::passes) fn rotate(
        &mut self,
        input: Operand,
        head_size: usize,
        rope: usize,
        interleaved: bool,
    ) -> Operand {
        self.push(Operation::Rotate { input, head_size, rope, interleaved }, input.width)
    }

    /// Attention with a cache of its own and as many query heads as key heads, for [`attend`](Self::attend).
    pub(in crate::graph::passes) fn attention(
        &mut self,
        query: Operand,
        key: Operand,
        value: Operand,
    ) -> Attention {
        let kv_heads = key.width / HEAD_SIZE;
        self.program.layers.push(LayerShape { kv_heads, head_size: HEAD_SIZE });
        Attention {
            query,
            key,
            value,
            heads: query.width / HEAD_SIZE,
            cache: self.program.layers.len() - 1,
            scale: 0.5,
            softcap: None,
            window: None,
            rope: None,
            sinks: None,
        }
    }

    pub(in crate::graph::passes) fn attend(&mut self, attention: Attention) -> Operand {
        let width = attention.query.width;
        self.push(Operation::Attend(Box::new(attention)), width)
    }
}

fn floats(letter: char, count: usize) -> FloatWeights {
    let bytes: Vec<u8> = (0..count).flat_map(|index| element(letter, index).to_le_bytes()).collect();
    FloatWeights { kind: FloatKind::F32, bytes: bytes.into() }
}

fn matrix(letter: char, rows: usize, columns: usize) -> Matrix {
    assert!(LETTERS.contains(&letter));
    Matrix::Dense(DenseWeights { rows, columns, transposed: false, elements: floats(letter, rows * columns) })
}
