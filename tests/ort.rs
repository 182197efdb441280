//! Models in ONNX Runtime's CPU provider.

#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

#[path = "ort/copies.rs"]
mod copies;
#[path = "ort/golden.rs"]
mod golden;
#[path = "ort/library.rs"]
mod library;
#[path = "ort/memory.rs"]
mod memory;
#[path = "ort/model_faults.rs"]
mod model_faults;
#[path = "ort/passes.rs"]
mod passes;
#[path = "ort/plain_graph.rs"]
mod plain_graph;
#[path = "ort/sessions.rs"]
mod sessions;

use std::path::{Path, PathBuf};

use edgeslm::engine::EngineChoice;
use edgeslm::{LoadOptions, Model};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn golden_directory(name: &str) -> PathBuf {
    data("models").join(name)
}

/// Load options for the CPU provider; `None` where there is no library to test with.
fn options() -> Option<LoadOptions> {
    Some(LoadOptions { engine: EngineChoice::Ort(library::options()?), ..LoadOptions::default() })
}

/// A golden model in ONNX Runtime.
fn load(name: &str) -> Option<Model> {
    Some(Model::load(golden_directory(name), &options()?).unwrap())
}

fn tokens(count: usize, salt: usize) -> Vec<u32> {
    (0..count).map(|index| 10 + ((index * index * 7 + index * 31 + salt) % 450) as u32).collect()
}
