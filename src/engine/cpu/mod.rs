//! The CPU engine: runs a [`Program`] with this library's own kernels, reading the weights where
//! they lie in the mapped files.

#![forbid(unsafe_code)]

mod arena;
mod cache;
mod pass;
mod plan;
mod rows;
#[cfg(test)]
pub(crate) mod test_run;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::Array2;

use self::arena::Arena;
use self::cache::{CacheFormat, CpuCache};
use self::pass::{HeadGroup, Pass};
use self::plan::Plan;
use self::rows::Row;
use super::budget::MemoryBudget;
use super::turns::Turns;
use super::{Accuracy, Engine, KvCache, KvPrecision, LogitsAt, RunControl, SequenceInput, check_context};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{LayerShape, Program};
use crate::kernels::{KernelTable, Team, TeamOptions, ThreadPriority};

/// Tokens that one forward pass takes: enough for the products to work from the processor's caches, few enough for small buffers.
const MAXIMUM_BATCH_TOKENS: usize = 256;

/// The most bytes of the buffers of a forward pass, the logits not counted: more than a model of 70 billion parameters needs for the
/// largest batch. Fewer tokens go through a pass of a model whose rows are wider.
const MAXIMUM_SCRATCH_BYTES: u64 = 256 << 20;

/// How a [`CpuEngine`] is set up.
#[derive(Debug, Clone, Default)]
pub struct CpuOptions {
    /// How exact the arithmetic is.
    pub accuracy: Accuracy,
    /// In which numbers keys and values are kept.
    pub kv_precision: KvPrecision,
    /// Threads, the caller's included; `None` for as many as the process may use, or as `processors` has.
    pub threads: Option<usize>,
    /// The processors that the engine's own threads may run on; `None` for those of the thread that makes the engine.
    pub processors: Option<Vec<usize>>,
    /// How urgent the engine's own threads are.
    pub priority: ThreadPriority,
    /// Name of a kernel row; `None` for the best that this CPU has.
    pub kernels: Option<String>,
    /// Bytes that all KV caches may hold together; `None` for no limit.
    pub memory_budget: Option<u64>,
    /// The most positions of a sequence.
    pub context_length: usize,
}

/// Runs a program on the CPU.
pub struct CpuEngine {
    identity: usize,
    plan: Plan,
    shapes: Arc<[LayerShape]>,
    cache_format: CacheFormat,
    table: &'static KernelTable,
    team: Team,
    turns: Turns,
    arena: Mutex<Arena>,
    budget: Arc<MemoryBudget>,
    context_length: usize,
    batch_tokens: usize,
}

impl CpuEngine {
    /// Plans how to run `program`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a kernel row that does not exist or that this CPU lacks, and for an impossible number
    /// of threads or a processor that the process may not use; [`ErrorKind::Unsupported`] for a priority that the system refuses; [`ErrorKind::MemoryBudget`] for a program that needs more than 256 MiB of buffers for a single token.
    pub fn new(program: Program, options: &CpuOptions) -> Result<Self> {
        static IDENTITIES: AtomicUsize = AtomicUsize::new(0);
        let table = match &options.kernels {
            Some(name) => KernelTable::by_name(name)?,
            None => KernelTable::select()?,
        };
        let team = Team::new(&TeamOptions {
            threads: options.threads,
            processors: options.processors.clone(),
            priority: options.priority,
        })?;
        let context_length =
            program.positions.map_or(options.context_length, |rows| rows.min(options.context_length));
        let shapes = program.layers.clone().into();
        let plan = Plan::new(program, options.accuracy);
        let batch_tokens = batch_tokens(&plan)?;
        let arena = Mutex::new(Arena::new(&plan, team.threads()));
        Ok(Self {
            identity: IDENTITIES.fetch_add(1, Ordering::Relaxed),
            plan,
            shapes,
            cache_format: CacheFormat::new(options.accuracy, options.kv_precision),
            table,
            team,
            turns: Turns::default(),
            arena,
            budget: MemoryBudget::new(options.memory_budget.unwrap_or(u64::MAX)),
            context_length,
            batch_tokens,
        })
    }

    /// The program that the engine runs.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.plan.program
    }

    /// The kernel row in use.
    #[must_use]
    pub fn kernels(&self) -> &'static str {
        self.table.name()
    }

    /// How exact the arithmetic is.
    #[must_use]
    pub fn accuracy(&self) -> Accuracy {
        self.plan.accuracy
    }

    /// In which numbers keys and values are kept: `f16`, `f32` or `int8`.
    #[must_use]
    pub fn cache_format(&self) -> &'static str {
        self.cache_format.name()
    }

    /// Threads in use, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// Bytes of buffers at the largest batch, where few positions want logits, with `threads` threads. The logits are not counted.
    #[must_use]
    pub fn scratch_bytes(&self, threads: usize) -> u64 {
        let of_thread = self.plan.thread_bytes(self.batch_tokens, threads);
        self.plan.scratch_bytes(self.batch_tokens) + threads as u64 * of_thread
    }

    fn cache<'c>(&self, cache: &'c mut dyn KvCache) -> Result<&'c mut CpuCache> {
        cache
            .as_any_mut()
            .downcast_mut::<CpuCache>()
            .filter(|cache| cache.owner == self.identity)
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "the cache was made by another model"))
    }
}

impl Engine for CpuEngine {
    fn describe(&self) -> String {
        let threads = self.team.threads();
        format!("cpu ({}, {threads} thread{})", self.table.name(), if threads == 1 { "" } else { "s" })
    }

    fn vocabulary_size(&self) -> usize {
        self.plan.program.vocabulary_size()
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn maximum_batch_tokens(&self) -> usize {
        self.batch_tokens
    }

    fn new_cache(&self) -> Box<dyn KvCache> {
        let (shapes, budget) = (Arc::clone(&self.shapes), Arc::clone(&self.budget));
        Box::new(CpuCache::new(self.identity, shapes, self.cache_format, budget))
    }

    fn cache_bytes(&self, positions: usize) -> u64 {
        cache::cache_bytes(&self.shapes, self.cache_format, positions)
    }

    fn prepare(&self, cache: &mut dyn KvCache, total_length: usize) -> Result<usize> {
        let cache = self.cache(cache)?;
        check_context(total_length, self.context_length)?;
        cache.grow(total_length)?;
        let variant =
            usize::from(self.plan.program.switch_length.is_some_and(|switch| total_length >= switch));
        if variant != cache.rope_variant {
            cache.length = 0;
            cache.rope_variant = variant;
        }
        Ok(cache.length.min(total_length))
    }

    fn forward(&self, batch: &mut [SequenceInput<'_>], control: &RunControl) -> Result<Vec<Array2<f32>>> {
        control.check()?;
        let program = &self.plan.program;
        let mut layout = Layout::default();
        let mut caches: Vec<&mut CpuCache> = Vec::with_capacity(batch.len());
        let mut chains = Vec::with_capacity(batch.len());
        for (sequence, input) in batch.iter_mut().enumerate() {
            let SequenceInput { cache, tokens, parents, logits, vocabulary } = input;
            let cache = self.cache(&mut **cache)?;
            let request = Request { tokens, parents: *parents, logits: *logits, vocabulary: *vocabulary };
            let rows =
                rows::rows_of(sequence, &request, cache, program.vocabulary_size(), program.table_rows)?;
            layout.add(rows, &request);
            chains.push(if parents.is_none() { tokens.len() } else { 0 });
            caches.push(cache);
        }
        if layout.tokens.is_empty() || layout.tokens.len() > self.batch_tokens {
            let count = layout.tokens.len();
            return Err(Error::new(ErrorKind::InvalidArgument, format!("{count} tokens in one pass"))
                .with_hint(format!("pass 1 to {}", self.batch_tokens)));
        }
        let logits = {
            let _turn = self.turns.wait(control)?;
            // What a pass that panicked left behind is overwritten before it is read.
            let mut arena = self.arena.lock().unwrap_or_else(PoisonError::into_inner);
            let Layout { rows, tokens, groups, .. } = &mut layout;
            let rows = std::mem::take(rows);
            self.team.enter(|scope| {
                Pass::new(&self.plan, self.table, scope, &mut arena, rows, &caches)?.run(
                    tokens,
                    &mut caches,
                    groups,
                    control,
                )
            })?
        };
        for (cache, added) in caches.iter_mut().zip(chains) {
            cache.length += added;
        }
        layout.take_apart(logits, batch, program.vocabulary_size())
    }
}

/// How many tokens one forward pass takes, so that its buffers stay within their limit.
fn batch_tokens(plan: &Plan) -> Result<usize> {
    let of_one = plan.scratch_bytes(1);
    let tokens = MAXIMUM_SCRATCH_BYTES.checked_div(of_one).unwrap_or(u64::MAX);
    match usize::try_from(tokens).unwrap_or(usize::MAX).min(MAXIMUM_BATCH_TOKENS) {
        0 => {
            let widest = plan.program.steps.iter().max_by_key(|step| plan.program.widths[step.output.0]);
            let message = format!(
                "a single token needs {of_one} bytes of buffers, above the limit of {MAXIMUM_SCRATCH_BYTES}"
            );
            let error = Error::new(ErrorKind::MemoryBudget, message);
            Err(match widest {
                Some(step) => error.with_node(step.node.clone()),
                None => error,
            })
        }
        tokens => Ok(tokens),
    }
}

/// What one sequence asks for.
struct Request<'a> {
    tokens: &'a [u32],
    parents: Option<&'a [Option<usize>]>,
    logits: LogitsAt<'a>,
    vocabulary: Option<&'a [u32]>,
}

/// A batch as rows, and where each sequence's logits will be.
#[derive(Default)]
struct Layout<'a> {
    rows: Vec<Row>,
    tokens: Vec<u32>,
    groups: Vec<HeadGroup<'a>>,
    /// Per sequence: its head group, its first row there, and which of its tokens have rows there.
    places: Vec<(usize, usize, Vec<usize>)>,
    wanted: usize,
}

impl<'a> Layout<'a> {
    fn add(&mut self, mut rows: Vec<Row>, request: &Request<'a>) {
        let wanted: Vec<usize> = (0..rows.len()).filter(|index| rows[*index].wanted).collect();
        for row in &mut rows {
            row.index += self.tokens.len();
        }
        self.rows.append(&mut rows);
        self.tokens.extend_from_slice(request.tokens);
        let range = self.wanted..self.wanted + wanted.len();
        self.wanted = range.end;
        if range.is_empty() {
            self.places.push((0, 0, wanted));
            return;
        }
        let last = self.groups.len().wrapping_sub(1);
        match self.groups.last_mut() {
            // Neighbours that want the whole vocabulary share one pass over the head.
            Some(group) if group.vocabulary.is_none() && request.vocabulary.is_none() => {
                self.places.push((last, range.start - group.rows.start, wanted));
                group.rows.end = range.end;
            }
            _ => {
                self.places.push((self.groups.len(), 0, wanted));
                self.groups.push(HeadGroup { rows: range, vocabulary: request.vocabulary });
            }
        }
    }

    /// Gives each sequence its logits in the order that it asked for.
    fn take_apart(
        &self,
        mut logits: Vec<Vec<f32>>,
        batch: &[SequenceInput<'_>],
        vocabulary: usize,
    ) -> Result<Vec<Array2<f32>>> {
        let internal =
            || Error::new(ErrorKind::Internal, "the logits do not have the shape that was asked for");
        let mut arrays = Vec::with_capacity(batch.len());
        for (input, (group, first, wanted)) in batch.iter().zip(&self.places) {
            let width = input.vocabulary.map_or(vocabulary, <[u32]>::len);
            let in_order = match input.logits {
                LogitsAt::Positions(positions) => positions == wanted.as_slice(),
                _ => true,
            };
            let alone = self.groups.get(*group).is_some_and(|group| group.rows.len() == wanted.len());
            let elements = match logits.get_mut(*group) {
                _ if wanted.is_empty() => Vec::new(),
                Some(all) if in_order && alone => std::mem::take(all),
                Some(all) if in_order => {
                    all.get(first * width..(first + wanted.len()) * width).ok_or_else(internal)?.to_vec()
                }
                Some(all) => {
                    let LogitsAt::Positions(positions) = input.logits else { return Err(internal()) };
                    let row = |position: &usize| {
                        wanted.binary_search(position).ok().map(|place| (first + place) * width)
                    };
                    let rows = positions
                        .iter()
                        .map(|position| row(position).and_then(|start| all.get(start..start + width)));
                    rows.collect::<Option<Vec<_>>>().ok_or_else(internal)?.concat()
                }
                None => return Err(internal()),
            };
            let count = elements.len().checked_div(width).unwrap_or(0);
            arrays.push(
                Array2::from_shape_vec((count, width), elements)
                    .map_err(|error| internal().with_source(error))?,
            );
        }
        Ok(arrays)
    }
}

#[cfg(test)]
mod tests;
