//! Every operator of the table on a graph of one node, or a few, against values computed by hand or by a plain loop.
//!
//! The rows that the node sees are those of a table that the test chooses, so the tokens are 0, 1, 2 and so on. What it makes,
//! or what some other node makes of that, is read as the logits.

mod activation;
mod arithmetic;
mod attention;
mod gather;
mod graph;
mod layer_normalization;
mod matmul;
mod packing;
mod rotary_embedding;
mod shape;

use self::graph::{OneNodeGraph, TESTED, int};
use crate::engine::Accuracy;
use crate::engine::cpu::test_run::all_logits;
use crate::error::{Error, ErrorKind};
use crate::graph::{Operation, passes};

/// A graph and its logits.
struct Vector {
    name: &'static str,
    graph: OneNodeGraph,
    /// One row a token.
    expected: Vec<Vec<f64>>,
}

fn vector(name: &'static str, graph: OneNodeGraph, expected: Vec<Vec<f64>>) -> Vector {
    Vector { name, graph, expected }
}

/// A graph that must not be loaded.
struct Refusal {
    graph: OneNodeGraph,
    /// The node at fault.
    node: &'static str,
    /// What the error must name: the attribute, or what is wrong.
    mentions: &'static str,
}

/// A graph that must not be loaded because of the tested node.
fn refused(mentions: &'static str, graph: OneNodeGraph) -> Refusal {
    Refusal { graph, node: TESTED, mentions }
}

fn vectors() -> Vec<Vector> {
    [
        activation::vectors(),
        arithmetic::vectors(),
        attention::vectors(),
        gather::vectors(),
        layer_normalization::vectors(),
        matmul::vectors(),
        rotary_embedding::vectors(),
        shape::vectors(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn refusals() -> Vec<Refusal> {
    [
        activation::refusals(),
        arithmetic::refusals(),
        attention::refusals(),
        gather::refusals(),
        layer_normalization::refusals(),
        matmul::refusals(),
        rotary_embedding::refusals(),
        shape::refusals(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_operator_of_the_table_has_a_vector() {
    let tested: Vec<_> = vectors().iter().map(|vector| vector.graph.operator()).collect();
    let in_variants = IN_VARIANTS.map(|(domain, op_type, _)| (domain, op_type));
    let untested: Vec<_> = super::names()
        .into_iter()
        .filter(|name| !tested.contains(name) && !in_variants.contains(name))
        .collect();
    assert!(untested.is_empty(), "write vectors for {untested:?}");
}

/// Operators that mean something only together with others, and the whole model in `tests/data/variants` that shows it: `tests/golden.rs`
/// compares its logits with exact ones.
const IN_VARIANTS: [(&str, &str, &str); 15] = [
    ("", "DequantizeLinear", "dynamic-int8/onnx/model_quantized.onnx"),
    ("", "DynamicQuantizeLinear", "dynamic-int8/onnx/model_quantized.onnx"),
    ("", "Erf", "decomposed-gelu/model.onnx"),
    ("", "MatMulInteger", "dynamic-int8/onnx/model_quantized.onnx"),
    ("", "Pow", "decomposed-rms-norm/model.onnx"),
    ("", "Reciprocal", "decomposed-rms-norm/model.onnx"),
    ("", "ReduceMean", "decomposed-rms-norm/model.onnx"),
    ("", "RotaryEmbedding", "opset-24/model.onnx"),
    ("", "Sqrt", "decomposed-rms-norm/model.onnx"),
    ("", "Sub", "decomposed-layer-norm/model.onnx"),
    ("", "Swish", "opset-24/model.onnx"),
    ("", "Tanh", "decomposed-gelu/model.onnx"),
    ("com.microsoft", "BiasGelu", "microsoft-gelu/model.onnx"),
    ("com.microsoft", "FusedMatMul", "fused-matmul/model.onnx"),
    ("com.microsoft", "Gelu", "microsoft-gelu/model.onnx"),
];

#[test]
fn the_variants_have_the_operators_that_they_show() {
    for (domain, op_type, variant) in IN_VARIANTS {
        let path = format!("{}/tests/data/variants/{variant}", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let model = crate::onnx::Model::parse(&bytes).unwrap();
        let has = |node: &crate::onnx::Node<'_>| (node.domain, node.op_type) == (domain, op_type);
        assert!(model.graph.nodes.iter().any(has), "{variant} has no {domain} {op_type}");
        assert!(super::find(domain, op_type).is_some(), "the table has no {domain} {op_type}");
    }
}

#[test]
fn operators_compute_what_is_computed_by_hand() {
    let mut failures = Vec::new();
    for Vector { name, graph, expected } in vectors() {
        let plain = match graph.lower() {
            Ok(program) => program,
            Err(error) => {
                failures.push(format!("{:?}, {name}: {error}", graph.operator()));
                continue;
            }
        };
        let mut rewritten = plain.clone();
        passes::run(&mut rewritten);
        let attends = plain.steps.iter().any(|step| matches!(step.operation, Operation::Attend(_)));
        for (form, program) in [("plain", &plain), ("rewritten", &rewritten)] {
            for accuracy in [Accuracy::Strict, Accuracy::Default] {
                // In default accuracy the cache holds f16. The inputs of products are chosen to lose nothing in 8 bits.
                let bound = if attends && accuracy == Accuracy::Default { 1e-3 } else { 1e-5 };
                let tokens: Vec<u32> = (0..expected.len() as u32).collect();
                let found = all_logits(program.clone(), accuracy, &tokens);
                failures
                    .extend(difference(&found, &expected, bound).map(|text| {
                        format!("{:?}, {name} ({form}, {accuracy:?}): {text}", graph.operator())
                    }));
            }
        }
    }
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join("\n"));
}

/// The first row that is further from the expected one than `bound` allows.
fn difference(found: &[Vec<f32>], expected: &[Vec<f64>], bound: f64) -> Option<String> {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).enumerate().find_map(|(token, (found, expected))| {
        let largest = expected.iter().fold(1.0_f64, |largest, value| largest.max(value.abs()));
        let is_near =
            |(found, expected): (&f32, &f64)| (f64::from(*found) - expected).abs() <= bound * largest;
        let agree = found.len() == expected.len() && found.iter().zip(expected).all(is_near);
        (!agree).then(|| format!("row {token} is {found:?} and should be {expected:?}"))
    })
}

#[test]
fn an_attribute_that_an_operator_does_not_have_is_refused_by_name() {
    for Vector { name, mut graph, .. } in vectors() {
        graph.tested_node().attributes.push(int("not_an_attribute", 0));
        let error = graph.lower().expect_err(name);
        assert_eq!(lacking(&error, TESTED, "not_an_attribute"), None, "{:?}, {name}", graph.operator());
    }
}

#[test]
fn what_is_outside_the_set_is_refused_by_node_and_attribute() {
    let mut failures = Vec::new();
    for Refusal { graph, node, mentions } in refusals() {
        let operator = graph.operator();
        match graph.lower() {
            Ok(_) => failures.push(format!("{operator:?}, {mentions}: was lowered")),
            Err(error) => failures.extend(
                lacking(&error, node, mentions).map(|text| format!("{operator:?}, {mentions}: {text}")),
            ),
        }
    }
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join("\n"));
}

/// What `error` lacks of what the error for `node` must say.
fn lacking(error: &Error, node: &str, mentions: &str) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidModel) {
        return Some(format!("kind {:?}: {error}", error.kind()));
    }
    let is_named = error.node().is_some_and(|place| place.split(' ').next_back() == Some(node));
    if !is_named {
        return Some(format!("the place is {:?}: {error}", error.node()));
    }
    (!error.message().contains(mentions)).then(|| format!("does not say so: {error}"))
}
