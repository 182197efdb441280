//! `edgeslm eval`: whether models do a task well enough, and fast enough.

mod answer;
mod blind;
mod evaluate;
mod gate;
mod html;
mod report;
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use edgeslm::Error;
use edgeslm::answer::measures::ConfusionMatrix;
use edgeslm::answer::{Answer, CalibrateOptions, Example, Split, Task, TaskKind};

use self::evaluate::{Plan, evaluate, load};
use self::gate::{Gate, Verdict};
use self::report::{Baseline, GateLine, Mode, ModelReport, Report, TaskFacts};
use crate::arguments::LoadArguments;
use crate::commands::calibrate::RiskArguments;
use crate::failure::{Exit, Failure};
use crate::output::note;
use crate::progress;
use crate::task_files::{SetArguments, of_split};

/// The most tokens of a free answer to a question about a label.
const QUESTION_TOKENS: usize = 48;

/// Evaluate models on a task's labelled examples
///
/// Asks every model all examples of the split `test`, one after the other and greedily, and compares the answers with the right ones.
/// docs/evaluation.md describes set, task file and figures.
///
/// With --gate the exit status says whether every model meets every condition: 0 if so, 3 if not, 1 or 2 if that could not be found
/// out. Figures: accuracy, macro_f1, ece, brier, log_loss, coverage, selective_accuracy, exact, field_accuracy, parsed, prefix, p50,
/// p95, load, prefill_rate, decode_rate, memory.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edgeslm eval examples/data/triage.jsonl smollm2
  edgeslm eval triage.jsonl smollm2 phi-4-mini --free-text --html report.html
  edgeslm eval triage.jsonl smollm2 --gate 'accuracy>=0.8,p95<=500ms'
  edgeslm eval receipts.jsonl smollm2 phi-4-mini --blind judges.html")]
pub(crate) struct Arguments {
    #[command(flatten)]
    set: SetArguments,

    /// The model directories, or .onnx files in them
    #[arg(value_name = "DIR", required = true)]
    models: Vec<PathBuf>,

    #[command(flatten)]
    load: LoadArguments,

    /// Ask each model in plain free text too, and find the answer in what it writes
    #[arg(long)]
    free_text: bool,

    /// Where the calibration of labels comes from
    #[arg(long, value_enum, default_value_t)]
    calibration: CalibrationArgument,

    #[command(flatten)]
    risk: RiskArguments,

    /// Write all figures and answers to a JSON file; - for standard output in place of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write a page with tables and charts, which needs nothing but itself
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write a sheet for people who compare two models' answers without knowing whose they are, as HTML or, if the name ends
    /// in .csv, as CSV; and beside it FILE.key.csv, which says whose they are
    #[arg(long, value_name = "FILE")]
    blind: Option<PathBuf>,

    /// Decides which answer stands on which side of the blind sheet
    #[arg(long, value_name = "N", default_value_t = 1, requires = "blind")]
    blind_seed: u64,

    /// Conditions that every model has to meet, such as accuracy>=0.8,p95<=500ms
    #[arg(long, value_name = "CONDITIONS", value_parser = gate::parse)]
    gate: Option<Gate>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
enum CalibrationArgument {
    /// The file beside the model; without one, fitted to the set's examples of the split `calibration`, if it has any
    #[default]
    Auto,
    /// Fitted to the set's examples of the split `calibration`
    Fit,
    /// None: probabilities as the model gives them
    None,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    if arguments.blind.is_some() && arguments.models.len() * (1 + usize::from(arguments.free_text)) != 2 {
        return Err(Failure::Usage(
            "a blind sheet compares two".to_owned(),
            "name two models, or one with --free-text".to_owned(),
        ));
    }
    let (task, examples) = arguments.set.read()?;
    let mut test = of_split(&examples, Split::Test);
    test.truncate(arguments.set.limit);
    if test.is_empty() {
        return Err(Failure::Usage(
            format!("{} has no examples to test with", arguments.set.set.display()),
            "give some of them \"split\": \"test\"".to_owned(),
        ));
    }
    let learn = match (task.kind(), arguments.calibration) {
        (TaskKind::Classify, CalibrationArgument::Auto | CalibrationArgument::Fit) => {
            of_split(&examples, Split::Calibration)
        }
        _ => Vec::new(),
    };
    let risk = CalibrateOptions {
        risk: Some(arguments.risk.risk),
        confidence: arguments.risk.confidence,
        ..CalibrateOptions::default()
    };
    let plan = Plan { task: &task, test: &test, learn: &learn, calibration: arguments.calibration, risk };
    let models = evaluate_all(arguments, &plan)?;
    let gate = judge(arguments.gate.as_ref(), &models);
    let report = Report {
        edgeslm: env!("CARGO_PKG_VERSION"),
        task: TaskFacts {
            name: task.name().to_owned(),
            kind: task.kind(),
            about: task.about().to_owned(),
            set: arguments.set.set.clone(),
            examples: test.len(),
            labels: task.labels().to_vec(),
            fields: task.fields().into_iter().map(str::to_owned).collect(),
        },
        baseline: baseline(&task, &test),
        models,
        gate,
    };
    write_files(arguments, &report)?;
    match &arguments.json {
        Some(path) if path == Path::new("-") => crate::output::write_json(out, &report)?,
        _ => table::write(out, &report)?,
    }
    Ok(if report.gate.iter().all(|line| line.met) { Exit::Success } else { Exit::GateFailed })
}

fn evaluate_all(arguments: &Arguments, plan: &Plan<'_>) -> Result<Vec<ModelReport>, Failure> {
    let modes: &[Mode] = if arguments.free_text { &[Mode::Task, Mode::FreeText] } else { &[Mode::Task] };
    let total = (plan.test.len() * modes.len() + plan.learn.len()) * arguments.models.len();
    let bar = progress::bar(total as u64, "{pos}/{len} answers");
    let mut reports = Vec::new();
    let names = names(&arguments.models);
    for (index, (directory, name)) in arguments.models.iter().zip(names).enumerate() {
        bar.set_message(name.clone());
        let loaded = load(directory, name, |path| arguments.load.load(path))?;
        for mode in modes {
            reports.push(evaluate(&loaded, plan, *mode, &bar)?);
        }
        // A saved calibration spares the examples that would have been fitted to.
        bar.set_position((total / arguments.models.len() * (index + 1)) as u64);
    }
    bar.finish_and_clear();
    Ok(reports)
}

/// Each directory's last name, or the whole path where two have the same.
fn names(directories: &[PathBuf]) -> Vec<String> {
    let last = |path: &PathBuf| {
        let whole = path.display().to_string();
        path.file_name().map_or(whole, |name| name.to_string_lossy().into_owned())
    };
    let names: Vec<String> = directories.iter().map(last).collect();
    let is_shared = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
    names
        .iter()
        .zip(directories)
        .map(|(name, path)| if is_shared(name) { path.display().to_string() } else { name.clone() })
        .collect()
}

/// Always the label that most test examples have.
fn baseline(task: &Task, test: &[Example]) -> Option<Baseline> {
    if task.kind() != TaskKind::Classify {
        return None;
    }
    let classes: Vec<usize> = test
        .iter()
        .filter_map(|example| match example.answer {
            Answer::Label(class) => Some(class),
            _ => None,
        })
        .collect();
    let count = |class: usize| classes.iter().filter(|other| **other == class).count();
    // Of equals the first.
    let most = (0..task.labels().len()).rev().max_by_key(|class| count(*class))?;
    let matrix = ConfusionMatrix::of(classes.iter().map(|class| (*class, most)), task.labels().len());
    Some(Baseline {
        label: task.labels().get(most)?.clone(),
        accuracy: matrix.accuracy(),
        macro_f1: matrix.macro_f1(),
    })
}

/// The gate is for models asked as the task says; free text is there for comparison.
fn judge(gate: Option<&Gate>, models: &[ModelReport]) -> Vec<GateLine> {
    let Some(Gate(conditions)) = gate else { return Vec::new() };
    let mut lines = Vec::new();
    for model in models.iter().filter(|model| model.mode == Mode::Task) {
        for condition in conditions {
            let found = model.figure(condition.figure);
            if condition.judge(found) == Verdict::Unknown {
                note(&format!(
                    "{} is not known of {}: {condition} is not met",
                    condition.figure.name(),
                    model.name
                ));
            }
            lines.push(GateLine {
                model: model.name.clone(),
                condition: condition.to_string(),
                found,
                met: condition.judge(found) == Verdict::Met,
            });
        }
    }
    lines
}

fn write_files(arguments: &Arguments, report: &Report) -> Result<(), Failure> {
    let write =
        |path: &Path, text: String| std::fs::write(path, text).map_err(|error| Error::io(path, error));
    if let Some(path) = arguments.json.as_deref().filter(|path| *path != Path::new("-")) {
        write(path, serde_json::to_string_pretty(report)? + "\n")?;
    }
    if let Some(path) = &arguments.html {
        write(path, html::page(report))?;
    }
    if let Some(path) = &arguments.blind {
        let [left, right] = &report.models[..] else { return Ok(()) };
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let sheet = blind::Sheet::new(&report.task, left, right, arguments.blind_seed);
        write(path, if is_csv { sheet.csv() } else { sheet.html() })?;
        let mut key = path.as_os_str().to_owned();
        key.push(".key.csv");
        write(Path::new(&key), sheet.key())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_by_their_last_folder_if_that_tells_them_apart() {
        let found = names(&["a/x".into(), "b/x".into(), "c/y/".into()]);
        assert_eq!(found, ["a/x", "b/x", "y"]);
    }

    #[test]
    fn the_baseline_is_the_most_frequent_label() {
        let task = Task::parse(
            r#"{"version": 1, "name": "t", "kind": "classify", "labels": ["a", "b", "c"], "prompt": {"input": "{x}"}}"#,
        )
        .unwrap();
        let folder = std::env::temp_dir().join(format!("edgeslm-baseline-{}.csv", std::process::id()));
        std::fs::write(&folder, "x,label\n1,b\n2,b\n3,a\n4,c\n5,c\n").unwrap();
        let examples = edgeslm::answer::read_examples(&folder, &task).unwrap();
        std::fs::remove_file(&folder).unwrap();
        let found = baseline(&task, &examples).unwrap();
        assert_eq!((found.label.as_str(), found.accuracy), ("b", 0.4));
        // Recall 1, precision 0.4: F1 4/7, in the mean over three labels.
        assert!((found.macro_f1 - 4.0 / 7.0 / 3.0).abs() < 1e-12);
    }
}
