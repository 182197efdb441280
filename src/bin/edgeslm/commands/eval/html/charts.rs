//! Charts as SVG, with colours from the page's style.

use super::super::report::{ModelReport, Report};
use super::super::table::{percent, time};
use super::escape;

/// The charts that suit the task.
pub(super) fn all(report: &Report) -> Vec<String> {
    let mut charts = vec![quality(report), latency(report)];
    if !report.task.fields.is_empty() {
        charts.push(fields(report));
    }
    let has_probabilities =
        report.models.iter().any(|model| model.classify.as_ref().is_some_and(|c| c.probabilities.is_some()));
    if has_probabilities {
        charts.push(reliability(report));
        charts.push(coverage_risk(report));
    }
    charts.extend(report.models.iter().filter_map(|model| confusion(report, model)));
    charts
}

/// The colour of the model at `index`.
fn colour(index: usize) -> String {
    format!("var(--s{})", index % 6)
}

fn figure(title: &str, height: f64, content: &str, caption: &str) -> String {
    format!(
        "<figure class=\"chart\"><h3>{title}</h3><svg viewBox=\"0 0 320 {height:.0}\" role=\"img\" aria-label=\"{title}\">{content}</svg>\
         <figcaption>{caption}</figcaption></figure>\n",
        title = escape(title),
        caption = caption,
    )
}

/// Which colour is whose.
fn legend(names: &[(usize, &str)]) -> String {
    let key = |(index, name): &(usize, &str)| {
        format!("<span class=\"key\" style=\"background:{}\"></span>{}", colour(*index), escape(name))
    };
    names.iter().map(key).collect()
}

/// A bar with its name above and its value at its end.
struct Bar {
    name: String,
    /// From 0 to 1.
    length: f64,
    value: String,
    colour: String,
}

fn bars(title: &str, bars: &[Bar], caption: &str) -> String {
    let mut content = String::new();
    let mut y = 4.0;
    for bar in bars {
        let length = if bar.length.is_finite() { bar.length.clamp(0.0, 1.0) } else { 0.0 };
        content += &format!(
            "<text x=\"0\" y=\"{:.1}\">{}</text><rect x=\"0\" y=\"{:.1}\" width=\"260\" height=\"9\" rx=\"2\" fill=\"var(--line)\"/>\
             <rect x=\"0\" y=\"{:.1}\" width=\"{:.1}\" height=\"9\" rx=\"2\" fill=\"{}\"/>\
             <text x=\"318\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            y + 9.0,
            escape(&shortened(&bar.name)),
            y + 14.0,
            y + 14.0,
            260.0 * length,
            bar.colour,
            y + 22.5,
            escape(&bar.value),
        );
        y += 31.0;
    }
    figure(title, y, &content, caption)
}

/// Names that are too long for a chart lose their middle.
fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= 48 {
        return name.to_owned();
    }
    let (begin, end): (String, String) =
        (name.chars().take(22).collect(), name.chars().skip(count - 23).collect());
    format!("{begin}…{end}")
}

fn quality(report: &Report) -> String {
    let mut found = Vec::new();
    if let Some(baseline) = &report.baseline {
        found.push(Bar {
            name: format!("always {}", baseline.label),
            length: baseline.accuracy,
            value: percent(baseline.accuracy),
            colour: "var(--soft)".to_owned(),
        });
    }
    for (index, model) in report.models.iter().enumerate() {
        let accuracy = model.figure(super::super::gate::Figure::Accuracy).unwrap_or(f64::NAN);
        found.push(Bar {
            name: model.name.clone(),
            length: accuracy,
            value: percent(accuracy),
            colour: colour(index),
        });
    }
    bars("Right answers", &found, "The share of the examples.")
}

fn latency(report: &Report) -> String {
    let most = report.models.iter().map(|model| model.speed.p95).fold(f64::MIN_POSITIVE, f64::max);
    let mut found = Vec::new();
    for (index, model) in report.models.iter().enumerate() {
        for (which, seconds) in [("median", model.speed.p50), ("95th percentile", model.speed.p95)] {
            found.push(Bar {
                name: format!("{}, {which}", shortened(&model.name)),
                length: seconds / most,
                value: time(seconds),
                colour: colour(index),
            });
        }
    }
    bars("Time for an answer", &found, "From the question to the whole answer.")
}

fn fields(report: &Report) -> String {
    let mut found = Vec::new();
    for (field, name) in report.task.fields.iter().enumerate() {
        for (index, model) in report.models.iter().enumerate() {
            let Some(score) = model.extract.as_ref().and_then(|scores| scores.fields.get(field)) else {
                continue;
            };
            found.push(Bar {
                name: name.clone(),
                length: score.exact,
                value: percent(score.exact),
                colour: colour(index),
            });
        }
    }
    bars("Fields that are right", &found, &legend(&model_names(report)))
}

fn model_names(report: &Report) -> Vec<(usize, &str)> {
    report.models.iter().enumerate().map(|(index, model)| (index, model.name.as_str())).collect()
}

/// The plot area: both axes from 0 to 1.
const LEFT: f64 = 34.0;
const TOP: f64 = 8.0;
const WIDTH: f64 = 276.0;
const HEIGHT: f64 = 220.0;

fn x(value: f64) -> f64 {
    LEFT + WIDTH * value.clamp(0.0, 1.0)
}

fn y(value: f64) -> f64 {
    TOP + HEIGHT * (1.0 - value.clamp(0.0, 1.0))
}

fn axes(horizontal: &str, vertical: &str) -> String {
    let mut content = String::new();
    for tick in 0..=4 {
        let value = f64::from(tick) / 4.0;
        content += &format!(
            "<path d=\"M{x0:.1} {y:.1}H{x1:.1}M{x:.1} {y0:.1}V{y1:.1}\" stroke=\"var(--line)\" fill=\"none\"/>\
             <text x=\"{lx:.1}\" y=\"{ly:.1}\" text-anchor=\"end\" class=\"soft\">{percent:.0}</text>\
             <text x=\"{x:.1}\" y=\"{below:.1}\" text-anchor=\"middle\" class=\"soft\">{percent:.0}</text>",
            x0 = x(0.0),
            x1 = x(1.0),
            y0 = y(0.0),
            y1 = y(1.0),
            x = x(value),
            y = y(value),
            lx = LEFT - 5.0,
            ly = y(value) + 4.0,
            below = y(0.0) + 14.0,
            percent = 100.0 * value,
        );
    }
    content
        + &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"soft\">{}</text>\
             <text x=\"9\" y=\"{:.1}\" text-anchor=\"middle\" class=\"soft\" transform=\"rotate(-90 9 {:.1})\">{}</text>",
            x(0.5),
            y(0.0) + 29.0,
            escape(horizontal),
            y(0.5),
            y(0.5),
            escape(vertical),
        )
}

fn plot_height() -> f64 {
    TOP + HEIGHT + 36.0
}

/// Confidence against accuracy, in bins.
fn reliability(report: &Report) -> String {
    let mut content = axes("probability, %", "right, %");
    content += &format!(
        "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"var(--soft)\" stroke-dasharray=\"4 4\" fill=\"none\"/>",
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    );
    let mut names = Vec::new();
    for (index, model) in report.models.iter().enumerate() {
        let Some(scores) = model.classify.as_ref().and_then(|scores| scores.probabilities.as_ref()) else {
            continue;
        };
        names.push((index, model.name.as_str()));
        let points: Vec<(f64, f64)> = scores.bins.iter().map(|bin| (bin.confidence, bin.accuracy)).collect();
        content += &line(&points, index);
        for (confidence, accuracy) in &points {
            content += &format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.2\" fill=\"{}\"/>",
                x(*confidence),
                y(*accuracy),
                colour(index)
            );
        }
    }
    let caption = format!(
        "On the dashed line probabilities are what they say. Ten bins of equal number.<br/>{}",
        legend(&names)
    );
    figure("Are the probabilities honest?", plot_height(), &content, &caption)
}

fn coverage_risk(report: &Report) -> String {
    let mut content = axes("answered, %", "wrong of those, %");
    let mut names = Vec::new();
    for (index, model) in report.models.iter().enumerate() {
        let Some(scores) = model.classify.as_ref().and_then(|scores| scores.probabilities.as_ref()) else {
            continue;
        };
        names.push((index, model.name.as_str()));
        let points: Vec<(f64, f64)> =
            scores.coverage_risk.iter().map(|point| (point.coverage, point.risk)).collect();
        content += &line(&points, index);
    }
    let caption = format!(
        "When only the most probable answers are taken and a person gets the others.<br/>{}",
        legend(&names)
    );
    figure("What abstaining saves", plot_height(), &content, &caption)
}

fn line(points: &[(f64, f64)], index: usize) -> String {
    let mut path = String::new();
    for (number, (horizontal, vertical)) in points.iter().enumerate() {
        let command = if number == 0 { 'M' } else { 'L' };
        path += &format!("{command}{:.1} {:.1}", x(*horizontal), y(*vertical));
    }
    format!(
        "<path d=\"{path}\" stroke=\"{}\" stroke-width=\"2\" fill=\"none\" stroke-linejoin=\"round\"/>",
        colour(index)
    )
}

/// More labels make cells too small to read.
const MOST_LABELS: usize = 12;

fn confusion(report: &Report, model: &ModelReport) -> Option<String> {
    let scores = model.classify.as_ref()?;
    let labels = &report.task.labels;
    if labels.len() > MOST_LABELS {
        return None;
    }
    let index = report.models.iter().position(|other| std::ptr::eq(other, model))?;
    let count = labels.len() as f64;
    let (left, top) = (92.0, 20.0);
    let (width, height) = ((320.0 - left) / count, (180.0 / count).max(22.0));
    let mut content = format!(
        "<text x=\"{:.1}\" y=\"11\" text-anchor=\"middle\" class=\"soft\">answer</text>",
        left + width * count / 2.0
    );
    for (right, label) in labels.iter().enumerate() {
        let row = top + height * right as f64;
        content += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 6.0,
            row + height / 2.0 + 4.0,
            escape(&cut(label, 15)),
        );
        let total = scores.classes.get(right).map_or(0, |class| class.support).max(1) as f64;
        for decided in 0..labels.len() {
            let number = scores.confusion.count(right, decided);
            let share = number as f64 / total;
            content += &format!(
                "<rect x=\"{cx:.1}\" y=\"{row:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" fill=\"{colour}\" fill-opacity=\"{opacity:.2}\" \
                 stroke=\"var(--line)\"/><text x=\"{tx:.1}\" y=\"{ty:.1}\" text-anchor=\"middle\">{number}</text>",
                cx = left + width * decided as f64,
                w = width,
                h = height,
                colour = colour(index),
                opacity = 0.04 + 0.56 * share,
                tx = left + width * (decided as f64 + 0.5),
                ty = row + height / 2.0 + 4.0,
            );
        }
    }
    let bottom = top + height * count + 14.0;
    for (decided, label) in labels.iter().enumerate() {
        content += &format!(
            "<text x=\"{:.1}\" y=\"{bottom:.1}\" text-anchor=\"middle\">{}</text>",
            left + width * (decided as f64 + 0.5),
            escape(&cut(label, (width / 6.2) as usize)),
        );
    }
    let unanswered = match scores.unanswered {
        0 => String::new(),
        count => format!(" {count} answers had no label."),
    };
    let title = format!("{}: what was taken for what", shortened(&model.name));
    Some(figure(&title, bottom + 8.0, &content, &format!("Rows: the right label.{unanswered}")))
}

/// At most `most` characters.
fn cut(label: &str, most: usize) -> String {
    if label.chars().count() <= most {
        return label.to_owned();
    }
    label.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
