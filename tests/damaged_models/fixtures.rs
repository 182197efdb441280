//! Copies of model directories to damage, and what may come of them.

use std::path::{Path, PathBuf};

use edgeslm::onnx::{self, Attribute, AttributeValue, Graph, Node, Tensor};
use edgeslm::session::{Answer, GenerateOptions, SessionOptions};
use edgeslm::{Error, ErrorKind, LoadOptions, Model};
use serde_json::Value;

pub(super) const GRAPH: &str = "model.onnx";
pub(super) const WEIGHTS: &str = "model.onnx.data";
pub(super) const CONFIG: &str = "genai_config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";

/// A directory of `tests/data`, such as `models/phi-4-mini-int4`.
pub(super) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The twelve golden directories.
pub(super) fn golden() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data("models")).unwrap().map(|entry| entry.unwrap().path());
    let mut directories: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    directories.sort();
    assert_eq!(directories.len(), 12);
    directories
}

/// The last part of a path.
pub(super) fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// A copy of a model directory that may be damaged.
pub(super) struct Copy {
    directory: tempfile::TempDir,
}

impl Copy {
    /// All files of a directory of `tests/data` but the references.
    pub(super) fn of(name: &str) -> Self {
        Self::of_path(&data(name))
    }

    pub(super) fn of_path(source: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(source).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && path.extension().is_none_or(|extension| extension != "safetensors") {
                std::fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        Self { directory }
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap()
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.file(name), bytes).unwrap();
    }

    pub(super) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }

    pub(super) fn edit_json(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut json = self.json(name);
        edit(&mut json);
        self.write(name, json.to_string());
    }

    /// Reads the graph, changes it and writes it again, with the crate's own reader and writer.
    pub(super) fn edit_graph(&self, edit: impl FnOnce(&mut Graph<'_>)) {
        let bytes = self.read(GRAPH);
        let mut model = onnx::Model::parse(&bytes).unwrap();
        edit(&mut model.graph);
        self.write(GRAPH, onnx::write(&model).unwrap());
    }
}

/// The first node of an operator.
pub(super) fn node<'g, 'a>(graph: &'g mut Graph<'a>, op_type: &str) -> &'g mut Node<'a> {
    graph.nodes.iter_mut().find(|node| node.op_type == op_type).unwrap()
}

/// The first initializer whose name contains `part`.
pub(super) fn tensor<'g, 'a>(graph: &'g mut Graph<'a>, part: &str) -> &'g mut Tensor<'a> {
    graph.initializers.iter_mut().find(|tensor| tensor.name.contains(part)).unwrap()
}

/// Sets or adds an attribute.
pub(super) fn set<'a>(node: &mut Node<'a>, name: &'a str, value: AttributeValue<'a>) {
    node.attributes.retain(|attribute| attribute.name != name);
    node.attributes.push(Attribute { name, value });
}

/// How the models of these tests are loaded: with one thread, whose allocations are counted.
pub(super) fn load_options() -> LoadOptions {
    LoadOptions { threads: Some(1), ..LoadOptions::default() }
}

pub(super) fn load(path: &Path) -> edgeslm::Result<Model> {
    Model::load(path, &load_options())
}

/// The answer of two tokens to a prompt of three.
pub(super) fn answer(model: &Model) -> edgeslm::Result<Answer> {
    let options = GenerateOptions { max_tokens: 2, ignore_stop_tokens: true, ..GenerateOptions::default() };
    model.session(SessionOptions::default())?.generate(vec![5, 60, 33], &options)
}

/// What came of a model.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It did not load.
    Refused(Error),
    /// It loaded and did not answer.
    Failed(Error),
    /// Its two tokens.
    Answered(Vec<u32>),
}

/// Loads a model and lets it answer. An error of a kind that does not blame the model, or one of loading that names no file, is wrong.
pub(super) fn outcome(path: &Path) -> Result<Outcome, String> {
    let model = match load(path) {
        Ok(model) => model,
        Err(error) => {
            refusal(&error)?;
            return Ok(Outcome::Refused(error));
        }
    };
    match answer(&model) {
        Ok(answer) if answer.tokens.len() == 2 => Ok(Outcome::Answered(answer.tokens)),
        Ok(answer) => Err(format!("answers {:?}", answer.tokens)),
        Err(error) => {
            failure(&error)?;
            Ok(Outcome::Failed(error))
        }
    }
}

/// Whether an error of loading blames the model and names a file.
pub(super) fn refusal(error: &Error) -> Result<(), String> {
    let kinds = [
        ErrorKind::InvalidModel,
        ErrorKind::Unsupported,
        ErrorKind::NotFound,
        ErrorKind::Io,
        ErrorKind::Tokenizer,
        ErrorKind::Template,
        ErrorKind::MemoryBudget,
    ];
    if !kinds.contains(&error.kind()) {
        return Err(format!("the kind is wrong: {error:?}"));
    }
    if error.file().is_none() {
        return Err(format!("no file is named: {error:?}"));
    }
    Ok(())
}

/// Whether an error of answering is of a kind that a damaged model may give.
pub(super) fn failure(error: &Error) -> Result<(), String> {
    let kinds = [
        ErrorKind::InvalidModel,
        ErrorKind::InvalidArgument,
        ErrorKind::ContextLength,
        ErrorKind::MemoryBudget,
        ErrorKind::Tokenizer,
        ErrorKind::Template,
    ];
    if kinds.contains(&error.kind()) { Ok(()) } else { Err(format!("the kind is wrong: {error:?}")) }
}

/// Requires a refusal of one of `kinds` whose file ends with `file` and whose text contains `text`.
pub(super) fn refused(
    outcome: Outcome,
    kinds: &[ErrorKind],
    file: &str,
    text: &str,
) -> Result<Error, String> {
    let Outcome::Refused(error) = outcome else { return Err(format!("is not refused: {outcome:?}")) };
    let is_file = error.file().is_some_and(|path| path.ends_with(file));
    if kinds.contains(&error.kind()) && is_file && error.to_string().contains(text) {
        Ok(error)
    } else {
        Err(format!("the error is not one of {kinds:?} in {file} with {text:?}: {error:?}"))
    }
}

/// Requires a refusal as [`refused`] does, which also names a node, tensor or value.
pub(super) fn refused_at(
    outcome: Outcome,
    kinds: &[ErrorKind],
    file: &str,
    node: &str,
) -> Result<(), String> {
    let error = refused(outcome, kinds, file, "")?;
    match error.node() {
        Some(named) if named.contains(node) => Ok(()),
        _ => Err(format!("the error does not name {node:?}: {error:?}")),
    }
}

/// Requires the answer `tokens`.
pub(super) fn answered(outcome: Outcome, tokens: &[u32]) -> Result<(), String> {
    match outcome {
        Outcome::Answered(answer) if answer == tokens => Ok(()),
        other => Err(format!("does not answer {tokens:?}: {other:?}")),
    }
}

/// The answer of an undamaged directory.
pub(super) fn right_answer(name: &str) -> Vec<u32> {
    answer(&load(&data(name)).unwrap()).unwrap().tokens
}

/// Numbers without pattern, by splitmix64.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ (value >> 31)) % limit as u64) as usize
    }
}
