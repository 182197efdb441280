//! A model, ready to answer.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::fingerprint;
use super::memory::{self, MemoryEstimate};
#[cfg(feature = "ort")]
use super::ort;
use super::{
    DirectoryOverrides, GraphFiles, GraphPreference, Layout, Load, ModelConfig, ModelDirectory, Source,
};
use crate::engine::cpu::{CpuEngine, CpuOptions};
#[cfg(feature = "ort")]
use crate::engine::ort::OrtEngine;
use crate::engine::{Accuracy, Engine, EngineChoice, KvPrecision, ThreadPriority};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{self, FloatKind, Matrix, Operation, Program, ProgramOptions};
use crate::kernels::TeamOptions;
use crate::onnx;
use crate::sampling::constraint::{Grammar, GrammarSource};
use crate::session::{Session, SessionOptions, Speed};
use crate::text::{Text, Tokenizer};

/// Context where neither the configuration nor a rotation table tells.
const UNSTATED_CONTEXT: usize = 4096;

/// How [`Model::load`] loads.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Which engine runs the model.
    pub engine: EngineChoice,
    /// Which graph of the directory: a file name relative to it, or a variant such as `q4f16`. `None`: chosen by looking, one
    /// that suits the engine.
    pub graph: Option<String>,
    /// How exact the arithmetic is.
    pub accuracy: Accuracy,
    /// In which numbers keys and values are kept. Of the CPU engine alone.
    pub kv_precision: KvPrecision,
    /// Threads, the caller's included; `None` for as many as the process may use, or as `processors` has.
    pub threads: Option<usize>,
    /// The processors that the engine's own threads may run on, as the system numbers them; `None` for those of the thread that
    /// loads the model. The threads that call the library belong to the host and stay as they are: see
    /// [`schedule_this_thread`](crate::engine::schedule_this_thread). Of the CPU engine alone, on Linux, Android and Windows. On
    /// Windows they are 0 to 63 of one processor group, and `None` means the processors of the process.
    pub processors: Option<Vec<usize>>,
    /// How urgent the engine's own threads are. Of the CPU engine alone, on Linux, Android and Windows. On Windows normal priority is
    /// the process's.
    pub priority: ThreadPriority,
    /// The kernel row, such as `avx2` or `scalar`; `None` for the best that the CPU has. Of the CPU engine alone.
    pub kernels: Option<String>,
    /// The most bytes that the KV caches of all sessions may hold together. `None`: three quarters of the memory that is free
    /// when the model is loaded.
    pub memory_budget: Option<u64>,
    /// The most positions of a session; `None` for what the model was trained for.
    pub context_length: Option<usize>,
    /// Whether weights are mapped or read into memory.
    pub load: Load,
    /// Whether links that leave the directory are followed.
    pub follow_links: bool,
}

/// A loaded model. Cheap to clone; clones share everything.
///
/// ```no_run
/// use edgeslm::session::{GenerateOptions, SessionOptions};
/// use edgeslm::{LoadOptions, Model};
///
/// let model = Model::load("models/llama-3.2-1b-int4", &LoadOptions::default())?;
/// let mut session = model.session(SessionOptions::default())?;
/// let answer = session.chat("Why is the sky blue?", &GenerateOptions::default())?.into_text()?;
/// println!("{answer}");
/// # Ok::<(), edgeslm::Error>(())
/// ```
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    graph: PathBuf,
    layout: Layout,
    config: ModelConfig,
    engine: Arc<dyn Engine>,
    kind: Kind,
    text: Arc<Text>,
    estimate: MemoryEstimate,
    /// Of all its sessions.
    speed: Arc<Speed>,
    facts: Facts,
}

/// The engine by its type.
enum Kind {
    Cpu(Arc<CpuEngine>),
    #[cfg(feature = "ort")]
    /// And the digest of its matrices, of which it keeps none.
    Ort(Arc<OrtEngine>, [u8; 32]),
}

/// What is told of a graph once it is loaded.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) layers: usize,
    pub(super) longrope_switch: Option<usize>,
    pub(super) operators: BTreeMap<String, usize>,
    pub(super) weights: BTreeMap<String, u64>,
}

/// What a model is and how it runs; serialises to the JSON that `edgeslm info --json` prints.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The directory; empty where the files came from a [`Source`].
    pub directory: PathBuf,
    /// The graph file.
    pub graph: PathBuf,
    /// How the directory is laid out.
    pub layout: String,
    /// The architecture's name in the configuration, such as `llama` or `phi3`.
    pub architecture: Option<String>,
    /// Attention layers.
    pub layers: usize,
    /// Logits per position.
    pub vocabulary_size: usize,
    /// The most positions of a session.
    pub context_length: usize,
    /// The sequence length from which a LongRoPE model rotates by its second table.
    pub longrope_switch: Option<usize>,
    /// The engine and what it runs on.
    pub engine: String,
    /// The kernel row; of ONNX Runtime its shared library.
    pub kernels: String,
    /// The execution provider, where ONNX Runtime runs the model.
    pub provider: Option<String>,
    /// Where ONNX Runtime runs the model: how many nodes each provider runs, by operator, after its own rewriting of the graph.
    pub placement: BTreeMap<String, BTreeMap<String, usize>>,
    /// Threads, the caller's included.
    pub threads: usize,
    /// `default`, `precise` or `strict`.
    pub accuracy: String,
    /// In which numbers keys and values are kept, `f16`, `f32` or `int8`, where the CPU engine runs the model.
    pub cache_format: Option<String>,
    /// Nodes of the graph by operator.
    pub operators: BTreeMap<String, usize>,
    /// Bytes of weights by kind, such as `int4 block 32`. A table that is also the head is counted once.
    pub weights: BTreeMap<String, u64>,
    /// Bytes of KV cache for one more position.
    pub cache_bytes_per_position: u64,
    /// What one session of 1,024 positions takes.
    pub memory: MemoryEstimate,
}

impl Model {
    /// Loads the model in `path`: a directory in the layout of onnxruntime-genai's model builder or of transformers.js, or an
    /// `.onnx` file in one.
    ///
    /// Nothing is done in proportion to the weights: they are mapped and read when a pass needs them.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidModel`] or [`ErrorKind::Unsupported`] naming the file and the place in it;
    /// [`ErrorKind::InvalidArgument`] for options out of their range, a processor that the process may not use among them;
    /// [`ErrorKind::Unsupported`] for a priority that the system refuses; [`ErrorKind::EngineUnavailable`] when ONNX Runtime or its
    /// provider was asked for and cannot be used.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        Self::load_with(&|preference| open(path.as_ref(), options, preference), options)
    }

    /// Loads a model whose files `source` reads: [`LoadOptions::load`] and [`LoadOptions::follow_links`] mean nothing here,
    /// since all files are read into memory.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`ErrorKind::Io`] naming the file when the source fails, or gives fewer bytes than it has
    /// told; [`ErrorKind::MemoryBudget`] when there is no memory for a file.
    pub fn load_from(source: &dyn Source, options: &LoadOptions) -> Result<Self> {
        let open = |preference| ModelDirectory::of_source(source, options.graph.as_deref(), &preference);
        Self::load_with(&open, options)
    }

    fn load_with<'a>(open: &Open<'_, 'a>, options: &LoadOptions) -> Result<Self> {
        match &options.engine {
            EngineChoice::Cpu => Self::load_for_cpu(open(GraphPreference::default())?, options),
            #[cfg(feature = "ort")]
            EngineChoice::Ort(choice) => ort::load(open, options, choice),
            #[cfg(not(feature = "ort"))]
            EngineChoice::Ort(_) => Err(without_ort()),
        }
    }

    fn load_for_cpu(directory: ModelDirectory<'_>, options: &LoadOptions) -> Result<Self> {
        let started = Instant::now();
        let parts = Parts::read(directory, options)?;
        let text = Arc::new(super::text::load(&parts.directory)?);
        let estimate = parts.estimate(1024, options, text.tokenizer().memory_bytes())?;
        let facts = parts.facts();
        let engine = Arc::new(CpuEngine::new(
            parts.program,
            &CpuOptions {
                accuracy: options.accuracy,
                kv_precision: options.kv_precision,
                threads: options.threads,
                processors: options.processors.clone(),
                priority: options.priority,
                kernels: options.kernels.clone(),
                memory_budget: memory_budget(options),
                context_length: parts.context_length,
            },
        )?);
        let shared = Arc::clone(&engine) as Arc<dyn Engine>;
        Ok(Self::of(&parts.directory, shared, Kind::Cpu(engine), text, estimate, facts, started))
    }

    /// A model that ONNX Runtime runs.
    #[cfg(feature = "ort")]
    pub(super) fn of_ort(
        directory: &ModelDirectory<'_>,
        engine: OrtEngine,
        text: Text,
        estimate: MemoryEstimate,
        facts: Facts,
        digest: [u8; 32],
        started: Instant,
    ) -> Self {
        let engine = Arc::new(engine);
        let shared = Arc::clone(&engine) as Arc<dyn Engine>;
        Self::of(directory, shared, Kind::Ort(engine, digest), Arc::new(text), estimate, facts, started)
    }

    fn of(
        directory: &ModelDirectory<'_>,
        engine: Arc<dyn Engine>,
        kind: Kind,
        text: Arc<Text>,
        estimate: MemoryEstimate,
        facts: Facts,
        started: Instant,
    ) -> Self {
        log::info!(
            "loaded {} in {:.0} ms: {}, {} bytes of weights",
            directory.graph_path().display(),
            1e3 * started.elapsed().as_secs_f64(),
            engine.describe(),
            estimate.weights,
        );
        let inner = Inner {
            directory: directory.path().to_path_buf(),
            graph: directory.graph_path().to_path_buf(),
            layout: directory.layout(),
            config: directory.config().clone(),
            engine,
            kind,
            text,
            estimate,
            speed: Arc::default(),
            facts,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What loading the model and running one session of `positions` tokens would take, without loading it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn estimate(
        path: impl AsRef<Path>,
        options: &LoadOptions,
        positions: usize,
    ) -> Result<MemoryEstimate> {
        let tokenizer =
            |directory: &ModelDirectory<'_>| Tokenizer::estimate_memory(&directory.read_tokenizer()?);
        let open = |preference| open(path.as_ref(), options, preference);
        match &options.engine {
            EngineChoice::Cpu => {
                let parts = Parts::read(open(GraphPreference::default())?, options)?;
                parts.estimate(positions, options, tokenizer(&parts.directory)?)
            }
            #[cfg(feature = "ort")]
            EngineChoice::Ort(choice) => {
                let graph = ort::Graph::of_choice(&open, options, choice)?;
                Ok(graph.estimate(positions, tokenizer(&graph.directory)?)?)
            }
            #[cfg(not(feature = "ort"))]
            EngineChoice::Ort(_) => Err(without_ort()),
        }
    }

    /// A conversation with the model.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for options out of their range.
    pub fn session(&self, options: SessionOptions) -> Result<Session> {
        let session = Session::new(Arc::clone(&self.inner.engine), Arc::clone(&self.inner.text), options)?;
        Ok(session.sharing(&self.inner.speed))
    }

    /// A grammar for answers of this model.
    ///
    /// # Errors
    /// As [`Grammar::compile`].
    pub fn grammar(&self, source: &GrammarSource) -> Result<Grammar> {
        Grammar::compile(source, self.text())
    }

    /// What tells its matrices from those of others.
    pub(super) fn matrices_digest(&self) -> [u8; 32] {
        match &self.inner.kind {
            Kind::Cpu(engine) => fingerprint::of_program(engine.program()),
            #[cfg(feature = "ort")]
            Kind::Ort(_, digest) => *digest,
        }
    }

    /// The engine that runs the model.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.inner.engine
    }

    /// The engine as the CPU engine, if it is that.
    #[must_use]
    pub fn cpu_engine(&self) -> Option<&Arc<CpuEngine>> {
        match &self.inner.kind {
            Kind::Cpu(engine) => Some(engine),
            #[cfg(feature = "ort")]
            Kind::Ort(..) => None,
        }
    }

    /// The engine as ONNX Runtime's, if it is that.
    #[cfg(feature = "ort")]
    #[must_use]
    pub fn ort_engine(&self) -> Option<&Arc<OrtEngine>> {
        match &self.inner.kind {
            Kind::Cpu(_) => None,
            Kind::Ort(engine, _) => Some(engine),
        }
    }

    /// Tokenizer, chat template and stop tokens.
    #[must_use]
    pub fn text(&self) -> &Arc<Text> {
        &self.inner.text
    }

    /// What the directory's configuration files say.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.inner.config
    }

    /// What the model is and how it runs.
    #[must_use]
    pub fn info(&self) -> ModelInfo {
        let Inner { directory, graph, layout, config, engine, kind, estimate, facts, .. } = &*self.inner;
        let (kernels, threads, accuracy, provider, placement) = match kind {
            Kind::Cpu(engine) => {
                let kernels = engine.kernels().to_owned();
                (kernels, engine.threads(), engine.accuracy(), None, BTreeMap::new())
            }
            #[cfg(feature = "ort")]
            Kind::Ort(engine, _) => (
                engine.library().display().to_string(),
                engine.threads(),
                engine.accuracy(),
                Some(engine.provider().name().to_owned()),
                engine.placement().clone(),
            ),
        };
        let cache_format = self.cpu_engine().map(|engine| engine.cache_format().to_owned());
        ModelInfo {
            directory: directory.clone(),
            graph: graph.clone(),
            layout: match layout {
                Layout::GenaiBuilder => "onnxruntime-genai model builder",
                Layout::TransformersJs => "transformers.js",
                _ => "graph file",
            }
            .to_owned(),
            architecture: config.model_type.clone(),
            layers: facts.layers,
            vocabulary_size: engine.vocabulary_size(),
            context_length: engine.context_length(),
            longrope_switch: facts.longrope_switch,
            engine: engine.describe(),
            kernels,
            provider,
            placement,
            threads,
            accuracy: match accuracy {
                Accuracy::Default => "default",
                Accuracy::Precise => "precise",
                Accuracy::Strict => "strict",
            }
            .to_owned(),
            cache_format,
            operators: facts.operators.clone(),
            weights: facts.weights.clone(),
            cache_bytes_per_position: engine.cache_bytes(64) / 64,
            memory: *estimate,
        }
    }
}

fn weights_by_kind(program: &Program) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for matrix in program.steps.iter().flat_map(|step| match &step.operation {
        Operation::Embed { .. } => vec![],
        operation => operation.matrices(),
    }) {
        let kind = match matrix {
            Matrix::Block(weights) => format!("int{} block {}", weights.shape.bits, weights.shape.block_size),
            Matrix::Dense(weights) => match weights.elements.kind {
                FloatKind::F32 => "f32",
                FloatKind::F16 => "f16",
                FloatKind::Bf16 => "bf16",
            }
            .to_owned(),
        };
        *kinds.entry(kind).or_insert(0) += matrix.bytes();
    }
    kinds
}

/// Opens the directory, with the graph that is preferred.
pub(super) type Open<'o, 'a> = dyn Fn(GraphPreference) -> Result<ModelDirectory<'a>> + 'o;

pub(super) fn open(
    path: &Path,
    options: &LoadOptions,
    prefer: GraphPreference,
) -> Result<ModelDirectory<'static>> {
    let overrides =
        DirectoryOverrides { graph: options.graph.clone(), follow_links: options.follow_links, prefer };
    ModelDirectory::open(path, &overrides)
}

/// The bytes that all KV caches may hold together.
pub(super) fn memory_budget(options: &LoadOptions) -> Option<u64> {
    options.memory_budget.or_else(|| memory::available_memory().map(|bytes| bytes / 4 * 3))
}

#[cfg(not(feature = "ort"))]
fn without_ort() -> Error {
    Error::new(ErrorKind::EngineUnavailable, "this build has no engine for ONNX Runtime")
        .with_hint("build the library with the feature ort")
}

/// The most positions of a session, as the options, the configuration and the graph allow.
pub(super) fn context_length(
    options: &LoadOptions,
    config: &ModelConfig,
    positions: Option<usize>,
) -> Result<usize> {
    let stated = config.context_length.or(positions).unwrap_or(UNSTATED_CONTEXT);
    match options.context_length {
        Some(0) => {
            Err(Error::new(ErrorKind::InvalidArgument, "context_length is 0").with_hint("the least is 1"))
        }
        Some(wanted) => Ok(wanted.min(stated)),
        None => Ok(stated),
    }
}

/// What is known of a model before an engine is made for it.
struct Parts<'a> {
    directory: ModelDirectory<'a>,
    program: Program,
    context_length: usize,
    operators: BTreeMap<String, usize>,
    graph_bytes: u64,
    /// Whether the files are copies in memory.
    are_copies: bool,
}

impl<'a> Parts<'a> {
    fn read(directory: ModelDirectory<'a>, options: &LoadOptions) -> Result<Self> {
        let files = directory.open_graph(options.load)?;
        let (program, operators) =
            read_program(&directory, &files).map_err(|error| error.with_file(directory.graph_path()))?;
        let context_length = context_length(options, directory.config(), program.positions)?;
        let (graph_bytes, are_copies) = (files.as_bytes().len() as u64, files.are_copies());
        Ok(Self { directory, program, context_length, operators, graph_bytes, are_copies })
    }

    fn facts(&self) -> Facts {
        let mut weights = weights_by_kind(&self.program);
        let tables = memory::table_bytes(&self.program);
        if tables > 0 {
            weights.insert("embedding table".to_owned(), tables);
        }
        Facts {
            layers: self.program.layers.len(),
            longrope_switch: self.program.switch_length,
            operators: self.operators.clone(),
            weights,
        }
    }

    /// With a tokenizer that takes `tokenizer` bytes.
    fn estimate(&self, positions: usize, options: &LoadOptions, tokenizer: u64) -> Result<MemoryEstimate> {
        let engine = CpuEngine::new(
            self.program.clone(),
            &CpuOptions {
                accuracy: options.accuracy,
                kv_precision: options.kv_precision,
                threads: Some(1),
                kernels: options.kernels.clone(),
                context_length: self.context_length,
                ..CpuOptions::default()
            },
        )
        .map_err(|error| match error.kind() {
            // The model's fault, unlike an option out of its range.
            ErrorKind::MemoryBudget => error.with_file(self.directory.graph_path()),
            _ => error,
        })?;
        let threads = TeamOptions {
            threads: options.threads,
            processors: options.processors.clone(),
            priority: options.priority,
        }
        .count()?;
        let logits = 4 * engine.vocabulary_size() as u64;
        let tables = if self.are_copies { memory::table_bytes(&self.program) + self.graph_bytes } else { 0 };
        Ok(MemoryEstimate {
            weights: memory::weight_bytes(&self.program) + tables,
            cache: engine.cache_bytes(positions.min(engine.context_length())),
            scratch: engine.scratch_bytes(threads) + 3 * logits,
            text: memory::text_bytes(tokenizer),
        })
    }
}

/// Parses the graph and turns it into a program.
fn read_program(
    directory: &ModelDirectory<'_>,
    files: &GraphFiles<'_>,
) -> Result<(Program, BTreeMap<String, usize>)> {
    let model = files.parse()?;
    let mut program = lower(&model, files, directory.config())?;
    graph::passes::run(&mut program);
    Ok((program, operators(&model)))
}

/// Turns a graph into a program.
pub(super) fn lower(
    model: &onnx::Model<'_>,
    files: &GraphFiles<'_>,
    config: &ModelConfig,
) -> Result<Program> {
    let options = ProgramOptions {
        names: config.names.clone(),
        context_length: config.context_length,
        rotary_cache_offset: config.rotary_cache_offset,
    };
    graph::lower(model, files, &options)
}

/// Nodes by operator.
pub(super) fn operators(model: &onnx::Model<'_>) -> BTreeMap<String, usize> {
    let mut operators = BTreeMap::new();
    for node in &model.graph.nodes {
        let name = if node.domain.is_empty() {
            node.op_type.to_owned()
        } else {
            format!("{}::{}", node.domain, node.op_type)
        };
        *operators.entry(name).or_insert(0) += 1;
    }
    operators
}
