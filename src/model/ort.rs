//! Loads a model for ONNX Runtime.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::fingerprint;
use super::load::{Open, context_length, memory_budget};
use super::memory::{self, MemoryEstimate};
use super::parts::{Facts, lower, operators};
use super::{GraphFiles, GraphPreference, Load, LoadOptions, MappedFile, Model, ModelDirectory};
use crate::engine::ort::{GraphSource, OrtEngine, OrtModel, candidates, estimate, graphs_for, open_library};
use crate::engine::{Accuracy, KvPrecision, OrtOptions, Provider, ThreadPriority};
use crate::error::{Error, ErrorKind, Result};
use crate::onnx::{self, DataType};

/// Loads the model with the first provider that takes it.
pub(super) fn load(open: &Open<'_, '_>, options: &LoadOptions, choice: &OrtOptions) -> Result<Model> {
    check_options(options)?;
    open_library(choice)?;
    let candidates = candidates(choice.provider);
    let mut refused = None;
    for (index, provider) in candidates.iter().enumerate() {
        let error = match load_with(open, options, choice, *provider) {
            Ok(model) => return Ok(model),
            Err(error) => error,
        };
        let may_pass = matches!(
            error.kind(),
            ErrorKind::EngineUnavailable | ErrorKind::Unsupported | ErrorKind::MemoryBudget
        );
        if !may_pass || index + 1 == candidates.len() {
            return Err(error);
        }
        log::info!("not with the provider {}: {error}", provider.name());
        refused = Some(error);
    }
    Err(refused.unwrap_or_else(|| Error::new(ErrorKind::Internal, "there is no provider to try")))
}

/// Refuses what is of the CPU engine alone.
fn check_options(options: &LoadOptions) -> Result<()> {
    if let Some(kernels) = &options.kernels {
        let text = format!("the kernels {kernels} are of the CPU engine, and ONNX Runtime was asked for");
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    if options.processors.is_some() || options.priority != ThreadPriority::Normal {
        let text = "processors and priority are of the CPU engine, and ONNX Runtime was asked for";
        return Err(Error::new(ErrorKind::InvalidArgument, text).with_hint("give threads alone"));
    }
    if options.accuracy == Accuracy::Precise {
        let text = "precise accuracy is of the CPU engine, and ONNX Runtime was asked for";
        return Err(Error::new(ErrorKind::InvalidArgument, text).with_hint("use default or strict accuracy"));
    }
    if options.kv_precision != KvPrecision::Auto {
        let text = "a KV cache in 8 bits is of the CPU engine, and ONNX Runtime was asked for";
        let hint = "keys and values have the types of the graph's inputs there";
        return Err(Error::new(ErrorKind::InvalidArgument, text).with_hint(hint));
    }
    Ok(())
}

fn load_with(
    open: &Open<'_, '_>,
    options: &LoadOptions,
    choice: &OrtOptions,
    provider: Provider,
) -> Result<Model> {
    let started = Instant::now();
    let graph = Graph::open(open, options, provider)?;
    let text = super::text::load(&graph.directory)?;
    let estimate = graph.estimate(1024, text.tokenizer().memory_bytes())?;
    let path = graph.directory.graph_path();
    let engine = graph.engine(options, choice, provider).map_err(|error| match error.kind() {
        ErrorKind::InvalidModel | ErrorKind::Unsupported => error.with_file(path),
        _ => error,
    })?;
    Ok(Model::of_ort(&graph.directory, engine, text, estimate, graph.facts, graph.digest, started))
}

/// What is known of a graph before ONNX Runtime reads it.
pub(super) struct Graph<'a> {
    pub(super) directory: ModelDirectory<'a>,
    files: GraphFiles<'a>,
    facts: Facts,
    digest: [u8; 32],
    context_length: usize,
    weight_bytes: u64,
}

impl<'a> Graph<'a> {
    /// The graph for a choice of provider; for [`Provider::Auto`] that for the CPU.
    pub(super) fn of_choice(open: &Open<'_, 'a>, options: &LoadOptions, choice: &OrtOptions) -> Result<Self> {
        check_options(options)?;
        Self::open(open, options, choice.provider)
    }

    fn open(open: &Open<'_, 'a>, options: &LoadOptions, provider: Provider) -> Result<Self> {
        let (folders, variants) = graphs_for(provider);
        let directory = open(GraphPreference { folders, variants })?;
        let files = directory.open_graph(options.load)?;
        let path = directory.graph_path();
        let model = files.parse()?;
        // ONNX Runtime opens the files of weights itself, and says little of what is wrong with them.
        files.check_external(&model.graph)?;
        let config = directory.config();
        // The CPU engine's reading of the graph, where it can: what it finds out of positions and kinds is as true here.
        let program = lower(&model, &files, config).inspect_err(|error| {
            log::debug!("the CPU engine would not run {}: {error}", path.display());
        });
        let (positions, longrope_switch) =
            program.as_ref().map_or((None, None), |program| (program.positions, program.switch_length));
        let digest = program.as_ref().map_or_else(|_| fingerprint::of_files(&files), fingerprint::of_program);
        drop(program);
        let weights = weights_by_type(&model.graph);
        let facts = Facts {
            layers: estimate(&model, config).map_err(|error| error.with_file(path))?.layers,
            longrope_switch,
            operators: operators(&model),
            weights: weights.clone(),
        };
        let context_length = context_length(options, config, positions)?;
        let weight_bytes = weights.values().sum();
        drop(model);
        Ok(Self { directory, files, facts, digest, context_length, weight_bytes })
    }

    fn engine(&self, options: &LoadOptions, choice: &OrtOptions, provider: Provider) -> Result<OrtEngine> {
        let model = self.files.parse()?;
        let path = self.directory.graph_path();
        let (is_strict, are_copies) =
            (options.accuracy == Accuracy::Strict, options.load != Load::Map || self.files.are_copies());
        let rewritten = if is_strict { Some(in_32_bits(&model)?) } else { None };
        let source = if rewritten.is_none() && !are_copies {
            GraphSource::File(path)
        } else {
            let copy = |(name, file): (String, Arc<MappedFile>)| (name, file.as_bytes().into());
            let files = if are_copies { self.files.external_files() } else { Vec::new() };
            GraphSource::Memory {
                bytes: rewritten.as_deref().unwrap_or_else(|| self.files.as_bytes()),
                weights: files.into_iter().map(copy).collect(),
                folder: path.parent().unwrap_or(Path::new("")),
            }
        };
        OrtEngine::load(
            OrtModel {
                graph: &model,
                source,
                config: self.directory.config(),
                accuracy: options.accuracy,
                threads: options.threads,
                memory_budget: memory_budget(options),
                context_length: self.context_length,
                switch_length: self.facts.longrope_switch,
            },
            provider,
            choice,
        )
    }

    /// With a tokenizer that takes `tokenizer` bytes. What ONNX Runtime takes beside weights, cache and logits is not known.
    pub(super) fn estimate(&self, positions: usize, tokenizer: u64) -> Result<MemoryEstimate> {
        let model = self.files.parse()?;
        let sizes = estimate(&model, self.directory.config())?;
        Ok(MemoryEstimate {
            weights: self.weight_bytes,
            cache: sizes.cache_bytes(positions.min(self.context_length)),
            scratch: sizes.logit_bytes,
            text: memory::text_bytes(tokenizer),
        })
    }
}

/// The graph without the attributes that let its products quantise their activations.
fn in_32_bits(model: &onnx::Model<'_>) -> Result<Vec<u8>> {
    let mut model = model.clone();
    for node in &mut model.graph.nodes {
        node.attributes.retain(|attribute| attribute.name != "accuracy_level");
    }
    onnx::write(&model).map_err(|error| {
        Error::new(ErrorKind::Unsupported, "the graph cannot be rewritten for strict accuracy")
            .with_source(error)
            .with_hint("use default accuracy")
    })
}

/// Bytes of the graph's tensors by element type.
fn weights_by_type(graph: &onnx::Graph<'_>) -> BTreeMap<String, u64> {
    let mut weights = BTreeMap::new();
    for tensor in &graph.initializers {
        let name = match tensor.data_type {
            DataType::Float32 => "f32",
            DataType::Float16 => "f16",
            DataType::Bfloat16 => "bf16",
            DataType::Uint8 | DataType::Int8 => "8-bit codes",
            DataType::Uint4 | DataType::Int4 => "4-bit codes",
            _ => "others",
        };
        *weights.entry(name.to_owned()).or_insert(0) += tensor.byte_length().unwrap_or(0);
    }
    weights.retain(|_, bytes| *bytes > 0);
    weights
}
