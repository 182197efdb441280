//! Attention: new keys and values into the cache, then each row over what it sees.

use std::ops::Range;

use super::pointwise::rotate_head;
use super::{Pass, RotationRows};
use crate::engine::cpu::arena::{Arena, Scratch};
use crate::engine::cpu::cache::{CpuCache, HeadCache};
use crate::engine::cpu::plan::{Plan, TILE_ROWS};
use crate::engine::cpu::rows::Row;
use crate::graph::{Attention, Operand, ValueId};
use crate::kernels::{AttentionScale, BLOCK_POSITIONS, ColumnsMut, KernelTable};

impl Pass<'_, '_> {
    /// Writes the keys and values of every row into the caches.
    pub(super) fn append(&mut self, attention: &Attention, caches: &mut [&mut CpuCache]) {
        let (plan, table) = (self.plan, self.table);
        let head_size = plan.program.layers[attention.cache].head_size;
        let (arena, rotations, rows) = (&*self.arena, &self.rotations, &self.rows);
        let mut heads: Vec<(usize, usize, &mut HeadCache)> = Vec::new();
        for (sequence, cache) in caches.iter_mut().enumerate() {
            let layer = cache.layers[attention.cache].iter_mut().enumerate();
            heads.extend(layer.map(|(head, cache)| (sequence, head, cache)));
        }
        self.scope.run_each(&mut heads, |(sequence, head, cache), worker| {
            let mut scratch = arena.scratch(worker);
            let columns = |operand: Operand| Operand {
                start: operand.start + *head * head_size,
                width: head_size,
                ..operand
            };
            for row in rows.iter().filter(|row| row.sequence == *sequence) {
                scratch.first.clear();
                scratch.first.extend_from_slice(arena.row(plan, columns(attention.key), row.index));
                rotate(table, rotations, attention, row, &mut scratch.first);
                let (keys, values) = cache.blocks[row.slot / BLOCK_POSITIONS].parts_mut();
                table.store_key(&scratch.first, keys, row.slot % BLOCK_POSITIONS);
                let value = arena.row(plan, columns(attention.value), row.index);
                table.store_value(value, values, row.slot % BLOCK_POSITIONS);
            }
        });
    }

    /// Attends for every row, or for the wanted ones only.
    pub(super) fn attend(
        &mut self,
        attention: &Attention,
        caches: &[&mut CpuCache],
        wanted_only: bool,
        output: ValueId,
    ) {
        let plan = self.plan;
        let kv_heads = plan.program.layers[attention.cache].kv_heads;
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.wanted || !wanted_only).collect();
        let width = plan.program.widths[output.0];
        let mut buffer = self.arena.take(plan, output, self.rows.len());
        let used = &mut buffer[..rows.len() * width];
        let task = Task {
            plan,
            table: self.table,
            arena: self.arena,
            rotations: &self.rotations,
            attention,
            caches,
        };
        if rows.len() >= TILE_ROWS * self.scope.threads() {
            self.scope.run_rows(used, width, TILE_ROWS, |range, out, worker| {
                task.run(&rows[range], 0..kv_heads, &mut ColumnsMut::new(out, width), worker);
            });
        } else {
            let chunk = width / kv_heads;
            self.scope.run_columns(used, width, chunk, |range, out, worker| {
                let head = range.start / chunk;
                task.run(&rows, head..head + 1, out, worker);
            });
        }
        self.arena.put(plan, output, buffer);
    }
}

fn rotate(
    table: &KernelTable,
    rotations: &[RotationRows],
    attention: &Attention,
    row: &Row,
    head: &mut [f32],
) {
    if let Some((rope, interleaved)) = attention.rope {
        let (cosines, sines) = rotations[rope].row(row.index);
        rotate_head(table, head, cosines, sines, interleaved);
    }
}

/// What all threads share.
struct Task<'t> {
    plan: &'t Plan,
    table: &'static KernelTable,
    arena: &'t Arena,
    rotations: &'t [RotationRows],
    attention: &'t Attention,
    caches: &'t [&'t mut CpuCache],
}

impl Task<'_> {
    /// Attends for `rows` with the query heads of `kv_heads`, whose columns are those of `out`.
    fn run(&self, rows: &[&Row], kv_heads: Range<usize>, out: &mut ColumnsMut<'_>, worker: usize) {
        let mut scratch = self.arena.scratch(worker);
        let mut first = 0;
        for rows in rows.chunk_by(|left, right| left.sequence == right.sequence) {
            for head in kv_heads.clone() {
                self.head(rows, head, head - kv_heads.start, first, out, &mut scratch);
            }
            first += rows.len();
        }
    }

    /// One key-value head of one sequence. `place` is the head's place in `out`, `first` that of the first row.
    fn head(
        &self,
        rows: &[&Row],
        head: usize,
        place: usize,
        first: usize,
        out: &mut ColumnsMut<'_>,
        scratch: &mut Scratch,
    ) {
        let (plan, table, attention) = (self.plan, self.table, self.attention);
        let layer = plan.program.layers[attention.cache];
        let (head_size, group) = (layer.head_size, attention.heads / layer.kv_heads);
        let queries = &mut scratch.first;
        queries.clear();
        queries.reserve_exact(rows.len() * group * head_size);
        for row in rows {
            let start = attention.query.start + head * group * head_size;
            let operand = Operand { start, width: group * head_size, ..attention.query };
            let from = queries.len();
            queries.extend_from_slice(self.arena.row(plan, operand, row.index));
            for query in queries[from..].chunks_mut(head_size) {
                rotate(table, self.rotations, attention, row, query);
            }
        }
        let count = rows.len() * group;
        let state = &mut scratch.attention;
        state.reset(count, head_size);
        let scale = AttentionScale { scale: attention.scale, softcap: attention.softcap };
        let earliest = rows.iter().map(|row| row.first_visible(attention.window)).min().unwrap_or(0);
        let latest = rows.iter().map(|row| row.slot).max().unwrap_or(0);
        let Some(sequence) = rows.first().map(|row| row.sequence) else { return };
        let blocks = &self.caches[sequence].layers[attention.cache][head].blocks;
        let range = earliest / BLOCK_POSITIONS..latest / BLOCK_POSITIONS + 1;
        for (index, block) in blocks[range.clone()].iter().enumerate() {
            scratch.masks.clear();
            for row in rows {
                let visible = row.visible(range.start + index, attention.window);
                scratch.masks.extend(std::iter::repeat_n(visible, group));
            }
            if scratch.masks.iter().any(|mask| *mask != 0) {
                let (keys, values) = block.parts();
                table.attend_block(queries, keys, values, &scratch.masks, scale, state);
            }
        }
        let sinks: Option<Vec<f32>> = attention.sinks.as_ref().map(|sinks| {
            let of_group = &sinks[head * group..][..group];
            of_group.iter().copied().cycle().take(count).collect()
        });
        scratch.second.resize(count * head_size, 0.0);
        table.finish_attention(state, sinks.as_deref(), &mut scratch.second);
        for (index, result) in scratch.second.chunks(group * head_size).enumerate() {
            let to = &mut out.row_mut(first + index)[place * group * head_size..][..group * head_size];
            to.copy_from_slice(result);
        }
    }
}
