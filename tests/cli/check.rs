//! `edgeslm check`.

use super::command::{arguments, copy, data, directories, edgeslm, model};

#[test]
fn every_golden_directory_passes() {
    for directory in directories("models") {
        for (accuracy, precision, bound) in [
            ("default", "auto", 0.016),
            ("precise", "auto", 0.001),
            ("strict", "auto", 0.001),
            ("default", "int8", 0.016),
            ("precise", "int8", 0.008),
            ("strict", "int8", 0.008),
        ] {
            let line = arguments!["check", &directory, "--accuracy", accuracy, "--kv-precision", precision];
            let outcome = edgeslm(line.into_iter().chain(arguments!["--json"])).success();
            let report = outcome.json();
            assert_eq!(report["passed"], true);
            assert_eq!(report["accuracy"], accuracy);
            assert_eq!(report["bound"], bound);
            let cases = report["cases"].as_array().unwrap();
            let names: Vec<&str> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["short", "long"]);
            let errors = cases.iter().flat_map(|case| [&case["prompt_error"], &case["next_error"]]);
            let largest = errors.map(|error| error.as_f64().unwrap()).fold(0.0, f64::max);
            assert_eq!(report["largest_error"], largest);
        }
    }
}

#[test]
fn the_slowest_kernels_pass_too() {
    let outcome = edgeslm(arguments!["check", model(), "--kernels", "scalar"]).success();
    outcome.says(&["cpu (scalar", "short", "long", "passed"]);
}

#[test]
fn the_exact_reference_is_preferred_and_named() {
    let directory = data("models/llama-3.2-1b-int8");
    let outcome = edgeslm(arguments!["check", &directory, "--accuracy", "strict"]).success();
    let outcome = outcome.says(&["reference_fp32.safetensors"]);
    // The other one holds int8 rounding of the program that made it.
    let other = directory.join("reference.safetensors");
    let rounded = edgeslm(arguments!["check", &directory, "--accuracy", "strict", "--reference", &other]);
    assert_eq!((rounded.code, outcome.code), (Some(1), Some(0)), "{rounded:?}");
    rounded.says(&["reference.safetensors", "FAILED"]);
}

#[test]
fn an_error_above_the_bound_is_a_failure() {
    let outcome = edgeslm(arguments!["check", model(), "--bound", "1e-9", "--json"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(outcome.json()["passed"], false);
    for bound in ["0", "nan", "x"] {
        edgeslm(arguments!["check", model(), "--bound", bound]).failure(2);
    }
}

#[test]
fn changed_weights_are_noticed() {
    let copy = copy(&model());
    let path = copy.path().join("model.onnx.data");
    let mut bytes = std::fs::read(&path).unwrap();
    for byte in bytes.iter_mut().step_by(5) {
        *byte ^= 0x11;
    }
    std::fs::write(&path, bytes).unwrap();
    let outcome = edgeslm(arguments!["check", copy.path()]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    outcome.says(&["FAILED"]);
}

#[test]
fn a_missing_or_foreign_reference_is_an_error() {
    let copy = copy(&model());
    std::fs::remove_file(copy.path().join("reference.safetensors")).unwrap();
    edgeslm(arguments!["check", copy.path()])
        .failure(1)
        .says(&["reference_fp32.safetensors", "hint: name a reference with --reference"]);
    let foreign = data("variants/q4-ragged/reference.safetensors");
    edgeslm(arguments!["check", copy.path(), "--reference", &foreign]).failure(2).says(&[
        "q4-ragged",
        "160",
        "512",
    ]);
    edgeslm(arguments!["check", model(), "--reference", model().join("model.onnx")])
        .failure(1)
        .says(&["not a safetensors file"]);
}
