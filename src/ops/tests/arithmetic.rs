//! `Add`, `Sub`, `Mul`, `Div`, `Pow`.

use super::graph::{OneNodeGraph, floats, halves, integers, onnx};
use super::{Refusal, Vector, refused, vector};
use crate::onnx::Tensor;

/// Two tokens.
fn x() -> OneNodeGraph {
    OneNodeGraph::of(&[vec![1.0, -2.0], vec![4.0, 0.5]]).and("y", &[vec![3.0, 5.0], vec![-1.0, 8.0]])
}

/// One token with two heads of two elements.
fn heads() -> OneNodeGraph {
    OneNodeGraph::of(&[vec![1.0, 2.0, 3.0, 4.0]]).constant("shape", integers(&[4], &[0, 0, 2, 2])).node(onnx(
        "Reshape",
        &["x", "shape"],
        &["heads"],
        vec![],
    ))
}

fn with(op_type: &'static str, inputs: [&'static str; 2], constant: Tensor<'static>) -> OneNodeGraph {
    let graph = if inputs.contains(&"heads") { heads() } else { x() };
    graph.constant("c", constant).tested(onnx(op_type, &inputs, &["logits"], vec![]))
}

pub(super) fn vectors() -> Vec<Vector> {
    let two = |op_type, inputs: [&'static str; 2]| x().tested(onnx(op_type, &inputs, &["logits"], vec![]));
    let row = || floats(&[1, 1, 2], &[2.0, -4.0]);
    let number = || floats(&[], &[2.0]);
    let of_head = || floats(&[2], &[2.0, -4.0]);
    vec![
        vector("two values", two("Add", ["x", "y"]), vec![vec![4.0, 3.0], vec![3.0, 8.5]]),
        vector("a value twice", two("Add", ["x", "x"]), vec![vec![2.0, -4.0], vec![8.0, 1.0]]),
        vector("a row", with("Add", ["x", "c"], row()), vec![vec![3.0, -6.0], vec![6.0, -3.5]]),
        vector(
            "an fp16 row on the left",
            with("Add", ["c", "x"], halves(&[2], &[2.0, -4.0])),
            vec![vec![3.0, -6.0], vec![6.0, -3.5]],
        ),
        vector("a number", with("Add", ["x", "c"], number()), vec![vec![3.0, 0.0], vec![6.0, 2.5]]),
        vector("a row of a head", with("Add", ["heads", "c"], of_head()), vec![vec![3.0, -2.0, 5.0, 0.0]]),
        vector("a row", with("Sub", ["x", "c"], row()), vec![vec![-1.0, 2.0], vec![2.0, 4.5]]),
        vector("a number", with("Sub", ["x", "c"], number()), vec![vec![-1.0, -4.0], vec![2.0, -1.5]]),
        vector("a row of a head", with("Sub", ["heads", "c"], of_head()), vec![vec![-1.0, 6.0, 1.0, 8.0]]),
        vector("two values", two("Mul", ["x", "y"]), vec![vec![3.0, -10.0], vec![-4.0, 4.0]]),
        vector("a value twice", two("Mul", ["x", "x"]), vec![vec![1.0, 4.0], vec![16.0, 0.25]]),
        vector("a row", with("Mul", ["x", "c"], row()), vec![vec![2.0, 8.0], vec![8.0, -2.0]]),
        vector("a row on the left", with("Mul", ["c", "x"], row()), vec![vec![2.0, 8.0], vec![8.0, -2.0]]),
        vector(
            "a number of shape [1] on the left",
            with("Mul", ["c", "x"], floats(&[1], &[2.0])),
            vec![vec![2.0, -4.0], vec![8.0, 1.0]],
        ),
        vector("a row of a head", with("Mul", ["heads", "c"], of_head()), vec![vec![2.0, -8.0, 6.0, -16.0]]),
        vector("a row", with("Div", ["x", "c"], row()), vec![vec![0.5, 0.5], vec![2.0, -0.125]]),
        vector("a number", with("Div", ["x", "c"], number()), vec![vec![0.5, -1.0], vec![2.0, 0.25]]),
        vector("a row of a head", with("Div", ["heads", "c"], of_head()), vec![vec![0.5, -0.5, 1.5, -1.0]]),
        vector("a float 2", with("Pow", ["x", "c"], number()), vec![vec![1.0, 4.0], vec![16.0, 0.25]]),
        vector(
            "an integer 2",
            with("Pow", ["x", "c"], integers(&[1], &[2])),
            vec![vec![1.0, 4.0], vec![16.0, 0.25]],
        ),
    ]
}

pub(super) fn refusals() -> Vec<Refusal> {
    let two = |op_type| x().tested(onnx(op_type, &["x", "y"], &["logits"], vec![]));
    let mut refusals = vec![
        refused("difference of two values", two("Sub")),
        refused("quotient of two values", two("Div")),
        refused("not a constant", two("Pow")),
        refused("an exponent of 4", with("Pow", ["x", "c"], floats(&[], &[4.0]))),
        refused("an exponent of 4", with("Pow", ["x", "c"], integers(&[], &[4]))),
        refused("does not hold one row a token", with("Sub", ["c", "x"], floats(&[], &[2.0]))),
        refused("does not hold one row a token", with("Div", ["c", "x"], floats(&[], &[2.0]))),
    ];
    for op_type in ["Add", "Sub", "Mul", "Div"] {
        let tokens = floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        refusals.extend([
            refused("shape [2, 2]", with(op_type, ["x", "c"], tokens.clone())),
            refused("shape [2, 2]", with(op_type, ["heads", "c"], tokens)),
            refused("a row of 3", with(op_type, ["x", "c"], floats(&[3], &[1.0, 2.0, 3.0]))),
        ]);
    }
    for op_type in ["Add", "Mul"] {
        let graph = OneNodeGraph::of(&[vec![1.0, 2.0]]).and("y", &[vec![1.0, 2.0, 3.0]]).tested(onnx(
            op_type,
            &["x", "y"],
            &["logits"],
            vec![],
        ));
        refusals.push(refused("rows of 2 and of 3 columns", graph));
    }
    refusals
}
