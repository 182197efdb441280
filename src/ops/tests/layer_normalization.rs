//! The norms, with and without a residual.

use super::graph::{OneNodeGraph, float, floats, halves, int, integers, microsoft, onnx};
use super::{Refusal, Vector, refused, vector};
use crate::onnx::{Attribute, Node};

/// The operators without a residual: name, domain.
const ROOT_MEAN_SQUARE: [(&str, &str); 3] = [
    ("SimplifiedLayerNormalization", ""),
    ("SimplifiedLayerNormalization", "com.microsoft"),
    ("RMSNormalization", ""),
];

fn weights(values: &[f32]) -> crate::onnx::Tensor<'static> {
    floats(&[values.len() as u64], values)
}

pub(super) fn vectors() -> Vec<Vector> {
    let mut vectors = Vec::new();
    for (op_type, domain) in ROOT_MEAN_SQUARE {
        let node =
            |input, attributes| Node { domain, ..onnx(op_type, &[input, "weight"], &["logits"], attributes) };
        // The mean of 9 and 16 and 0.25 is 12.75, that of 1 and 1 and 0.25 is 1.25; both scaled by 2 and −1.
        let graph = OneNodeGraph::of(&[vec![3.0, -4.0], vec![1.0, 1.0]])
            .constant("weight", weights(&[2.0, -1.0]))
            .tested(node("x", vec![int("axis", -1), float("epsilon", 0.25), int("stash_type", 1)]));
        let (first, second) = (12.75_f64.sqrt(), 1.25_f64.sqrt());
        let expected = vec![vec![6.0 / first, 4.0 / first], vec![2.0 / second, -1.0 / second]];
        vectors.push(vector("epsilon 0.25", graph, expected));
        // The mean of the squares, 1.25e-5, and 1e-5.
        let graph = OneNodeGraph::of(&[vec![0.003, 0.004]])
            .constant("weight", halves(&[2], &[1.0, 1.0]))
            .tested(node("x", vec![int("axis", 2)]));
        let root = 2.25e-5_f64.sqrt();
        vectors.push(vector("the default epsilon, 1e-5", graph, vec![vec![0.003 / root, 0.004 / root]]));
        // Two heads of two: 3 and 4 by √12.5, 5 and 12 by √84.5.
        let graph = OneNodeGraph::of(&[vec![3.0, 4.0, 5.0, 12.0]])
            .constant("shape", integers(&[4], &[0, 0, 2, 2]))
            .node(onnx("Reshape", &["x", "shape"], &["heads"], vec![]))
            .constant("weight", weights(&[1.0, 2.0]))
            .tested(node("heads", vec![float("epsilon", 0.0)]));
        let (first, second) = (12.5_f64.sqrt(), 84.5_f64.sqrt());
        let expected = vec![vec![3.0 / first, 8.0 / first, 5.0 / second, 24.0 / second]];
        vectors.push(vector("each head by itself", graph, expected));
    }
    vectors.extend(layer());
    vectors.extend(skip_simplified());
    vectors.extend(skip_layer());
    vectors
}

fn layer() -> Vec<Vector> {
    // Mean 3, variance (4 + 0 + 4) / 3.
    let x = [vec![1.0, 3.0, 5.0]];
    let graph = || OneNodeGraph::of(&x).constant("weight", weights(&[1.0, 2.0, -3.0]));
    let node =
        |inputs: &[&'static str], attributes| onnx("LayerNormalization", inputs, &["logits"], attributes);
    let root = (8.0_f64 / 3.0 + 0.5).sqrt();
    vec![
        vector(
            "with a bias",
            graph()
                .constant("bias", weights(&[0.5, 7.0, -1.0]))
                .tested(node(&["x", "weight", "bias"], vec![float("epsilon", 0.5)])),
            vec![vec![-2.0 / root + 0.5, 7.0, -6.0 / root - 1.0]],
        ),
        vector(
            "without a bias",
            graph().tested(node(&["x", "weight"], vec![float("epsilon", 0.5), int("axis", -1)])),
            vec![vec![-2.0 / root, 0.0, -6.0 / root]],
        ),
        // Mean 0.003, variance 1e-6; epsilon is 1e-5, not the 1e-12 of the forms with a residual.
        vector(
            "the default epsilon, 1e-5",
            OneNodeGraph::of(&[vec![0.002, 0.004]])
                .constant("weight", weights(&[1.0, 1.0]))
                .tested(node(&["x", "weight"], vec![])),
            vec![vec![-0.001 / 1.1e-5_f64.sqrt(), 0.001 / 1.1e-5_f64.sqrt()]],
        ),
    ]
}

/// x, and y to be added to it.
fn skipping(x: &[f32], y: &[f32], weight: &[f32]) -> OneNodeGraph {
    OneNodeGraph::of(&[x.to_vec()]).and("y", &[y.to_vec()]).constant("weight", weights(weight))
}

fn skip_simplified() -> Vec<Vector> {
    let node = |inputs: &[&'static str], outputs: &[&'static str], attributes| {
        microsoft("SkipSimplifiedLayerNormalization", inputs, outputs, attributes)
    };
    let epsilon = || vec![float("epsilon", 0.5)];
    // x + y is 3 and 4; with the bias 1 and −1. (9 + 16) / 2 and (1 + 1) / 2, and a half.
    let graph = || skipping(&[1.0, 6.0], &[2.0, -2.0], &[1.0, 2.0]);
    let biased = || graph().constant("bias", weights(&[-2.0, -5.0]));
    let (root, biased_root) = (13.0_f64.sqrt(), 1.5_f64.sqrt());
    vec![
        vector(
            "the norm of the sum",
            graph().tested(node(&["x", "y", "weight"], &["logits"], epsilon())),
            vec![vec![3.0 / root, 8.0 / root]],
        ),
        vector(
            "the sum, output 3",
            graph().tested(node(&["x", "y", "weight"], &["normed", "", "", "logits"], epsilon())),
            vec![vec![3.0, 4.0]],
        ),
        vector(
            "the norm of the sum with a bias",
            biased().tested(node(&["x", "y", "weight", "bias"], &["logits"], epsilon())),
            vec![vec![1.0 / biased_root, -2.0 / biased_root]],
        ),
        vector(
            "the sum with a bias, times the norm",
            biased()
                .tested(node(&["x", "y", "weight", "bias"], &["normed", "", "", "sum"], epsilon()))
                .node(onnx("Mul", &["normed", "sum"], &["logits"], vec![])),
            vec![vec![1.0 / biased_root, 2.0 / biased_root]],
        ),
        // 9e-12 and 16e-12, whose mean is 12.5e-12.
        vector(
            "the default epsilon, 1e-12",
            skipping(&[1e-6, 5e-6], &[2e-6, -1e-6], &[1.0, 1.0]).tested(node(
                &["x", "y", "weight"],
                &["logits"],
                vec![],
            )),
            vec![vec![3e-6 / 13.5e-12_f64.sqrt(), 4e-6 / 13.5e-12_f64.sqrt()]],
        ),
    ]
}

fn skip_layer() -> Vec<Vector> {
    let node = |inputs: &[&'static str], outputs: &[&'static str]| {
        microsoft("SkipLayerNormalization", inputs, outputs, vec![float("epsilon", 0.5)])
    };
    // x + y is 1 and 5: mean 3, variance 4. With the bias 2 and 4: mean 3, variance 1.
    let graph = || {
        skipping(&[2.0, 2.0], &[-1.0, 3.0], &[1.0, 2.0])
            .constant("beta", weights(&[10.0, -20.0]))
            .constant("bias", weights(&[1.0, -1.0]))
    };
    let (root, biased_root) = (4.5_f64.sqrt(), 1.5_f64.sqrt());
    vec![
        vector(
            "the norm of the sum",
            graph().tested(node(&["x", "y", "weight"], &["logits"])),
            vec![vec![-2.0 / root, 4.0 / root]],
        ),
        vector(
            "beta comes after the norm",
            graph().tested(node(&["x", "y", "weight", "beta"], &["logits"])),
            vec![vec![-2.0 / root + 10.0, 4.0 / root - 20.0]],
        ),
        vector(
            "the bias comes before the norm",
            graph().tested(node(&["x", "y", "weight", "beta", "bias"], &["logits"])),
            vec![vec![-1.0 / biased_root + 10.0, 2.0 / biased_root - 20.0]],
        ),
        vector(
            "the bias without beta",
            graph().tested(node(&["x", "y", "weight", "", "bias"], &["logits"])),
            vec![vec![-1.0 / biased_root, 2.0 / biased_root]],
        ),
        vector(
            "the sum with the bias, output 3",
            graph().tested(node(&["x", "y", "weight", "beta", "bias"], &["normed", "", "", "logits"])),
            vec![vec![2.0, 4.0]],
        ),
    ]
}

pub(super) fn refusals() -> Vec<Refusal> {
    let one = |node: Node<'static>| {
        OneNodeGraph::of(&[vec![1.0, 2.0]])
            .and("y", &[vec![3.0, 4.0]])
            .constant("weight", weights(&[1.0, 1.0]))
            .constant("three", weights(&[1.0, 1.0, 1.0]))
            .tested(node)
    };
    let mut refusals = Vec::new();
    for (op_type, domain) in [ROOT_MEAN_SQUARE.as_slice(), &[("LayerNormalization", "")]].concat() {
        let node = |inputs: &[&'static str], attributes: Vec<Attribute<'static>>| Node {
            domain,
            ..onnx(op_type, inputs, &["logits"], attributes)
        };
        for attribute in [
            int("axis", 0),
            int("axis", 1),
            int("stash_type", 0),
            int("epsilon", 1),
            float("epsilon", f32::NAN),
        ] {
            refusals.push(refused(attribute.name, one(node(&["x", "weight"], vec![attribute]))));
        }
        refusals.push(refused("3 elements for 2 columns", one(node(&["x", "three"], vec![]))));
        refusals.push(refused("input 1 (y) is not a constant", one(node(&["x", "y"], vec![]))));
    }
    for op_type in ["SkipSimplifiedLayerNormalization", "SkipLayerNormalization"] {
        let three: &[&'static str] = &["x", "y", "weight"];
        let node = |inputs: &[&'static str], outputs: &[&'static str], attributes| {
            one(microsoft(op_type, inputs, outputs, attributes))
        };
        refusals.push(refused("epsilon", node(three, &["logits"], vec![float("epsilon", f32::INFINITY)])));
        refusals.push(refused("outputs 1 and 2", node(three, &["logits", "mean"], vec![])));
        refusals.push(refused("input 1 (weight)", node(&["x", "weight", "weight"], &["logits"], vec![])));
        refusals.push(refused("3 elements for 2 columns", node(&["x", "y", "three"], &["logits"], vec![])));
    }
    refusals
}
