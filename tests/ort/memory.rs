//! A pass for which a provider has not enough memory.

use edgeslm::onnx::{Attribute, AttributeValue, DataType, Tensor, TensorContent};
use edgeslm::session::{GenerateOptions, Prompt};
use edgeslm::{ErrorKind, LoadOptions, Model};

use super::copies::{Copy, node};
use super::options;

/// What a pass over more than one token asks for: 16 TiB.
const NUMBERS: i64 = 1 << 42;

fn number(name: &'static str, data_type: DataType, content: TensorContent<'static>) -> Tensor<'static> {
    Tensor { name, data_type, dims: vec![1], content }
}

/// Adds the largest of many zeros to the logits: one where the pass has one token, [`NUMBERS`] where it has more.
fn ask_for_memory(copy: &Copy) {
    copy.edit_graph(|model| {
        let graph = &mut model.graph;
        let output =
            graph.nodes.iter_mut().flat_map(|node| &mut node.outputs).find(|name| **name == "logits");
        *output.unwrap() = "few_logits";
        let integer = |name, value| number(name, DataType::Int64, TensorContent::Int64(vec![value]));
        graph.initializers.extend([
            integer("one", 1),
            integer("many", NUMBERS),
            number("zero", DataType::Float32, TensorContent::Inline(&[0; 4])),
        ]);
        let mut largest = node("ReduceMax", &["zeros"], "largest");
        largest.attributes.push(Attribute { name: "keepdims", value: AttributeValue::Int(0) });
        graph.nodes.extend([
            node("Shape", &["input_ids"], "input_shape"),
            node("Gather", &["input_shape", "one"], "new_tokens"),
            node("Greater", &["new_tokens", "one"], "has_many"),
            node("Where", &["has_many", "many", "one"], "how_many"),
            node("Expand", &["zero", "how_many"], "zeros"),
            largest,
            node("Add", &["few_logits", "largest"], "logits"),
        ]);
    });
}

#[test]
fn a_pass_without_memory_is_an_error_and_the_model_goes_on() {
    let Some(options) = options() else { return };
    let copy = Copy::of("llama-3.2-1b-int4");
    let whole = Model::load(copy.path(), &options).unwrap();
    ask_for_memory(&copy);
    let model = Model::load(copy.path(), &options).unwrap();
    let four = GenerateOptions { max_tokens: 4, ..GenerateOptions::default() };
    let answer = |model: &Model| {
        let mut session = model.session(Default::default()).unwrap();
        session.generate(Prompt::Tokens(vec![17]), &four).unwrap().tokens
    };
    let expected = answer(&whole);
    assert_eq!(answer(&model), expected, "a token at a time there is memory enough");

    let mut session = model.session(Default::default()).unwrap();
    let error = session.generate(Prompt::Tokens(vec![17, 18, 19]), &four).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MemoryBudget, "{error}");
    assert!(error.message().contains("ONNX Runtime") && error.hint().is_some(), "{error:?}");
    // The session itself, another one, and the CPU engine.
    assert_eq!(session.generate(Prompt::Tokens(vec![17]), &four).unwrap().tokens, expected);
    assert_eq!(answer(&model), expected);
    let cpu = Model::load(super::golden_directory("llama-3.2-1b-int4"), &LoadOptions::default()).unwrap();
    assert_eq!(answer(&cpu).len(), 4);
}
