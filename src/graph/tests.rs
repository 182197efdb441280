//! Lowering and rewriting of the published graph forms.

use std::path::PathBuf;

use super::{Operation, Program, ProgramOptions, lower, passes};
use crate::error::Result;
use crate::model::{FileOptions, GraphFiles};

fn program(name: &str) -> Result<Program> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/models").join(name).join("model.onnx");
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
