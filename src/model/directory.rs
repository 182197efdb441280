//! Finds the graph, the configuration and the text files of a model directory.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::config::{ConfigFiles, ModelConfig, TextFile};
use super::files::Load;
use super::graph_files::GraphFiles;
use super::layout::{self, GraphPreference, Layout};
use super::root::ModelRoot;
use super::source::Source;
use crate::error::{Error, ErrorKind, Result};

/// The most bytes that a configuration file may have. Real ones have a few thousand.
const MAXIMUM_CONFIG_BYTES: u64 = 1 << 20;

/// The most bytes that `tokenizer.json` may have. The largest published ones have 35 million.
pub(crate) const MAXIMUM_TOKENIZER_BYTES: u64 = 64 << 20;

/// The most bytes that each of the other text files may have.
pub(crate) const MAXIMUM_TEXT_BYTES: u64 = 4 << 20;

/// What the caller decides about a directory in place of what is found in it.
#[derive(Debug, Clone, Default)]
pub struct DirectoryOverrides {
    /// The graph: a file such as `onnx/model_q4f16.onnx`, relative to the directory, or the name of a variant such
    /// as `q4f16`.
    pub graph: Option<String>,
    /// Whether the directory's files may be links to anywhere; see [`ModelRoot`].
    pub follow_links: bool,
    /// Which graph is taken where `graph` says nothing.
    pub prefer: GraphPreference,
}

/// A model directory, or a [`Source`] of its files, whose parts are found and whose configuration is read.
///
/// ```no_run
/// use edgeslm::model::{DirectoryOverrides, Load, ModelDirectory};
///
/// let directory = ModelDirectory::open("models/phi-4-mini".as_ref(), &DirectoryOverrides::default())?;
/// let graph = directory.open_graph(Load::Map)?;
/// println!("{} nodes", graph.parse()?.graph.nodes.len());
/// # Ok::<(), edgeslm::Error>(())
/// ```
#[derive(Debug)]
pub struct ModelDirectory<'a> {
    root: ModelRoot<'a>,
    layout: Layout,
    graph: PathBuf,
    config: ModelConfig,
    text: TextFiles,
}

impl<'a> ModelDirectory<'a> {
    /// Opens the model at `path`, which is one of:
    ///
    /// - a directory of the GenAI builder, with `genai_config.json`;
    /// - a directory for transformers.js, with `config.json` and `onnx/model*.onnx`; of its variants the first that
    ///   exists of those that are preferred, then of `q4`, `q4f16`, `fp16`, `fp32`, `quantized`, `int8`, `uint8`, `bnb4`, `q2`;
    /// - a directory that holds one of these somewhere below it, at most four levels down; of several, those in a folder that is
    ///   [preferred](GraphPreference);
    /// - an ONNX file in one of these, whatever the override says.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no model, [`ErrorKind::InvalidArgument`] when there are several (the
    /// hint lists them) or when the override names none, and the errors of [`ModelConfig::parse`] and
    /// [`ModelRoot::file`].
    pub fn open(path: &Path, overrides: &DirectoryOverrides) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|error| Error::io(path, error))?;
        if !metadata.is_dir() {
            return Self::open_file(path, overrides);
        }
        let root = ModelRoot::new(path, overrides.follow_links)?;
        if layout::is_model(&root) {
            return Self::read(root, overrides.graph.as_deref(), &overrides.prefer);
        }
        if let Some(graph) = overrides.graph.as_deref().filter(|graph| layout::is_file_name(graph)) {
            return match root.find(graph)? {
                Some(file) => Self::open_file(&file, overrides),
                None => Err(layout::no_such_graph(&root, graph)),
            };
        }
        let found = overrides.prefer.of_models(path, layout::models_below(path)?);
        match found.as_slice() {
            [only] => {
                let root = ModelRoot::new(only, overrides.follow_links)?;
                Self::read(root, overrides.graph.as_deref(), &overrides.prefer)
            }
            [] => Err(Error::new(ErrorKind::NotFound, "there is no model in this directory")
                .with_file(path)
                .with_hint("it needs genai_config.json, or config.json and onnx/model*.onnx")),
            several => {
                let names: Vec<String> = several
                    .iter()
                    .map(|model| model.strip_prefix(path).unwrap_or(model).display().to_string())
                    .collect();
                let text = format!("there are {} models in this directory", names.len());
                Err(Error::new(ErrorKind::InvalidArgument, text)
                    .with_file(path)
                    .with_hint(format!("open one of {}", names.join(", "))))
            }
        }
    }

    /// Opens the model whose files `source` has, in either layout. `graph` and
    /// `prefer` are as in [`DirectoryOverrides`].
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`ErrorKind::Io`] when the source fails.
    pub fn of_source(source: &'a dyn Source, graph: Option<&str>, prefer: &GraphPreference) -> Result<Self> {
        Self::read(ModelRoot::of_source(source), graph, prefer)
    }

    /// Opens the ONNX file at `path` with the configuration found beside it, or above it if it lies in `onnx/`.
    fn open_file(path: &Path, overrides: &DirectoryOverrides) -> Result<Self> {
        if path.extension().is_none_or(|extension| extension != "onnx") {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "this is neither a directory nor an .onnx file",
            )
            .with_file(path));
        }
        let beside = ModelRoot::new(path.parent().unwrap_or(Path::new("")), overrides.follow_links)?;
        let is_apart = beside.directory().ends_with("onnx") && !layout::has_config(&beside);
        let above = beside.directory().parent().filter(|_| is_apart);
        let above = above.map(|above| ModelRoot::new(above, overrides.follow_links)).transpose()?;
        let root = above.filter(layout::has_config).unwrap_or(beside);
        let config = read_config(&root)?;
        Self::assemble(root, path.to_path_buf(), config)
    }

    fn read(root: ModelRoot<'a>, graph: Option<&str>, prefer: &GraphPreference) -> Result<Self> {
        let config = read_config(&root)?;
        let graph = layout::graph(&root, config.graph_file.as_deref(), graph, prefer)?;
        Self::assemble(root, graph, config)
    }

    fn assemble(root: ModelRoot<'a>, graph: PathBuf, config: ModelConfig) -> Result<Self> {
        let text = TextFiles::find(&root, config.tokenizer_directory.as_deref())?;
        Ok(Self { layout: layout::of(&root)?, root, graph, config, text })
    }

    /// The directory that holds the configuration; empty for a source.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.root.directory()
    }

    /// How the directory is laid out.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The path of the ONNX file.
    #[must_use]
    pub fn graph_path(&self) -> &Path {
        &self.graph
    }

    /// What the configuration files say.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tokenizer's files and the chat template.
    #[must_use]
    pub fn text_files(&self) -> &TextFiles {
        &self.text
    }

    /// Opens the ONNX file; its weights open when they are resolved.
    ///
    /// # Errors
    /// Those of [`ModelRoot::beside`] and [`ModelRoot::open`].
    pub fn open_graph(&self, load: Load) -> Result<GraphFiles<'a>> {
        GraphFiles::open_in(self.root.beside(&self.graph)?, &self.graph, load)
    }

    /// Reads one of the [`text_files`](Self::text_files): at most 64 MiB of `tokenizer.json`, 4 MiB of another. `None`
    /// stays `None`.
    ///
    /// # Errors
    /// Those of [`ModelRoot::read`].
    pub fn read_text(&self, file: Option<&Path>) -> Result<Option<TextFile>> {
        let limit = |file: &Path| {
            let is_tokenizer = file.ends_with("tokenizer.json");
            if is_tokenizer { MAXIMUM_TOKENIZER_BYTES } else { MAXIMUM_TEXT_BYTES }
        };
        file.map(|file| self.root.read(file, limit(file))).transpose()
    }

    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none, and the errors of [`read_text`](Self::read_text).
    pub fn read_tokenizer(&self) -> Result<TextFile> {
        self.read_text(self.text.tokenizer.as_deref())?.ok_or_else(|| {
            let error = Error::new(ErrorKind::NotFound, "there is no tokenizer.json");
            self.root.blame(error).with_hint("copy tokenizer.json of the model beside its configuration")
        })
    }
}

/// The text files of a model, each `None` where it is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TextFiles {
    /// `tokenizer.json`: the vocabulary and how text becomes tokens.
    pub tokenizer: Option<PathBuf>,
    /// `tokenizer_config.json`: special tokens by name and, in older directories, the chat template.
    pub tokenizer_config: Option<PathBuf>,
    /// `special_tokens_map.json`: special tokens by name.
    pub special_tokens_map: Option<PathBuf>,
    /// `chat_template.jinja`, which wins over the other places.
    pub chat_template: Option<PathBuf>,
    /// `chat_template.json`: a JSON object with the template under `chat_template`.
    pub chat_template_json: Option<PathBuf>,
}

impl TextFiles {
    fn find(root: &ModelRoot<'_>, directory: Option<&str>) -> Result<Self> {
        let find = |name: &str| match directory {
            Some(directory) => root.find(&format!("{}/{name}", directory.trim_end_matches('/'))),
            None => root.find(name),
        };
        let within = |error: Error| {
            error.with_node("model.tokenizer_dir").with_file(root.directory().join(layout::GENAI_CONFIG))
        };
        Ok(Self {
            tokenizer: find("tokenizer.json").map_err(within)?,
            tokenizer_config: find("tokenizer_config.json")?,
            special_tokens_map: find("special_tokens_map.json")?,
            chat_template: find("chat_template.jinja")?,
            chat_template_json: find("chat_template.json")?,
        })
    }
}

fn read_config(root: &ModelRoot<'_>) -> Result<ModelConfig> {
    let read = |name: &str| root.find(name)?.map(|path| root.read(&path, MAXIMUM_CONFIG_BYTES)).transpose();
    ModelConfig::parse(&ConfigFiles {
        genai_config: read(layout::GENAI_CONFIG)?,
        config: read(layout::CONFIG)?,
        generation_config: read("generation_config.json")?,
    })
}

#[cfg(test)]
mod tests;
