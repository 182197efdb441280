//! Random edits: of values in the configuration, of attributes, shapes and connections of the graph.

use std::cell::RefCell;

use edgeslm::onnx::{AttributeValue, Graph, TensorContent};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::cases::Cases;
use super::fixtures::{CONFIG, Copy, outcome};

/// Edited directories in each of the two properties.
const EDITS: u32 = 400;

/// Small models with different operators, so that most edits meet something.
const MODELS: [&str; 6] = [
    "variants/llama-3-layers",
    "models/gemma-2-2b-int4",
    "models/phi-4-mini-int4",
    "variants/qdq-uint4-zero-points",
    "variants/rotary-nodes-partial",
    "variants/separate-qkv",
];

/// A number that is likely to be at an edge.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        -3_i64..40,
        any::<i64>(),
        (0_u32..63, -1_i64..=1).prop_map(|(shift, more)| (1_i64 << shift).saturating_add(more)),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(|value| json!(value)),
        number().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        ".{0,12}".prop_map(|value| json!(value)),
        prop::collection::vec(number(), 0..4).prop_map(|value| json!(value)),
        Just(json!({})),
    ]
}

/// The paths of all values in a JSON document.
fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    for (key, child) in children {
        let path = format!("{path}/{key}");
        places(child, &path, found);
        found.push(path);
    }
}

fn runner() -> TestRunner {
    // Without a file of failures: a failure prints the edit, and the numbers are the same in every run.
    let config =
        Config { cases: EDITS, failure_persistence: None, max_shrink_iters: 50, ..Config::default() };
    TestRunner::new_with_rng(
        config.clone(),
        prop::test_runner::TestRng::deterministic_rng(config.rng_algorithm),
    )
}

#[test]
fn edited_configurations() {
    let cases = RefCell::new(Cases::new("edited configurations"));
    let copies: Vec<(Copy, Value, Vec<String>)> = MODELS
        .iter()
        .map(|model| {
            let copy = Copy::of(model);
            let config = copy.json(CONFIG);
            let mut found = Vec::new();
            places(&config, "", &mut found);
            (copy, config, found)
        })
        .collect();
    let edits = prop::collection::vec((any::<prop::sample::Index>(), json_value()), 1..3);
    let result = runner().run(&(0..MODELS.len(), edits), |(model, edits)| {
        let (copy, config, found) = &copies[model];
        let mut edited = config.clone();
        for (place, value) in &edits {
            // An earlier edit may have removed the place.
            if let Some(place) = edited.pointer_mut(place.get::<String>(found)) {
                *place = value.clone();
            }
        }
        copy.write(CONFIG, edited.to_string());
        let passes =
            cases.borrow_mut().run(format!("{} {edited}", MODELS[model]), || outcome(copy.path()).map(drop));
        prop_assert!(passes);
        Ok(())
    });
    cases.into_inner().finish();
    result.unwrap();
}

#[derive(Debug, Clone)]
enum Edit {
    Attribute(prop::sample::Index, i64),
    Float(prop::sample::Index, f32),
    Dimension(prop::sample::Index, i64),
    Extra(prop::sample::Index, i64),
    Offset(prop::sample::Index, u64),
    /// Reads another value in place of an input.
    Rewire(prop::sample::Index, prop::sample::Index),
    /// Exchanges the operators of two nodes.
    Exchange(prop::sample::Index, prop::sample::Index),
    Remove(prop::sample::Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => (index(), number()).prop_map(|(place, value)| Edit::Attribute(place, value)),
        1 => (index(), any::<f32>()).prop_map(|(place, value)| Edit::Float(place, value)),
        3 => (index(), number()).prop_map(|(place, value)| Edit::Dimension(place, value)),
        1 => (index(), number()).prop_map(|(place, value)| Edit::Extra(place, value)),
        1 => (index(), any::<u64>()).prop_map(|(place, value)| Edit::Offset(place, value)),
        3 => (index(), index()).prop_map(|(place, source)| Edit::Rewire(place, source)),
        1 => (index(), index()).prop_map(|(first, second)| Edit::Exchange(first, second)),
        1 => index().prop_map(Edit::Remove),
    ]
}

fn apply(graph: &mut Graph<'_>, edit: &Edit) {
    match edit {
        Edit::Attribute(place, value) => {
            let integers =
                graph.nodes.iter_mut().flat_map(|node| &mut node.attributes).filter_map(|attribute| {
                    match &mut attribute.value {
                        AttributeValue::Int(value) => Some(value),
                        _ => None,
                    }
                });
            let mut integers: Vec<&mut i64> = integers.collect();
            let chosen = place.index(integers.len());
            *integers[chosen] = *value;
        }
        Edit::Float(place, value) => {
            let floats =
                graph.nodes.iter_mut().flat_map(|node| &mut node.attributes).filter_map(|attribute| {
                    match &mut attribute.value {
                        AttributeValue::Float(value) => Some(value),
                        _ => None,
                    }
                });
            let mut floats: Vec<&mut f32> = floats.collect();
            if !floats.is_empty() {
                let chosen = place.index(floats.len());
                *floats[chosen] = *value;
            }
        }
        Edit::Dimension(place, value) => {
            let mut dims: Vec<&mut u64> =
                graph.initializers.iter_mut().flat_map(|tensor| &mut tensor.dims).collect();
            if !dims.is_empty() {
                let chosen = place.index(dims.len());
                *dims[chosen] = value.cast_unsigned();
            }
        }
        Edit::Extra(place, value) => {
            let chosen = place.index(graph.initializers.len());
            graph.initializers[chosen].dims.push(value.cast_unsigned());
        }
        Edit::Offset(place, value) => {
            let chosen = place.index(graph.initializers.len());
            if let TensorContent::External { offset, length, .. } = &mut graph.initializers[chosen].content {
                *offset = *value;
                *length = None;
            }
        }
        Edit::Rewire(place, source) => {
            let names: Vec<&str> = graph
                .nodes
                .iter()
                .flat_map(|node| node.outputs.iter().chain(&node.inputs).copied())
                .collect();
            let source = *source.get(&names);
            let mut inputs: Vec<_> = graph.nodes.iter_mut().flat_map(|node| &mut node.inputs).collect();
            let chosen = place.index(inputs.len());
            *inputs[chosen] = source;
        }
        Edit::Exchange(first, second) => {
            let (first, second) = (first.index(graph.nodes.len()), second.index(graph.nodes.len()));
            let operator = |index: usize| (graph.nodes[index].op_type, graph.nodes[index].domain);
            let (of_first, of_second) = (operator(first), operator(second));
            (graph.nodes[first].op_type, graph.nodes[first].domain) = of_second;
            (graph.nodes[second].op_type, graph.nodes[second].domain) = of_first;
        }
        Edit::Remove(place) => {
            let chosen = place.index(graph.nodes.len());
            graph.nodes.remove(chosen);
        }
    }
}

#[test]
fn edited_graphs() {
    let cases = RefCell::new(Cases::new("edited graphs"));
    let copies: Vec<(Copy, Vec<u8>)> = MODELS
        .iter()
        .map(|model| {
            let copy = Copy::of(model);
            let graph = copy.read(super::fixtures::GRAPH);
            (copy, graph)
        })
        .collect();
    let edits = prop::collection::vec(edit(), 1..4);
    let result = runner().run(&(0..MODELS.len(), edits), |(model, edits)| {
        let (copy, graph) = &copies[model];
        copy.write(super::fixtures::GRAPH, graph);
        copy.edit_graph(|graph| edits.iter().for_each(|edit| apply(graph, edit)));
        let passes =
            cases.borrow_mut().run(format!("{} {edits:?}", MODELS[model]), || outcome(copy.path()).map(drop));
        prop_assert!(passes);
        Ok(())
    });
    cases.into_inner().finish();
    result.unwrap();
}
