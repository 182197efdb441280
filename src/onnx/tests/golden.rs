//! The graphs in the test data: against facts dumped with the Python `onnx` package, written again, and damaged.

use std::path::Path;

use super::facts;
use crate::onnx::*;

/// The graphs in the test data, with their paths relative to it.
fn graphs() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut directories = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "onnx") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn the_golden_graphs_read_as_the_python_package_reads_them() {
    let expected = include_str!("../../../tests/data/onnx_facts.txt");
    let graphs = graphs();
    assert_eq!(expected.lines().count(), 12);
    for line in expected.lines() {
        let name = line.split(' ').next().unwrap();
        let (_, bytes) = graphs.iter().find(|(path, _)| path == name).unwrap();
        let model = Model::parse(bytes).unwrap();
        let graph = &model.graph;
        let counts = [graph.nodes.len(), graph.initializers.len(), graph.value_info.len()];
        let text = facts::text(&model);
        let [nodes, initializers, values] = counts;
        let found = format!("{name} {nodes} {initializers} {values} {}", facts::fnv(text.as_bytes()));
        assert_eq!(found, line, "{text}");
    }
}

#[test]
fn every_graph_is_written_as_it_was_read() {
    for (name, bytes) in graphs() {
        let model = Model::parse(&bytes).unwrap();
        let written = write(&model).unwrap();
        assert_eq!(Model::parse(&written).unwrap(), model, "{name}");
    }
}

/// A graph with every kind of field, 1 to 2 kB long.
fn small_graph() -> Vec<u8> {
    let graphs = graphs();
    let (_, bytes) = graphs.iter().find(|(name, _)| name == "models/phi-4-mini-int4/model.onnx").unwrap();
    let mut model = Model::parse(bytes).unwrap();
    let graph = &mut model.graph;
    graph.nodes.retain(|node| matches!(node.op_type, "If" | "MatMulNBits" | "Constant"));
    for node in &mut graph.nodes {
        for attribute in &mut node.attributes {
            if let AttributeValue::Graph(branch) = &mut attribute.value {
                branch.nodes.truncate(1);
                for constant in branch.nodes.iter_mut().flat_map(|node| &mut node.attributes) {
                    constant.value = AttributeValue::Tensor(Tensor {
                        name: "cache",
                        data_type: DataType::Float32,
                        dims: vec![2, 2],
                        content: TensorContent::Float32(vec![1.0; 4]),
                    });
                }
            }
        }
    }
    graph.nodes.sort_by_key(|node| node.op_type != "If");
    graph.nodes.truncate(4);
    graph.initializers.truncate(3);
    graph.value_info.truncate(2);
    graph.inputs.truncate(3);
    graph.outputs.truncate(2);
    model.metadata = vec![("key", "value")];
    write(&model).unwrap()
}

#[test]
fn a_graph_cut_anywhere_is_an_error_or_a_smaller_graph() {
    let bytes = small_graph();
    assert!((1_000..4_000).contains(&bytes.len()), "{}", bytes.len());
    let whole = Model::parse(&bytes).unwrap();
    for length in 0..bytes.len() {
        if let Ok(model) = Model::parse(&bytes[..length]) {
            // What follows the graph may be missing, but the graph itself is whole.
            assert_eq!(model.graph, whole.graph);
        }
    }
}

#[test]
fn every_golden_graph_may_be_cut_anywhere() {
    for (_, bytes) in graphs() {
        for cut in 0..50 {
            let _ = Model::parse(&bytes[..bytes.len() * cut / 50]);
        }
    }
}

proptest::proptest! {
    #[test]
    fn flipped_bytes_give_an_error_or_a_model(
        flips in proptest::collection::vec((proptest::prelude::any::<usize>(), 1..=255_u8), 1..8)
    ) {
        static GRAPH: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(small_graph);
        let mut bytes = GRAPH.clone();
        for (position, mask) in flips {
            let position = position % bytes.len();
            bytes[position] ^= mask;
        }
        // What can still be read can be written, and reads as the same again.
        if let Ok(model) = Model::parse(&bytes)
            && let Ok(written) = write(&model)
        {
            let again = Model::parse(&written).unwrap();
            assert_eq!(facts_of(&again), facts_of(&model));
        }
    }

    #[test]
    fn arbitrary_bytes_give_an_error_or_a_model(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)
    ) {
        let _ = Model::parse(&bytes);
        let _ = Model::parse(&[vec![7 << 3 | 2, bytes.len() as u8 & 0x7f], bytes].concat());
    }
}

/// The model as text, in which NaN equals itself.
fn facts_of(model: &Model<'_>) -> String {
    format!("{model:?}")
}
