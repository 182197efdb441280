//! `edgeslm info`: what a model is and what memory it takes.

use std::io::Write;

use clap::Args;
use edgeslm::{MemoryEstimate, Model, ModelInfo};
use serde::Serialize;

use crate::arguments::ModelArguments;
use crate::failure::{Exit, Failure};
use crate::output::{Table, engine_of, printable, write_facts, write_json};
use crate::units;

/// Show what a model is, what it consists of and what memory it takes
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edgeslm info model
  edgeslm info model --positions 8192          Memory with a conversation of 8,192 tokens
  edgeslm info model --json | jq .memory")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) model: ModelArguments,

    /// Estimate the memory for a session of N tokens
    #[arg(long, value_name = "N", default_value_t = 1024)]
    positions: usize,

    /// Print JSON, sizes in bytes
    #[arg(long)]
    json: bool,
}

/// The JSON object.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    info: ModelInfo,
    /// For how many positions `memory` is.
    memory_positions: usize,
    memory_private: u64,
    memory_total: u64,
    has_chat_template: bool,
    stop_tokens: Vec<u32>,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let ModelArguments { directory, load } = &arguments.model;
    let model = arguments.model.load()?;
    let mut info = model.info();
    let positions = arguments.positions.min(info.context_length);
    info.memory = Model::estimate(directory, &load.options(), positions)?;
    let report = Report {
        memory_positions: positions,
        memory_private: info.memory.private(),
        memory_total: info.memory.total(),
        has_chat_template: model.text().chat_template().is_some(),
        stop_tokens: model.text().stop_ids().to_vec(),
        info,
    };
    if arguments.json {
        write_json(out, &report)?
    } else {
        write(&report, out)?
    }
    Ok(Exit::Success)
}

fn write(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    let info = &report.info;
    let mut context = format!("{} positions", info.context_length);
    if let Some(switch) = info.longrope_switch {
        context += &format!(", LongRoPE's second table from {switch}");
    }
    let stop_tokens: Vec<String> = report.stop_tokens.iter().map(u32::to_string).collect();
    let facts = [
        ("model", info.directory.display().to_string()),
        ("graph", info.graph.display().to_string()),
        ("layout", info.layout.clone()),
        ("architecture", info.architecture.clone().unwrap_or_else(|| "not stated".to_owned())),
        ("layers", info.layers.to_string()),
        ("vocabulary", info.vocabulary_size.to_string()),
        ("context", context),
        ("chat template", if report.has_chat_template { "yes" } else { "no" }.to_owned()),
        ("stop tokens", if stop_tokens.is_empty() { "none".to_owned() } else { stop_tokens.join(", ") }),
        ("engine", engine_of(info)),
    ];
    write_facts(out, &facts)?;

    writeln!(out, "\nWeights by kind")?;
    let mut table = Table::default();
    for (kind, bytes) in &info.weights {
        table.row([format!("  {kind}"), units::bytes(*bytes)]);
    }
    table.write(out)?;

    writeln!(out, "\nMemory with a session of {} tokens", report.memory_positions)?;
    let MemoryEstimate { weights, cache, scratch, text, .. } = info.memory;
    let mut table = Table::default();
    for (name, bytes) in [
        ("weights in the files, which the system may drop", weights),
        ("KV cache", cache),
        ("activations and logits", scratch),
        ("tokenizer and graph", text),
        ("without the weights", report.memory_private),
        ("in all", report.memory_total),
    ] {
        table.row([format!("  {name}"), units::bytes(bytes)]);
    }
    table.row(["  KV cache for one more token".to_owned(), units::bytes(info.cache_bytes_per_position)]);
    table.write(out)?;

    for (provider, operators) in &info.placement {
        writeln!(out, "\nNodes on {}", printable(provider))?;
        let mut table = Table::default();
        for (operator, count) in operators {
            table.row([format!("  {}", printable(operator)), count.to_string()]);
        }
        table.write(out)?;
    }

    writeln!(out, "\nOperators")?;
    let mut table = Table::default();
    for (operator, count) in &info.operators {
        table.row([format!("  {}", printable(operator)), count.to_string()]);
    }
    table.write(out)
}
