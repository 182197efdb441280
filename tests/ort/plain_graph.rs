//! A graph whose cache is a plain `Concat`, as exports without fused attention have it: the cache cannot be shared, and a pass
//! replaces it. The "attention" is linear, so that every logit can be computed by hand.

use edgeslm::engine::{Engine, KvCache, LogitsAt, RunControl, SequenceInput};
use edgeslm::onnx::{
    Attribute, AttributeValue, DataType, Dimension, Graph, Model as Onnx, Node, OperatorSet, Tensor,
    TensorContent, ValueInfo,
};
use edgeslm::{Error, LoadOptions, Model};
use ndarray::{Array1, Array2};

use super::copies::{Copy, node};
use super::options;

const SIZE: usize = 4;
const ROWS: usize = 4;

fn table() -> Vec<f32> {
    (0..ROWS * SIZE).map(|index| ((index * 7 + 3) % 5) as f32 / 4.0 - 0.4).collect()
}

fn integers<'a>(name: &'a str, values: &[i64]) -> Tensor<'a> {
    Tensor {
        name,
        data_type: DataType::Int64,
        dims: vec![values.len() as u64],
        content: TensorContent::Int64(values.to_vec()),
    }
}

/// logits[s] = the sum over t up to s of (x_s · x_t) x_t, where x is the embedding.
fn write(copy: &Copy) {
    let symbol = Dimension::Symbol;
    let info = |name: &'static str, data_type, shape: Vec<Dimension<'static>>| ValueInfo {
        name,
        data_type: Some(data_type),
        shape: Some(shape),
    };
    let cache = |name: &'static str, positions: &'static str| {
        let (one, size) = (Dimension::Fixed(1), Dimension::Fixed(SIZE as i64));
        info(name, DataType::Float32, vec![symbol("batch"), one, symbol(positions), size])
    };
    let with = |mut node: Node<'static>, name: &'static str, value: AttributeValue<'static>| {
        node.attributes.push(Attribute { name, value });
        node
    };
    let heads = integers("heads", &[0, 1, -1, SIZE as i64]);
    let rows = integers("rows", &[0, -1, SIZE as i64]);
    let two = integers("two", &[2]);
    let bytes: Vec<u8> = table().iter().flat_map(|value| value.to_le_bytes()).collect();
    let graph = Graph {
        name: "plain",
        nodes: vec![
            node("Gather", &["table", "input_ids"], "rows_of_tokens"),
            node("Reshape", &["rows_of_tokens", "heads"], "new"),
            with(
                node("Concat", &["past_key_values.0.key", "new"], "present.0.key"),
                "axis",
                AttributeValue::Int(2),
            ),
            with(
                node("Concat", &["past_key_values.0.value", "new"], "present.0.value"),
                "axis",
                AttributeValue::Int(2),
            ),
            with(
                node("Transpose", &["present.0.key"], "keys"),
                "perm",
                AttributeValue::Ints(vec![0, 1, 3, 2]),
            ),
            node("MatMul", &["new", "keys"], "scores"),
            node("Shape", &["past_key_values.0.key"], "past_shape"),
            with(node("Gather", &["past_shape", "two"], "past_length"), "axis", AttributeValue::Int(0)),
            node("Squeeze", &["past_length"], "past_scalar"),
            with(node("Trilu", &["scores", "past_scalar"], "causal"), "upper", AttributeValue::Int(0)),
            node("MatMul", &["causal", "present.0.value"], "mixed"),
            node("Reshape", &["mixed", "rows"], "logits"),
        ],
        initializers: vec![
            Tensor {
                name: "table",
                data_type: DataType::Float32,
                dims: vec![ROWS as u64, SIZE as u64],
                content: TensorContent::Inline(&bytes),
            },
            heads,
            rows,
            two,
        ],
        inputs: vec![
            info("input_ids", DataType::Int64, vec![symbol("batch"), symbol("new")]),
            cache("past_key_values.0.key", "past"),
            cache("past_key_values.0.value", "past"),
        ],
        outputs: vec![
            info(
                "logits",
                DataType::Float32,
                vec![symbol("batch"), symbol("new"), Dimension::Fixed(SIZE as i64)],
            ),
            cache("present.0.key", "total"),
            cache("present.0.value", "total"),
        ],
        value_info: vec![],
    };
    let model = Onnx {
        ir_version: 8,
        operator_sets: vec![OperatorSet { domain: "", version: 17 }],
        graph,
        ..Onnx::default()
    };
    std::fs::write(copy.file("model.onnx"), edgeslm::onnx::write(&model).unwrap()).unwrap();
}

/// The logits after `sequence`.
fn expected(sequence: &[u32]) -> Array1<f32> {
    let table = Array2::from_shape_vec((ROWS, SIZE), table()).unwrap();
    let last = table.row(*sequence.last().unwrap() as usize);
    let mut sum = Array1::zeros(SIZE);
    for token in sequence {
        let row = table.row(*token as usize);
        sum.scaled_add(last.dot(&row), &row);
    }
    sum
}

fn last_logits(engine: &dyn Engine, cache: &mut dyn KvCache, sequence: &[u32]) -> Result<Array1<f32>, Error> {
    let start = engine.prepare(cache, sequence.len())?;
    let input = SequenceInput {
        cache,
        tokens: &sequence[start..],
        parents: None,
        logits: LogitsAt::Last,
        vocabulary: None,
    };
    Ok(engine.forward(&mut [input], &RunControl::default())?.remove(0).row(0).to_owned())
}

fn assert_near(found: &Array1<f32>, sequence: &[u32]) {
    let expected = expected(sequence);
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-4, "{sequence:?}: {found} and {expected}");
    }
}

#[test]
fn a_cache_that_a_pass_replaces() {
    let Some(options) = options() else { return };
    let copy = Copy::of("llama-3.2-1b-int4");
    write(&copy);
    // The CPU engine does not know such a graph.
    assert!(Model::load(copy.path(), &LoadOptions::default()).is_err());
    let model = Model::load(copy.path(), &options).unwrap();
    let engine = model.engine().as_ref();
    assert!(!model.ort_engine().unwrap().shares_cache());
    assert_eq!(engine.vocabulary_size(), SIZE);

    let mut cache = engine.new_cache();
    let mut sequence = vec![0, 1, 2, 3, 1];
    assert_near(&last_logits(engine, cache.as_mut(), &sequence).unwrap(), &sequence);
    for token in [2, 2, 0] {
        sequence.push(token);
        assert_near(&last_logits(engine, cache.as_mut(), &sequence).unwrap(), &sequence);
    }
    assert_eq!(cache.len(), sequence.len());
    // A branch is scored from its root, and leaves no trace.
    engine.prepare(cache.as_mut(), sequence.len() + 4).unwrap();
    let input = SequenceInput {
        cache: cache.as_mut(),
        tokens: &[3, 1, 2, 0],
        parents: Some(&[None, Some(0), Some(0), Some(2)]),
        logits: LogitsAt::All,
        vocabulary: None,
    };
    let tree = engine.forward(&mut [input], &RunControl::default()).unwrap().remove(0);
    for (row, branch) in [&[3][..], &[3, 1], &[3, 2], &[3, 2, 0]].into_iter().enumerate() {
        assert_near(&tree.row(row).to_owned(), &[&sequence, branch].concat());
    }
    // Cut in the middle, and gone on in another way.
    cache.truncate(3);
    assert_eq!(cache.len(), 3);
    sequence.truncate(3);
    sequence.extend([0, 0]);
    assert_near(&last_logits(engine, cache.as_mut(), &sequence).unwrap(), &sequence);
    cache.truncate(0);
    assert_near(&last_logits(engine, cache.as_mut(), &[2]).unwrap(), &[2]);
}
