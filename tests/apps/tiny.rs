//! A model that is made in a moment and knows nothing, and what calibrates it in a moment.

use std::path::{Path, PathBuf};

use edgeslm::import::{ImportOptions, import_gguf};
use serde_json::Value;

use crate::apps::set;

#[path = "../cli/gguf.rs"]
mod gguf;

/// A model of one layer with random weights.
pub(crate) fn tiny_model(folder: &Path) -> PathBuf {
    let (file, model) = (folder.join("tiny.gguf"), folder.join("tiny"));
    std::fs::write(&file, gguf::llama()).unwrap();
    import_gguf(&file, &model, &ImportOptions::default(), &mut |_| {}).unwrap();
    model
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
