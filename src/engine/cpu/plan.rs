//! How a program is run: which form each value is kept in, and which buffer it shares with others.

use std::collections::BTreeSet;

use crate::engine::Accuracy;
use crate::graph::{Matrix, Operand, Operation, Program, ValueId};
use crate::kernels::{ActivationLayout, BlockActivations, COLUMN_UNIT, KernelTable, WeightPanel};

/// The most columns of a product, other than with the head, that one thread makes at a time.
pub(crate) const WIDEST_CHUNK: usize = COLUMN_UNIT;

/// Rows that one thread attends for at a time in prefill.
pub(crate) const TILE_ROWS: usize = 8;

/// In which forms a value's readers want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Forms {
    /// As f32.
    pub(crate) floats: bool,
    /// Quantised for 4-bit weights.
    pub(crate) split: bool,
    /// Quantised for 8-bit weights.
    pub(crate) natural: bool,
}

/// A program and how to run it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) program: Program,
    pub(crate) accuracy: Accuracy,
    /// Per value.
    pub(crate) forms: Vec<Forms>,
    /// Per value, the buffer that holds it.
    pub(crate) slots: Vec<usize>,
    /// The widest value of each buffer.
    pub(crate) slot_widths: Vec<usize>,
    /// The last attention step; what follows runs only for the positions whose logits are wanted.
    pub(crate) last_attention: Option<usize>,
    /// The values that are made before the last attention step and read after it.
    pub(crate) crossing: Vec<ValueId>,
    /// Planes of quantised activations.
    pub(crate) planes: usize,
    /// Bytes of a thread's panel of unpacked weights.
    pub(crate) panel_bytes: u64,
    /// The step that multiplies by the head; it and what follows run only for the wanted vocabulary.
    pub(crate) head: Option<usize>,
}

impl Plan {
    pub(crate) fn new(program: Program, accuracy: Accuracy) -> Self {
        let last_attention =
            program.steps.iter().rposition(|step| matches!(step.operation, Operation::Attend(_)));
        let head = head_step(&program);
        let forms = forms(&program, accuracy, last_attention, head);
        let crossing = crossing(&program, last_attention);
        let (slots, slot_widths) = assign_slots(&program);
        let planes = if accuracy == Accuracy::Precise { 2 } else { 1 };
        let panel_bytes = if accuracy == Accuracy::Strict { 0 } else { panel_bytes(&program) };
        Self {
            program,
            accuracy,
            forms,
            slots,
            slot_widths,
            last_attention,
            crossing,
            planes,
            panel_bytes,
            head,
        }
    }

    /// Makes room for `tokens` rows of `columns`, quantised for weights of `bits` bits.
    pub(crate) fn reset(
        &self,
        activations: &mut BlockActivations,
        table: &KernelTable,
        (tokens, columns): (usize, usize),
        bits: u32,
    ) {
        let layout = table.layout(bits, tokens * self.planes);
        activations.reset_planes(tokens, self.planes, columns, layout);
    }

    /// Bytes that one of `threads` threads works with at `tokens` tokens of which few want logits.
    pub(crate) fn thread_bytes(&self, tokens: usize, threads: usize) -> u64 {
        let products = tokens * WIDEST_CHUNK;
        let planes = if self.planes == 1 { 0 } else { self.planes * products };
        let floats = self.program.steps.iter().map(|step| match &step.operation {
            Operation::GatedMultiply { .. } => 2 * products,
            Operation::Attend(attention) => {
                let layer = self.program.layers[attention.cache];
                let rows = tokens.min(TILE_ROWS * threads);
                // Queries, sums and results.
                3 * rows * attention.heads / layer.kv_heads * layer.head_size
            }
            _ => 0,
        });
        self.panel_bytes + ((planes + floats.max().unwrap_or(0)) * size_of::<f32>()) as u64
    }

    /// Whether a product reads `operand` in quantised form.
    pub(crate) fn multiplies_integers(&self, matrix: &Matrix) -> bool {
        multiplies_integers(self.accuracy, matrix)
    }

    /// Bytes of buffers for `tokens` tokens of which few want logits: what follows the last attention runs only for those.
    pub(crate) fn scratch_bytes(&self, tokens: usize) -> u64 {
        let mut slots = vec![[0; 3]; self.slot_widths.len()];
        let whole = self.last_attention.map_or(self.program.steps.len(), |attention| attention + 1);
        for step in self.program.steps.iter().take(whole) {
            let value = step.output.0;
            let (width, forms) = (self.program.widths[value], self.forms[value]);
            // Only these two make a quantised form without going over a buffer of floats.
            let direct = matches!(step.operation, Operation::Norm { .. } | Operation::GatedMultiply { .. });
            let quantised = |layout| BlockActivations::bytes_for(tokens * self.planes, width, layout);
            let of_four_bits = if tokens > 1 { ActivationLayout::Grouped } else { ActivationLayout::Split };
            let sizes = [
                (forms.floats || !direct, tokens * width * size_of::<f32>()),
                (forms.split, quantised(of_four_bits)),
                (forms.natural, quantised(ActivationLayout::Natural)),
            ];
            for (held, (made, bytes)) in slots[self.slots[value]].iter_mut().zip(sizes) {
                if made {
                    *held = bytes.max(*held);
                }
            }
        }
        slots.iter().flatten().map(|bytes| *bytes as u64).sum()
    }
}

/// Working memory of one thread for products with weights of 4 bits.
fn panel_bytes(program: &Program) -> u64 {
    let matrices = program.steps.iter().flat_map(|step| step.operation.matrices());
    let columns = matrices.filter_map(|matrix| match matrix {
        Matrix::Block(weights) if weights.shape.bits == 4 => Some(weights.shape.columns),
        _ => None,
    });
    columns.map(|columns| WeightPanel::bytes_for(columns) as u64).max().unwrap_or(0)
}

/// The values that are made before the last attention step and read after it, each once.
fn crossing(program: &Program, last_attention: Option<usize>) -> Vec<ValueId> {
    let Some(attention) = last_attention else { return Vec::new() };
    let made = made_at(program);
    let mut crossing: Vec<ValueId> = program
        .steps
        .iter()
        .skip(attention + 1)
        .flat_map(|step| step.operation.operands())
        .map(|operand| operand.value)
        .filter(|value| made[value.0] < attention)
        .collect();
    crossing.sort_unstable();
    crossing.dedup();
    crossing
}

/// Per value, the step that makes it.
fn made_at(program: &Program) -> Vec<usize> {
    let mut made_at = vec![0; program.widths.len()];
    for (index, step) in program.steps.iter().enumerate() {
        made_at[step.output.0] = index;
    }
    made_at
}

/// Whether a product with `matrix` works on activations quantised to 8 bits.
fn multiplies_integers(accuracy: Accuracy, matrix: &Matrix) -> bool {
    match matrix {
        Matrix::Block(weights) => accuracy != Accuracy::Strict && !weights.transposed,
        Matrix::Dense(_) => false,
    }
}

/// The product that only pointwise steps separate from the logits.
fn head_step(program: &Program) -> Option<usize> {
    let mut readers = vec![0; program.widths.len()];
    for operand in program.steps.iter().flat_map(|step| step.operation.operands()) {
        readers[operand.value.0] += 1;
    }
    let mut wanted = program.logits;
    for (index, step) in program.steps.iter().enumerate().rev() {
        if step.output != wanted {
            continue;
        }
        match &step.operation {
            Operation::Multiply { residual: None, .. } => return Some(index),
            Operation::Activate { input, .. } | Operation::Scale { input, .. }
                if *input == program.whole(input.value) && readers[input.value.0] == 1 =>
            {
                wanted = input.value;
            }
            _ => return None,
        }
    }
    None
}

fn forms(
    program: &Program,
    accuracy: Accuracy,
    last_attention: Option<usize>,
    head: Option<usize>,
) -> Vec<Forms> {
    let mut forms = vec![Forms::default(); program.widths.len()];
    let made_at = made_at(program);
    for (index, step) in program.steps.iter().enumerate() {
        let crosses = |operand: Operand| {
            last_attention.is_some_and(|attention| index > attention && made_at[operand.value.0] < attention)
        };
        let mut quantised = None;
        if let Operation::Multiply { input, .. } | Operation::GatedMultiply { input, .. } = &step.operation {
            let matrices = step.operation.matrices();
            let integers = matrices.iter().all(|matrix| multiplies_integers(accuracy, matrix));
            // The head quantises its rows itself: they may be a part of the batch.
            if integers && *input == program.whole(input.value) && !crosses(*input) && head != Some(index) {
                quantised = Some(*input);
                for matrix in matrices {
                    let form = &mut forms[input.value.0];
                    match matrix {
                        Matrix::Block(weights) if weights.shape.bits == 8 => form.natural = true,
                        _ => form.split = true,
                    }
                }
            }
        }
        let mut skipped = false;
        for operand in step.operation.operands() {
            // The first operand of a product is the one that was quantised; a residual may be the same value.
            if quantised == Some(operand) && !skipped {
                skipped = true;
            } else {
                forms[operand.value.0].floats = true;
            }
        }
    }
    forms[program.logits.0].floats = true;
    forms
}

/// Gives each value a buffer that no other value uses while it is alive.
fn assign_slots(program: &Program) -> (Vec<usize>, Vec<usize>) {
    let mut last_read = vec![0; program.widths.len()];
    for (index, step) in program.steps.iter().enumerate() {
        for operand in step.operation.operands() {
            last_read[operand.value.0] = index;
        }
    }
    last_read[program.logits.0] = usize::MAX;
    let mut slots = vec![0; program.widths.len()];
    let mut widths: Vec<usize> = Vec::new();
    // Width and number of the buffers that are free.
    let mut free: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (index, step) in program.steps.iter().enumerate() {
        let width = program.widths[step.output.0];
        // The best fit among the free buffers, so that narrow values do not widen narrow buffers.
        let wider = free.range((width, 0)..).next();
        let narrower = free.range(..(width, 0)).next_back();
        let best = wider.into_iter().chain(narrower).min_by_key(|(other, _)| other.abs_diff(width)).copied();
        let slot = match best {
            Some(buffer) => {
                free.remove(&buffer);
                buffer.1
            }
            None => {
                widths.push(0);
                widths.len() - 1
            }
        };
        widths[slot] = widths[slot].max(width);
        slots[step.output.0] = slot;
        let operands = step.operation.operands();
        let ended = operands.iter().filter(|operand| last_read[operand.value.0] == index);
        free.extend(ended.map(|operand| slots[operand.value.0]).map(|slot| (widths[slot], slot)));
    }
    (slots, widths)
}
