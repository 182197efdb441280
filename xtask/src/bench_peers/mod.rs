//! `cargo xtask bench-peers`: edgeslm beside other runtimes, each in a process of its own, in turn on the same weights.

mod bandwidth;
mod chart;
mod contestant;
mod edgeslm;
mod figures;
mod genai;
pub(crate) mod llama;
pub(crate) mod model;
mod openvino;
mod processor;
mod python_peer;
mod record;
mod results;
mod table;

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;

use self::contestant::{Class, Contestant, Work};
use self::edgeslm::Edgeslm;
pub(crate) use self::figures::median;
use self::figures::{Figures, Rounds};
use self::model::{Model, REAL, warm};
use self::processor::Processor;
use self::results::{Length, ModelResult, Row, Together};
use crate::command::cargo;
use crate::demo::workspace;

/// What `cargo xtask bench-peers` is told.
#[derive(clap::Args)]
#[command(after_help = "\
The peers come from PyPI: onnxruntime-genai and openvino-genai as they are, llama.cpp out of llama-cpp-python's source, built for AMX, \
AVX-512 VNNI and AVX2 as far as the processor has them (that needs cmake and a C++ compiler). onnxruntime-genai reads edgeslm's \
directory, the others the same weights as a GGUF file (Q4_0), which Llama's shapes alone have. A peer that cannot be set up or refuses \
a model is shown with the reason. Prints tables; writes all rounds as JSON and a bar chart.

Examples:
  cargo xtask bench-peers
  cargo xtask bench-peers llama-3.2-1b --peers llama --prompt-tokens 512 --rounds 3
  cargo xtask bench-peers phi-4-mini --peers genai --out target/bench-peers")]
pub(crate) struct Arguments {
    /// The imported real model, or published shapes with random weights
    #[arg(default_values = [REAL, "llama-3.2-1b"])]
    models: Vec<String>,
    /// The peers
    #[arg(long, value_delimiter = ',', value_enum, default_values = ["genai", "llama", "openvino"])]
    peers: Vec<Peer>,
    /// Tokens of the prompt: decoding is measured after each of these lengths, memory and fewer instructions at the first alone
    #[arg(long, value_delimiter = ',', default_values = ["512", "2048", "8000"], value_parser = at_least_one())]
    prompt_tokens: Vec<u64>,
    /// Tokens of the answer
    #[arg(long, default_value_t = 64, value_parser = at_least_one())]
    generate: u64,
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Threads
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: u64,
    /// Prompts that edgeslm answers together, beside one; 1 leaves that out
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=256))]
    sequences: u64,
    /// Our engine: cpu, or ort for ONNX Runtime's CPU provider
    #[arg(long, default_value = "cpu", value_parser = ["cpu", "ort"])]
    engine: String,
    /// The folder of the record
    #[arg(long, default_value = "benches/record")]
    out: PathBuf,
}

fn at_least_one() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=1 << 20)
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Peer {
    /// onnxruntime-genai
    Genai,
    /// llama.cpp
    Llama,
    /// OpenVINO GenAI
    #[value(name = "openvino")]
    OpenVino,
}

/// The length of the prompts that are answered together.
const TOGETHER_PROMPT: usize = 128;

/// Prints tables of medians and ratios, and writes the record.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the result of the chore, and its progress")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let processor = Processor::of_this_machine()?;
    cargo(&["build", "--quiet", "--release", "--package", "edgeslm"])?;
    let wants_gguf = arguments.peers.iter().any(|peer| matches!(peer, Peer::Llama | Peer::OpenVino));
    let models: Vec<Model> = arguments
        .models
        .iter()
        .map(|name| Model::prepare(name, wants_gguf))
        .collect::<anyhow::Result<_>>()?;
    let contestants = contestants(arguments, &processor)?;
    println!("{}", processor.name);
    let mut results = Vec::new();
    for model in &models {
        let result = measure(arguments, model, &contestants)?;
        let Work { generate, threads, .. } = arguments.work(0);
        print!("{}", table::tables(&result, generate, threads, arguments.rounds));
        results.push(result);
    }
    let out = workspace().join(&arguments.out);
    let files = record::write(&out, &processor, arguments.work(0), arguments.rounds, &results)?;
    println!("\nAll rounds: {}\nAs a chart: {}", files[0].display(), files[1].display());
    Ok(())
}

impl Arguments {
    fn work(&self, prompt_tokens: usize) -> Work {
        Work { prompt_tokens, generate: self.generate as usize, threads: self.threads as usize }
    }
}

/// Sets everything up. edgeslm's own rows come first.
fn contestants(arguments: &Arguments, processor: &Processor) -> anyhow::Result<Vec<Contestant>> {
    let library = (arguments.engine == "ort").then(crate::ort::cpu_library).transpose()?;
    let mut all = edgeslm::contestants(processor, library);
    if !arguments.peers.contains(&Peer::Llama) {
        // No other peer is built for fewer instructions.
        all.retain(|contestant| contestant.class == Class::Best);
    }
    let chosen = Peer::value_variants().iter().filter(|peer| arguments.peers.contains(peer));
    for peer in chosen {
        all.extend(match peer {
            Peer::Genai => genai::contestants(),
            Peer::Llama => llama::contestants(processor),
            Peer::OpenVino => openvino::contestants(),
        });
    }
    Ok(all)
}

/// Measures one model.
#[allow(clippy::print_stderr, reason = "progress of a long command")]
fn measure(arguments: &Arguments, model: &Model, contestants: &[Contestant]) -> anyhow::Result<ModelResult> {
    let (mut lengths, mut facts) = (Vec::new(), None);
    for &prompt_tokens in &arguments.prompt_tokens {
        let work = arguments.work(usize::try_from(prompt_tokens)?);
        let needed = work.prompt_tokens + work.generate + 1;
        if needed > model.context_length {
            eprintln!("{}: {needed} tokens do not fit its context of {}", model.name, model.context_length);
            continue;
        }
        let mut bandwidth = Vec::new();
        let is_first = lengths.is_empty();
        let fits = |contestant: &&Contestant| is_first || contestant.class == Class::Best;
        let chosen: Vec<_> = contestants.iter().filter(fits).collect();
        let mut outcomes: Vec<Result<Rounds, String>> = vec![Ok(Rounds::default()); chosen.len()];
        for round in 0..usize::try_from(arguments.rounds)? {
            bandwidth.push(bandwidth::measure(work.threads));
            // Each is once the first, so that none is always measured after the same other.
            for place in 0..chosen.len() {
                let place = (place + round) % chosen.len();
                let (contestant, outcome) = (&chosen[place], &mut outcomes[place]);
                let Ok(rounds) = outcome else { continue };
                eprintln!("{}, {prompt_tokens} tokens, round {}: {}", model.name, round + 1, contestant.name);
                match once(contestant, model, work) {
                    Ok((figures, output)) => {
                        rounds.push(figures);
                        facts.get_or_insert(output);
                    }
                    Err(reason) if contestant.is_ours() => bail!("{}: {reason}", contestant.name),
                    Err(reason) => *outcome = Err(reason),
                }
            }
        }
        let rows = chosen.iter().zip(outcomes).map(|(contestant, outcome)| Row {
            name: contestant.name.clone(),
            class: contestant.class,
            is_ours: contestant.is_ours(),
            outcome,
        });
        lengths.push(Length { prompt_tokens: work.prompt_tokens, bandwidth, rows: rows.collect() });
    }
    ensure!(!lengths.is_empty(), "{}: no length of --prompt-tokens fits its context", model.name);
    // edgeslm is the first in the first round.
    let facts = facts.context("nothing was measured")?;
    let fact = |name: &str| facts[name].as_f64().with_context(|| format!("no {name} in {facts}"));
    Ok(ModelResult {
        name: model.name.clone(),
        bytes: model.bytes,
        weight_bytes: fact("weight_bytes")?,
        estimate: fact("estimated_anonymous_bytes")?,
        lengths,
        together: together(arguments, model)?,
    })
}

/// The figures and all that the program has printed, or why there are none.
fn once(contestant: &Contestant, model: &Model, work: Work) -> Result<(Figures, Value), String> {
    let program = contestant.program.as_ref().map_err(Clone::clone)?;
    warm(program.reads(model)?).map_err(|error| format!("{error:#}"))?;
    program.measure(model, work)
}

/// Answers to several prompts together beside an answer to one, in turn.
fn together(arguments: &Arguments, model: &Model) -> anyhow::Result<Option<Together>> {
    let sequences = usize::try_from(arguments.sequences)?;
    let work = arguments.work(TOGETHER_PROMPT);
    if sequences == 1 || arguments.engine != "cpu" || TOGETHER_PROMPT + work.generate >= model.context_length
    {
        return Ok(None);
    }
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..arguments.rounds {
        for (rates, sequences) in rates.iter_mut().zip([1, sequences]) {
            let mut command = Edgeslm::together(sequences).command(&model.directory, work);
            let output = contestant::json_of(&mut command).map_err(anyhow::Error::msg)?;
            let rate = output.pointer("/decode_tokens_per_second/median").and_then(Value::as_f64);
            rates.push(rate.context("edgeslm bench tells no rate")?);
        }
    }
    let [one, all] = rates;
    Ok(Some(Together { prompt_tokens: TOGETHER_PROMPT, sequences, one, all }))
}
