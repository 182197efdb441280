//! Graphs that are well formed and hostile: endless chains, cycles, lengths that double, parts that do not fit.

use edgeslm::ErrorKind;
use edgeslm::onnx::{Attribute, AttributeValue, DataType, Graph, Node, Tensor, TensorContent};

use super::cases::{Cases, LIMITS, Limits};
use super::fixtures::{
    Copy, GRAPH, Outcome, answered, node, outcome, refused, refused_at, right_answer, set, tensor,
};

const MODEL: &str = "models/llama-3.2-1b-int4";

pub(super) const REFUSALS: [ErrorKind; 3] =
    [ErrorKind::InvalidModel, ErrorKind::Unsupported, ErrorKind::MemoryBudget];

fn changed(model: &str, change: impl FnOnce(&mut Graph<'_>)) -> Result<Outcome, String> {
    let copy = Copy::of(model);
    copy.edit_graph(change);
    outcome(copy.path())
}

/// A name that lives as long as the test.
pub(super) fn leak(name: String) -> &'static str {
    Box::leak(name.into_boxed_str())
}

pub(super) fn new_node<'a>(op_type: &'a str, inputs: &[&'a str], output: &'a str) -> Node<'a> {
    Node {
        name: "",
        op_type,
        domain: "",
        inputs: inputs.to_vec(),
        outputs: vec![output],
        attributes: Vec::new(),
    }
}

pub(super) fn integers(name: &'static str, dims: &[u64], values: Vec<i64>) -> Tensor<'static> {
    Tensor { name, data_type: DataType::Int64, dims: dims.to_vec(), content: TensorContent::Int64(values) }
}

fn empty(name: &'static str, dims: &[u64]) -> Tensor<'static> {
    Tensor { name, data_type: DataType::Int64, dims: dims.to_vec(), content: TensorContent::Inline(&[]) }
}

/// Puts a chain of `count` nodes with one input before the value `name`, which all its readers then read through the chain.
fn prepend_chain(graph: &mut Graph<'_>, op_type: &'static str, name: &str, count: usize) {
    let source = leak(name.to_owned());
    let names: Vec<&'static str> = (0..count).map(|index| leak(format!("chain {index}"))).collect();
    for node in &mut graph.nodes {
        for input in node.inputs.iter_mut().filter(|input| **input == name) {
            *input = names[count - 1];
        }
    }
    let sources = std::iter::once(source).chain(names.iter().copied());
    let mut chain: Vec<Node<'static>> =
        sources.zip(&names).map(|(from, to)| new_node(op_type, &[from], to)).collect();
    if op_type == "Cast" {
        let to = |node: &mut Node<'static>| {
            node.attributes.push(Attribute { name: "to", value: AttributeValue::Int(1) });
        };
        chain.iter_mut().for_each(to);
    }
    graph.nodes.extend(chain);
}

#[test]
fn long_chains() {
    let right = right_answer(MODEL);
    let mut cases = Cases::within("long chains", Limits { largest: 64 << 20, peak: 192 << 20, ..LIMITS });
    for (model, op_type, value) in [
        // A norm's row, codes and a rotation table, each through nodes that pass it on.
        (MODEL, "Identity", "model.layers.0.input_layernorm.weight"),
        (MODEL, "Identity", "model.layers.0.attn.qkv_proj.MatMul.weight_Q4"),
        (MODEL, "Identity", "cos_cache"),
        ("variants/dense", "Identity", "model.layers.0.mlp.up_proj.weight"),
        ("variants/dense", "Cast", "model.layers.0.mlp.up_proj.weight"),
        ("variants/dense", "Transpose", "model.layers.0.mlp.up_proj.weight"),
        // Lengths.
        (MODEL, "Identity", "attention_mask"),
        (MODEL, "Cast", "attention_mask"),
        (MODEL, "Shape", "attention_mask"),
    ] {
        cases.run(format!("60,000 times {op_type} of {value}"), || {
            let outcome = changed(model, |graph| prepend_chain(graph, op_type, value, 60_000))?;
            refused_at(outcome, &REFUSALS, GRAPH, "")
        });
    }
    cases.run("ten times Identity of a norm's row", || {
        let value = "model.layers.0.input_layernorm.weight";
        answered(changed(MODEL, |graph| prepend_chain(graph, "Identity", value, 10))?, &right)
    });
    cases.run("100,000 steps", || {
        let value = "/model/layers.0/input_layernorm/output_0";
        let outcome = changed(MODEL, |graph| prepend_chain(graph, "Tanh", value, 100_000))?;
        refused(outcome, &REFUSALS, GRAPH, "").map(drop)
    });
    cases.run("100,000 steps after the head", || {
        let outcome = changed(MODEL, |graph| {
            let head = graph.nodes.iter_mut().find(|node| node.outputs == ["logits"]).unwrap();
            head.outputs = vec!["head"];
            prepend_chain(graph, "Tanh", "head", 100_000);
            graph.nodes.push(new_node("Tanh", &["chain 99999"], "logits"));
        })?;
        refused(outcome, &REFUSALS, GRAPH, "").map(drop)
    });
    cases.run("60,000 nodes that pass the rows on", || {
        let value = "/model/layers.0/input_layernorm/output_0";
        answered(changed(MODEL, |graph| prepend_chain(graph, "Identity", value, 60_000))?, &right)
    });
    cases.finish();
}

#[test]
fn cycles() {
    let mut cases = Cases::new("cycles");
    for (value, op_type) in [
        ("model.layers.0.input_layernorm.weight", "Identity"),
        ("model.layers.0.attn.qkv_proj.MatMul.weight_Q4", "Identity"),
        ("cos_cache", "Identity"),
        ("attention_mask", "Identity"),
        ("/model/layers.0/input_layernorm/output_0", "Tanh"),
        ("model.layers.0.input_layernorm.weight", "Transpose"),
    ] {
        for length in [1, 2, 50] {
            cases.run(format!("{value} through {length} times {op_type} of itself"), || {
                let outcome = changed(MODEL, |graph| {
                    prepend_chain(graph, op_type, value, length);
                    let first = graph.nodes.iter_mut().find(|node| node.outputs == ["chain 0"]).unwrap();
                    first.inputs = vec![leak(format!("chain {}", length - 1))];
                })?;
                refused_at(outcome, &REFUSALS, GRAPH, "")
            });
        }
    }
    cases.finish();
}

/// Feeds the output of `nodes` into the lengths of attention, in place of the mask.
fn replace_mask(graph: &mut Graph<'_>, constants: Vec<Tensor<'static>>, nodes: Vec<Node<'static>>) {
    let last = nodes.last().unwrap().outputs[0];
    for node in &mut graph.nodes {
        for input in node.inputs.iter_mut().filter(|input| **input == "attention_mask") {
            *input = last;
        }
    }
    graph.initializers.extend(constants);
    graph.nodes.extend(nodes);
}

/// A chain in which node `i` reads the result before it and `other` (or that result again, for "").
pub(super) fn chain(
    op_type: &'static str,
    first: &'static str,
    other: &'static str,
    count: usize,
) -> Vec<Node<'static>> {
    let mut from = first;
    (0..count)
        .map(|index| {
            let to = leak(format!("{op_type} {index}"));
            let node = new_node(op_type, &[from, if other.is_empty() { from } else { other }], to);
            from = to;
            node
        })
        .collect()
}

/// Lengths and positions are computed when a model loads. What computes them is bounded.
#[test]
fn hostile_lengths() {
    const BIG: u64 = 1 << 40;
    let ones = |name, dims: &[u64]| integers(name, dims, vec![1; dims.iter().product::<u64>() as usize]);
    let axis = |node: Node<'static>, axis: i64| {
        let attribute = Attribute { name: "axis", value: AttributeValue::Int(axis) };
        Node { attributes: vec![attribute], ..node }
    };
    let row = || vec![ones("row", &[1, 1024]), ones("column", &[1024, 1])];
    let hundred_inputs = |name: &'static str, index: usize| {
        let inputs = vec![name; 100];
        Node { inputs, ..new_node("Concat", &[], leak(format!("Concat {index}"))) }
    };
    let programs: Vec<(&str, Vec<Tensor<'static>>, Vec<Node<'static>>)> = vec![
        ("a row that doubles sixty times", vec![ones("row", &[8])], chain("Concat", "row", "", 60)),
        (
            "a row that grows a hundredfold ten times",
            vec![ones("Concat 0", &[8])],
            (1..10).map(|index| hundred_inputs(leak(format!("Concat {}", index - 1)), index)).collect(),
        ),
        ("150 large values", row(), chain("Add", "row", "column", 150)),
        ("150 sums of no element", vec![empty("none", &[0, BIG, BIG])], chain("Add", "none", "", 150)),
        ("sums that overflow", vec![integers("most", &[1], vec![i64::MAX])], chain("Add", "most", "", 3)),
        ("products that overflow", vec![integers("most", &[1], vec![i64::MAX])], chain("Mul", "most", "", 3)),
        (
            "division by zero",
            vec![ones("one", &[1]), integers("zero", &[1], vec![0])],
            chain("Div", "one", "zero", 1),
        ),
        (
            "the smallest number divided by -1",
            vec![integers("least", &[1], vec![i64::MIN]), integers("minus", &[1], vec![-1])],
            chain("Div", "least", "minus", 1),
        ),
        (
            "the smallest number negated",
            vec![integers("least", &[1], vec![i64::MIN])],
            chain("Neg", "least", "", 2),
        ),
        ("a sum over no element", vec![empty("none", &[0, BIG, BIG])], chain("ReduceSum", "none", "", 1)),
        (
            "no index into rows without end",
            vec![empty("none", &[BIG * 1024, 0]), empty("no index", &[0])],
            vec![axis(new_node("Gather", &["none", "no index"], "gathered"), 1)],
        ),
        (
            "an index into rows of an overflowing size",
            vec![empty("none", &[0, BIG, BIG]), ones("one", &[1])],
            vec![axis(new_node("Gather", &["none", "one"], "gathered"), 0)],
        ),
        (
            "an index beyond the end",
            vec![ones("one", &[1]), integers("most", &[1], vec![i64::MAX])],
            vec![axis(new_node("Gather", &["one", "most"], "gathered"), 0)],
        ),
        (
            "the smallest axis",
            vec![ones("one", &[1])],
            vec![axis(new_node("Gather", &["one", "one"], "gathered"), i64::MIN)],
        ),
        (
            "a range without end",
            vec![integers("zero", &[1], vec![0]), integers("most", &[1], vec![i64::MAX]), ones("one", &[1])],
            vec![new_node("Range", &["zero", "most", "one"], "range")],
        ),
        (
            "a range from the smallest to the largest number",
            vec![
                integers("least", &[1], vec![i64::MIN]),
                integers("most", &[1], vec![i64::MAX]),
                ones("one", &[1]),
            ],
            vec![new_node("Range", &["least", "most", "one"], "range")],
        ),
        (
            "a shape that overflows",
            vec![ones("one", &[1]), integers("shape", &[3], vec![1 << 40, 1 << 40, -1])],
            vec![new_node("Reshape", &["one", "shape"], "reshaped")],
        ),
        (
            "a shape of no element",
            vec![empty("none", &[0]), integers("shape", &[3], vec![0, 1 << 40, 1 << 40])],
            vec![new_node("Reshape", &["none", "shape"], "reshaped")],
        ),
        (
            "a negative shape",
            vec![ones("one", &[1]), integers("shape", &[2], vec![-1, -1])],
            vec![new_node("Reshape", &["one", "shape"], "reshaped")],
        ),
        (
            "a hundred thousand axes",
            vec![ones("one", &[1]), integers("axes", &[100_000], (0..100_000).collect())],
            vec![new_node("Unsqueeze", &["one", "axes"], "unsqueezed")],
        ),
        (
            "the same axis twice",
            vec![ones("one", &[1]), integers("axes", &[2], vec![2, 2])],
            vec![new_node("Unsqueeze", &["one", "axes"], "unsqueezed")],
        ),
        (
            "a scalar where a length belongs",
            vec![integers("scalar", &[], vec![3])],
            vec![new_node("Identity", &["scalar"], "length")],
        ),
        ("a missing input", vec![], vec![new_node("Add", &["", ""], "sum")]),
        ("a value that nothing makes", vec![], vec![new_node("Identity", &["nothing"], "same")]),
        (
            "an operator of another domain",
            vec![],
            vec![Node { domain: "other", ..new_node("Add", &["attention_mask"], "sum") }],
        ),
    ];
    // A call may hold 64 MiB of them.
    let mut cases = Cases::within("hostile lengths", Limits { largest: 40 << 20, peak: 128 << 20, ..LIMITS });
    for (what, constants, nodes) in programs {
        cases.run(what, || {
            let outcome = changed(MODEL, |graph| replace_mask(graph, constants, nodes))?;
            refused_at(outcome, &REFUSALS, GRAPH, "")
        });
    }
    cases.finish();
}

/// Many nodes times many integer nodes that each of them depends on.
#[test]
fn lengths_that_every_node_computes_again() {
    let mut cases = Cases::within("repeated lengths", Limits { peak: 256 << 20, ..LIMITS });
    cases.run("1,000 shapes of 30,000 values each", || {
        let outcome = changed(MODEL, |graph| {
            let parts: Vec<&'static str> = (0..30_000).map(|index| leak(format!("part {index}"))).collect();
            graph.initializers.push(integers("one", &[1], vec![1]));
            graph.nodes.extend(parts.iter().map(|part| new_node("Identity", &["one"], part)));
            // Identity of a constant is one; a sum is not.
            let sums: Vec<&'static str> = (0..30_000).map(|index| leak(format!("sum {index}"))).collect();
            graph
                .nodes
                .extend(parts.iter().zip(&sums).map(|(part, sum)| new_node("Add", &[part, "one"], sum)));
            let all = Node { inputs: sums, ..new_node("Concat", &[], "all") };
            graph.nodes.push(all);
            graph.initializers.push(integers("shape", &[3], vec![0, 0, -1]));
            graph.nodes.push(new_node("ReduceMin", &["all"], "least"));
            let value = "/model/layers.0/input_layernorm/output_0";
            prepend_chain(graph, "Reshape", value, 1_000);
            for node in graph.nodes.iter_mut().filter(|node| node.op_type == "Reshape") {
                if node.inputs.len() == 1 {
                    node.inputs.push("least");
                }
            }
        })?;
        refused(outcome, &REFUSALS, GRAPH, "").map(drop)
    });
    cases.finish();
}

#[test]
fn graphs_without_what_they_need() {
    type Change = fn(&mut Graph<'_>);
    let changes: [(&str, Change); 12] = [
        ("no nodes", |graph| graph.nodes.clear()),
        ("no initializers", |graph| graph.initializers.clear()),
        ("no inputs", |graph| graph.inputs.clear()),
        ("no outputs", |graph| graph.outputs.clear()),
        ("nothing", |graph| *graph = Graph::default()),
        ("no embedding", |graph| graph.nodes.retain(|node| node.op_type != "GatherBlockQuantized")),
        ("attention without inputs", |graph| node(graph, "GroupQueryAttention").inputs.clear()),
        ("attention without outputs", |graph| node(graph, "GroupQueryAttention").outputs.clear()),
        ("products without inputs", |graph| node(graph, "MatMulNBits").inputs.clear()),
        ("two nodes that make one value", |graph| {
            let again = node(graph, "MatMulNBits").clone();
            graph.nodes.push(again);
        }),
        ("logits that are the tokens", |graph| {
            graph.nodes.retain(|node| node.outputs != ["logits"]);
            graph.nodes.push(new_node("Identity", &["input_ids"], "logits"));
        }),
        ("logits that are a constant", |graph| {
            graph.nodes.retain(|node| node.outputs != ["logits"]);
            graph.nodes.push(new_node("Identity", &["cos_cache"], "logits"));
        }),
    ];
    let mut cases = Cases::new("incomplete graphs");
    for (what, change) in changes {
        cases.run(what, || refused(changed(MODEL, change)?, &REFUSALS, GRAPH, "").map(drop));
    }
    cases.finish();
}

#[test]
fn parts_of_rows() {
    let split = |sizes: Option<Vec<i64>>, outputs: Option<i64>, names: usize| {
        move |graph: &mut Graph<'_>| {
            let value = "/model/layers.0/input_layernorm/output_0";
            prepend_chain(graph, "Split", value, 1);
            let node = node(graph, "Split");
            node.outputs.extend((1..names).map(|index| leak(format!("part {index}"))));
            set(node, "axis", AttributeValue::Int(-1));
            if let Some(outputs) = outputs {
                set(node, "num_outputs", AttributeValue::Int(outputs));
            }
            if let Some(sizes) = sizes {
                node.inputs.push("sizes");
                let count = sizes.len() as u64;
                graph.initializers.push(integers("sizes", &[count], sizes));
            }
        }
    };
    let mut cases = Cases::new("parts of rows");
    for (what, sizes, outputs, names) in [
        ("parts without end", None, Some(i64::MAX), 1),
        ("a negative number of parts", None, Some(-1), 1),
        ("no part", None, Some(0), 1),
        ("more parts than columns", None, None, 1_000),
        ("a part without columns", Some(vec![256, 0]), None, 2),
        ("a part of negative columns", Some(vec![512, -256]), None, 2),
        ("parts that overflow", Some(vec![i64::MAX, i64::MAX, 258]), None, 3),
        ("more sizes than parts", Some(vec![128, 128]), None, 1),
        ("fewer sizes than parts", Some(vec![256]), None, 2),
    ] {
        cases.run(what, || {
            refused_at(changed(MODEL, split(sizes, outputs, names))?, &REFUSALS, GRAPH, "Split")
        });
    }
    for (what, starts, ends) in [
        ("from beyond the end", i64::MAX, i64::MAX),
        ("to before the start", 5, i64::MIN),
        ("backwards", 100, 50),
        ("nothing", 256, 256),
        ("from the least", i64::MIN, 0),
    ] {
        cases.run(format!("a slice {what}"), || {
            let outcome = changed(MODEL, |graph| {
                prepend_chain(graph, "Slice", "/model/layers.0/input_layernorm/output_0", 1);
                node(graph, "Slice").inputs.extend(["starts", "ends", "axes"]);
                graph.initializers.extend([
                    integers("starts", &[1], vec![starts]),
                    integers("ends", &[1], vec![ends]),
                    integers("axes", &[1], vec![2]),
                ]);
            })?;
            refused_at(outcome, &REFUSALS, GRAPH, "Slice")
        });
    }
    cases.finish();
}

/// Quantised tensors whose shape promises more than the file holds.
#[test]
fn dequantised_tensors() {
    const MOST: u64 = i64::MAX as u64;
    let mut cases = Cases::new("dequantised tensors");
    for (what, codes, scales) in [
        ("rows without end and one scale", vec![1 << 60, 1], vec![1]),
        ("columns without end and one scale", vec![1, 1 << 60], vec![1]),
        ("the most columns and a scale a row", vec![1, MOST], vec![1]),
        ("scales whose number overflows", vec![128, 64], vec![1 << 40, 1 << 40, 0]),
        ("no rows", vec![0, 64], vec![0, 2]),
        ("no columns", vec![128, 0], vec![128, 0]),
        ("three axes", vec![128, 8, 8], vec![128, 2]),
    ] {
        for block_size in [0, 32, 1 << 40, 1 << 62, i64::MAX] {
            cases.run(format!("{what}, blocks of {block_size}"), || {
                let outcome = changed("variants/qdq-int4", |graph| {
                    for (part, dims) in
                        [("layers.0.mlp.up_proj.qweight", &codes), ("layers.0.mlp.up_proj.scales", &scales)]
                    {
                        let tensor = tensor(graph, part);
                        tensor.dims = dims.clone();
                        if let TensorContent::External { length, .. } = &mut tensor.content {
                            *length = None;
                        }
                    }
                    let reader =
                        |node: &&mut Node<'_>| node.inputs[0].contains("layers.0.mlp.up_proj.qweight");
                    let node =
                        graph.nodes.iter_mut().find(|node| !node.inputs.is_empty() && reader(node)).unwrap();
                    set(node, "block_size", AttributeValue::Int(block_size));
                })?;
                refused(outcome, &REFUSALS, "", "").map(drop)
            });
        }
    }
    cases.finish();
}
