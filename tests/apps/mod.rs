//! Where the device applications and their data are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use serde_json::Value;

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

/// A file in `examples/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name)
}

/// The lines of a set that comes with an application.
pub(crate) fn set(name: &str) -> Vec<Value> {
    json_lines(&std::fs::read_to_string(data(&format!("{name}.jsonl"))).unwrap())
}

/// Each line as JSON.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
