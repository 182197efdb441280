//! `cargo xtask gpu-check`: models in ONNX Runtime's CUDA provider beside the same models on the CPU, on any machine with an NVIDIA GPU.
//!
//! It checks the golden directories, then measures the demonstration's model and one of a published full size. Everything that it
//! needs is fetched with pip or made. `--provider cpu --tiny` tries the chore where there is no GPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use edgeslm::import::{FloatType, SynthOptions, synthesise};
use serde_json::{Value, json};

use crate::command::{cargo, checked};
use crate::demo::{self, workspace};
use crate::ort;
use crate::progress::Line;

/// What the chore is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The provider: cuda, or cpu to try the chore
    #[arg(long, default_value = "cuda")]
    provider: String,
    /// Small models in place of full-size ones
    #[arg(long)]
    tiny: bool,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 512)]
    prompt_tokens: usize,
    /// Tokens of the answer
    #[arg(long, default_value_t = 128)]
    generate: usize,
    /// How often each is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The bytes per second that the card's memory gives, such as 1.9e12 [default: what NVIDIA states of known cards]
    #[arg(long)]
    bandwidth: Option<f64>,
    /// The golden directories that the provider must run; each is a CUDA graph or one for the CPU
    #[arg(long, default_values = ["llama-3.2-1b-cuda-int4"])]
    golden: Vec<String>,
    /// Where the result goes
    #[arg(long, default_value = "benches/record")]
    out: PathBuf,
}

/// The shape of the full-size model.
const FULL: &str = "llama-3.2-1b";

/// Memory bandwidths that NVIDIA states, in bytes per second, by a part of the card's name.
const BANDWIDTHS: [(&str, f64); 10] = [
    ("H200", 4.8e12),
    ("H100 PCIe", 2.0e12),
    ("H100", 3.35e12),
    ("A100", 2.0e12),
    ("L40S", 0.864e12),
    ("L4", 0.3e12),
    ("T4", 0.32e12),
    ("RTX 4090", 1.008e12),
    ("RTX 3090", 0.936e12),
    ("Orin", 0.2048e12),
];

/// Runs the checks and measurements, prints a table and writes `NAME.json`.
#[allow(clippy::print_stdout, reason = "the result of the chore")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    cargo(&["build", "--quiet", "--release", "--package", "edgeslm"])?;
    let machine = Machine::of(arguments)?;
    println!("{}: ONNX Runtime in {}", machine.card, machine.library.display());
    for name in &arguments.golden {
        let directory = workspace().join("tests/data/models").join(name);
        let result = machine.edgeslm(&["check"], &directory, true, &["--json"])?;
        let errors: Vec<f64> = result["cases"].as_array().into_iter().flatten().filter_map(largest).collect();
        println!("{name}: relative errors {errors:?}, bound {}", result["bound"]);
        if errors.is_empty() {
            bail!("{name}: no case was compared: {result}");
        }
    }
    let mut record = Vec::new();
    println!(
        "\n| model | | prefill tok/s | decode tok/s | load s | memory | share of bandwidth |\n|---|---|---|---|---|---|---|"
    );
    for (name, directory) in models(arguments)? {
        let mut rows = serde_json::Map::new();
        for on_provider in [true, false] {
            let place = if on_provider { arguments.provider.as_str() } else { "cpu engine" };
            let (bench, card_memory) = machine.bench(&directory, on_provider, arguments)?;
            let figure = |path: &str| bench.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
            let rate = figure("/weight_bytes_per_second_decoding");
            let limit = if on_provider {
                machine.bandwidth
            } else {
                bench.pointer("/weight_bytes_per_second_reading/median").and_then(Value::as_f64)
            };
            let share = limit.map(|limit| rate / limit);
            println!(
                "| {name} | {place} | {:.0} | {:.1} | {:.2} | {:.0} MB{} | {} |",
                figure("/prefill_tokens_per_second/median"),
                figure("/decode_tokens_per_second/median"),
                figure("/load_seconds/median"),
                figure("/peak_resident_bytes") / 1e6,
                card_memory
                    .filter(|_| on_provider)
                    .map_or_else(String::new, |bytes| format!(", {} MB on the card", bytes >> 20)),
                share.map_or_else(|| "unknown".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
            );
            rows.insert(
                place.to_owned(),
                json!({"bench": bench, "card_memory_bytes": card_memory, "share_of_bandwidth": share}),
            );
        }
        record.push(json!({"model": name, "results": rows}));
    }
    let record = json!({
        "card": machine.card, "provider": arguments.provider, "bandwidth": machine.bandwidth,
        "processor": processor(), "library": machine.library.file_name().map(|name| name.to_string_lossy().into_owned()),
        "models": record,
    });
    let out = workspace().join(&arguments.out);
    fs::create_dir_all(&out)?;
    let name: String = machine
        .card
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect();
    let path = out.join(format!("{name}.json"));
    fs::write(&path, serde_json::to_vec_pretty(&record)?)?;
    println!("\nAll figures: {}", path.display());
    Ok(())
}

fn largest(case: &Value) -> Option<f64> {
    let of = |key: &str| case[key].as_f64();
    Some(of("prompt_error")?.max(of("next_error")?))
}

/// The machine's card, libraries and limits.
struct Machine {
    provider: String,
    library: PathBuf,
    /// Where the provider's own libraries lie.
    search: Vec<PathBuf>,
    card: String,
    bandwidth: Option<f64>,
}

impl Machine {
    fn of(arguments: &Arguments) -> anyhow::Result<Self> {
        let provider = arguments.provider.clone();
        if provider == "cpu" {
            let library = ort::cpu_library()?;
            return Ok(Self {
                provider,
                library,
                search: vec![],
                card: "no card".to_owned(),
                bandwidth: arguments.bandwidth,
            });
        }
        if provider != "cuda" {
            bail!("the chore knows the providers cuda and cpu, not {provider}");
        }
        let card = card()
            .context("nvidia-smi finds no NVIDIA GPU; --provider cpu --tiny tries the chore without one")?;
        let packages = ort::CUDA.fetch()?;
        let known = BANDWIDTHS.iter().find(|(name, _)| card.contains(name)).map(|(_, bandwidth)| *bandwidth);
        Ok(Self {
            provider,
            library: ort::library(&packages)?,
            search: ort::cuda_folders(&packages)?,
            bandwidth: arguments.bandwidth.or(known),
            card,
        })
    }

    /// Bytes of the card's memory in use.
    fn memory_used(&self) -> Option<u64> {
        if self.provider == "cpu" {
            return None;
        }
        let text = smi("memory.used")?;
        text.split_whitespace().next()?.parse::<u64>().ok().map(|mebibytes| mebibytes << 20)
    }

    fn edgeslm(
        &self,
        before: &[&str],
        directory: &Path,
        on_provider: bool,
        after: &[&str],
    ) -> anyhow::Result<Value> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), Into::into);
        let mut command = Command::new(target.join("release/edgeslm"));
        command.args(before).arg(directory).args(after);
        if on_provider {
            command.args(["--provider", &self.provider, "--ort-library"]).arg(&self.library);
            let old = std::env::var_os("LD_LIBRARY_PATH");
            let all = self.search.iter().cloned().chain(old.iter().flat_map(std::env::split_paths));
            command.env("LD_LIBRARY_PATH", std::env::join_paths(all)?);
        }
        let output = checked(&mut command)?;
        serde_json::from_slice(&output.stdout).with_context(|| format!("the output of {command:?}"))
    }

    /// Measures, and looks how much more of the card's memory is in use meanwhile.
    fn bench(
        &self,
        directory: &Path,
        on_provider: bool,
        arguments: &Arguments,
    ) -> anyhow::Result<(Value, Option<u64>)> {
        let numbers =
            [arguments.prompt_tokens, arguments.generate, arguments.rounds].map(|number| number.to_string());
        let [prompt, generate, rounds] = &numbers;
        let options = ["--json", "--prompt-tokens", prompt, "--generate", generate, "--rounds", rounds];
        let before = self.memory_used();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let most = scope.spawn(|| {
                let mut most = before;
                while before.is_some() && !done.load(Ordering::Relaxed) {
                    most = most.max(self.memory_used());
                    std::thread::sleep(Duration::from_millis(200));
                }
                most
            });
            let result = self.edgeslm(&["bench"], directory, on_provider, &options);
            done.store(true, Ordering::Relaxed);
            let most = most.join().ok().flatten();
            Ok((result?, most.zip(before).map(|(most, before)| most - before)))
        })
    }
}

fn smi(query: &str) -> Option<String> {
    let output = Command::new("nvidia-smi")
        .args([&format!("--query-gpu={query}"), "--format=csv,noheader"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn card() -> Option<String> {
    smi("name")
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

/// The models to measure: one that was trained, and a published shape in 16-bit floats as the CUDA provider needs them.
fn models(arguments: &Arguments) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let float_type = if arguments.provider == "cuda" { FloatType::F16 } else { FloatType::F32 };
    let folder = workspace().join("target/gpu-check");
    let mut models = Vec::new();
    for name in ["smollm2-135m", FULL] {
        let size = if arguments.tiny { "tiny" } else { "full" };
        let kind = if float_type == FloatType::F16 { "float16" } else { "float32" };
        let directory = folder.join(format!("{name}-{size}-{kind}"));
        if !directory.exists() {
            let options = SynthOptions {
                tiny: arguments.tiny,
                float_type,
                window_sized_cache: false,
                ..SynthOptions::default()
            };
            let mut line = Line::new();
            synthesise(name, &directory, &options, &mut |progress| line.show(progress))?;
            line.finish();
        }
        models.push((name.to_owned(), directory));
    }
    if !arguments.tiny && arguments.provider == "cpu" {
        models.push(("smollm2-135m-instruct".to_owned(), demo::models()?.int4));
    }
    Ok(models)
}
