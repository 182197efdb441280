//! Lowering and rewriting of the published graph forms.

use std::path::PathBuf;

use super::{Activation, NormKind, Operation, Program, ProgramOptions, lower, passes};
use crate::engine::cpu::{CpuEngine, CpuOptions};
use crate::engine::{Engine, LogitsAt, RunControl, SequenceInput};
use crate::error::{ErrorKind, Result};
use crate::model::{FileOptions, GraphFiles};
use crate::onnx::{DataType, Graph, Model, Node, Tensor, TensorContent, ValueInfo};

fn program(name: &str) -> Result<Program> {
    program_of(&format!("models/{name}/model.onnx"))
}

fn program_of(path: &str) -> Result<Program> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    let files = GraphFiles::open(&path, FileOptions::default())?;
    let model = files.parse()?;
    let options = ProgramOptions { context_length: Some(1024), ..ProgramOptions::default() };
    let mut program = lower(&model, &files, &options)?;
    passes::run(&mut program);
    Ok(program)
}

fn shape(program: &Program) -> Vec<&'static str> {
    program
        .steps
        .iter()
        .map(|step| match &step.operation {
            Operation::Embed { .. } => "embed",
            Operation::Multiply { residual: None, bias: None, .. } => "multiply",
            Operation::Multiply { residual: None, .. } => "multiply+bias",
            Operation::Multiply { .. } => "multiply+residual",
            Operation::GatedMultiply { .. } => "gated multiply",
            Operation::Gated { .. } => "gated",
            Operation::Norm { .. } => "norm",
            Operation::Activate { .. } => "activate",
            Operation::Add { .. } => "add",
            Operation::Mul { .. } => "mul",
            Operation::AddRow { .. } => "add row",
            Operation::MulRow { .. } => "mul row",
            Operation::Scale { .. } => "scale",
            Operation::Rotate { .. } => "rotate",
            Operation::Attend(_) => "attend",
        })
        .collect()
}

const LAYER: [&str; 6] = ["norm", "multiply", "attend", "multiply+residual", "norm", "gated multiply"];

#[test]
fn a_llama_graph_becomes_six_steps_a_layer() {
    let program = program("mistral-nemo-int4").unwrap();
    let mut expected = vec!["embed"];
    for _ in 0..2 {
        expected.extend(LAYER);
        expected.push("multiply+residual");
    }
    expected.extend(["norm", "multiply"]);
    assert_eq!(shape(&program), expected);
    assert_eq!(program.layers.len(), 2);
    assert_eq!(program.switch_length, None);
}

#[test]
fn a_bias_joins_the_packed_projection() {
    let program = program("qwen-2.5-3b-int4").unwrap();
    assert_eq!(shape(&program)[1..3], ["norm", "multiply+bias"]);
}

#[test]
fn soft_caps_and_the_embedding_scale_are_single_steps() {
    let program = program("gemma-2-2b-int4").unwrap();
    let shape = shape(&program);
    assert_eq!(shape[..2], ["embed", "scale"]);
    assert_eq!(shape[shape.len() - 2..], ["multiply", "activate"]);
    let Some(Operation::Attend(attention)) = program
        .steps
        .iter()
        .map(|step| &step.operation)
        .find(|operation| matches!(operation, Operation::Attend(_)))
    else {
        panic!("no attention")
    };
    assert_eq!((attention.softcap, attention.window), (Some(50.0), Some(64)));
}

#[test]
fn longrope_has_two_tables_and_a_switch() {
    for name in ["phi-4-mini-int4", "phi-3.5-mini-int4"] {
        let program = program(name).unwrap();
        assert_eq!(program.switch_length, Some(129), "{name}");
        assert_eq!(program.ropes.len(), 1);
        assert_eq!(program.ropes[0].variants.len(), 2);
    }
}

#[test]
fn functions_in_single_operators_become_single_steps() {
    let expected = program_of("variants/separate-adds/model.onnx").unwrap();
    let single = program_of("variants/decomposed-rms-norm/model.onnx").unwrap();
    // One layer more.
    assert_eq!(shape(&single)[..shape(&expected).len() - 2], shape(&expected)[..shape(&expected).len() - 2]);
    for (name, activations) in [
        ("gelu-forms", [Activation::GeluErf, Activation::GeluErf, Activation::GeluTanh]),
        ("decomposed-gelu", [Activation::GeluErf, Activation::GeluErf, Activation::GeluErf]),
    ] {
        let program = program_of(&format!("variants/{name}/model.onnx")).unwrap();
        let gates = program.steps.iter().filter_map(|step| match &step.operation {
            Operation::GatedMultiply { activation, .. } => Some(*activation),
            _ => None,
        });
        assert_eq!(gates.take(3).collect::<Vec<_>>(), activations, "{name}");
        assert!(!shape(&program).iter().any(|step| ["scale", "mul", "activate"].contains(step)), "{name}");
    }
    let layer_norms = program_of("variants/decomposed-layer-norm/model.onnx").unwrap();
    let with_bias = layer_norms.steps.iter().filter(|step| {
        matches!(&step.operation, Operation::Norm { kind: NormKind::Layer { bias: Some(_) }, .. })
    });
    assert_eq!(with_bias.count(), 5);
    let int8 = program_of("variants/dynamic-int8/onnx/model_quantized.onnx").unwrap();
    assert_eq!(shape(&int8)[..3], ["embed", "norm", "multiply"]);
}

/// A graph that embeds tokens into eight columns, runs `nodes` on `x`, and multiplies `y` by a matrix.
fn small_graph<'a>(nodes: Vec<Node<'a>>, x: &'a str, y: &'a str) -> Model<'a> {
    static ZEROS: [u8; 4 * 8 * 8] = [0; 4 * 8 * 8];
    let matrix = Tensor {
        name: "table",
        data_type: DataType::Float32,
        dims: vec![8, 8],
        content: TensorContent::Inline(&ZEROS),
    };
    let value = |name| ValueInfo { name, data_type: None, shape: None };
    let mut all = vec![node("Gather", &["table", "input_ids"], x)];
    all.extend(nodes);
    all.push(node("MatMul", &[y, "table"], "logits"));
    let graph = Graph {
        nodes: all,
        initializers: vec![matrix],
        inputs: vec![value("input_ids"), value("attention_mask")],
        outputs: vec![value("logits")],
        ..Graph::default()
    };
    Model { graph, ..Model::default() }
}

fn node<'a>(op_type: &'a str, inputs: &[&'a str], output: &'a str) -> Node<'a> {
    Node { name: "", op_type, domain: "", inputs: inputs.to_vec(), outputs: vec![output], attributes: vec![] }
}

fn lowered(model: &Model<'_>) -> Result<Program> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.onnx");
    std::fs::write(&path, [0]).unwrap();
    let files = GraphFiles::open(&path, FileOptions::default()).unwrap();
    let mut program = lower(model, &files, &ProgramOptions::default())?;
    passes::run(&mut program);
    Ok(program)
}

/// `count` nodes after one another, from `v0` to the last name.
fn chain<'a>(op_type: &'a str, names: &'a [String]) -> Vec<Node<'a>> {
    names.windows(2).map(|pair| node(op_type, &[&pair[0]], &pair[1])).collect()
}

#[test]
fn large_graphs_take_time_in_proportion() {
    let names: Vec<String> = (0..60_000).map(|index| format!("v{index}")).collect();
    let (first, last) = (names[0].as_str(), names[59_999].as_str());
    let before_the_head = small_graph(chain("Sigmoid", &names), first, last);
    let mut after_the_head = small_graph(chain("Sigmoid", &names), "x", "x");
    let head = after_the_head.graph.nodes.len() - 1;
    after_the_head.graph.nodes[head].outputs[0] = first;
    after_the_head.graph.nodes[head - 1].outputs[0] = "logits";
    let start = std::time::Instant::now();
    for graph in [before_the_head, after_the_head] {
        let program = lowered(&graph).unwrap();
        assert_eq!(program.steps.len(), 60_001);
        let options = CpuOptions { threads: Some(1), context_length: 64, ..CpuOptions::default() };
        let engine = CpuEngine::new(program, &options).unwrap();
        let mut cache = engine.new_cache();
        engine.prepare(cache.as_mut(), 2).unwrap();
        for _ in 0..2 {
            let mut batch = [SequenceInput {
                cache: cache.as_mut(),
                tokens: &[1],
                parents: None,
                logits: LogitsAt::Last,
                vocabulary: None,
            }];
            engine.forward(&mut batch, &RunControl::default()).unwrap();
        }
    }
    // Half a second; work in proportion to the square would take hours.
    assert!(start.elapsed().as_secs() < 120, "{:?}", start.elapsed());
}

#[test]
fn graphs_without_end_or_measure_are_errors() {
    let names: Vec<String> = (0..70_000).map(|index| format!("v{index}")).collect();
    let error = lowered(&small_graph(chain("Sigmoid", &names), "v0", "v69999")).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("65536"), "{error}");
    for op_type in ["Identity", "Cast", "Transpose", "Reshape"] {
        // A matrix behind many nodes, and one behind a circle.
        let mut long = small_graph(chain(op_type, &names[..60_000]), "x", "x");
        long.graph.initializers[0].name = "v0";
        long.graph.initializers.push(Tensor { name: "table", ..long.graph.initializers[0].clone() });
        let end = long.graph.nodes.len() - 1;
        long.graph.nodes[end].inputs[1] = "v59999";
        let error = lowered(&long).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::InvalidModel | ErrorKind::Unsupported),
            "{op_type}: {error}"
        );
        let mut circle = small_graph(vec![node(op_type, &["a"], "b"), node(op_type, &["b"], "a")], "x", "x");
        let end = circle.graph.nodes.len() - 1;
        circle.graph.nodes[end].inputs[1] = "a";
        assert_eq!(lowered(&circle).unwrap_err().kind(), ErrorKind::InvalidModel, "{op_type}");
    }
}

#[test]
fn every_fixture_lowers() {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/models");
    let mut count = 0;
    for entry in std::fs::read_dir(models).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_type().unwrap().is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().unwrap();
        let program = program(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(program.vocabulary_size(), 512, "{name}");
        count += 1;
    }
    assert_eq!(count, 12);
}
