//! What is read of a model before an engine is made for it.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::load::context_length;
use super::memory::{self, MemoryEstimate};
use super::{GraphFiles, LoadOptions, ModelConfig, ModelDirectory};
use crate::engine::Engine;
use crate::engine::cpu::{CpuEngine, CpuOptions};
use crate::error::{ErrorKind, Result};
use crate::graph::{self, FloatKind, Matrix, Operation, Program, ProgramOptions};
use crate::kernels::TeamOptions;
use crate::onnx;

/// What is told of a graph once it is loaded.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) layers: usize,
    pub(super) longrope_switch: Option<usize>,
    pub(super) operators: BTreeMap<String, usize>,
    pub(super) weights: BTreeMap<String, u64>,
}

/// What is known of a model before an engine is made for it.
pub(super) struct Parts<'a> {
    pub(super) directory: ModelDirectory<'a>,
    pub(super) program: Program,
    pub(super) context_length: usize,
    operators: BTreeMap<String, usize>,
    graph_bytes: u64,
    /// Whether the files are copies in memory.
    are_copies: bool,
}

impl<'a> Parts<'a> {
    pub(super) fn read(directory: ModelDirectory<'a>, options: &LoadOptions) -> Result<Self> {
        let files = directory.open_graph(options.load)?;
        let (program, operators) =
            read_program(&directory, &files).map_err(|error| error.with_file(directory.graph_path()))?;
        let context_length = context_length(options, directory.config(), program.positions)?;
        let (graph_bytes, are_copies) = (files.as_bytes().len() as u64, files.are_copies());
        Ok(Self { directory, program, context_length, operators, graph_bytes, are_copies })
    }

    pub(super) fn facts(&self) -> Facts {
        let mut weights = weights_by_kind(&self.program);
        let tables = memory::table_bytes(&self.program);
        if tables > 0 {
            weights.insert("embedding table".to_owned(), tables);
        }
        Facts {
            layers: self.program.layers.len(),
            longrope_switch: self.program.switch_length,
            operators: self.operators.clone(),
            weights,
        }
    }

    /// With a tokenizer that takes `tokenizer` bytes.
    pub(super) fn estimate(
        &self,
        positions: usize,
        options: &LoadOptions,
        tokenizer: u64,
    ) -> Result<MemoryEstimate> {
        let engine = CpuEngine::new(
            self.program.clone(),
            &CpuOptions {
                accuracy: options.accuracy,
                kv_precision: options.kv_precision,
                threads: Some(1),
                kernels: options.kernels.clone(),
                context_length: self.context_length,
                ..CpuOptions::default()
            },
        )
        .map_err(|error| match error.kind() {
            // The model's fault, unlike an option out of its range.
            ErrorKind::MemoryBudget => error.with_file(self.directory.graph_path()),
            _ => error,
        })?;
        let threads = TeamOptions {
            threads: options.threads,
            processors: options.processors.clone(),
            priority: options.priority,
        }
        .count()?;
        let logits = 4 * engine.vocabulary_size() as u64;
        let tables = if self.are_copies { memory::table_bytes(&self.program) + self.graph_bytes } else { 0 };
        Ok(MemoryEstimate {
            weights: memory::weight_bytes(&self.program) + tables,
            cache: engine.cache_bytes(positions.min(engine.context_length())),
            scratch: engine.scratch_bytes(threads) + 3 * logits,
            text: memory::text_bytes(tokenizer),
        })
    }
}

/// Parses the graph and turns it into a program.
fn read_program(
    directory: &ModelDirectory<'_>,
    files: &GraphFiles<'_>,
) -> Result<(Program, BTreeMap<String, usize>)> {
    let model = files.parse()?;
    let mut program = lower(&model, files, directory.config())?;
    graph::passes::run(&mut program);
    Ok((program, operators(&model)))
}

/// Turns a graph into a program.
pub(super) fn lower(
    model: &onnx::Model<'_>,
    files: &GraphFiles<'_>,
    config: &ModelConfig,
) -> Result<Program> {
    let options = ProgramOptions {
        names: config.names.clone(),
        context_length: config.context_length,
        rotary_cache_offset: config.rotary_cache_offset,
    };
    graph::lower(model, files, &options)
}

/// Nodes by operator.
pub(super) fn operators(model: &onnx::Model<'_>) -> BTreeMap<String, usize> {
    let mut operators = BTreeMap::new();
    for node in &model.graph.nodes {
        let name = if node.domain.is_empty() {
            node.op_type.to_owned()
        } else {
            format!("{}::{}", node.domain, node.op_type)
        };
        *operators.entry(name).or_insert(0) += 1;
    }
    operators
}

fn weights_by_kind(program: &Program) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for matrix in program.steps.iter().flat_map(|step| match &step.operation {
        Operation::Embed { .. } => vec![],
        operation => operation.matrices(),
    }) {
        let kind = match matrix {
            Matrix::Block(weights) => format!("int{} block {}", weights.shape.bits, weights.shape.block_size),
            Matrix::Dense(weights) => match weights.elements.kind {
                FloatKind::F32 => "f32",
                FloatKind::F16 => "f16",
                FloatKind::Bf16 => "bf16",
            }
            .to_owned(),
        };
        *kinds.entry(kind).or_insert(0) += matrix.bytes();
    }
    kinds
}
