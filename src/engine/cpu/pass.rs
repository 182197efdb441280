//! One forward pass: the steps of a plan over the rows of a batch.

mod attend;
mod head;
mod pointwise;
mod product;

use super::arena::Arena;
use super::cache::CpuCache;
use super::plan::Plan;
use super::rows::Row;
use crate::engine::RunControl;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Operation, Rope, Step, ValueId};
use crate::kernels::{KernelTable, Scope};

/// A run of neighbouring rows whose logits are wanted, and for which vocabulary.
pub(crate) struct HeadGroup<'a> {
    pub(crate) rows: std::ops::Range<usize>,
    pub(crate) vocabulary: Option<&'a [u32]>,
}

/// The cosines and sines of each row of a batch, for one rotation.
struct RotationRows {
    half: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl RotationRows {
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a position that the table does not cover.
    fn new(rope: &Rope, rows: &[Row], caches: &[&mut CpuCache]) -> Result<Self> {
        let half = rope.dimensions / 2;
        let (mut cosines, mut sines) =
            (Vec::with_capacity(rows.len() * half), Vec::with_capacity(rows.len() * half));
        for row in rows {
            let chosen = caches[row.sequence].rope_variant.min(rope.variants.len() - 1);
            let variant = &rope.variants[chosen];
            let table_row = row.position + variant.row_offset;
            if table_row >= variant.rows {
                let message = format!("position {} is beyond the rotation table", row.position);
                return Err(Error::new(ErrorKind::InvalidArgument, message)
                    .with_hint("prepare the cache for the sequence's whole length"));
            }
            let range = table_row * half..(table_row + 1) * half;
            let (cosine, sine) = (variant.cosines.view(), variant.sines.view());
            cosines.extend(range.clone().map_while(|index| cosine.get(index)));
            sines.extend(range.map_while(|index| sine.get(index)));
        }
        Ok(Self { half, cosines, sines })
    }

    fn row(&self, index: usize) -> (&[f32], &[f32]) {
        let range = index * self.half..(index + 1) * self.half;
        (&self.cosines[range.clone()], &self.sines[range])
    }
}

/// The state of a pass.
pub(crate) struct Pass<'p, 's> {
    plan: &'p Plan,
    table: &'static KernelTable,
    scope: &'p mut Scope<'s>,
    arena: &'p mut Arena,
    rows: Vec<Row>,
    rotations: Vec<RotationRows>,
}

impl<'p, 's> Pass<'p, 's> {
    pub(crate) fn new(
        plan: &'p Plan,
        table: &'static KernelTable,
        scope: &'p mut Scope<'s>,
        arena: &'p mut Arena,
        rows: Vec<Row>,
        caches: &[&mut CpuCache],
    ) -> Result<Self> {
        let rotations = plan
            .program
            .ropes
            .iter()
            .map(|rope| RotationRows::new(rope, &rows, caches))
            .collect::<Result<_>>()?;
        Ok(Self { plan, table, scope, arena, rows, rotations })
    }

    /// Runs all steps. Returns the logits of each head group, `[rows, vocabulary]`.
    pub(crate) fn run(
        &mut self,
        tokens: &[u32],
        caches: &mut [&mut CpuCache],
        groups: &[HeadGroup<'_>],
        control: &RunControl,
    ) -> Result<Vec<Vec<f32>>> {
        let plan = self.plan;
        let nothing_wanted = groups.is_empty();
        if plan.last_attention.is_none() {
            self.keep_wanted();
        }
        for (index, step) in plan.program.steps.iter().enumerate() {
            control.check()?;
            if Some(index) == plan.head {
                return self.head(index, groups);
            }
            self.step(step, tokens, caches, Some(index) == plan.last_attention, nothing_wanted)?;
            if Some(index) == plan.last_attention {
                if nothing_wanted {
                    return Ok(Vec::new());
                }
                self.keep_wanted();
            }
            self.quantise_output(step);
        }
        Ok(self.whole_logits(groups))
    }

    fn step(
        &mut self,
        step: &Step,
        tokens: &[u32],
        caches: &mut [&mut CpuCache],
        last_attention: bool,
        nothing_wanted: bool,
    ) -> Result<()> {
        let output = step.output;
        match &step.operation {
            Operation::Embed { table } => self.embed(table, tokens, output),
            Operation::Multiply { input, weights, bias, residual } => {
                self.multiply(*input, weights, bias.as_deref(), *residual, output)
            }
            Operation::GatedMultiply { input, gate, gate_bias, up, up_bias, activation } => {
                let (gate, up) = ((gate, gate_bias.as_deref()), (up, up_bias.as_deref()));
                self.gated_multiply(*input, gate, up, *activation, output)
            }
            Operation::Norm { input, kind, weight, epsilon } => {
                self.norm(*input, kind, weight, *epsilon, output);
                Ok(())
            }
            Operation::Attend(attention) => {
                self.append(attention, caches);
                if !(last_attention && nothing_wanted) {
                    self.attend(attention, caches, last_attention, output);
                }
                Ok(())
            }
            pointwise => {
                self.pointwise(pointwise, output);
                Ok(())
            }
        }
    }

    /// Makes the quantised forms of a step's output that the step did not make itself.
    fn quantise_output(&mut self, step: &Step) {
        if matches!(step.operation, Operation::Norm { .. } | Operation::GatedMultiply { .. }) {
            return;
        }
        self.quantise_forms(step.output);
    }

    fn quantise_forms(&mut self, value: ValueId) {
        let forms = self.plan.forms[value.0];
        for (wanted, bits) in [(forms.split, 4), (forms.natural, 8)] {
            if wanted {
                self.quantise(value, bits);
            }
        }
    }

    fn quantise(&mut self, value: ValueId, bits: u32) {
        let (plan, table) = (self.plan, self.table);
        let whole = plan.program.whole(value);
        let (mut split, mut natural) = self.arena.take_quantised(plan, value);
        let target = if bits == 8 { &mut natural } else { &mut split };
        plan.reset(target, table, (self.rows.len(), whole.width), bits);
        let arena = &*self.arena;
        self.scope.quantise_each(target, |token, to| table.quantise(arena.row(plan, whole, token), to));
        self.arena.put_quantised(plan, value, (split, natural));
    }

    /// Goes on with only the rows whose logits are wanted.
    fn keep_wanted(&mut self) {
        if self.rows.iter().all(|row| row.wanted) {
            return;
        }
        let wanted: Vec<usize> = (0..self.rows.len()).filter(|index| self.rows[*index].wanted).collect();
        let plan = self.plan;
        for &value in &plan.crossing {
            let width = plan.program.widths[value.0];
            let buffer = &mut self.arena.floats[plan.slots[value.0]];
            for (to, from) in wanted.iter().enumerate() {
                buffer.copy_within(from * width..(from + 1) * width, to * width);
            }
        }
        self.rows.retain(|row| row.wanted);
        // What steps before the attention read too has quantised forms with the rows of before.
        for &value in &plan.crossing {
            self.quantise_forms(value);
        }
    }
}
