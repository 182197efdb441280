//! Damaged model directories: a typed error that names the file, or whatever can still be read; never a panic.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use edgeslm::model::{
    ConfigFiles, DirectoryOverrides, GraphFiles, Load, ModelConfig, ModelDirectory, Reference, TextFile,
};
use edgeslm::{ErrorKind, Result};

/// Byte flips over all golden directories together.
const FLIPS: u64 = 2_000;

fn golden_directories() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models");
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut directories: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    directories.sort();
    assert_eq!(directories.len(), 12);
    directories
}

/// A copy of the graph, its weights and its configuration.
fn copy(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["genai_config.json", "model.onnx", "model.onnx.data"] {
        std::fs::copy(directory.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

/// Opens the directory, parses its graph and touches every weight; returns how many bytes they have.
fn read_all(directory: &Path) -> Result<usize> {
    let directory = ModelDirectory::open(directory, &DirectoryOverrides::default())?;
    let files = directory.open_graph(Load::Copy)?;
    weights(&files)
}

fn weights(files: &GraphFiles<'_>) -> Result<usize> {
    let model = files.parse()?;
    let weights = model.graph.initializers.iter().map(|tensor| Ok(files.resolve(tensor)?.as_bytes().len()));
    weights.sum()
}

/// Checks that an outcome is sound: anything readable, or an error that blames the model and names a file.
fn check(outcome: Result<usize>, what: &str) {
    if let Err(error) = outcome {
        let kinds = [ErrorKind::InvalidModel, ErrorKind::Unsupported, ErrorKind::NotFound];
        assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
        assert!(error.file().is_some(), "{what}: {error:?}");
    }
}

/// Numbers without pattern, by splitmix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ (value >> 31)) % limit as u64) as usize
    }
}

#[test]
fn whole_directories_read() {
    for directory in golden_directories() {
        let data = std::fs::metadata(directory.join("model.onnx.data")).unwrap().len();
        assert_eq!(read_all(&directory).unwrap() as u64, data, "{}", directory.display());
    }
}

#[test]
fn truncated_graphs() {
    for directory in golden_directories() {
        let copy = copy(&directory);
        let graph = std::fs::read(directory.join("model.onnx")).unwrap();
        for cut in 0..50 {
            let length = graph.len() * cut / 50;
            std::fs::write(copy.path().join("model.onnx"), &graph[..length]).unwrap();
            let what = format!("{} cut to {length}", directory.display());
            let error = read_all(copy.path()).expect_err(&what);
            assert_eq!(error.kind(), ErrorKind::InvalidModel, "{what}: {error:?}");
            assert!(error.file().is_some_and(|file| file.ends_with("model.onnx")), "{what}: {error:?}");
        }
    }
}

#[test]
fn flipped_bytes_in_graphs() {
    let directories = golden_directories();
    let mut numbers = Numbers(1);
    for directory in &directories {
        let copy = copy(directory);
        let graph = std::fs::read(directory.join("model.onnx")).unwrap();
        for _ in 0..FLIPS.div_ceil(directories.len() as u64) {
            let (position, mask) = (numbers.below(graph.len()), 1 + numbers.below(255));
            let mut damaged = graph.clone();
            damaged[position] ^= mask as u8;
            std::fs::write(copy.path().join("model.onnx"), &damaged).unwrap();
            check(read_all(copy.path()), &format!("{} byte {position} ^ {mask}", directory.display()));
        }
    }
}

#[test]
fn truncated_weights() {
    for directory in golden_directories() {
        let copy = copy(&directory);
        let path = copy.path().join("model.onnx.data");
        let data = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let whole = data.metadata().unwrap().len();
        for cut in (0..50).rev() {
            data.set_len(whole * cut / 50).unwrap();
            let error = read_all(copy.path()).expect_err("weights are missing");
            assert_eq!(error.kind(), ErrorKind::InvalidModel, "{error:?}");
            assert!(error.file().is_some_and(|file| file.ends_with("model.onnx.data")), "{error:?}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = read_all(copy.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.node().is_some_and(|node| node.starts_with("tensor ")), "{error:?}");
    }
}

#[test]
fn truncated_and_flipped_configurations() {
    let mut numbers = Numbers(2);
    for directory in golden_directories() {
        let text = std::fs::read(directory.join("genai_config.json")).unwrap();
        let parse = |text: &[u8]| {
            let genai_config = Some(TextFile { path: "genai_config.json".into(), text: text.to_vec() });
            ModelConfig::parse(&ConfigFiles { genai_config, ..ConfigFiles::default() })
        };
        assert!(parse(&text).is_ok());
        for length in 0..text.trim_ascii_end().len() {
            let error = parse(&text[..length]).expect_err("cut");
            assert_eq!((error.kind(), error.file().is_some()), (ErrorKind::InvalidModel, true));
        }
        for _ in 0..1_000 {
            let mut damaged = text.clone();
            let position = numbers.below(text.len());
            damaged[position] ^= 1 + numbers.below(255) as u8;
            check(parse(&damaged).map(|config| config.eos_token_ids.len()), "a flipped byte");
        }
    }
}

#[test]
fn truncated_and_flipped_references() {
    let path = golden_directories()[0].join("reference.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let mut numbers = Numbers(3);
    for length in (0..2_000).chain((2_000..bytes.len()).step_by(997)) {
        let error = Reference::parse(&bytes[..length]).expect_err("cut");
        assert_eq!(error.kind(), ErrorKind::InvalidModel);
    }
    for _ in 0..2_000 {
        let mut damaged = bytes.clone();
        let position = numbers.below(1_200);
        damaged[position] ^= 1 + numbers.below(255) as u8;
        if let Err(error) = Reference::parse(&damaged) {
            let kinds = [ErrorKind::InvalidModel, ErrorKind::Unsupported];
            assert!(kinds.contains(&error.kind()), "{error:?}");
        }
    }
}
