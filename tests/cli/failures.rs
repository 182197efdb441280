//! What every subcommand says of what is wrong.

use std::path::Path;

use edgeslm::kernels::KernelTable;
use serde_json::Value;

use super::command::{arguments, command, copy, data, directories, edgeslm, model};

#[test]
fn help_is_worth_reading() {
    let subcommands = ["run", "chat", "info", "check", "perplexity", "bench", "import"];
    let all = edgeslm(["--help"]).success();
    all.says(&subcommands);
    for subcommand in subcommands {
        let help = edgeslm([subcommand, "--help"]).success();
        assert!(help.stdout.contains("Usage: edgeslm"), "{help:?}");
        let examples = if subcommand == "chat" { "/rewind" } else { "Examples:" };
        assert!(help.stdout.contains(examples), "{help:?}");
    }
    edgeslm(["--version"]).success().says(&[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn an_unknown_kernel_row_is_wrong_usage_that_lists_the_rows() {
    let rows: Vec<&str> = KernelTable::all().map(|(name, _)| name).collect();
    for subcommand in ["info", "check", "bench"] {
        edgeslm(arguments![subcommand, model(), "--kernels", "x87"]).failure(2).says(&rows);
    }
    let outcome = command().args(arguments!["info", model()]).env("EDGESLM_KERNELS", "x87").output().unwrap();
    assert_eq!(outcome.status.code(), Some(2));
    let stderr = String::from_utf8(outcome.stderr).unwrap();
    assert!(rows.iter().all(|row| stderr.contains(row)), "{stderr}");
}

#[test]
fn a_row_that_the_cpu_lacks_is_named() {
    for (name, missing) in KernelTable::all() {
        let outcome = edgeslm(arguments!["check", model(), "--kernels", name]);
        match missing {
            None => drop(outcome.success().says(&[&format!("cpu ({name}")])),
            Some(missing) => drop(outcome.failure(1).says(&[name, missing])),
        }
    }
}

#[test]
fn a_refused_model_is_named_with_its_node() {
    for directory in directories("refused") {
        let text = std::fs::read_to_string(directory.join("expect.json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        let name = directory.file_name().unwrap().to_str().unwrap();
        let outcome = edgeslm(arguments!["info", &directory]).failure(1).says(&[name]);
        if let Some(node) = expected["node"].as_str() {
            outcome.says(&[node]);
        }
    }
}

#[test]
fn damaged_and_missing_files_are_named() {
    edgeslm(arguments!["info", "absent"]).failure(1).says(&["absent"]);
    edgeslm(arguments!["info", data("variants/README.md")]).failure(2).says(&["README.md"]);
    let empty = tempfile::tempdir().unwrap();
    edgeslm(arguments!["info", empty.path()]).failure(1);
    for (file, length) in [
        ("model.onnx", 0),
        ("model.onnx", 1000),
        ("model.onnx.data", 100),
        ("genai_config.json", 40),
        ("tokenizer.json", 200),
        ("reference.safetensors", 70),
    ] {
        let copy = copy(&model());
        let path = copy.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..length]).unwrap();
        edgeslm(arguments!["check", copy.path()]).failure(1).says(&[file]);
        std::fs::remove_file(&path).unwrap();
        let outcome = edgeslm(arguments!["check", copy.path()]);
        if file != "genai_config.json" {
            outcome.failure(1);
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let source = model();
    for name in ["model.onnx", "tokenizer.json", "genai_config.json", "reference.safetensors"] {
        let copy = copy(&source);
        let path = copy.path().join(name);
        let bytes = std::fs::read(source.join(name)).unwrap();
        for index in 0..12 {
            let mut damaged = bytes.clone();
            // Weyl's sequence: spread over the file, the same each time.
            let place = (index * 2_654_435_761_usize + 97) % damaged.len();
            damaged[place] ^= 1 << (index % 8);
            std::fs::write(&path, &damaged).unwrap();
            assert_no_panic(copy.path(), &format!("{name} at {place}"));
        }
    }
}

fn assert_no_panic(directory: &Path, what: &str) {
    for line in [&arguments!["check", directory][..], &arguments!["run", directory, "--raw", "-n", "4", "a"]]
    {
        // Damaged text may answer in no UTF-8 that this test could read.
        let output = command().args(line).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0..=2)), "{what}: {:?} {stderr}", output.status);
        assert!(!stderr.contains("panicked"), "{what}: {stderr}");
    }
}

#[test]
fn standard_output_that_is_full_is_an_error() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let output = command().args(arguments!["info", model()]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: writing the output"));
}
