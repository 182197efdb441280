//! The layouts in which ONNX language models are published, and where the graph lies in each.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::root::ModelRoot;
use crate::error::{Error, ErrorKind, Result};

/// How a model directory is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// As ONNX Runtime GenAI's model builder writes it: `genai_config.json` names the graph.
    GenaiBuilder,
    /// As transformers.js reads it: `config.json`, and graphs in variants, `onnx/model_q4.onnx` and so on.
    TransformersJs,
    /// An ONNX file without configuration.
    GraphOnly,
}

/// The configuration of the GenAI builder's layout.
pub(super) const GENAI_CONFIG: &str = "genai_config.json";

/// The configuration of the transformers.js layout; some directories of the GenAI builder have it too.
pub(super) const CONFIG: &str = "config.json";

/// Which graph is preferred where a directory has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphPreference {
    /// Names of the folders of models in a directory that holds several, best first: `cpu_and_mobile`, `gpu` and so on.
    pub folders: &'static [&'static str],
    /// Variants of graphs, best first: `q4f16` and so on.
    pub variants: &'static [&'static str],
}

impl Default for GraphPreference {
    /// Graphs for the CPU.
    fn default() -> Self {
        Self { folders: &["cpu_and_mobile", "cpu"], variants: &["q4", "q4f16", "fp16", "fp32"] }
    }
}

impl GraphPreference {
    /// The models among `found`, all below `directory`, that lie in the best folder of which there is one.
    pub(super) fn of_models(&self, directory: &Path, found: Vec<PathBuf>) -> Vec<PathBuf> {
        for folder in self.folders {
            let lies_in = |model: &&PathBuf| {
                let below = model.strip_prefix(directory).unwrap_or(model);
                below.iter().any(|part| part.to_string_lossy().eq_ignore_ascii_case(folder))
            };
            let fitting: Vec<PathBuf> = found.iter().filter(lies_in).cloned().collect();
            if !fitting.is_empty() {
                return fitting;
            }
        }
        found
    }
}

/// Variants and the ends of their files' names.
const VARIANTS: [(&str, &str); 4] = [("q4", "_q4"), ("q4f16", "_q4f16"), ("fp16", "_fp16"), ("fp32", "")];

/// Variants that are taken when they are asked for, or when there is no other. Their graphs decide whether this library
/// reads them.
const OTHER_VARIANTS: [(&str, &str); 6] = [
    ("q8", "_quantized"),
    ("quantized", "_quantized"),
    ("int8", "_int8"),
    ("uint8", "_uint8"),
    ("bnb4", "_bnb4"),
    ("q2", "_q2"),
];

/// Where variants lie: in `onnx/`, or beside the configuration in exports of optimum.
const VARIANT_DIRECTORIES: [&str; 2] = ["onnx/", ""];

/// How deep below a directory models are looked for: `snapshots/REVISION/cpu_and_mobile/NAME` in a cache.
const MAXIMUM_DEPTH: usize = 4;

/// How many directories are looked at.
const MAXIMUM_DIRECTORIES: usize = 1_000;

/// The layout of a directory.
pub(super) fn of(root: &ModelRoot<'_>) -> Result<Layout> {
    Ok(if root.find(GENAI_CONFIG)?.is_some() {
        Layout::GenaiBuilder
    } else if root.find(CONFIG)?.is_some() {
        Layout::TransformersJs
    } else {
        Layout::GraphOnly
    })
}

/// Whether the directory has a configuration.
pub(super) fn has_config(root: &ModelRoot<'_>) -> bool {
    [GENAI_CONFIG, CONFIG].into_iter().any(|name| exists(root, name))
}

/// Whether the directory itself is a model, as opposed to one that holds models.
pub(super) fn is_model(root: &ModelRoot<'_>) -> bool {
    exists(root, GENAI_CONFIG) || (exists(root, CONFIG) && !variants(root).is_empty())
}

/// Whether an override is a file's name and not a variant's.
pub(super) fn is_file_name(graph: &str) -> bool {
    graph.ends_with(".onnx")
}

/// The error for an override that names nothing.
pub(super) fn no_such_graph(root: &ModelRoot<'_>, graph: &str) -> Error {
    let found = variants(root);
    let hint = if found.is_empty() {
        "give a file relative to the directory, such as onnx/model_q4.onnx".to_owned()
    } else {
        format!("the directory has {}", found.join(", "))
    };
    root.blame(Error::new(ErrorKind::InvalidArgument, format!("there is no graph {graph:?}")).with_hint(hint))
}

/// The graph's file: `asked` if given, else `configured` if it exists, else the best variant.
pub(super) fn graph(
    root: &ModelRoot<'_>,
    configured: Option<&str>,
    asked: Option<&str>,
    preference: &GraphPreference,
) -> Result<PathBuf> {
    if let Some(asked) = asked {
        return asked_for(root, asked)?.ok_or_else(|| no_such_graph(root, asked));
    }
    if let Some(configured) = configured {
        let find = root.find(configured).map_err(|error| {
            error.with_node("model.decoder.filename").with_file(root.directory().join(GENAI_CONFIG))
        });
        if let Some(file) = find? {
            return Ok(file);
        }
    }
    let preferred =
        preference.variants.iter().filter_map(|name| VARIANTS.iter().find(|(other, _)| other == name));
    for (_, suffix) in preferred.chain(&VARIANTS).chain(&OTHER_VARIANTS) {
        if let Some(file) = variant(root, suffix)? {
            return Ok(file);
        }
    }
    Err(match configured {
        Some(configured) => Error::new(ErrorKind::NotFound, format!("there is no file {configured:?}"))
            .with_file(root.directory().join(GENAI_CONFIG))
            .with_node("model.decoder.filename")
            .with_hint("the model's download or copy is incomplete"),
        None if exists(root, GENAI_CONFIG) => {
            Error::new(ErrorKind::InvalidModel, "the graph's file name is missing")
                .with_file(root.directory().join(GENAI_CONFIG))
                .with_node("model.decoder.filename")
        }
        None => root.blame(Error::new(ErrorKind::NotFound, "there is no graph onnx/model*.onnx")),
    })
}

/// The models below `directory`, sorted by path.
pub(super) fn models_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut looked_at = 0;
    let mut level = vec![directory.to_path_buf()];
    for _ in 0..MAXIMUM_DEPTH {
        let mut next = Vec::new();
        for directory in level {
            for entry in std::fs::read_dir(&directory).map_err(|error| Error::io(&directory, error))? {
                let entry = entry.map_err(|error| Error::io(&directory, error))?;
                // A link is not followed: it may lead outside, or back.
                if !entry.file_type().map_err(|error| Error::io(&entry.path(), error))?.is_dir() {
                    continue;
                }
                looked_at += 1;
                if looked_at > MAXIMUM_DIRECTORIES {
                    let text = format!("there are more than {MAXIMUM_DIRECTORIES} directories in this one");
                    return Err(Error::new(ErrorKind::InvalidArgument, text)
                        .with_file(&directory)
                        .with_hint("open the model's own directory"));
                }
                let path = entry.path();
                if is_model(&ModelRoot::new(&path, false)?) {
                    found.push(path);
                } else {
                    next.push(path);
                }
            }
        }
        level = next;
    }
    found.sort();
    Ok(found)
}

fn exists(root: &ModelRoot<'_>, name: &str) -> bool {
    // A link that must not be followed exists: opening it says what is wrong with it.
    !matches!(root.find(name), Ok(None))
}

fn asked_for(root: &ModelRoot<'_>, asked: &str) -> Result<Option<PathBuf>> {
    if is_file_name(asked) {
        let file = root.find(asked)?;
        return if file.is_some() || asked.contains('/') {
            Ok(file)
        } else {
            root.find(&format!("onnx/{asked}"))
        };
    }
    let suffix = VARIANTS.iter().chain(&OTHER_VARIANTS).find(|(name, _)| *name == asked);
    let suffix = suffix.map_or_else(|| format!("_{asked}"), |(_, suffix)| (*suffix).to_owned());
    variant(root, &suffix)
}

/// The file of the variant whose name ends with `suffix`.
fn variant(root: &ModelRoot<'_>, suffix: &str) -> Result<Option<PathBuf>> {
    for directory in VARIANT_DIRECTORIES {
        if let Some(file) = root.find(&format!("{directory}model{suffix}.onnx"))? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// The variants that the directory has, for messages.
fn variants(root: &ModelRoot<'_>) -> Vec<&'static str> {
    let all = VARIANTS.iter().chain(&OTHER_VARIANTS);
    // q8 is another name of quantized.
    all.filter(|(name, suffix)| *name != "q8" && !matches!(variant(root, suffix), Ok(None)))
        .map(|(name, _)| *name)
        .collect()
}
