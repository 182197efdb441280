//! `edgeslm bench`: how fast a model is and what memory it takes.

mod memory;
mod spread;

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use edgeslm::model::MemoryEstimate;
use edgeslm::session::{GenerateOptions, Prompt, SessionOptions, Statistics, generate_batch};
use edgeslm::{Error, ErrorKind, Model};
use serde_json::{Value, json};

use self::memory::Weights;
use self::spread::Spread;
use crate::arguments::ModelArguments;
use crate::failure::{Exit, Failure};
use crate::output::{Table, engine_of, write_facts, write_json};
use crate::process_memory::ProcessMemory;
use crate::{progress, units};

/// Measure load time, prefill and decode rates, memory and memory bandwidth
///
/// Each round loads the model, computes a prompt of random tokens and generates greedily, going on past stop tokens. Beside the rate
/// at which decoding reads the weights stands the rate at which the same threads read the same bytes and do nothing else: the limit
/// that memory sets.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edgeslm bench model
  edgeslm bench model --threads 1 --prompt-tokens 128 --generate 32 --rounds 3
  edgeslm bench model --sequences 8
  edgeslm bench model --json > before.json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least(1))]
    prompt_tokens: u64,

    /// Tokens to generate; at least 2, since the first comes from the prompt's pass
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = at_least(2))]
    generate: u64,

    /// Prompts that are answered together; the rates are those of all
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    sequences: u64,

    /// How often to repeat
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least(1))]
    rounds: u64,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn at_least(least: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(least..=1 << 20)
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let measured = measure(arguments)?;
    if arguments.json {
        write_json(out, &measured.json(arguments))?
    } else {
        measured.write(arguments, out)?
    }
    Ok(Exit::Success)
}

struct Measured {
    model: Model,
    /// Seconds.
    load: Spread,
    /// Tokens per second.
    prefill: Spread,
    /// Tokens per second.
    decode: Spread,
    /// Seconds.
    first_token: Spread,
    /// Bytes per second at which plain reading goes over the weights; `None` where another engine holds them.
    read: Option<Spread>,
    /// Bytes of weights that a decoded token reads.
    weight_bytes: u64,
    cache_bytes: u64,
    /// What [`Model::estimate`] says of the same work with one sequence, and the caches of the others.
    estimate: MemoryEstimate,
    /// After the rounds, before the weights are read for `read`.
    memory: Option<ProcessMemory>,
}

fn measure(arguments: &Arguments) -> Result<Measured, Failure> {
    let [mut load, mut first_token, mut prefill, mut decode] = [const { Vec::new() }; 4];
    let mut last = None;
    let bar = progress::bar(arguments.rounds, "{pos}/{len} rounds");
    bar.set_message("measuring");
    for _ in 0..arguments.rounds {
        // One model at a time, or its memory would count twice.
        drop(last.take());
        let started = Instant::now();
        let model = arguments.model.load()?;
        load.push(started.elapsed().as_secs_f64());
        check_context(arguments, model.engine().context_length())?;
        let answered = answer(arguments, &model)?;
        first_token.extend(answered.first_token);
        prefill.push(answered.prefill);
        decode.push(answered.decode);
        last = Some((model, answered.cache_bytes, ProcessMemory::now()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let Some((model, cache_bytes, memory)) = last else {
        return Err(Error::new(ErrorKind::InvalidArgument, "there are no rounds").into());
    };
    let positions = (arguments.prompt_tokens + arguments.generate) as usize;
    let mut estimate = arguments.model.estimate(positions)?;
    estimate.cache *= arguments.sequences;
    let (read, weight_bytes) = match model.cpu_engine() {
        Some(engine) => {
            let weights = Weights::of(engine.program());
            let rates = (0..arguments.rounds).map(|_| weights.read_rate(engine.threads())).collect();
            (Some(Spread::of(rates)), weights.bytes())
        }
        None => (None, arguments.model.weights_read(&model)),
    };
    Ok(Measured {
        load: Spread::of(load),
        prefill: Spread::of(prefill),
        decode: Spread::of(decode),
        first_token: Spread::of(first_token),
        read,
        weight_bytes,
        cache_bytes,
        estimate,
        memory,
        model,
    })
}

fn check_context(arguments: &Arguments, context: usize) -> Result<(), Failure> {
    let needed = arguments.prompt_tokens + arguments.generate;
    if needed > context as u64 {
        return Err(Failure::Usage(
            format!("prompt and answer need {needed} tokens, and the context holds {context}"),
            "choose fewer --prompt-tokens or a smaller --generate".to_owned(),
        ));
    }
    Ok(())
}

/// What one round has measured.
struct Answered {
    /// Seconds.
    first_token: Option<f64>,
    /// Tokens per second.
    prefill: f64,
    /// Tokens per second.
    decode: f64,
    cache_bytes: u64,
}

/// Answers all prompts together: each is computed alone, then every pass has a token of each.
fn answer(arguments: &Arguments, model: &Model) -> Result<Answered, Failure> {
    let Arguments { prompt_tokens, generate, sequences, .. } = *arguments;
    let vocabulary = model.engine().vocabulary_size();
    let options = GenerateOptions {
        max_tokens: generate as usize,
        ignore_stop_tokens: true,
        ..GenerateOptions::default()
    };
    let sessions = (0..sequences).map(|_| model.session(SessionOptions::default()));
    let mut sessions = sessions.collect::<edgeslm::Result<Vec<_>>>()?;
    let requests = sessions.iter_mut().zip(1..).map(|(session, seed)| {
        (session, Prompt::Tokens(prompt(seed, prompt_tokens, vocabulary)), options.clone())
    });
    let answers = generate_batch(requests.collect()).into_iter();
    let statistics = answers.map(|answer| Ok(answer?.outcome.statistics));
    let statistics = statistics.collect::<edgeslm::Result<Vec<Statistics>>>()?;
    let prefill_time: Duration = statistics.iter().map(|one| one.prefill_time).sum();
    // A pass counts for each of its answers.
    let decode_time = statistics.iter().map(|one| one.decode_time).max().unwrap_or_default();
    let steps: usize = statistics.iter().map(|one| one.decode_steps).sum();
    Ok(Answered {
        first_token: statistics
            .iter()
            .filter_map(|one| one.time_to_first_token)
            .max()
            .map(|time| time.as_secs_f64()),
        prefill: (sequences * prompt_tokens) as f64 / prefill_time.as_secs_f64(),
        decode: steps as f64 / decode_time.as_secs_f64(),
        cache_bytes: statistics.iter().map(|one| one.cache_bytes).sum(),
    })
}

/// Random token ids, the same on every machine.
fn prompt(seed: u64, count: u64, vocabulary: usize) -> Vec<u32> {
    let mut random = edgeslm::sampling::Random::from_seed(seed);
    (0..count).map(|_| (random.next_f64() * vocabulary as f64) as u32).collect()
}

impl Measured {
    /// Bytes of weights per second: a pass over them makes a token of every sequence.
    fn weights_rate(&self, arguments: &Arguments) -> f64 {
        self.weight_bytes as f64 * self.decode.median / arguments.sequences as f64
    }

    /// Bytes of keys and values per second, where no layer has a window: each sequence reads its own.
    fn cache_rate(&self, arguments: &Arguments) -> f64 {
        let positions = (arguments.prompt_tokens + arguments.generate / 2) as usize;
        self.model.engine().cache_bytes(positions) as f64 * self.decode.median
    }

    fn json(&self, arguments: &Arguments) -> Value {
        let info = self.model.info();
        json!({
            "directory": info.directory,
            "engine": info.engine,
            "provider": info.provider,
            "kernels": info.kernels,
            "threads": info.threads,
            "accuracy": info.accuracy,
            "cache_format": info.cache_format,
            "prompt_tokens": arguments.prompt_tokens,
            "generated_tokens": arguments.generate,
            "sequences": arguments.sequences,
            "rounds": arguments.rounds,
            "load_seconds": self.load,
            "time_to_first_token_seconds": self.first_token,
            "prefill_tokens_per_second": self.prefill,
            "decode_tokens_per_second": self.decode,
            "weight_bytes": self.weight_bytes,
            "weight_bytes_per_second_decoding": self.weights_rate(arguments),
            "cache_bytes_per_second_decoding": self.cache_rate(arguments),
            "weight_bytes_per_second_reading": self.read,
            "cache_bytes": self.cache_bytes,
            "peak_resident_bytes": self.memory.map(|memory| memory.peak_resident),
            "anonymous_bytes": self.memory.map(|memory| memory.anonymous),
            "estimated_anonymous_bytes": self.estimate.private(),
            "estimated_bytes": self.estimate.total(),
        })
    }

    fn write(&self, arguments: &Arguments, out: &mut dyn Write) -> std::io::Result<()> {
        let info = self.model.info();
        let Arguments { prompt_tokens, generate, sequences, rounds, .. } = arguments;
        let together =
            if *sequences == 1 { String::new() } else { format!(", {sequences} sequences together") };
        write_facts(
            out,
            &[
                ("model", info.directory.display().to_string()),
                ("engine", engine_of(&info)),
                (
                    "rounds",
                    format!(
                        "{rounds}, each {prompt_tokens} tokens of prompt and {generate} of answer{together}"
                    ),
                ),
            ],
        )?;
        writeln!(out)?;
        let mut table = Table::new(&["", "median", "least", "most"]);
        let mut row = |name: &str, unit: &str, factor: f64, spread: &Spread| {
            let cells = [spread.median, spread.least, spread.most];
            let cells = cells.map(|value| units::three_digits(value * factor));
            table.row([format!("{name}, {unit}")].into_iter().chain(cells));
        };
        row("load", "ms", 1e3, &self.load);
        row("first token", "ms", 1e3, &self.first_token);
        row("prefill", "tok/s", 1.0, &self.prefill);
        row("decode", "tok/s", 1.0, &self.decode);
        if let Some(read) = &self.read {
            row("reading the weights", "GB/s", 1e-9, read);
        }
        table.write(out)?;
        writeln!(out)?;
        let (weights, cache) = (self.weights_rate(arguments), self.cache_rate(arguments));
        let share = self.read.map_or_else(String::new, |read| {
            format!(", {:.0} % of plain reading", 100.0 * (weights + cache) / read.median)
        });
        let mut facts = vec![
            ("weights read for a token", units::bytes(self.weight_bytes)),
            (
                "read while decoding",
                format!(
                    "{}/s of weights and {}/s of keys and values{share}",
                    units::bytes(weights as u64),
                    units::bytes(cache as u64)
                ),
            ),
            ("KV cache", units::bytes(self.cache_bytes)),
        ];
        if let Some(memory) = self.memory {
            facts.push(("peak resident memory", units::bytes(memory.peak_resident)));
            let estimate = units::bytes(self.estimate.private());
            facts.push((
                "anonymous memory",
                format!("{}, estimated {estimate}", units::bytes(memory.anonymous)),
            ));
        }
        write_facts(out, &facts)
    }
}
