//! The interpreter on graphs made for it; what it must give follows from the operators' definitions.

use super::*;
use crate::graph::view::GraphView;
use crate::model::{FileOptions, GraphFiles, GraphNames};
use crate::onnx::{Attribute, Graph, Tensor, TensorContent, ValueInfo};

fn node<'a>(op_type: &'a str, inputs: &[&'a str], output: &'a str) -> Node<'a> {
    Node { name: "", op_type, domain: "", inputs: inputs.to_vec(), outputs: vec![output], attributes: vec![] }
}

fn with<'a>(mut node: Node<'a>, name: &'a str, value: i64) -> Node<'a> {
    node.attributes.push(Attribute { name, value: AttributeValue::Int(value) });
    node
}

fn constant<'a>(name: &'a str, values: &[i64]) -> Tensor<'a> {
    let dims = if values.len() == 1 { vec![] } else { vec![values.len() as u64] };
    Tensor { name, data_type: DataType::Int64, dims, content: TensorContent::Int64(values.to_vec()) }
}

fn input<'a>(name: &'a str, shape: Option<Vec<Dimension<'a>>>) -> ValueInfo<'a> {
    ValueInfo { name, data_type: Some(DataType::Int64), shape }
}

/// A graph of `nodes` with the usual inputs and some constants.
fn graph<'a>(nodes: Vec<Node<'a>>) -> Graph<'a> {
    let cache = ["batch", "heads", "past", "size"].map(Dimension::Symbol).to_vec();
    let fixed =
        vec![Dimension::Symbol("b"), Dimension::Fixed(2), Dimension::Symbol("p"), Dimension::Fixed(16)];
    Graph {
        nodes,
        inputs: vec![
            input("input_ids", None),
            input("attention_mask", None),
            input("num_logits_to_keep", None),
            input("past_key_values.0.key", Some(cache)),
            input("past_key_values.0.value", Some(fixed)),
        ],
        initializers: vec![
            constant("zero", &[0]),
            constant("one", &[1]),
            constant("two", &[2]),
            constant("end", &[i64::MAX]),
            constant("shape_1_3", &[1, 3]),
            constant("shape_2_2", &[2, 2]),
            constant("four", &[4, 5, 6, 7]),
        ],
        ..Graph::default()
    }
}

fn evaluate(nodes: Vec<Node<'_>>, call: Call, name: &str) -> Result<Small> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.onnx");
    std::fs::write(&path, [0]).unwrap();
    let files = GraphFiles::open(&path, FileOptions::default()).unwrap();
    let names = GraphNames::default();
    let graph = graph(nodes);
    let view = GraphView::new(&graph, &files, &names).unwrap();
    Control::new(&view).value(call, name).map(|small| (*small).clone())
}

fn small(dims: &[usize], elements: &[i64]) -> Small {
    Small { dims: dims.to_vec(), elements: elements.to_vec() }
}

#[test]
fn shapes_of_caches_and_parts_of_shapes() {
    let call = Call::of(5, 3);
    let shape_of = |name, start, end| {
        let node = with(with(node("Shape", &[name], "y"), "start", start), "end", end);
        evaluate(vec![node], call, "y").unwrap()
    };
    assert_eq!(shape_of("past_key_values.0.value", 0, 4), small(&[4], &[1, 2, 5, 16]));
    assert_eq!(shape_of("past_key_values.0.key", 2, 3), small(&[1], &[5]));
    assert_eq!(shape_of("past_key_values.0.key", -2, -1), small(&[1], &[5]));
    assert_eq!(shape_of("attention_mask", 1, 9), small(&[1], &[8]));
    assert_eq!(shape_of("input_ids", -9, 1), small(&[1], &[1]));
    assert_eq!(shape_of("input_ids", 2, 1), small(&[0], &[]));
    // An extent that the file does not tell cannot pass for a length.
    let heads = with(with(node("Shape", &["past_key_values.0.key"], "heads"), "start", 1), "end", 2);
    let less = node("Sub", &["heads", "one"], "y");
    assert!(evaluate(vec![heads, less], call, "y").is_err());
}

#[test]
fn positions_counted_along_the_mask() {
    let nodes = vec![
        node("CumSum", &["attention_mask", "one"], "counts"),
        node("Sub", &["counts", "one"], "places"),
        with(with(node("Shape", &["past_key_values.0.key"], "past"), "start", 2), "end", 3),
        node("Slice", &["places", "past", "ends", "one"], "y"),
        node("Unsqueeze", &["end", "zero"], "ends"),
    ];
    assert_eq!(evaluate(nodes, Call::of(5, 3), "y").unwrap(), small(&[1, 3], &[5, 6, 7]));
}

#[test]
fn masks_put_together_from_parts() {
    let mut ones = node("ConstantOfShape", &["shape_2_2"], "ones");
    let value = Tensor { dims: vec![1], ..constant("", &[3]) };
    ones.attributes.push(Attribute { name: "value", value: AttributeValue::Tensor(value) });
    let wide = with(node("Concat", &["ones", "zeros", "ones"], "wide"), "axis", -1);
    let zeros = node("ConstantOfShape", &["shape_2_2"], "zeros");
    let call = Call::of(0, 1);
    let rows = small(&[2, 6], &[3, 3, 0, 0, 3, 3, 3, 3, 0, 0, 3, 3]);
    assert_eq!(evaluate(vec![ones.clone(), zeros.clone(), wide], call, "wide").unwrap(), rows);
    let tall = with(node("Concat", &["zeros", "ones"], "tall"), "axis", 0);
    let columns = small(&[4, 2], &[0, 0, 0, 0, 3, 3, 3, 3]);
    assert_eq!(evaluate(vec![ones, zeros, tall], call, "tall").unwrap(), columns);
    let grown = vec![
        node("Range", &["zero", "two", "one"], "range"),
        node("Unsqueeze", &["range", "one"], "column"),
        node("Expand", &["column", "shape_1_3"], "y"),
    ];
    assert_eq!(evaluate(grown, call, "y").unwrap(), small(&[2, 3], &[0, 0, 0, 1, 1, 1]));
}

#[test]
fn slices_of_rows_and_columns() {
    let call = Call::of(0, 1);
    let with_ends = |start, end, axis| {
        let nodes = vec![
            node("Reshape", &["four", "shape_2_2"], "square"),
            node("Unsqueeze", &[start, "zero"], "starts"),
            node("Unsqueeze", &[end, "zero"], "ends"),
            node("Unsqueeze", &[axis, "zero"], "axes"),
            node("Slice", &["square", "starts", "ends", "axes"], "y"),
        ];
        evaluate(nodes, call, "y").unwrap()
    };
    assert_eq!(with_ends("one", "end", "zero"), small(&[1, 2], &[6, 7]));
    assert_eq!(with_ends("zero", "one", "one"), small(&[2, 1], &[4, 6]));
    assert_eq!(with_ends("two", "end", "one"), small(&[2, 0], &[]));
}

#[test]
fn the_number_of_logits_is_what_the_call_asks_for() {
    let nodes = || vec![node("Neg", &["num_logits_to_keep"], "y")];
    assert_eq!(evaluate(nodes(), Call::of(2, 3), "y").unwrap(), small(&[], &[0]));
    let call = Call { logits_to_keep: 1, ..Call::of(2, 3) };
    assert_eq!(evaluate(nodes(), call, "y").unwrap(), small(&[], &[-1]));
}

#[test]
fn more_than_the_budget_is_an_error_without_the_memory() {
    let error = evaluate(vec![], Call::of(1 << 40, 1), "attention_mask").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    // Each value is small enough, but not all together.
    let names: Vec<String> = (0..100).map(|index| format!("v{index}")).collect();
    let nodes = std::iter::once(node("Neg", &["attention_mask"], &names[0]))
        .chain(names.windows(2).map(|pair| node("Neg", &[&pair[0]], &pair[1])))
        .collect();
    let error = evaluate(nodes, Call::of(0, 1 << 20), "v99").unwrap_err();
    assert!(error.message().contains("hold too much at a time"), "{error}");
}

#[test]
fn long_chains_are_errors() {
    let names: Vec<String> = (0..100_000).map(|index| format!("v{index}")).collect();
    for op_type in ["Neg", "Identity", "Cast"] {
        let nodes = std::iter::once(node(op_type, &["attention_mask"], &names[0]))
            .chain(names.windows(2).take(60_000).map(|pair| node(op_type, &[&pair[0]], &pair[1])))
            .collect();
        let error = evaluate(nodes, Call::of(0, 1), "v60000").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{op_type}: {error}");
        let cycle = vec![node(op_type, &["a"], "b"), node(op_type, &["b"], "a")];
        assert_eq!(evaluate(cycle, Call::of(0, 1), "a").unwrap_err().kind(), ErrorKind::InvalidModel);
    }
}
