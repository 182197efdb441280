//! `edgeslm calibrate`: makes the probabilities of a task's labels honest.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use edgeslm::answer::measures::{
    ConfusionMatrix, CoverageRisk, area_under_risk, brier_score, confidence_bins, coverage_risk,
    expected_calibration_error, log_loss,
};
use edgeslm::answer::{
    Answer, CalibrateOptions, Calibration, Classifier, ClassifyOptions, LabelCalibration, LabelScore, Split,
};
use serde::Serialize;
use serde_json::json;

use crate::arguments::ModelArguments;
use crate::failure::{Exit, Failure};
use crate::output::{Table, write_facts, write_json};
use crate::progress;
use crate::task_files::{SetArguments, calibration_path, of_split};

/// How many bins of equal number the expected calibration error is taken over.
pub(crate) const BINS: usize = 10;

/// Calibrate the labels of a task on labelled examples
///
/// Examples of the split `calibration` show what the model's scores mean; method and strength are chosen by cross-validation.
/// Examples of the split `test` show what that changes: accuracy, expected calibration error (10 bins of equal number), Brier score,
/// log loss, and the share that is wrong when only the surest answers are taken. The calibration is saved beside the model.
///
/// Below the threshold that is saved with it an answer should go to a person. It is the lowest at which the share of wrong answers
/// is at most --risk with probability --confidence (Geifman and El-Yaniv, 2017). Where the examples are too few or too often wrong
/// to show that, every answer goes to a person.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edgeslm calibrate examples/data/triage.jsonl smollm2
  edgeslm calibrate triage.jsonl smollm2 --risk 0.2 --json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    set: SetArguments,

    #[command(flatten)]
    model: ModelArguments,

    /// Where to save the calibration [default: DIR/NAME.calibration.json, with the task's name]
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    output: Option<PathBuf>,

    /// Save nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    risk: RiskArguments,

    /// How labels are scored
    #[arg(long, value_enum, default_value_t)]
    score: ScoreArgument,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// When to leave the answer to a person.
#[derive(Args, Debug)]
pub(crate) struct RiskArguments {
    /// The share of wrong answers that is accepted among those that are taken
    #[arg(long, value_name = "R", default_value_t = 0.1, value_parser = share)]
    pub(crate) risk: f64,

    /// The probability with which that is to hold
    #[arg(long, value_name = "P", default_value_t = 0.9, value_parser = share)]
    pub(crate) confidence: f64,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => Err("write a number between 0 and 1, such as 0.1".to_owned()),
    }
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
enum ScoreArgument {
    /// The probability that the model goes on with the label
    #[default]
    Joint,
    /// The probability of the label when only labels can be generated
    TrieNormalised,
}

/// How good probabilities over labels are.
#[derive(Debug, Clone, Serialize)]
struct Quality {
    accuracy: f64,
    expected_calibration_error: f64,
    brier_score: f64,
    log_loss: f64,
    area_under_coverage_risk: f64,
    coverage_risk: Vec<CoverageRisk>,
}

impl Quality {
    fn of(examples: &[(Vec<f32>, usize)], classes: usize) -> Self {
        let pairs = || examples.iter().map(|(probabilities, class)| (&probabilities[..], *class));
        let decisions: Vec<(f32, bool)> = examples.iter().map(|(p, class)| decision(p, *class)).collect();
        let matrix = ConfusionMatrix::of(examples.iter().map(|(p, class)| (*class, best(p))), classes);
        let curve = coverage_risk(&decisions);
        Self {
            accuracy: matrix.accuracy(),
            expected_calibration_error: expected_calibration_error(&confidence_bins(&decisions, BINS)),
            brier_score: brier_score(pairs()),
            log_loss: log_loss(pairs()),
            area_under_coverage_risk: area_under_risk(&curve),
            coverage_risk: curve,
        }
    }

    /// The risk when the surest answers are taken that are at least this share.
    fn risk_at(&self, coverage: f64) -> Option<f64> {
        self.coverage_risk.iter().find(|point| point.coverage >= coverage - 1e-9).map(|point| point.risk)
    }
}

/// The index of the largest.
fn best(probabilities: &[f32]) -> usize {
    (0..probabilities.len()).rev().max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b])).unwrap_or(0)
}

fn decision(probabilities: &[f32], class: usize) -> (f32, bool) {
    let best = best(probabilities);
    (probabilities.get(best).copied().unwrap_or(0.0), best == class)
}

/// What was held out, without and with the calibration.
struct HeldOut {
    before: Vec<(Vec<f32>, usize)>,
    after: Vec<(Vec<f32>, usize)>,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let (task, examples) = arguments.set.read()?;
    let mut learn = of_split(&examples, Split::Calibration);
    let mut test = of_split(&examples, Split::Test);
    learn.truncate(arguments.set.limit);
    test.truncate(arguments.set.limit);
    if learn.is_empty() {
        return Err(Failure::Usage(
            format!("{} has no examples to calibrate with", arguments.set.set.display()),
            "give some of them \"split\": \"calibration\"".to_owned(),
        ));
    }
    let model = arguments.model.load()?;
    let mut classifier = Classifier::new(&model, task)?;
    let score = match arguments.score {
        ScoreArgument::Joint => LabelScore::Joint,
        ScoreArgument::TrieNormalised => LabelScore::TrieNormalised,
    };
    let classify = ClassifyOptions { score, ..ClassifyOptions::default() };
    let options = CalibrateOptions {
        risk: Some(arguments.risk.risk),
        confidence: arguments.risk.confidence,
        classify: classify.clone(),
    };
    let bar = progress::bar((learn.len() + test.len()) as u64, "{pos}/{len} examples");
    bar.set_message("scoring");
    let calibration = classifier.calibrate(&learn, &options, |done| bar.set_position(done as u64))?;
    let classes = classifier.task().labels().len();
    let plain = Calibration::unfitted(classifier.task().words().len(), classes, None)?;
    let mut held_out = HeldOut { before: Vec::new(), after: Vec::new() };
    for example in &test {
        let Answer::Label(class) = example.answer else { continue };
        let scores = classifier.scores(&example.fields, &classify)?.log_probabilities;
        held_out.before.push((plain.probabilities(&scores)?, class));
        held_out.after.push((calibration.calibration().probabilities(&scores)?, class));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let path = arguments
        .output
        .clone()
        .unwrap_or_else(|| calibration_path(&arguments.model.directory, classifier.task()));
    if !arguments.dry_run {
        calibration.save(&path)?;
    }
    let saved = (!arguments.dry_run).then_some(path);
    if arguments.json {
        write_report_json(out, &classifier, &calibration, &held_out, classes, saved)?;
    } else {
        write_report(out, &model.info().engine, &classifier, &calibration, &held_out, classes, saved)?;
    }
    Ok(Exit::Success)
}

/// Of the answers held out: how many are taken, and how many of those are wrong.
fn taken(calibration: &LabelCalibration, held_out: &HeldOut) -> (usize, usize) {
    let accepts =
        |probability: f32| calibration.abstention().is_none_or(|abstention| abstention.accepts(probability));
    let decisions = held_out.after.iter().map(|(probabilities, class)| decision(probabilities, *class));
    let taken: Vec<bool> = decisions.filter(|(p, _)| accepts(*p)).map(|(_, is_right)| is_right).collect();
    (taken.len(), taken.iter().filter(|is_right| !**is_right).count())
}

fn write_report_json(
    out: &mut dyn Write,
    classifier: &Classifier,
    calibration: &LabelCalibration,
    held_out: &HeldOut,
    classes: usize,
    saved: Option<PathBuf>,
) -> Result<(), Failure> {
    let (accepted, wrong) = taken(calibration, held_out);
    let quality =
        |examples: &[(Vec<f32>, usize)]| (!examples.is_empty()).then(|| Quality::of(examples, classes));
    let report = json!({
        "task": classifier.task().name(),
        "labels": classifier.task().labels(),
        "words_scored": classifier.task().words().len(),
        "fitted": calibration.summary(),
        "abstention": calibration.abstention(),
        "bins": BINS,
        "held_out": {
            "examples": held_out.after.len(),
            "before": quality(&held_out.before),
            "after": quality(&held_out.after),
            "accepted": accepted,
            "accepted_wrong": wrong,
        },
        "saved": saved,
    });
    Ok(write_json(out, &report)?)
}

fn write_report(
    out: &mut dyn Write,
    engine: &str,
    classifier: &Classifier,
    calibration: &LabelCalibration,
    held_out: &HeldOut,
    classes: usize,
    saved: Option<PathBuf>,
) -> Result<(), Failure> {
    let summary = calibration.summary();
    let bias = if summary.content_free { ", label bias of empty inputs subtracted" } else { "" };
    let task = classifier.task();
    let count = held_out.after.len();
    write_facts(
        out,
        &[
            ("task", format!("{}: {classes} labels, {} words scored", task.name(), task.words().len())),
            ("engine", engine.to_owned()),
            (
                "fitted",
                format!(
                    "{} examples: {}, ridge {}{bias}; log loss {:.3} in cross-validation",
                    summary.examples,
                    summary.method.name(),
                    summary.ridge,
                    summary.log_loss
                ),
            ),
            ("held out", format!("{count} examples")),
        ],
    )?;
    if count > 0 {
        let [before, after] =
            [&held_out.before, &held_out.after].map(|examples| Quality::of(examples, classes));
        writeln!(out)?;
        let mut table = Table::new(&["held out", "before", "after"]);
        let mut row = |name: &str, before: f64, after: f64| {
            table.row([name.to_owned(), format!("{before:.3}"), format!("{after:.3}")]);
        };
        row("accuracy", before.accuracy, after.accuracy);
        row(
            "expected calibration error",
            before.expected_calibration_error,
            after.expected_calibration_error,
        );
        row("Brier score", before.brier_score, after.brier_score);
        row("log loss", before.log_loss, after.log_loss);
        row("mean risk over coverages", before.area_under_coverage_risk, after.area_under_coverage_risk);
        table.write(out)?;
        writeln!(out, "\nShare wrong when only the surest are answered:")?;
        let mut table = Table::new(&["coverage", "before", "after"]);
        for tenths in (1..=10).rev() {
            let coverage = f64::from(tenths) / 10.0;
            let cells = [before.risk_at(coverage), after.risk_at(coverage)];
            let cells = cells.map(|risk| risk.map_or("-".to_owned(), |risk| format!("{risk:.3}")));
            table.row([format!("{:.0} %", 100.0 * coverage)].into_iter().chain(cells));
        }
        table.write(out)?;
    }
    writeln!(out)?;
    if let Some(abstention) = calibration.abstention() {
        let (accepted, wrong) = taken(calibration, held_out);
        let (risk, confidence) = (100.0 * abstention.risk, 100.0 * abstention.confidence);
        if abstention.accepted == 0 {
            writeln!(
                out,
                "No threshold keeps the risk to {risk} % with {confidence} % confidence on {} examples: every answer is for \
                 a person. Give more examples, or accept more with --risk.",
                abstention.examples
            )?;
        } else {
            writeln!(
                out,
                "Below {:.3} a person decides: then at most {risk} % of the other answers are wrong, with {confidence} % \
                 confidence ({} of {} examples taken, {} wrong). Held out: {accepted} of {count} taken, {wrong} wrong.",
                abstention.threshold, abstention.accepted, abstention.examples, abstention.wrong
            )?;
        }
    }
    if let Some(path) = saved {
        writeln!(out, "Saved {}", path.display())?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_by_hand() {
        let examples = [(vec![0.9, 0.1], 0), (vec![0.6, 0.4], 1), (vec![0.2, 0.8], 1), (vec![0.5, 0.5], 1)];
        let quality = Quality::of(&examples, 2);
        assert_eq!(quality.accuracy, 0.5);
        // A bin each: |0.5 − 0|, |0.6 − 0|, |0.8 − 1|, |0.9 − 1|.
        assert!((quality.expected_calibration_error - 1.4 / 4.0).abs() < 1e-6);
        assert_eq!(
            (quality.risk_at(0.5), quality.risk_at(0.7), quality.risk_at(1.0)),
            (Some(0.0), Some(1.0 / 3.0), Some(0.5))
        );
        assert_eq!(best(&[0.5, 0.5]), 0, "of equals, the first");
    }

    #[test]
    fn shares_are_between_0_and_1() {
        assert_eq!(share("0.1"), Ok(0.1));
        for text in ["0", "1", "-0.1", "NaN", "ten"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
