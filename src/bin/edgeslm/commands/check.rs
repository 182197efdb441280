//! `edgeslm check`: compares a model's logits with a reference.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use edgeslm::model::{Comparison, Reference, ReferenceCase};
use edgeslm::{Accuracy, Error, ErrorKind, KvPrecision, Model};
use serde_json::json;

use crate::arguments::ModelArguments;
use crate::failure::{Exit, Failure};
use crate::output::{Table, engine_of, write_facts, write_json};

/// The largest error that passes in default accuracy: what int8 activations cost ONNX Runtime at worst on the directories that
/// this project is tested with.
const DEFAULT_BOUND: f64 = 0.016;
/// Without quantised activations, or nearly.
const EXACT_BOUND: f64 = 0.001;
/// What a KV cache in 8 bits alone costs on those directories is 0.0069 at worst.
const INT8_CACHE_BOUND: f64 = 0.008;

/// References in a model directory, the most exact first.
const REFERENCE_FILES: [&str; 2] = ["reference_fp32.safetensors", "reference.safetensors"];

/// Compare a model's logits with those of another implementation
///
/// Each case of the reference has a prompt and tokens after it. The prompt is computed in one prefill, then the tokens are fed one
/// at a time. The error is ||logits - reference|| / ||reference||, once over the prompt's last positions and once over the tokens after it.
///
/// A reference is a safetensors file. For each case, such as `short`: short.prompt_tokens and short.next_tokens (int32 or int64),
/// short.prompt_logits_last16 [up to 16, vocabulary] and short.next_logits [next tokens, vocabulary] (float32).
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edgeslm check model                        Against reference_fp32.safetensors or reference.safetensors in it
  edgeslm check model --accuracy strict
  edgeslm check model --kernels scalar       With the kernels that every CPU has
  edgeslm check model --reference r.safetensors --bound 0.02 --json

Exit status: 0 when every error is within the bound, 1 otherwise.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// The reference [default: reference_fp32.safetensors in DIR, else reference.safetensors]
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,

    /// The largest error that passes [default: 0.016, and 0.001 in precise and strict accuracy, or 0.008 there with a KV cache in int8]
    #[arg(long, value_name = "X", value_parser = parse_bound)]
    bound: Option<f64>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn parse_bound(text: &str) -> Result<f64, String> {
    let bound: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if bound > 0.0 && bound.is_finite() { Ok(bound) } else { Err("it is not above 0".to_owned()) }
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let model = arguments.model.load()?;
    let path = match &arguments.reference {
        Some(path) => path.clone(),
        None => default_reference(&model.info().directory)?,
    };
    let reference = Reference::open(&path)?;
    let options = arguments.model.load.options();
    let bound = arguments.bound.unwrap_or(match (options.accuracy, options.kv_precision) {
        (Accuracy::Precise | Accuracy::Strict, KvPrecision::Int8) => INT8_CACHE_BOUND,
        (Accuracy::Precise | Accuracy::Strict, _) => EXACT_BOUND,
        _ => DEFAULT_BOUND,
    });
    let compare = |case| ReferenceCase::compare(case, model.engine().as_ref());
    let comparisons = reference.cases.iter().map(compare).collect::<edgeslm::Result<Vec<_>>>();
    let report = Report {
        model: &model,
        path: &path,
        bound,
        cases: &reference.cases,
        comparisons: &comparisons.map_err(|error| error.with_file(&path))?,
    };
    if arguments.json {
        report.write_json(out)?
    } else {
        report.write_table(out)?
    }
    Ok(if report.has_passed() { Exit::Success } else { Exit::Failed })
}

fn default_reference(directory: &Path) -> Result<PathBuf, Error> {
    let mut paths = REFERENCE_FILES.iter().map(|name| directory.join(name));
    paths.find(|path| path.exists()).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("there is neither {}", REFERENCE_FILES.join(" nor ")))
            .with_file(directory)
            .with_hint("name a reference with --reference FILE")
    })
}

struct Report<'a> {
    model: &'a Model,
    path: &'a Path,
    bound: f64,
    cases: &'a [ReferenceCase],
    comparisons: &'a [Comparison],
}

impl Report<'_> {
    fn has_passed(&self) -> bool {
        self.comparisons.iter().all(|comparison| comparison.is_within(self.bound))
    }

    /// The largest error; not a number when one is not.
    fn largest(&self) -> f64 {
        self.comparisons
            .iter()
            .map(Comparison::largest)
            .fold(0.0, |largest, error| if error <= largest { largest } else { error })
    }

    fn write_json(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let info = self.model.info();
        let cases: Vec<_> = self
            .cases
            .iter()
            .zip(self.comparisons)
            .map(|(case, comparison)| {
                json!({
                    "name": case.name,
                    "prompt_tokens": case.prompt_tokens.len(),
                    "next_tokens": case.next_tokens.len(),
                    "prompt_error": comparison.prompt,
                    "next_error": comparison.next,
                })
            })
            .collect();
        let report = json!({
            "directory": info.directory,
            "reference": self.path,
            "engine": info.engine,
            "kernels": info.kernels,
            "accuracy": info.accuracy,
            "cache_format": info.cache_format,
            "bound": self.bound,
            "cases": cases,
            "largest_error": self.largest(),
            "passed": self.has_passed(),
        });
        write_json(out, &report)
    }

    fn write_table(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let info = self.model.info();
        write_facts(
            out,
            &[
                ("model", info.directory.display().to_string()),
                ("reference", self.path.display().to_string()),
                ("engine", engine_of(&info)),
            ],
        )?;
        writeln!(out)?;
        let mut table = Table::new(&["case", "prompt tokens", "error", "next tokens", "error"]);
        for (case, comparison) in self.cases.iter().zip(self.comparisons) {
            table.row([
                case.name.clone(),
                case.prompt_tokens.len().to_string(),
                format!("{:.6}", comparison.prompt),
                case.next_tokens.len().to_string(),
                format!("{:.6}", comparison.next),
            ]);
        }
        table.write(out)?;
        let verdict = if self.has_passed() { "passed" } else { "FAILED" };
        writeln!(out, "\nlargest error {:.6}, bound {}: {verdict}", self.largest(), self.bound)
    }
}
