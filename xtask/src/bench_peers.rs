//! `cargo xtask bench-peers`: edgeslm beside onnxruntime-genai, each in a process of its own, in turn on the same directories.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use edgeslm::import::{SynthOptions, published_names, synthesise};
use serde_json::{Value, json};

use crate::command::cargo;
use crate::demo::{self, workspace};
use crate::progress::Line;
use crate::python::environment;

/// The name of the imported real model.
const REAL: &str = "smollm2-135m-instruct-int4";

/// What `cargo xtask bench-peers` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The imported real model, or published shapes with random weights
    #[arg(default_values = [REAL, "llama-3.2-1b", "phi-4-mini"])]
    models: Vec<String>,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 512)]
    prompt_tokens: usize,
    /// Tokens of the answer
    #[arg(long, default_value_t = 64)]
    generate: usize,
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Our engine: cpu, or ort for ONNX Runtime's CPU provider
    #[arg(long, default_value = "cpu", value_parser = ["cpu", "ort"])]
    engine: String,
    /// Where the result goes as JSON
    #[arg(long, default_value = "target/bench-peers.json")]
    out: PathBuf,
}

/// What is measured, in the units that are shown.
const QUANTITIES: [Quantity; 5] = [
    Quantity {
        name: "prefill tok/s",
        ours: "/prefill_tokens_per_second/median",
        theirs: "prefill_tokens_per_s",
        factor: 1.0,
    },
    Quantity {
        name: "decode tok/s",
        ours: "/decode_tokens_per_second/median",
        theirs: "decode_tokens_per_s",
        factor: 1.0,
    },
    Quantity { name: "load s", ours: "/load_seconds/median", theirs: "load_s", factor: 1.0 },
    Quantity { name: "peak RSS MB", ours: "/peak_resident_bytes", theirs: "peak_rss_bytes", factor: 1e-6 },
    Quantity { name: "private MB", ours: "/anonymous_bytes", theirs: "anonymous_bytes", factor: 1e-6 },
];

struct Quantity {
    name: &'static str,
    /// Where it stands in the JSON of `edgeslm bench`.
    ours: &'static str,
    /// Where it stands in the JSON of `benches/genai.py`.
    theirs: &'static str,
    factor: f64,
}

/// Prints a table of medians and writes all figures.
#[allow(clippy::print_stdout, reason = "the result of the chore")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    cargo(&["build", "--quiet", "--release", "--package", "edgeslm"])?;
    let python = environment()?;
    let library = (arguments.engine == "ort").then(crate::ort::cpu_library).transpose()?;
    let mut record = Vec::new();
    for model in &arguments.models {
        let directory = directory(model)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            ours.push(measure(&mut edgeslm(&directory, library.as_deref(), arguments))?);
            theirs.push(measure(&mut genai(&python, &directory, arguments))?);
        }
        let estimate = ours.first().and_then(|round| round["estimated_anonymous_bytes"].as_f64());
        println!(
            "\n{model}, {} tokens of prompt and {} of answer, {} threads, median of {} rounds (least to most)",
            arguments.prompt_tokens, arguments.generate, arguments.threads, arguments.rounds
        );
        println!("| | edgeslm | onnxruntime-genai | ratio |\n|---|---|---|---|");
        let mut rows = serde_json::Map::new();
        for quantity in &QUANTITIES {
            let of = |rounds: &[Value], path: &str| {
                let figures = rounds.iter().map(|round| round.pointer(path).and_then(Value::as_f64));
                figures.map(|figure| Some(figure? * quantity.factor)).collect::<Option<Vec<f64>>>()
            };
            let ours = of(&ours, quantity.ours).context(quantity.name)?;
            let theirs = of(&theirs, &format!("/{}", quantity.theirs)).context(quantity.name)?;
            println!(
                "| {} | {} | {} | {:.2} |",
                quantity.name,
                shown(&ours),
                shown(&theirs),
                median(&ours) / median(&theirs)
            );
            rows.insert(quantity.name.to_owned(), json!({"edgeslm": ours, "onnxruntime-genai": theirs}));
        }
        if let Some(estimate) = estimate {
            println!("| private MB as `Model::estimate` says | {:.0} | | |", estimate * 1e-6);
        }
        record.push(json!({"model": model, "estimated_private_bytes": estimate, "rounds": rows,
            "engine": ours.first().map(|round| round["engine"].clone())}));
    }
    let Arguments { prompt_tokens, generate, threads, .. } = arguments;
    let record = json!({"prompt_tokens": prompt_tokens, "generated_tokens": generate, "threads": threads, "models": record});
    let out = workspace().join(&arguments.out);
    fs::write(&out, serde_json::to_vec_pretty(&record)?).with_context(|| out.display().to_string())?;
    println!("\nAll rounds: {}", arguments.out.display());
    Ok(())
}

/// The model's directory, made where it is missing.
fn directory(model: &str) -> anyhow::Result<PathBuf> {
    if model == REAL {
        return Ok(demo::models()?.int4);
    }
    let published: Vec<_> = published_names().collect();
    if !published.contains(&model) {
        bail!("{model} is neither {REAL} nor one of {}", published.join(", "));
    }
    let directory = workspace().join("target/synth").join(model);
    if !directory.exists() {
        let mut line = Line::new();
        synthesise(model, &directory, &SynthOptions::default(), &mut |progress| line.show(progress))?;
        line.finish();
    }
    Ok(directory)
}

fn edgeslm(directory: &Path, library: Option<&Path>, arguments: &Arguments) -> Command {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), Into::into);
    let mut command = Command::new(target.join("release/edgeslm"));
    command.arg("bench").arg(directory).args(["--json", "--rounds", "1"]);
    command.args(["--threads", &arguments.threads.to_string()]);
    command.args(["--prompt-tokens", &arguments.prompt_tokens.to_string()]);
    command.args(["--generate", &arguments.generate.to_string()]);
    if let Some(library) = library {
        command.args(["--provider", "cpu", "--ort-library"]).arg(library);
    }
    command
}

fn genai(python: &Path, directory: &Path, arguments: &Arguments) -> Command {
    let mut command = Command::new(python);
    command.arg(workspace().join("benches/genai.py")).arg(directory);
    command.args(
        [arguments.threads, arguments.prompt_tokens, arguments.generate, 1].map(|number| number.to_string()),
    );
    command
}

/// The JSON that a command prints.
fn measure(command: &mut Command) -> anyhow::Result<Value> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("the output of {command:?}"))
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] }
}

/// The median, and in brackets the range.
fn shown(figures: &[f64]) -> String {
    let digits = |value: f64| if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    format!("{} ({} to {})", digits(median(figures)), digits(least), digits(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(shown(&[1.0, 30.4, 2.0]), "2.00 (1.00 to 30)");
    }
}
