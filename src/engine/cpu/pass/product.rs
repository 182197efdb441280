//! Products with weights.

use std::ops::Range;

use super::Pass;
use super::pointwise::gate as apply_gate;
use crate::engine::cpu::arena::Arena;
use crate::engine::cpu::plan::{Plan, WIDEST_CHUNK};
use crate::error::Result;
use crate::graph::{Activation, Matrix, MatrixRows, Operand, ValueId};
use crate::kernels::{
    BlockActivations, BlockMatrix, BlockMatrixKn, COLUMN_UNIT, ColumnsMut, DenseMatrix, KernelTable, Rows,
    WeightPanel,
};

/// A matrix as the kernels see it.
pub(super) enum Right<'a> {
    Block(BlockMatrix<'a>),
    BlockKn(BlockMatrixKn<'a>),
    Dense(DenseMatrix<'a>),
}

impl<'a> Right<'a> {
    pub(super) fn new(matrix: &'a Matrix, bias: Option<&'a [f32]>) -> Result<Self> {
        Ok(match matrix {
            Matrix::Block(weights) if weights.transposed => Self::BlockKn(weights.view_kn(bias)?),
            Matrix::Block(weights) => Self::Block(weights.view(bias)?),
            Matrix::Dense(weights) => Self::Dense(weights.view(bias)?),
        })
    }
}

/// Activations, quantised or not, `[tokens, columns]`.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    Quantised(&'a BlockActivations),
    Floats(&'a [f32]),
}

/// out = left · rightᵀ + bias, for some rows of the matrix.
pub(super) fn multiply(
    table: &KernelTable,
    left: Left<'_>,
    right: &Right<'_>,
    rows: Rows<'_>,
    panel: &mut WeightPanel,
    out: &mut ColumnsMut<'_>,
) {
    match (left, right) {
        (Left::Quantised(activations), Right::Block(matrix)) => {
            table.multiply_int8(matrix, rows, activations, panel, out)
        }
        (Left::Floats(x), Right::Block(matrix)) => table.multiply_f32(matrix, rows, x, out),
        (Left::Floats(x), Right::BlockKn(matrix)) => table.multiply_kn(matrix, rows, x, out),
        (Left::Floats(x), Right::Dense(matrix)) => table.multiply_dense(matrix, rows, x, out),
        // Only block matrices ask for quantised activations.
        (Left::Quantised(_), _) => {}
    }
}

/// Bits of a matrix's codes. A matrix without codes is never multiplied in integers and counts as one of 4 bits.
pub(super) fn bits(matrix: &Matrix) -> u32 {
    match matrix {
        Matrix::Block(weights) => weights.shape.bits,
        Matrix::Dense(_) => 4,
    }
}

/// A product's left side that was made for one step.
#[derive(Default)]
pub(super) struct Prepared {
    quantised: Option<BlockActivations>,
    floats: Option<Vec<f32>>,
}

impl Prepared {
    /// The left side of a product of `tokens` rows.
    fn left<'a>(
        &'a self,
        plan: &Plan,
        arena: &'a Arena,
        tokens: usize,
        input: Operand,
        matrix: &Matrix,
    ) -> Left<'a> {
        match self {
            Self { quantised: Some(quantised), .. } => Left::Quantised(quantised),
            Self { floats: Some(floats), .. } => Left::Floats(floats),
            _ if plan.multiplies_integers(matrix) => {
                Left::Quantised(arena.quantised(plan, input.value, bits(matrix)))
            }
            _ => Left::Floats(&arena.floats[plan.slots[input.value.0]][..tokens * input.width]),
        }
    }
}

impl Pass<'_, '_> {
    /// Columns of a product's output that one thread makes at a time.
    pub(super) fn chunk(&self, columns: usize, unit: usize) -> usize {
        let share = columns / (self.scope.threads() * 4);
        let largest = if self.rows.len() > 4 { 128 } else { WIDEST_CHUNK };
        share.clamp(unit.min(32), largest).next_multiple_of(unit)
    }

    /// Makes the left side where no earlier step has left it ready.
    pub(super) fn prepare(&mut self, input: Operand, matrix: &Matrix) -> Prepared {
        let plan = self.plan;
        let whole = input == plan.program.whole(input.value);
        if plan.multiplies_integers(matrix) {
            let forms = plan.forms[input.value.0];
            let bits = bits(matrix);
            let ready = if bits == 8 { forms.natural } else { forms.split };
            if whole && ready {
                return Prepared::default();
            }
            let mut quantised = std::mem::take(&mut self.arena.temporary);
            plan.reset(&mut quantised, self.table, (self.rows.len(), input.width), bits);
            let (arena, table) = (&*self.arena, self.table);
            self.scope.quantise_each(&mut quantised, |token, to| {
                table.quantise(arena.row(plan, input, token), to);
            });
            return Prepared { quantised: Some(quantised), floats: None };
        }
        if whole {
            return Prepared::default();
        }
        let rows = (0..self.rows.len()).flat_map(|token| self.arena.row(plan, input, token));
        Prepared { quantised: None, floats: Some(rows.copied().collect()) }
    }

    /// Keeps a temporary buffer for the next step.
    pub(super) fn finish(&mut self, prepared: Prepared) {
        if let Some(quantised) = prepared.quantised {
            self.arena.temporary = quantised;
        }
    }

    pub(super) fn multiply(
        &mut self,
        input: Operand,
        weights: &MatrixRows,
        bias: Option<&[f32]>,
        residual: Option<Operand>,
        output: ValueId,
    ) -> Result<()> {
        let (plan, table) = (self.plan, self.table);
        let right = Right::new(&weights.matrix, bias)?;
        let prepared = self.prepare(input, &weights.matrix);
        let (count, width) = (self.rows.len(), weights.rows);
        let mut buffer = self.arena.take(plan, output, count);
        let chunk = self.chunk(width, 16);
        let arena = &*self.arena;
        let left = prepared.left(plan, arena, count, input, &weights.matrix);
        self.scope.run_columns(&mut buffer[..count * width], width, chunk, |range, columns, worker| {
            let rows = Rows::from(weights.start + range.start..weights.start + range.end);
            multiply(table, left, &right, rows, &mut arena.scratch(worker).panel, columns);
            if let Some(residual) = residual {
                for token in 0..count {
                    table.add(columns.row_mut(token), &arena.row(plan, residual, token)[range.clone()]);
                }
            }
        });
        self.arena.put(plan, output, buffer);
        self.finish(prepared);
        Ok(())
    }

    pub(super) fn gated_multiply(
        &mut self,
        input: Operand,
        (gate, gate_bias): (&MatrixRows, Option<&[f32]>),
        (up, up_bias): (&MatrixRows, Option<&[f32]>),
        activation: Activation,
        output: ValueId,
    ) -> Result<()> {
        let (plan, table) = (self.plan, self.table);
        let forms = plan.forms[output.0];
        let (count, width) = (self.rows.len(), gate.rows);
        let (gate_right, up_right) = (Right::new(&gate.matrix, gate_bias)?, Right::new(&up.matrix, up_bias)?);
        let prepared_gate = self.prepare(input, &gate.matrix);
        let up_left_differs = bits(&gate.matrix) != bits(&up.matrix)
            || plan.multiplies_integers(&gate.matrix) != plan.multiplies_integers(&up.matrix);
        let prepared_up = if up_left_differs { self.prepare(input, &up.matrix) } else { Prepared::default() };
        let mut buffer = if forms.floats { self.arena.take(plan, output, count) } else { Vec::new() };
        let (mut split, mut natural) = self.arena.take_quantised(plan, output);
        let chunk = self.chunk(width, COLUMN_UNIT);
        let arena = &*self.arena;
        let gate_left = prepared_gate.left(plan, arena, count, input, &gate.matrix);
        let up_left =
            if up_left_differs { prepared_up.left(plan, arena, count, input, &up.matrix) } else { gate_left };
        let ranges: Vec<Range<usize>> =
            (0..width).step_by(chunk).map(|start| start..width.min(start + chunk)).collect();
        let mut floats = Vec::new().into_iter();
        if forms.floats {
            floats = ColumnsMut::new(&mut buffer[..count * width], width).chunks(chunk).into_iter();
        }
        let mut split_chunks = Vec::new().into_iter();
        if forms.split {
            plan.reset(&mut split, table, (count, width), 4);
            split_chunks = split.column_chunks(chunk).into_iter();
        }
        let mut natural_chunks = Vec::new().into_iter();
        if forms.natural {
            plan.reset(&mut natural, table, (count, width), 8);
            natural_chunks = natural.column_chunks(chunk).into_iter();
        }
        let mut parts: Vec<_> = ranges
            .into_iter()
            .map(|range| {
                let part = (floats.next(), split_chunks.next(), natural_chunks.next());
                (range, part.0.map(|part| part.1), part.1.map(|part| part.1), part.2.map(|part| part.1))
            })
            .collect();
        self.scope.run_each(&mut parts, |(range, floats, split, natural), worker| {
            let mut scratch = arena.scratch(worker);
            let scratch = &mut *scratch;
            let columns = range.len();
            for (buffer, left, right, start) in [
                (&mut scratch.first, gate_left, &gate_right, gate.start),
                (&mut scratch.second, up_left, &up_right, up.start),
            ] {
                if let Some(missing) = (count * columns).checked_sub(buffer.len()) {
                    // A vector that grows on its own takes up to twice what it needs.
                    buffer.reserve_exact(missing);
                    buffer.resize(count * columns, 0.0);
                }
                let mut out = ColumnsMut::new(&mut buffer[..count * columns], columns);
                let rows = Rows::from(start + range.start..start + range.end);
                multiply(table, left, right, rows, &mut scratch.panel, &mut out);
            }
            for token in 0..count {
                let gated = &mut scratch.first[token * columns..][..columns];
                apply_gate(table, activation, gated, &scratch.second[token * columns..][..columns]);
                if let Some(floats) = floats {
                    floats.row_mut(token).copy_from_slice(gated);
                }
                if let Some(split) = split {
                    table.quantise(gated, split.row_mut(token));
                }
                if let Some(natural) = natural {
                    table.quantise(gated, natural.row_mut(token));
                }
            }
        });
        if forms.floats {
            self.arena.put(plan, output, buffer);
        }
        self.arena.put_quantised(plan, output, (split, natural));
        self.finish(prepared_gate);
        self.finish(prepared_up);
        Ok(())
    }
}
