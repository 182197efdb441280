//! The buffers of forward passes, made once and used again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::plan::Plan;
use crate::graph::{Operand, ValueId};
use crate::kernels::{AttentionState, BlockActivations, WeightPanel};

/// What one thread works with.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
    pub(crate) masks: Vec<u64>,
    pub(crate) attention: AttentionState,
    pub(crate) panel: WeightPanel,
}

/// Buffers for the values of a plan.
#[derive(Debug)]
pub(crate) struct Arena {
    /// By slot.
    pub(crate) floats: Vec<Vec<f32>>,
    /// By slot.
    pub(crate) split: Vec<BlockActivations>,
    /// By slot.
    pub(crate) natural: Vec<BlockActivations>,
    /// For products whose input is quantised where it is used.
    pub(crate) temporary: BlockActivations,
    /// By thread.
    pub(crate) scratch: Vec<Mutex<Scratch>>,
}

impl Arena {
    pub(crate) fn new(plan: &Plan, threads: usize) -> Self {
        let slots = plan.slot_widths.len();
        Self {
            floats: (0..slots).map(|_| Vec::new()).collect(),
            split: (0..slots).map(|_| BlockActivations::new()).collect(),
            natural: (0..slots).map(|_| BlockActivations::new()).collect(),
            temporary: BlockActivations::new(),
            scratch: (0..threads).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes the f32 buffer of `value` out, with room for `tokens` rows of `width`.
    pub(crate) fn take(&mut self, plan: &Plan, value: ValueId, tokens: usize) -> Vec<f32> {
        let mut buffer = std::mem::take(&mut self.floats[plan.slots[value.0]]);
        let length = tokens * plan.program.widths[value.0];
        if buffer.len() < length {
            // A vector that grows on its own takes up to twice what it needs.
            buffer.reserve_exact(length - buffer.len());
            buffer.resize(length, 0.0);
        }
        buffer
    }

    /// Puts a buffer back.
    pub(crate) fn put(&mut self, plan: &Plan, value: ValueId, buffer: Vec<f32>) {
        self.floats[plan.slots[value.0]] = buffer;
    }

    /// The columns of `operand` in row `token`.
    pub(crate) fn row(&self, plan: &Plan, operand: Operand, token: usize) -> &[f32] {
        let width = plan.program.widths[operand.value.0];
        &self.floats[plan.slots[operand.value.0]][token * width + operand.start..][..operand.width]
    }

    /// The form of `value` that is quantised for weights of `bits` bits.
    pub(crate) fn quantised(&self, plan: &Plan, value: ValueId, bits: u32) -> &BlockActivations {
        let slot = plan.slots[value.0];
        if bits == 8 { &self.natural[slot] } else { &self.split[slot] }
    }

    /// Takes both quantised buffers of `value` out.
    pub(crate) fn take_quantised(
        &mut self,
        plan: &Plan,
        value: ValueId,
    ) -> (BlockActivations, BlockActivations) {
        let slot = plan.slots[value.0];
        (std::mem::take(&mut self.split[slot]), std::mem::take(&mut self.natural[slot]))
    }

    /// Puts them back.
    pub(crate) fn put_quantised(
        &mut self,
        plan: &Plan,
        value: ValueId,
        (split, natural): (BlockActivations, BlockActivations),
    ) {
        let slot = plan.slots[value.0];
        self.split[slot] = split;
        self.natural[slot] = natural;
    }

    /// The buffers of thread `worker`.
    pub(crate) fn scratch(&self, worker: usize) -> MutexGuard<'_, Scratch> {
        // What a thread that panicked left behind is overwritten before it is read.
        self.scratch[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the buffers that hold values.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let floats: usize = self.floats.iter().map(|buffer| buffer.capacity() * size_of::<f32>()).sum();
        floats + self.split.iter().chain(&self.natural).map(BlockActivations::bytes).sum::<usize>()
    }

    /// Bytes that thread `worker` holds, without its running softmax.
    #[cfg(test)]
    pub(crate) fn thread_bytes(&self, worker: usize) -> usize {
        let scratch = self.scratch(worker);
        (scratch.first.capacity() + scratch.second.capacity()) * size_of::<f32>() + scratch.panel.bytes()
    }
}
