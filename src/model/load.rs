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
use super::parts::{Facts, Parts};
use super::{DirectoryOverrides, GraphPreference, Layout, LoadOptions, ModelConfig, ModelDirectory, Source};
use crate::engine::cpu::{CpuEngine, CpuOptions};
#[cfg(feature = "ort")]
use crate::engine::ort::OrtEngine;
use crate::engine::{Accuracy, Engine, EngineChoice};
use crate::error::{Error, ErrorKind, Result};
use crate::sampling::constraint::{Grammar, GrammarSource};
use crate::session::{Session, SessionOptions, Speed};
use crate::text::{Text, Tokenizer};

/// Context where neither the configuration nor a rotation table tells.
const UNSTATED_CONTEXT: usize = 4096;

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
