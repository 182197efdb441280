//! The head: logits of the wanted positions, for the wanted vocabulary.

use super::pointwise::activate;
use super::product::{Left, Right, bits, multiply};
use super::{HeadGroup, Pass};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Operand, Operation};
use crate::kernels::Rows;

/// Logits that one thread finishes at a time.
const POINTWISE_CHUNK: usize = 8192;

impl Pass<'_, '_> {
    /// Runs step `index`, the product with the head, and the pointwise steps after it.
    pub(super) fn head(&mut self, index: usize, groups: &[HeadGroup<'_>]) -> Result<Vec<Vec<f32>>> {
        groups.iter().map(|group| self.head_group(index, group)).collect()
    }

    fn head_group(&mut self, index: usize, group: &HeadGroup<'_>) -> Result<Vec<f32>> {
        let (plan, table) = (self.plan, self.table);
        let Some(Operation::Multiply { input, weights, bias, .. }) =
            plan.program.steps.get(index).map(|step| &step.operation)
        else {
            return Err(Error::new(ErrorKind::Internal, "the head is not a product"));
        };
        let width = group.vocabulary.map_or(weights.rows, <[u32]>::len);
        let count = group.rows.len();
        let mut logits: Vec<f32> = Vec::new();
        let total = count.saturating_mul(width);
        logits.try_reserve_exact(total).map_err(|error| {
            Error::new(ErrorKind::MemoryBudget, format!("no memory for {total} logits")).with_source(error)
        })?;
        logits.resize(total, 0.0);
        if total == 0 {
            return Ok(logits);
        }
        let right = Right::new(&weights.matrix, bias.as_deref())?;
        // The head's own rows only, which earlier steps do not have apart.
        let gathered: Vec<f32>;
        let mut quantised = std::mem::take(&mut self.arena.temporary);
        let left = if plan.multiplies_integers(&weights.matrix) {
            plan.reset(&mut quantised, table, (count, input.width), bits(&weights.matrix));
            for (to, token) in quantised.tokens_mut().iter_mut().zip(group.rows.clone()) {
                table.quantise(self.arena.row(plan, *input, token), to);
            }
            Left::Quantised(&quantised)
        } else {
            gathered =
                group.rows.clone().flat_map(|token| self.arena.row(plan, *input, token)).copied().collect();
            Left::Floats(&gathered)
        };
        let rows = match group.vocabulary {
            Some(list) => Rows::List(list),
            None => Rows::from(weights.start..weights.start + weights.rows),
        };
        let chunk = (width / (self.scope.threads() * 8)).clamp(16, 512).next_multiple_of(16);
        let arena = &*self.arena;
        self.scope.run_columns(&mut logits, width, chunk, |range, columns, worker| {
            multiply(table, left, &right, rows.part(range), &mut arena.scratch(worker).panel, columns);
        });
        self.arena.temporary = quantised;
        for step in &plan.program.steps[index + 1..] {
            let mut pieces: Vec<_> = logits.chunks_mut(POINTWISE_CHUNK).collect();
            self.scope.run_each(&mut pieces, |piece, _| match &step.operation {
                Operation::Activate { activation, .. } => activate(table, *activation, piece),
                Operation::Scale { factor, .. } => table.scale(piece, *factor),
                _ => {}
            });
        }
        Ok(logits)
    }

    /// Picks the logits out of a value that was made like any other.
    pub(super) fn whole_logits(&self, groups: &[HeadGroup<'_>]) -> Vec<Vec<f32>> {
        let plan = self.plan;
        let whole: Operand = plan.program.whole(plan.program.logits);
        let row = |token| self.arena.row(plan, whole, token);
        groups
            .iter()
            .map(|group| match group.vocabulary {
                None => group.rows.clone().flat_map(row).copied().collect(),
                Some(list) => group
                    .rows
                    .clone()
                    .flat_map(|token| list.iter().map(move |entry| row(token)[*entry as usize]))
                    .collect(),
            })
            .collect()
    }
}
