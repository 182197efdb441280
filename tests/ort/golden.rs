//! Every golden directory against its reference logits, within the bounds that the CPU engine keeps.

use edgeslm::model::{Load, Reference};
use edgeslm::{Accuracy, LoadOptions, Model};

use super::{golden_directory, options};

/// What the Python package of ONNX Runtime 1.32 shows for the same graphs, and a little for other processors.
const BOUNDS: [(&str, f64); 12] = [
    ("gemma-2-2b-int4", 0.015),
    ("gemma-2-9b-int4", 0.015),
    ("llama-3.2-1b-cuda-int4", 0.0075),
    ("llama-3.2-1b-int4", 0.0075),
    ("llama-3.2-1b-int8", 0.0075),
    ("llama-3.2-3b-int4", 0.015),
    ("mistral-nemo-int4", 0.015),
    ("mistral-nemo-int4-b128-asym", 0.021),
    ("phi-3.5-mini-int4", 0.009),
    ("phi-4-int4", 0.016),
    ("phi-4-mini-int4", 0.0075),
    ("qwen-2.5-3b-int4", 0.013),
];

fn largest_error(name: &str, options: &LoadOptions) -> f64 {
    let directory = golden_directory(name);
    let model = Model::load(&directory, options).unwrap();
    let exact = directory.join("reference_fp32.safetensors");
    let path = if exact.exists() { exact } else { directory.join("reference.safetensors") };
    let cases = Reference::open(&path).unwrap().cases;
    assert_eq!(cases.len(), 2);
    let errors = cases.iter().map(|case| case.compare(model.engine().as_ref()).unwrap().largest());
    errors.fold(0.0, |worst, error| if error <= worst { worst } else { error })
}

#[test]
fn golden_directories_are_within_their_bounds() {
    let Some(options) = options() else { return };
    for (name, bound) in BOUNDS {
        let error = largest_error(name, &options);
        assert!(error <= bound, "{name}: {error:.5} is above {bound}");
        // An engine that did not quantise would be nearer.
        assert!(error > 1e-6 || name.contains("cuda"), "{name}: {error}");
    }
}

#[test]
fn strict_accuracy_computes_in_32_bits() {
    let Some(options) = options() else { return };
    let options = LoadOptions { accuracy: Accuracy::Strict, ..options };
    for name in ["llama-3.2-1b-int4", "gemma-2-2b-int4", "mistral-nemo-int4-b128-asym"] {
        let error = largest_error(name, &options);
        assert!(error <= 0.001, "{name}: {error:.6}");
    }
}

#[test]
fn files_read_into_memory_give_the_same() {
    let Some(options) = options() else { return };
    let copy = LoadOptions { load: Load::Copy, ..options.clone() };
    let name = "phi-4-mini-int4";
    assert_eq!(largest_error(name, &copy).to_bits(), largest_error(name, &options).to_bits());
}

#[test]
fn what_runs_where_is_told() {
    let Some(model) = super::load("llama-3.2-1b-int4") else { return };
    let info = model.info();
    assert_eq!(info.provider.as_deref(), Some("cpu"));
    assert!(info.engine.starts_with("onnxruntime 1."), "{}", info.engine);
    let cpu = &info.placement["CPUExecutionProvider"];
    assert_eq!(info.placement.len(), 1);
    assert_eq!(cpu["GroupQueryAttention"], info.layers);
    assert!(cpu["MatMulNBits"] >= 5 * info.layers, "{cpu:?}");
    assert!(model.cpu_engine().is_none());
    let engine = model.ort_engine().unwrap();
    assert!(engine.shares_cache());
    assert_eq!(engine.cache_tensors(), 2 * info.layers);
}
