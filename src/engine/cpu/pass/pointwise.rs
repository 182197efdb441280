//! Steps in which each output row depends on the same row of the inputs: embedding, norms and pointwise functions.

use super::Pass;
use crate::graph::{Activation, Matrix, NormKind, Operand, Operation, Table, ValueId};
use crate::kernels::KernelTable;

/// Applies a function in place.
pub(super) fn activate(table: &KernelTable, activation: Activation, row: &mut [f32]) {
    match activation {
        Activation::Sigmoid => table.sigmoid(row),
        Activation::Silu => table.silu(row),
        Activation::GeluErf => table.gelu_erf(row),
        Activation::GeluTanh => table.gelu_tanh(row),
        Activation::QuickGelu(alpha) => table.quick_gelu(row, alpha),
        Activation::Relu => table.relu(row),
        Activation::Tanh => table.tanh(row),
        Activation::Softcap(cap) => table.softcap(row, cap),
    }
}

/// Rotates one head in place.
pub(super) fn rotate_head(
    table: &KernelTable,
    head: &mut [f32],
    cosines: &[f32],
    sines: &[f32],
    interleaved: bool,
) {
    if interleaved {
        table.rope_interleaved(head, cosines, sines);
    } else {
        table.rope_half(head, cosines, sines);
    }
}

/// gate = activation(gate) · up.
pub(super) fn gate(table: &KernelTable, activation: Activation, gate: &mut [f32], up: &[f32]) {
    if activation == Activation::Silu {
        table.silu_mul(gate, up);
    } else {
        activate(table, activation, gate);
        table.mul(gate, up);
    }
}

impl Pass<'_, '_> {
    pub(super) fn embed(
        &mut self,
        embedding: &Table,
        tokens: &[u32],
        output: ValueId,
    ) -> crate::error::Result<()> {
        let (plan, table) = (self.plan, self.table);
        let count = self.rows.len();
        let width = embedding.width;
        let mut buffer = self.arena.take(plan, output, count);
        let mut rows: Vec<_> = buffer[..count * width].chunks_mut(width).zip(&self.rows).collect();
        match &embedding.matrix {
            Matrix::Block(weights) => {
                let matrix = weights.view(None)?;
                self.scope.run_each(&mut rows, |(to, row), _| {
                    table.dequantise_row(&matrix, tokens[row.index] as usize, to)
                });
            }
            Matrix::Dense(weights) => {
                let matrix = weights.view(None)?;
                self.scope.run_each(&mut rows, |(to, row), _| {
                    table.dense_row(&matrix, tokens[row.index] as usize, to)
                });
            }
        }
        self.arena.put(plan, output, buffer);
        Ok(())
    }

    pub(super) fn norm(
        &mut self,
        input: Operand,
        kind: &NormKind,
        weight: &[f32],
        epsilon: f32,
        output: ValueId,
    ) {
        let (plan, table) = (self.plan, self.table);
        let count = self.rows.len();
        let width = input.width;
        let forms = plan.forms[output.0];
        let mut buffer = if forms.floats { self.arena.take(plan, output, count) } else { Vec::new() };
        let (mut split, mut natural) = self.arena.take_quantised(plan, output);
        let mut floats =
            if forms.floats { buffer[..count * width].chunks_mut(width).collect() } else { Vec::new() }
                .into_iter();
        let mut split_rows = Vec::new().into_iter();
        if forms.split {
            plan.reset(&mut split, table, (count, width), 4);
            split_rows = split.tokens_mut().into_iter();
        }
        let mut natural_rows = Vec::new().into_iter();
        if forms.natural {
            plan.reset(&mut natural, table, (count, width), 8);
            natural_rows = natural.tokens_mut().into_iter();
        }
        let mut rows: Vec<_> =
            (0..count).map(|token| (token, floats.next(), split_rows.next(), natural_rows.next())).collect();
        let arena = &*self.arena;
        let mut tasks: Vec<_> = rows.chunks_mut(table.layout(4, plan.planes * count).neighbours()).collect();
        self.scope.run_each(&mut tasks, |rows, worker| {
            let mut scratch = arena.scratch(worker);
            for (token, floats, split, natural) in rows.iter_mut() {
                let to = match floats {
                    Some(floats) => floats,
                    None => {
                        scratch.first.resize(width, 0.0);
                        &mut scratch.first[..]
                    }
                };
                let from = arena.row(plan, input, *token);
                for (from, to) in from.chunks(weight.len()).zip(to.chunks_mut(weight.len())) {
                    match kind {
                        NormKind::Rms => table.rms_norm(from, weight, epsilon, to),
                        NormKind::Layer { bias } => {
                            table.layer_norm(from, weight, bias.as_deref(), epsilon, to)
                        }
                    }
                }
                if let Some(split) = split {
                    table.quantise(to, split);
                }
                if let Some(natural) = natural {
                    table.quantise(to, natural);
                }
            }
        });
        if forms.floats {
            self.arena.put(plan, output, buffer);
        }
        self.arena.put_quantised(plan, output, (split, natural));
    }

    /// The remaining steps: one row of output from the same row of one or two inputs.
    pub(super) fn pointwise(&mut self, operation: &Operation, output: ValueId) {
        let (plan, table) = (self.plan, self.table);
        let count = self.rows.len();
        let width = plan.program.widths[output.0];
        let mut buffer = self.arena.take(plan, output, count);
        let (arena, rotations) = (&*self.arena, &self.rotations);
        let mut rows: Vec<_> =
            buffer[..count * width].chunks_mut(width).zip(&self.rows).enumerate().collect();
        self.scope.run_each(&mut rows, |(token, (to, row)), _| {
            let input = |operand: Operand| arena.row(plan, operand, *token);
            match operation {
                Operation::Activate { input: operand, activation } => {
                    to.copy_from_slice(input(*operand));
                    activate(table, *activation, to);
                }
                Operation::Gated { gate: left, up, activation } => {
                    to.copy_from_slice(input(*left));
                    gate(table, *activation, to, input(*up));
                }
                Operation::Add { left, right } => {
                    to.copy_from_slice(input(*left));
                    table.add(to, input(*right));
                }
                Operation::Mul { left, right } => {
                    to.copy_from_slice(input(*left));
                    table.mul(to, input(*right));
                }
                Operation::AddRow { input: operand, row } => {
                    to.copy_from_slice(input(*operand));
                    table.add(to, row);
                }
                Operation::MulRow { input: operand, row } => {
                    to.copy_from_slice(input(*operand));
                    table.mul(to, row);
                }
                Operation::Scale { input: operand, factor } => {
                    to.copy_from_slice(input(*operand));
                    table.scale(to, *factor);
                }
                Operation::Rotate { input: operand, head_size, rope, interleaved } => {
                    to.copy_from_slice(input(*operand));
                    let (cosines, sines) = rotations[*rope].row(row.index);
                    for head in to.chunks_mut(*head_size) {
                        rotate_head(table, head, cosines, sines, *interleaved);
                    }
                }
                // These have methods of their own.
                Operation::Embed { .. }
                | Operation::Multiply { .. }
                | Operation::GatedMultiply { .. }
                | Operation::Norm { .. }
                | Operation::Attend(_) => {}
            }
        });
        self.arena.put(plan, output, buffer);
    }
}
