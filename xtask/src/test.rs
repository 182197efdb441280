//! `cargo xtask test`: everything that has to pass before a change is merged.

use std::time::Instant;

use anyhow::Context;

use crate::command::{cargo_command, succeed};
use crate::{ort, package, python, real_model, size};

/// The steps: what each checks, and the arguments to Cargo.
const STEPS: &[(&str, &[&str])] = &[
    ("formatting", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("the library alone builds", &["check", "--quiet", "--package", "edgeslm", "--no-default-features"]),
    ("tests", &["test", "--workspace"]),
    (
        "lints with network code",
        &[
            "clippy",
            "--quiet",
            "--package",
            "edgeslm",
            "--all-targets",
            "--features",
            "cloud",
            "--",
            "-D",
            "warnings",
        ],
    ),
    ("tests with network code", &["test", "--package", "edgeslm", "--features", "cloud", "--test", "cloud"]),
    ("documentation", &["doc", "--quiet", "--workspace", "--no-deps"]),
];

/// Runs every check and every test; stops at the first that fails.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut variables = Vec::new();
    step("ONNX Runtime's libraries", || {
        variables = ort::variables()?;
        Ok(())
    })?;
    for (name, arguments) in STEPS {
        step(name, || succeed(cargo_command(arguments).envs(variables.iter().cloned())))?;
    }
    step("the demonstration's model", real_model::run)?;
    step("what ONNX Runtime and onnxruntime-genai say", python::run)?;
    step("size of the shared library", size::run)?;
    step("the packed result", package::run)
}

#[allow(clippy::print_stderr, reason = "progress of a long command")]
fn step(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    eprintln!("\n=== {name}");
    let started = Instant::now();
    work().with_context(|| format!("failed: {name}"))?;
    eprintln!("=== {name}: passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}
