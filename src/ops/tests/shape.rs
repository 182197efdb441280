//! What changes how rows are seen: `Cast`, `Identity`, `Reshape`, `Squeeze`, `Unsqueeze`, `Slice`, `Split`; and the operators of
//! that kind that are accepted for constants and lengths only.

use super::graph::{OneNodeGraph, float, floats, int, integers, ints, onnx, text};
use super::{Refusal, Vector, refused, vector};
use crate::onnx::{Attribute, Node};

const X: [f32; 4] = [3.0, 4.0, 5.0, 12.0];

/// X, and then its double.
fn x() -> OneNodeGraph {
    OneNodeGraph::of(&[X.to_vec(), X.map(|x| 2.0 * x).to_vec()])
}

fn doubled(row: &[f64]) -> Vec<Vec<f64>> {
    vec![row.to_vec(), row.iter().map(|value| 2.0 * value).collect()]
}

fn same() -> Vec<Vec<f64>> {
    doubled(&X.map(f64::from))
}

pub(super) fn vectors() -> Vec<Vector> {
    let mut vectors =
        vec![vector("nothing happens", x().tested(onnx("Identity", &["x"], &["logits"], vec![])), same())];
    for (name, to) in [("to fp32", 1), ("to fp16", 10), ("to bf16", 16)] {
        let graph = x().tested(onnx("Cast", &["x"], &["logits"], vec![int("to", to)]));
        vectors.push(vector(name, graph, same()));
    }
    for (name, node) in [
        ("token ids to int32", onnx("Cast", &["input_ids"], &["ids"], vec![int("to", 6)])),
        ("token ids to int64", onnx("Cast", &["input_ids"], &["ids"], vec![int("to", 7)])),
        ("token ids", onnx("Identity", &["input_ids"], &["ids"], vec![])),
    ] {
        vectors.push(vector(name, looked_up(node), vec![vec![5.0], vec![-2.0]]));
    }
    vectors.extend(reshape());
    vectors.extend(squeeze());
    vectors.extend(slice());
    vectors.extend(split());
    vectors
}

/// Rows of a table by the ids that `node` makes.
fn looked_up(node: Node<'static>) -> OneNodeGraph {
    OneNodeGraph::default().constant("table", floats(&[2, 1], &[5.0, -2.0])).tested(node).node(onnx(
        "Gather",
        &["table", "ids"],
        &["logits"],
        vec![],
    ))
}

/// A norm of what the tested node makes, which shows the extent of its last axis.
fn normed(graph: OneNodeGraph, width: usize) -> OneNodeGraph {
    graph.constant("weight", floats(&[width as u64], &vec![1.0; width])).node(onnx(
        "SimplifiedLayerNormalization",
        &["heads", "weight"],
        &["logits"],
        vec![float("epsilon", 0.0)],
    ))
}

fn reshape() -> Vec<Vector> {
    let node = || onnx("Reshape", &["x", "shape"], &["heads"], vec![int("allowzero", 0)]);
    let norm = |squares: f64| (squares / 2.0).sqrt();
    let (first, second) = (norm(9.0 + 16.0), norm(25.0 + 144.0));
    let of_two = [3.0 / first, 4.0 / first, 5.0 / second, 12.0 / second];
    let whole = (194.0_f64 / 4.0).sqrt();
    let of_four = X.map(|x| f64::from(x) / whole);
    let by_constant = |shape: &[i64], width| {
        let graph = x().constant("shape", integers(&[shape.len() as u64], shape)).tested(node());
        normed(graph, width)
    };
    // The norm does not depend on the length of the row, so both tokens have the same.
    let both = |row: [f64; 4]| vec![row.to_vec(); 2];
    let mut vectors: Vec<Vector> = [
        ("[0, 0, 2, 2]", vec![0, 0, 2, 2]),
        ("[0, -1, 2]", vec![0, -1, 2]),
        ("[1, -1, 2, 2]", vec![1, -1, 2, 2]),
        ("[0, 0, 2, -1]", vec![0, 0, 2, -1]),
    ]
    .into_iter()
    .map(|(name, shape)| vector(name, by_constant(&shape, 2), both(of_two)))
    .collect();
    for (name, shape) in
        [("[0, 0, 4]", vec![0, 0, 4]), ("[0, 0, -1]", vec![0, 0, -1]), ("[0, 0, 0]", vec![0, 0, 0])]
    {
        vectors.push(vector(name, by_constant(&shape, 4), both(of_four)));
    }
    // Into heads and back.
    let graph = x()
        .constant("apart", integers(&[4], &[0, 0, 2, 2]))
        .node(onnx("Reshape", &["x", "apart"], &["parts"], vec![]))
        .constant("shape", integers(&[3], &[0, 0, -1]))
        .tested(onnx("Reshape", &["parts", "shape"], &["heads"], vec![]));
    vectors.push(vector("heads joined again", normed(graph, 4), both(of_four)));
    // A shape put together from the length of the input, as exporters of PyTorch write it.
    let graph = x()
        .constant("one", integers(&[], &[1]))
        .constant("first", integers(&[1], &[0]))
        .constant("batch", integers(&[1], &[1]))
        .constant("two", integers(&[1], &[2]))
        .node(onnx("Shape", &["input_ids"], &["extents"], vec![]))
        .node(onnx("Gather", &["extents", "one"], &["length"], vec![int("axis", 0)]))
        .node(onnx("Unsqueeze", &["length", "first"], &["lengths"], vec![]))
        .node(onnx("Concat", &["batch", "lengths", "two", "two"], &["shape"], vec![int("axis", 0)]))
        .tested(node());
    vectors.push(vector("a shape from the input's length", normed(graph, 2), both(of_two)));
    vectors
}

fn squeeze() -> Vec<Vector> {
    let mut vectors = Vec::new();
    for op_type in ["Squeeze", "Unsqueeze"] {
        for (name, axis) in [("axis 0", 0), ("axis 1", 1)] {
            let graph = x().constant("axes", integers(&[1], &[axis])).tested(onnx(
                op_type,
                &["x", "axes"],
                &["logits"],
                vec![],
            ));
            vectors.push(vector(name, graph, same()));
        }
        let graph = x().tested(onnx(op_type, &["x"], &["logits"], vec![ints("axes", &[0])]));
        vectors.push(vector("axes as an attribute", graph, same()));
    }
    vectors
}

/// A `Slice`, and the result times 1 as the logits must be a value of their own.
fn slice_of(graph: OneNodeGraph, numbers: [i64; 4]) -> OneNodeGraph {
    let names = ["starts", "ends", "axes", "steps"];
    let graph = names
        .into_iter()
        .zip(numbers)
        .fold(graph, |graph, (name, number)| graph.constant(name, integers(&[1], &[number])));
    graph
        .tested(onnx("Slice", &["x", "starts", "ends", "axes", "steps"], &["part"], vec![]))
        .constant("one", floats(&[], &[1.0]))
        .node(onnx("Mul", &["part", "one"], &["logits"], vec![]))
}

fn slice() -> Vec<Vector> {
    [
        ("from the front", [0, 3, 2, 1], &[3.0, 4.0, 5.0][..]),
        ("to the end", [1, i64::MAX, -1, 1], &[4.0, 5.0, 12.0]),
        ("counted from the end", [-3, -1, -1, 1], &[4.0, 5.0]),
        ("beyond both ends", [-9, 9, 2, 1], &[3.0, 4.0, 5.0, 12.0]),
    ]
    .into_iter()
    .map(|(name, numbers, row)| vector(name, slice_of(x(), numbers), doubled(row)))
    .collect()
}

fn split_of(
    inputs: &[&'static str],
    outputs: &[&'static str],
    attributes: Vec<Attribute<'static>>,
) -> Node<'static> {
    onnx("Split", inputs, outputs, attributes)
}

fn split() -> Vec<Vector> {
    let equal = |attributes| {
        x().tested(split_of(&["x"], &["a", "b"], attributes)).node(onnx(
            "Mul",
            &["a", "b"],
            &["logits"],
            vec![],
        ))
    };
    // (3, 4) · (5, 12), and four times that for the doubled row.
    let product = vec![vec![15.0, 48.0], vec![60.0, 192.0]];
    // Twice the second part, as the logits must be a value of their own.
    let second = |graph: OneNodeGraph| graph.node(onnx("Add", &["b", "b"], &["logits"], vec![]));
    vec![
        vector("equal parts", equal(vec![int("axis", -1)]), product.clone()),
        vector("num_outputs", equal(vec![int("axis", 2), int("num_outputs", 2)]), product),
        vector(
            "num_outputs with a shorter last part",
            second(OneNodeGraph::of(&[vec![1.0, 2.0, 3.0]]).tested(split_of(
                &["x"],
                &["a", "b"],
                vec![int("axis", -1), int("num_outputs", 2)],
            ))),
            vec![vec![6.0]],
        ),
        vector(
            "sizes as an input",
            second(x().constant("sizes", integers(&[3], &[1, 2, 1])).tested(split_of(
                &["x", "sizes"],
                &["a", "b", "c"],
                vec![int("axis", -1)],
            ))),
            vec![vec![8.0, 10.0], vec![16.0, 20.0]],
        ),
        vector(
            "sizes as an attribute",
            second(x().tested(split_of(&["x"], &["a", "b"], vec![int("axis", -1), ints("split", &[3, 1])]))),
            vec![vec![24.0], vec![48.0]],
        ),
        vector(
            "a part of a part",
            second(x().node(split_of(&["x"], &["front", "back"], vec![int("axis", -1)])).tested(split_of(
                &["back"],
                &["a", "b"],
                vec![int("axis", -1)],
            ))),
            vec![vec![24.0], vec![48.0]],
        ),
    ]
}

pub(super) fn refusals() -> Vec<Refusal> {
    let mut refusals = vec![
        refused("to", x().tested(onnx("Cast", &["x"], &["logits"], vec![int("to", 7)]))),
        refused("to", x().tested(onnx("Cast", &["x"], &["logits"], vec![]))),
        refused("to", looked_up(onnx("Cast", &["input_ids"], &["ids"], vec![int("to", 1)]))),
        refused("to", x().tested(onnx("Cast", &["x"], &["logits"], vec![text("to", "FLOAT")]))),
        refused(
            "no operator ai.onnx::Transpose",
            x().tested(onnx("Transpose", &["x"], &["logits"], vec![ints("perm", &[0, 2, 1])])),
        ),
        refused(
            "no operator ai.onnx::Concat",
            x().tested(onnx("Concat", &["x", "x"], &["logits"], vec![int("axis", -1)])),
        ),
    ];
    let reshape = |shape: &[i64], attributes| {
        x().constant("shape", integers(&[shape.len() as u64], shape)).tested(onnx(
            "Reshape",
            &["x", "shape"],
            &["logits"],
            attributes,
        ))
    };
    refusals.extend([
        refused("allowzero", reshape(&[0, 0, 4], vec![int("allowzero", 1)])),
        refused("do not fit the shape [0, 0, 3]", reshape(&[0, 0, 3], vec![])),
        refused("do not fit the shape [0, -1, 8]", reshape(&[0, -1, 8], vec![])),
        refused("shape", reshape(&[0, 4, -1], vec![])),
    ]);
    for op_type in ["Squeeze", "Unsqueeze"] {
        let by_input = |axes: &[i64]| {
            x().constant("axes", integers(&[axes.len() as u64], axes)).tested(onnx(
                op_type,
                &["x", "axes"],
                &["logits"],
                vec![],
            ))
        };
        refusals.extend([
            refused("axes", by_input(&[2])),
            refused("axes", by_input(&[0, -1])),
            refused("axes", x().tested(onnx(op_type, &["x"], &["logits"], vec![ints("axes", &[3])]))),
            refused("axes", x().tested(onnx(op_type, &["x"], &["logits"], vec![]))),
            refused("axes", x().tested(onnx(op_type, &["x", "x"], &["logits"], vec![]))),
        ]);
    }
    refusals.extend([
        refused("a choice of tokens", slice_of(x(), [0, 2, 1, 1])),
        refused("steps", slice_of(x(), [0, 4, 2, 2])),
        refused("an empty slice", slice_of(x(), [2, 2, 2, 1])),
        refused("an empty slice", slice_of(x(), [3, 1, 2, 1])),
        refused("an empty slice", slice_of(x(), [7, 9, 2, 1])),
        refused(
            "ends is missing",
            x().constant("starts", integers(&[1], &[0])).constant("axes", integers(&[1], &[2])).tested(onnx(
                "Slice",
                &["x", "starts", "", "axes"],
                &["logits"],
                vec![],
            )),
        ),
    ]);
    let split = |attributes| x().tested(split_of(&["x"], &["a", "b"], attributes));
    let heads = || {
        x().constant("shape", integers(&[4], &[0, 0, 2, 2])).node(onnx(
            "Reshape",
            &["x", "shape"],
            &["heads"],
            vec![],
        ))
    };
    let add = || onnx("Add", &["a", "b"], &["logits"], vec![]);
    refusals.extend(
        [
            ("axis", split(vec![])),
            ("axis", split(vec![int("axis", 1)])),
            ("parts of [3, 2]", split(vec![int("axis", -1), ints("split", &[3, 2])])),
            ("parts of [4, 0]", split(vec![int("axis", -1), ints("split", &[4, 0])])),
            ("columns of 4", split(vec![int("axis", -1), ints("split", &[5, -1])])),
            ("num_outputs", split(vec![int("axis", -1), int("num_outputs", 3)])),
            ("num_outputs", split(vec![int("axis", -1), int("num_outputs", -1)])),
            ("a part of each head", heads().tested(split_of(&["heads"], &["a", "b"], vec![int("axis", -1)]))),
        ]
        .map(|(mentions, graph)| refused(mentions, graph.node(add()))),
    );
    refusals
}
