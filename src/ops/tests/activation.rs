//! `Sigmoid`, `Tanh`, `Relu`, `Gelu`, `FastGelu`, `QuickGelu`.

use super::graph::{OneNodeGraph, float, floats, int, integers, microsoft, onnx, text};
use super::{Refusal, Vector, refused, vector};
use crate::onnx::Node;

const X: [f32; 4] = [-3.0, -0.5, 1.0, 2.0];

fn of_x(node: Node<'static>) -> OneNodeGraph {
    OneNodeGraph::of(&[X.to_vec()]).tested(node)
}

/// `function` of each element of [`X`].
fn each(function: impl Fn(f64) -> f64) -> Vec<Vec<f64>> {
    vec![X.iter().map(|x| function(f64::from(*x))).collect()]
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// 0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))
fn tanh_gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

pub(super) fn vectors() -> Vec<Vector> {
    let plain = |op_type| onnx(op_type, &["x"], &["logits"], vec![]);
    let gelu = |attributes| onnx("Gelu", &["x"], &["logits"], attributes);
    // x · Φ(x), Φ from a table of the normal distribution: Φ(−3), Φ(−0.5), Φ(1), Φ(2).
    let exact = [0.001_349_898, 0.308_537_539, 0.841_344_746, 0.977_249_868];
    let exact: Vec<f64> = X.iter().zip(exact).map(|(x, phi)| f64::from(*x) * phi).collect();
    let heads = || {
        OneNodeGraph::of(&[X.to_vec()]).constant("shape", integers(&[4], &[0, 0, 2, 2])).node(onnx(
            "Reshape",
            &["x", "shape"],
            &["heads"],
            vec![],
        ))
    };
    vec![
        vector(
            "four numbers",
            of_x(plain("Sigmoid")),
            vec![vec![0.047_425_873, 0.377_540_669, 0.731_058_579, 0.880_797_078]],
        ),
        vector(
            "four numbers",
            of_x(plain("Tanh")),
            vec![vec![-0.995_054_754, -0.462_117_157, 0.761_594_156, 0.964_027_580]],
        ),
        vector("four numbers", of_x(plain("Relu")), vec![vec![0.0, 0.0, 1.0, 2.0]]),
        vector("by default the error function", of_x(gelu(vec![])), vec![exact.clone()]),
        vector("the error function", of_x(gelu(vec![text("approximate", "none")])), vec![exact]),
        vector("tanh", of_x(gelu(vec![text("approximate", "tanh")])), each(tanh_gelu)),
        vector("without a bias", of_x(microsoft("FastGelu", &["x"], &["logits"], vec![])), each(tanh_gelu)),
        vector(
            "a bias is added before",
            OneNodeGraph::of(&[X.to_vec()])
                .constant("bias", floats(&[4], &[2.0, 0.0, -2.0, 0.25]))
                .tested(microsoft("FastGelu", &["x", "bias"], &["logits"], vec![])),
            vec![[-1.0, -0.5, -1.0, 2.25].map(tanh_gelu).to_vec()],
        ),
        vector(
            "a bias of a head",
            heads().constant("bias", floats(&[2], &[2.0, 0.0])).tested(microsoft(
                "FastGelu",
                &["heads", "bias"],
                &["logits"],
                vec![],
            )),
            vec![[-1.0, -0.5, 3.0, 2.0].map(tanh_gelu).to_vec()],
        ),
        vector(
            "the default alpha is 1.702",
            of_x(microsoft("QuickGelu", &["x"], &["logits"], vec![])),
            each(|x| x * sigmoid(1.702 * x)),
        ),
        vector(
            "alpha 0.5",
            of_x(microsoft("QuickGelu", &["x"], &["logits"], vec![float("alpha", 0.5)])),
            each(|x| x * sigmoid(0.5 * x)),
        ),
    ]
}

pub(super) fn refusals() -> Vec<Refusal> {
    let gelu = |attribute| of_x(onnx("Gelu", &["x"], &["logits"], vec![attribute]));
    let quick = |attribute| of_x(microsoft("QuickGelu", &["x"], &["logits"], vec![attribute]));
    vec![
        refused("approximate", gelu(text("approximate", "sigmoid"))),
        refused("approximate", gelu(int("approximate", 1))),
        refused("alpha", quick(float("alpha", f32::INFINITY))),
        refused("alpha", quick(int("alpha", 1))),
        refused(
            "a row of 3",
            OneNodeGraph::of(&[X.to_vec()]).constant("bias", floats(&[3], &[1.0; 3])).tested(microsoft(
                "FastGelu",
                &["x", "bias"],
                &["logits"],
                vec![],
            )),
        ),
        refused("x is not a constant", of_x(microsoft("FastGelu", &["x", "x"], &["logits"], vec![]))),
    ]
}
