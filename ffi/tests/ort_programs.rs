//! The engine for ONNX Runtime through C and C++; Python and C# test it with their other tests.

#![allow(clippy::expect_used, reason = "helpers of a test may panic")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]
#![cfg(target_os = "linux")]

mod common;

use std::path::{Path, PathBuf};

use common::{compile, ffi_directory, fixture, has, program, run, text};

/// ONNX Runtime's shared library, where `cargo xtask` has told of it.
fn library() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("EDGESLM_TEST_ORT") else {
        println!("skipped: ONNX Runtime is missing; cargo xtask ort fetches it and runs this test");
        return None;
    };
    let capi = Path::new(&folder).join("cpu/onnxruntime/capi");
    let entries = std::fs::read_dir(capi).expect("the package").map(|entry| entry.expect("an entry").path());
    let mut found = entries.filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so."))
    });
    Some(found.next().expect("the package's library"))
}

#[test]
fn a_model_in_onnx_runtime_in_c() {
    let Some(library) = library() else { return };
    if !has("cc") {
        return;
    }
    let compiled = compile("cc", "c11", &ffi_directory().join("tests/ort.c"), &[]);
    let output = run(program(&compiled).arg(fixture()).arg(&library));
    assert_eq!(text(&output.stdout), "a model in ONNX Runtime answers\n");
}

#[test]
fn a_model_in_onnx_runtime_in_cpp() {
    let Some(library) = library() else { return };
    if !has("c++") {
        return;
    }
    let compiled = compile("c++", "c++17", &ffi_directory().join("tests/ort.cpp"), &[]);
    let output = run(program(&compiled).arg(fixture()).arg(&library));
    assert_eq!(text(&output.stdout), "a model in ONNX Runtime is told\n");
}
