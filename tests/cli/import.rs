//! `edgeslm import`.

use std::path::Path;

use super::command::{arguments, edgeslm, edgeslm_with};
use super::gguf;

/// A directory with the file in it.
fn source() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("tiny.gguf"), gguf::llama()).unwrap();
    directory
}

fn answer(model: &Path) -> String {
    let line = arguments!["run", model, "--raw", "-n", "16", "--accuracy", "strict", "--json", "the door is"];
    edgeslm(line).success().json()["tokens"].to_string()
}

#[test]
fn an_imported_model_runs() {
    let directory = source();
    let (file, model) = (directory.path().join("tiny.gguf"), directory.path().join("tiny"));
    let outcome = edgeslm(arguments!["import", &file, &model]).success();
    outcome.says(&["Tiny", "cc0-1.0", "licence"]);
    let json = edgeslm(arguments!["info", &model, "--json"]).success().json();
    assert_eq!(
        (&json["layers"], &json["vocabulary_size"], &json["context_length"]),
        (&1.into(), &257.into(), &8192.into())
    );
    assert_eq!(json["stop_tokens"], serde_json::json!([256]));
    assert!(json["weights"]["int8 block 32"].as_u64().is_some_and(|bytes| bytes > 40_000), "{json}");
    edgeslm_with(arguments!["chat", &model, "-n", "4"], b"hello\n").success();

    // The weights have 8 bits in blocks of 32 already, so the same format changes little and 4 bits change much.
    let (eight, four) = (directory.path().join("eight"), directory.path().join("four"));
    edgeslm(arguments!["import", &file, &eight, "--quantize", "int8"]).success();
    edgeslm(arguments![
        "import",
        &file,
        &four,
        "--quantize",
        "int4",
        "--block-size",
        "16",
        "--context",
        "64"
    ])
    .success();
    assert_eq!(answer(&eight), answer(&model));
    let json = edgeslm(arguments!["info", &four, "--json"]).success().json();
    assert!(json["weights"]["int4 block 16"].as_u64().is_some(), "{json}");
    assert_eq!(json["context_length"], 64);
}

#[test]
fn what_cannot_be_imported_is_named() {
    let directory = source();
    let (file, model) = (directory.path().join("tiny.gguf"), directory.path().join("tiny"));
    edgeslm(arguments!["import", "absent.gguf", &model]).failure(1).says(&["absent.gguf"]);
    edgeslm(arguments!["import", &file, directory.path()]).failure(2);
    edgeslm(arguments!["import", &file, &model, "--quantize", "int4", "--block-size", "24"])
        .failure(2)
        .says(&["hint: a power of two"]);
    let bytes = std::fs::read(&file).unwrap();
    for length in [0, 3, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..length]).unwrap();
        edgeslm(arguments!["import", &file, &model]).failure(1).says(&["tiny.gguf"]);
        assert!(!model.exists(), "half an import is left after {length} bytes");
    }
}
