//! The device applications with a model that is made in a moment and knows nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use edgeslm::import::{ImportOptions, import_gguf};
use serde_json::Value;

#[path = "../cli/gguf.rs"]
mod gguf;

/// An application beside the command, up to date also where only this test was asked for.
pub(crate) fn program(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    let directory = Path::new(env!("CARGO_BIN_EXE_edgeslm")).parent().unwrap();
    BUILT.call_once(|| build(directory));
    directory.join("examples").join(name)
}

fn build(directory: &Path) {
    let mut cargo = Command::new(env!("CARGO"));
    // Everything, so that features are those of `cargo test --workspace` and nothing is built twice.
    cargo.args(["build", "--quiet", "--offline", "--workspace", "--lib", "--bins", "--examples"]);
    if directory.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
}

/// A model of one layer with random weights.
pub(crate) fn tiny_model(folder: &Path) -> PathBuf {
    let (file, model) = (folder.join("tiny.gguf"), folder.join("tiny"));
    std::fs::write(&file, gguf::llama()).unwrap();
    import_gguf(&file, &model, &ImportOptions::default(), &mut |_| {}).unwrap();
    model
}

/// A file in `examples/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name)
}

/// The lines of a set that comes with an application.
pub(crate) fn set(name: &str) -> Vec<Value> {
    json_lines(&std::fs::read_to_string(data(&format!("{name}.jsonl"))).unwrap())
}

/// Two labelled examples of each class to calibrate with, so that it takes no time.
pub(crate) fn few_examples(name: &str, folder: &Path) -> PathBuf {
    let mut count = std::collections::HashMap::new();
    let is_needed = |example: &&Value| {
        let count = count.entry(example["label"].to_string()).or_insert(0);
        *count += usize::from(example["split"] == "calibration");
        example["split"] == "calibration" && *count <= 2
    };
    let set = set(name);
    let lines: Vec<String> = set.iter().filter(is_needed).map(Value::to_string).collect();
    let path = folder.join(format!("few_{name}.jsonl"));
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

/// Each line as JSON.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
