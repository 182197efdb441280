//! The engine that runs a model in ONNX Runtime, through one of its execution providers.
//!
//! ONNX Runtime is a shared library that is opened when the first model is loaded with this engine, never before. It is looked
//! for, in this order:
//!
//! 1. [`OrtOptions::library`](super::OrtOptions::library);
//! 2. the environment variables `EDGESLM_ORT_LIBRARY` and `ORT_DYLIB_PATH`;
//! 3. beside the library or program that this code is part of, and beside the program;
//! 4. in Python packages: beside this library's own package, in `VIRTUAL_ENV` and in `CONDA_PREFIX`.
//!
//! Paths are absolute. The file is looked at before it is opened, and its version before it is used. A process uses one library.
//!
//! Its telemetry is off: the variable `ORT_DISABLE_TELEMETRY` is set before the library is opened, unless it is set already, and
//! its own switch is used. Setting a variable is not safe while C code of another thread reads the environment, so load the first
//! model before starting threads that do, or set the variable yourself.

mod cache;
mod devices;
mod failure;
mod interface;
mod loader;
mod own_path;
mod pass;
mod placement;
mod providers;
mod session;
mod shared_library;
mod tree;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ndarray::Array2;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::Session;
use ort::value::DynTensor;

use self::cache::{OrtCache, STEP};
pub use self::devices::{Device, Devices, ProviderFound, devices};
use self::failure::{of_run, unavailable};
use self::interface::Interface;
use self::pass::Pass;
use self::providers::Row;
pub(crate) use self::session::GraphSource;
use self::session::Maker;
use self::watch::Watch;
use super::budget::MemoryBudget;
use super::turns::Turns;
use super::{
    Accuracy, Engine, KvCache, LogitsAt, OrtOptions, Provider, RunControl, SequenceInput, check_context,
};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Team;
use crate::model::ModelConfig;
use crate::onnx;

/// The most tokens of a pass. Graphs compute the logits of every one of them.
const MAXIMUM_BATCH_TOKENS: usize = 512;

/// The most bytes of the logits of a pass, which bound its tokens where the vocabulary is large.
const MAXIMUM_LOGIT_BYTES: usize = 128 << 20;

/// What the engine is told of a model.
pub(crate) struct OrtModel<'a> {
    pub(crate) graph: &'a onnx::Model<'a>,
    pub(crate) source: GraphSource<'a>,
    pub(crate) config: &'a ModelConfig,
    pub(crate) accuracy: Accuracy,
    pub(crate) threads: Option<usize>,
    pub(crate) memory_budget: Option<u64>,
    pub(crate) context_length: usize,
    /// The length from which a LongRoPE model rotates by its second table.
    pub(crate) switch_length: Option<usize>,
}

/// Runs a graph in ONNX Runtime.
pub struct OrtEngine {
    identity: usize,
    interface: Interface,
    shapes: Arc<[interface::CacheTensor]>,
    row: &'static Row,
    version: String,
    library: PathBuf,
    placement: BTreeMap<String, BTreeMap<String, usize>>,
    threads: usize,
    accuracy: Accuracy,
    context_length: usize,
    switch_length: Option<usize>,
    batch_tokens: usize,
    budget: Arc<MemoryBudget>,
    turns: Turns,
    watch: Watch,
    is_shared: bool,
    runner: Mutex<Runner>,
}

/// What a pass needs exclusively.
struct Runner {
    session: Session,
    /// Grows caches, where attention writes in place.
    growth: Option<Session>,
    allocator: Allocator,
    cache_memory: MemoryInfo<'static>,
    host_memory: MemoryInfo<'static>,
}

/// The providers to try for a choice, in order.
pub(crate) fn candidates(provider: Provider) -> Vec<Provider> {
    match provider {
        Provider::Auto => providers::AUTO.to_vec(),
        one => vec![one],
    }
}

/// Opens ONNX Runtime, so that what is wrong with it is told before anything is read of a model.
pub(crate) fn open_library(options: &OrtOptions) -> Result<()> {
    loader::runtime(options.library.as_deref()).map(drop)
}

/// The folders and variants of graphs that suit a provider, best first.
pub(crate) fn graphs_for(provider: Provider) -> (&'static [&'static str], &'static [&'static str]) {
    providers::row(provider)
        .map_or((providers::CPU_FOLDERS, providers::CPU_VARIANTS), |row| (row.folders, row.variants))
}

/// What a graph's sizes are, without ONNX Runtime.
pub(crate) struct Sizes {
    pub(crate) layers: usize,
    position_bytes: u64,
    /// Bytes of the logits of the largest pass.
    pub(crate) logit_bytes: u64,
}

impl Sizes {
    /// Bytes of a cache of `positions`.
    pub(crate) fn cache_bytes(&self, positions: usize) -> u64 {
        self.position_bytes.saturating_mul(positions.next_multiple_of(STEP) as u64)
    }
}

/// Reads the sizes of a graph.
pub(crate) fn estimate(model: &onnx::Model<'_>, config: &ModelConfig) -> Result<Sizes> {
    let interface = Interface::of(model, config)?;
    Ok(Sizes {
        layers: interface.caches.len() / 2,
        position_bytes: interface.position_bytes(),
        logit_bytes: 4 * (batch_tokens(interface.vocabulary) * interface.vocabulary) as u64,
    })
}

/// How many tokens a pass takes, so that its logits stay within their limit.
fn batch_tokens(vocabulary: usize) -> usize {
    (MAXIMUM_LOGIT_BYTES / (4 * vocabulary)).clamp(16, MAXIMUM_BATCH_TOKENS)
}

impl OrtEngine {
    /// Makes a session of a graph with one provider.
    pub(crate) fn load(model: OrtModel<'_>, provider: Provider, options: &OrtOptions) -> Result<Self> {
        static IDENTITIES: AtomicUsize = AtomicUsize::new(0);
        let row = providers::row(provider)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "no provider was chosen"))?;
        let interface = Interface::of(model.graph, model.config)?;
        let runtime = loader::runtime(options.library.as_deref())?;
        let threads = match model.threads {
            Some(0) => {
                return Err(
                    Error::new(ErrorKind::InvalidArgument, "threads is 0").with_hint("the least is 1")
                );
            }
            Some(threads) => threads.min(1024),
            None => Team::available_threads(),
        };
        let maker = Maker { runtime, row, options, threads, accuracy: model.accuracy };
        let made = maker.of_graph(&model.graph.graph, model.source)?;
        let is_shared = interface.can_share && row.shares_cache;
        let growth = match interface.caches.first() {
            Some(first) if is_shared => Some(maker.of_growth(first.data_type)?),
            _ => None,
        };
        if interface.caches.iter().any(|cache| cache.data_type != interface.caches[0].data_type) {
            return Err(Error::new(ErrorKind::Unsupported, "caches of several types"));
        }
        let cache_memory = session::cache_memory(row, options)?;
        let allocator = match row.memory {
            Some(_) => Allocator::new(&made.session, session::cache_memory(row, options)?)
                .map_err(|error| unavailable(format!("the provider's memory: {}", error.message())))?,
            None => Allocator::default(),
        };
        Ok(Self {
            identity: IDENTITIES.fetch_add(1, Ordering::Relaxed),
            shapes: interface.caches.clone().into(),
            row,
            version: runtime.version.clone(),
            library: runtime.path.clone(),
            placement: made.placement,
            threads,
            accuracy: model.accuracy,
            context_length: model.context_length,
            switch_length: model.switch_length,
            batch_tokens: batch_tokens(interface.vocabulary),
            budget: MemoryBudget::new(model.memory_budget.unwrap_or(u64::MAX)),
            turns: Turns::default(),
            watch: Watch::new()?,
            is_shared,
            runner: Mutex::new(Runner {
                session: made.session,
                growth,
                allocator,
                cache_memory,
                host_memory: session::host_memory()?,
            }),
            interface,
        })
    }

    /// An engine of the CPU provider with masks as wide as the cache.
    #[cfg(test)]
    pub(crate) fn with_static_masks(mut self) -> Self {
        self.row = &providers::CPU_WITH_STATIC_MASKS;
        self
    }

    /// The provider that runs the model; never [`Provider::Auto`].
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.row.provider
    }

    /// ONNX Runtime's version, such as `1.32.0`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The shared library in use.
    #[must_use]
    pub fn library(&self) -> &std::path::Path {
        &self.library
    }

    /// How many nodes of the graph each provider runs, by operator, after ONNX Runtime's own rewriting.
    #[must_use]
    pub fn placement(&self) -> &BTreeMap<String, BTreeMap<String, usize>> {
        &self.placement
    }

    /// Threads in use, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// How exact the arithmetic is.
    #[must_use]
    pub fn accuracy(&self) -> Accuracy {
        self.accuracy
    }

    /// How many tensors of keys and values the graph has, two a layer.
    #[must_use]
    pub fn cache_tensors(&self) -> usize {
        self.shapes.len()
    }

    /// Whether attention writes new keys and values in place, so that a cache is not copied for each token.
    #[must_use]
    pub fn shares_cache(&self) -> bool {
        self.is_shared
    }

    fn runner(&self) -> MutexGuard<'_, Runner> {
        // A pass that panicked has changed nothing that the next one reads.
        self.runner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache<'c>(&self, cache: &'c mut dyn KvCache) -> Result<&'c mut OrtCache> {
        cache
            .as_any_mut()
            .downcast_mut::<OrtCache>()
            .filter(|cache| cache.owner == self.identity)
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "the cache was made by another model"))
    }

    /// The rows of a cache for `positions`.
    fn capacity_for(&self, positions: usize) -> usize {
        positions.next_multiple_of(STEP).min(self.context_length.max(positions))
    }

    /// Replaces the tensors of a cache by longer ones with the same content.
    fn grow(&self, runner: &mut Runner, cache: &mut OrtCache, capacity: usize) -> Result<()> {
        let mut grown = Vec::with_capacity(self.shapes.len());
        // Keys and values have the same shape in nearly every model.
        let mut filler: Option<(usize, usize, DynTensor)> = None;
        for (index, shape) in self.shapes.iter().enumerate() {
            let mut new = cache::allocate(&runner.allocator, shape, capacity)?;
            if let (true, Some(old), Some(growth)) =
                (cache.length > 0, cache.tensors.get(index), runner.growth.as_mut())
            {
                let fits = |(heads, size, _): &(usize, usize, DynTensor)| {
                    (*heads, *size) == (shape.heads, shape.head_size)
                };
                if !filler.as_ref().is_some_and(fits) {
                    let tensor = cache::allocate(&runner.allocator, shape, capacity - cache.capacity)?;
                    filler = Some((shape.heads, shape.head_size, tensor));
                }
                let Some((_, _, filler)) = &filler else { continue };
                let mut binding = growth.create_binding().map_err(|error| of_run(&error))?;
                binding
                    .bind_input(session::OLD, old)
                    .and_then(|()| binding.bind_input(session::FILLER, filler))
                    .and_then(|()| binding.bind_output(session::GROWN, &mut new))
                    .map_err(|error| of_run(&error))?;
                growth.run_binding(&binding).map_err(|error| of_run(&error))?;
            }
            grown.push(new);
        }
        let mut binding = runner.session.create_binding().map_err(|error| of_run(&error))?;
        for (shape, tensor) in self.shapes.iter().zip(&mut grown) {
            binding.bind_input(&*shape.past, &*tensor).map_err(|error| of_run(&error))?;
            binding.bind_output(&*shape.present, &mut *tensor).map_err(|error| of_run(&error))?;
        }
        let mut old = std::mem::replace(&mut cache.tensors, grown);
        cache.binding = Some(binding);
        cache.capacity = capacity;
        if self.row.memory.is_none() {
            OrtCache::wipe(&mut old, 0);
        }
        Ok(())
    }

    /// Checks one sequence's request.
    fn check(&self, sequence: usize, input: &Request<'_>, cache: &OrtCache) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message));
        let count = input.tokens.len();
        if count == 0 {
            return invalid(format!("sequence {sequence} has no new tokens"));
        }
        let vocabulary = self.interface.vocabulary;
        if let Some(token) = input.tokens.iter().find(|token| **token as usize >= vocabulary) {
            return invalid(format!("token {token} is not below {vocabulary}"));
        }
        if let Some(entry) =
            input.vocabulary.into_iter().flatten().find(|entry| **entry as usize >= vocabulary)
        {
            return invalid(format!("vocabulary entry {entry} is not below {vocabulary}"));
        }
        if cache.length.checked_add(count).is_none_or(|total| total > cache.capacity) {
            return invalid(format!("the cache was not prepared for {count} more positions"));
        }
        if let LogitsAt::Positions(positions) = input.logits
            && let Some(position) = positions.iter().find(|position| **position >= count)
        {
            return invalid(format!("logits wanted at {position} of {count} tokens"));
        }
        if let Some(parents) = input.parents
            && parents.len() < count
        {
            return invalid(format!("{} parents for {count} tokens", parents.len()));
        }
        Ok(())
    }

    /// The logits of one sequence, and the tensors that replace its cache's where they are not shared.
    fn run_sequence(
        &self,
        runner: &mut Runner,
        input: &Request<'_>,
        cache: &mut OrtCache,
        control: &RunControl,
    ) -> Result<(Array2<f32>, Option<Vec<DynTensor>>)> {
        let count = input.tokens.len();
        let all: Vec<usize>;
        let wanted: &[usize] = match input.logits {
            LogitsAt::None => &[],
            LogitsAt::Last => {
                all = vec![count - 1];
                &all
            }
            LogitsAt::All => {
                all = (0..count).collect();
                &all
            }
            LogitsAt::Positions(positions) => positions,
        };
        let mut rows: BTreeMap<usize, Vec<f32>> = wanted.iter().map(|index| (*index, Vec::new())).collect();
        let mut pass = Pass { engine: self, runner, control, vocabulary: input.vocabulary };
        let tensors = match input.parents {
            None => {
                let indices: Vec<usize> = (0..count).collect();
                pass.chain(cache, 0, &indices, input.tokens, &mut rows)?
            }
            Some(parents) => {
                for run in tree::runs(&parents[..count], !self.is_shared)? {
                    pass.chain(cache, run.depth, &run.tokens, input.tokens, &mut rows)?;
                }
                None
            }
        };
        let width = input.vocabulary.map_or(self.interface.vocabulary, <[u32]>::len);
        let mut elements = Vec::with_capacity(wanted.len() * width);
        for index in wanted {
            elements.extend_from_slice(rows.get(index).map(Vec::as_slice).unwrap_or_default());
        }
        let logits = Array2::from_shape_vec((wanted.len(), width), elements).map_err(|error| {
            Error::new(ErrorKind::Internal, "the logits do not have the shape that was asked for")
                .with_source(error)
        })?;
        Ok((logits, tensors))
    }
}

impl Engine for OrtEngine {
    fn describe(&self) -> String {
        let (provider, threads) = (self.row.provider.name(), self.threads);
        let plural = if threads == 1 { "" } else { "s" };
        format!("onnxruntime {} ({provider}, {threads} thread{plural})", self.version)
    }

    fn vocabulary_size(&self) -> usize {
        self.interface.vocabulary
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn maximum_batch_tokens(&self) -> usize {
        self.batch_tokens
    }

    fn new_cache(&self) -> Box<dyn KvCache> {
        let on_host = self.row.memory.is_none();
        Box::new(OrtCache::new(self.identity, Arc::clone(&self.shapes), self.is_shared, on_host))
    }

    fn cache_bytes(&self, positions: usize) -> u64 {
        self.interface.position_bytes().saturating_mul(self.capacity_for(positions) as u64)
    }

    fn prepare(&self, cache: &mut dyn KvCache, total_length: usize) -> Result<usize> {
        let cache = self.cache(cache)?;
        check_context(total_length, self.context_length)?;
        if total_length > cache.capacity {
            let capacity = self.capacity_for(total_length);
            cache.reserve(&self.budget, self.cache_bytes(total_length))?;
            if self.is_shared {
                self.grow(&mut self.runner(), cache, capacity)?;
            } else {
                cache.capacity = capacity;
            }
        }
        let variant = usize::from(self.switch_length.is_some_and(|switch| total_length >= switch));
        if variant != cache.variant {
            cache.truncate(0);
            cache.variant = variant;
        }
        Ok(cache.length.min(total_length))
    }

    fn forward(&self, batch: &mut [SequenceInput<'_>], control: &RunControl) -> Result<Vec<Array2<f32>>> {
        control.check()?;
        let mut count = 0;
        for (sequence, input) in batch.iter_mut().enumerate() {
            let (request, cache) = Request::of(input);
            count += request.tokens.len();
            self.check(sequence, &request, self.cache(cache)?)?;
        }
        if count == 0 || count > self.batch_tokens {
            return Err(Error::new(ErrorKind::InvalidArgument, format!("{count} tokens in one pass"))
                .with_hint(format!("pass 1 to {}", self.batch_tokens)));
        }
        let _turn = self.turns.wait(control)?;
        let mut runner = self.runner();
        let mut results = Vec::with_capacity(batch.len());
        let mut replaced = Vec::with_capacity(batch.len());
        for input in batch.iter_mut() {
            let (request, cache) = Request::of(input);
            let (logits, tensors) = self.run_sequence(&mut runner, &request, self.cache(cache)?, control)?;
            results.push(logits);
            replaced.push(tensors);
        }
        // Nothing has changed so far but rows behind those in use.
        for (input, tensors) in batch.iter_mut().zip(replaced) {
            let (request, cache) = Request::of(input);
            let cache = self.cache(cache)?;
            if request.parents.is_none() {
                cache.length += request.tokens.len();
            }
            if let Some(tensors) = tensors {
                cache.replace(tensors);
            }
        }
        Ok(results)
    }
}

/// What one sequence asks for.
struct Request<'a> {
    tokens: &'a [u32],
    parents: Option<&'a [Option<usize>]>,
    logits: LogitsAt<'a>,
    vocabulary: Option<&'a [u32]>,
}

impl<'a> Request<'a> {
    fn of<'s>(input: &'s mut SequenceInput<'a>) -> (Self, &'s mut dyn KvCache) {
        let SequenceInput { cache, tokens, parents, logits, vocabulary } = input;
        (Self { tokens, parents: *parents, logits: *logits, vocabulary: *vocabulary }, &mut **cache)
    }
}
