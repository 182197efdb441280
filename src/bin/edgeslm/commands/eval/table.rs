//! The report for a terminal.

use std::io::{self, Write};

use super::report::{ModelReport, Report};
use crate::output::{Table, printable, write_facts};
use crate::units;

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    if share.is_nan() { "-".to_owned() } else { format!("{:.1} %", 100.0 * share) }
}

/// A figure with three decimals.
fn figure(value: f64) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.3}") }
}

/// A time, given in seconds.
pub(super) fn time(seconds: f64) -> String {
    std::time::Duration::try_from_secs_f64(seconds).map_or("-".to_owned(), units::duration)
}

/// The figures that are compared, as rows of a name and one cell a column: the baseline, if there is one, and the models.
pub(super) fn rows(report: &Report) -> Vec<(String, Vec<String>)> {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    let baseline = report.baseline.as_ref();
    let mut row = |name: &str, of_baseline: Option<f64>, cell: &dyn Fn(&ModelReport) -> Option<String>| {
        let cells: Vec<Option<String>> = report.models.iter().map(cell).collect();
        if cells.iter().any(Option::is_some) {
            let first = baseline.map(|_| of_baseline.map_or("-".to_owned(), percent));
            let cells = cells.into_iter().map(|cell| cell.unwrap_or("-".to_owned()));
            rows.push((name.to_owned(), first.into_iter().chain(cells).collect()));
        }
    };
    let classify = |model: &ModelReport| model.classify.clone();
    let probabilities = |model: &ModelReport| model.classify.as_ref()?.probabilities.clone();
    let extract = |model: &ModelReport| model.extract.clone();
    let text = |model: &ModelReport| model.text.clone();
    row("accuracy", baseline.map(|b| b.accuracy), &|m| Some(percent(classify(m)?.accuracy)));
    row("macro F1", baseline.map(|b| b.macro_f1), &|m| Some(percent(classify(m)?.macro_f1)));
    row("no label found", None, &|m| Some(classify(m)?.unanswered).filter(|n| *n > 0).map(|n| n.to_string()));
    row("calibration error", None, &|m| Some(figure(probabilities(m)?.expected_calibration_error)));
    row("Brier score", None, &|m| Some(figure(probabilities(m)?.brier_score)));
    row("log loss", None, &|m| Some(figure(probabilities(m)?.log_loss)));
    row("answered (coverage)", None, &|m| {
        classify(m)?.abstention.map(|_| percent(classify(m).map_or(0.0, |c| c.coverage)))
    });
    row("right of those", None, &|m| {
        classify(m)?.abstention.map(|_| percent(classify(m).map_or(f64::NAN, |c| c.selective_accuracy)))
    });
    row("all fields right", None, &|m| Some(percent(extract(m)?.exact)));
    row("mean of the fields", None, &|m| Some(percent(extract(m)?.field_accuracy)));
    row("is a JSON object", None, &|m| Some(percent(extract(m)?.parsed)));
    for (index, field) in report.task.fields.iter().enumerate() {
        row(&format!("field {field}"), None, &|m| Some(percent(extract(m)?.fields.get(index)?.exact)));
    }
    row("right", None, &|m| Some(percent(text(m)?.accuracy)));
    row("exact match", None, &|m| Some(percent(text(m)?.exact)));
    row("prefix match", None, &|m| Some(percent(text(m)?.prefix)));
    row("time, median", None, &|m| Some(time(m.speed.p50)));
    row("time, 95th percentile", None, &|m| Some(time(m.speed.p95)));
    row("prefill, tok/s", None, &|m| m.speed.prefill_rate.map(units::three_digits));
    row("decode, tok/s", None, &|m| m.speed.decode_rate.map(units::three_digits));
    row("prompt tokens reused", None, &|m| {
        Some(percent(m.speed.reused_tokens as f64 / m.speed.prompt_tokens.max(1) as f64))
    });
    row("load", None, &|m| Some(time(m.speed.load)));
    row("peak memory", None, &|m| m.speed.peak_memory.map(units::bytes));
    rows
}

/// The titles of the columns of [`rows`].
pub(super) fn columns(report: &Report) -> Vec<String> {
    let baseline = report.baseline.as_ref().map(|baseline| format!("always {}", baseline.label));
    baseline.into_iter().chain(report.models.iter().map(|model| model.name.clone())).collect()
}

pub(super) fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let task = &report.task;
    let facts = [
        ("task", format!("{} ({})", task.name, task.kind.name())),
        ("set", format!("{}, {} examples", task.set.display(), task.examples)),
    ];
    write_facts(out, &facts)?;
    writeln!(out)?;
    let columns = columns(report);
    let titles: Vec<String> = std::iter::once("")
        .chain(columns.iter().map(String::as_str))
        .map(|text| printable(text).into_owned())
        .collect();
    let mut table = Table::new(&titles.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, cells) in rows(report) {
        table.row([printable(&name).into_owned()].into_iter().chain(cells));
    }
    table.write(out)?;
    for model in &report.models {
        write_confusion(out, report, model)?;
    }
    for line in &report.gate {
        let found = line.found.map_or("unknown".to_owned(), |found| format!("{found:.4}"));
        let verdict = if line.met { "met" } else { "NOT MET" };
        writeln!(
            out,
            "{}gate {}: {verdict} by {} ({found})",
            newline(report, line),
            line.condition,
            printable(&line.model)
        )?;
    }
    out.flush()
}

/// An empty line before the first condition.
fn newline(report: &Report, line: &super::report::GateLine) -> &'static str {
    if report.gate.first().is_some_and(|first| std::ptr::eq(first, line)) { "\n" } else { "" }
}

fn write_confusion(out: &mut dyn Write, report: &Report, model: &ModelReport) -> io::Result<()> {
    let Some(scores) = &model.classify else { return Ok(()) };
    let labels = &report.task.labels;
    if labels.len() > 12 {
        return Ok(());
    }
    writeln!(out, "\n{}: right label in rows, answers in columns", printable(&model.name))?;
    let titles: Vec<String> = [""]
        .into_iter()
        .chain(labels.iter().map(String::as_str))
        .chain(["recall", "F1"])
        .map(|text| printable(text).into_owned())
        .collect();
    let mut table = Table::new(&titles.iter().map(String::as_str).collect::<Vec<_>>());
    for (right, label) in labels.iter().enumerate() {
        let counts = (0..labels.len()).map(|decided| scores.confusion.count(right, decided).to_string());
        let of_class = &scores.classes[right];
        table.row(
            [printable(label).into_owned()]
                .into_iter()
                .chain(counts)
                .chain([percent(of_class.recall), percent(of_class.f1)]),
        );
    }
    table.write(out)
}
