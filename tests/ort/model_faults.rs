//! Damaged models: each is an error of a fitting kind, and the process goes on with both engines.

use edgeslm::engine::ThreadPriority;
use edgeslm::onnx::{DataType, Dimension, TensorContent, ValueInfo};
use edgeslm::{Accuracy, Error, ErrorKind, KvPrecision, LoadOptions, Model};

use super::copies::Copy;
use super::{golden_directory, options};

const NAME: &str = "llama-3.2-1b-int4";

/// A name, the damage, and the kinds of error that say what it is.
type Fault = (&'static str, fn(&Copy), &'static [ErrorKind]);

const FAULTS: [Fault; 13] = [
    (
        "an empty graph file",
        |copy| std::fs::write(copy.file("model.onnx"), "").unwrap(),
        &[ErrorKind::InvalidModel, ErrorKind::Unsupported],
    ),
    (
        "a text in place of the graph",
        |copy| std::fs::write(copy.file("model.onnx"), "version 1\nnot a graph\n").unwrap(),
        &[ErrorKind::InvalidModel],
    ),
    ("a graph cut short", |copy| shorten(copy, "model.onnx"), &[ErrorKind::InvalidModel]),
    ("weights cut short", |copy| shorten(copy, "model.onnx.data"), &[ErrorKind::InvalidModel]),
    (
        "no weights",
        |copy| std::fs::remove_file(copy.file("model.onnx.data")).unwrap(),
        &[ErrorKind::NotFound],
    ),
    ("no graph", |copy| std::fs::remove_file(copy.file("model.onnx")).unwrap(), &[ErrorKind::NotFound]),
    (
        "no tokenizer",
        |copy| std::fs::remove_file(copy.file("tokenizer.json")).unwrap(),
        &[ErrorKind::NotFound],
    ),
    (
        "weights outside the directory",
        |copy| {
            copy.edit_graph(|model| {
                for tensor in &mut model.graph.initializers {
                    if let TensorContent::External { location, .. } = &mut tensor.content {
                        *location = "../model.onnx.data";
                    }
                }
            });
        },
        &[ErrorKind::InvalidModel],
    ),
    (
        "an operator that nobody has",
        |copy| copy.edit_graph(|model| model.graph.nodes[8].op_type = "Teleport"),
        &[ErrorKind::Unsupported, ErrorKind::InvalidModel],
    ),
    (
        "an input that has no value",
        |copy| {
            copy.edit_graph(|model| {
                model.graph.inputs.push(ValueInfo {
                    name: "pixel_values",
                    data_type: Some(DataType::Float32),
                    shape: Some(vec![Dimension::Symbol("n")]),
                });
            });
        },
        &[ErrorKind::Unsupported],
    ),
    (
        "no logits",
        |copy| copy.edit_graph(|model| model.graph.outputs.retain(|output| output.name != "logits")),
        &[ErrorKind::InvalidModel],
    ),
    (
        "no caches",
        |copy| copy.edit_graph(|model| model.graph.inputs.retain(|input| !input.name.starts_with("past"))),
        &[ErrorKind::Unsupported],
    ),
    (
        "weights of the wrong shape",
        |copy| {
            copy.edit_graph(|model| {
                for node in &mut model.graph.nodes {
                    for attribute in &mut node.attributes {
                        if attribute.name == "K" {
                            attribute.value = edgeslm::onnx::AttributeValue::Int(64);
                        }
                    }
                }
            });
        },
        &[ErrorKind::InvalidModel, ErrorKind::EngineUnavailable],
    ),
];

fn shorten(copy: &Copy, name: &str) {
    let bytes = std::fs::read(copy.file(name)).unwrap();
    std::fs::write(copy.file(name), &bytes[..bytes.len() / 3]).unwrap();
}

fn answers(options: &LoadOptions) {
    let model = Model::load(golden_directory(NAME), options).unwrap();
    let mut session = model.session(Default::default()).unwrap();
    let answer = session.generate("The pump", &Default::default()).unwrap();
    assert!(answer.outcome.statistics.generated_tokens > 0);
}

#[test]
fn damaged_models_are_errors() {
    let Some(options) = options() else { return };
    for (name, damage, kinds) in FAULTS {
        let copy = Copy::of(NAME);
        damage(&copy);
        let error = Model::load(copy.path(), &options).map(drop).expect_err(name);
        assert!(kinds.contains(&error.kind()), "{name}: {error:?}");
        assert!(!error.message().is_empty(), "{name}");
    }
    answers(&LoadOptions::default());
    answers(&options);
}

#[test]
fn options_out_of_range_are_refused() {
    let Some(options) = options() else { return };
    let is_refused = |error: Error, text: &str| {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    };
    let threads = LoadOptions { threads: Some(0), ..options.clone() };
    is_refused(Model::load(golden_directory(NAME), &threads).map(drop).unwrap_err(), "threads");
    let refused = |options: LoadOptions, text: &str| {
        is_refused(Model::load(golden_directory(NAME), &options).map(drop).unwrap_err(), text);
        is_refused(Model::estimate(golden_directory(NAME), &options, 64).unwrap_err(), text);
    };
    refused(LoadOptions { accuracy: Accuracy::Precise, ..options.clone() }, "precise");
    refused(LoadOptions { kv_precision: KvPrecision::Int8, ..options.clone() }, "KV cache in 8 bits");
    refused(LoadOptions { processors: Some(vec![0]), ..options.clone() }, "processors");
    refused(LoadOptions { priority: ThreadPriority::Low, ..options.clone() }, "priority");
    refused(LoadOptions { context_length: Some(0), ..options.clone() }, "context_length");
    refused(LoadOptions { kernels: Some("scalar".to_owned()), ..options.clone() }, "kernels");
    refused(LoadOptions { graph: Some("q4".to_owned()), ..options }, "q4");
}
