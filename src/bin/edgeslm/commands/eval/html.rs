//! The report as one page: no script, nothing from elsewhere, light and dark, and fit to print.

mod charts;

use super::report::{ModelReport, Report};
use super::table;

/// How many answers of a model the page shows; the JSON has all.
const SHOWN_ANSWERS: usize = 500;

/// The page's style. Colours are those of Okabe and Ito, which people with colour blindness tell apart.
pub(super) const STYLE: &str = "\
:root{--back:#fff;--text:#1b1f24;--soft:#59636e;--line:#d5dae0;--card:#f6f8fa;--good:#00795a;--bad:#b3400a;\
--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#b86a96;--s4:#8a6d00;--s5:#3f8fc4;color-scheme:light dark}\
@media(prefers-color-scheme:dark){:root{--back:#14181d;--text:#e6e9ed;--soft:#9aa5b1;--line:#343c46;--card:#1c2229;\
--good:#4cc9a0;--bad:#ff9b66;--s0:#56b4e9;--s1:#ff8f40;--s2:#3ccfa0;--s3:#e29bc3;--s4:#e0c12f;--s5:#8fc8f0}}\
@media print{:root{--back:#fff;--text:#000;--soft:#444;--line:#bbb;--card:#fff;--good:#00603f;--bad:#8f3000;\
--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#b86a96;--s4:#8a6d00;--s5:#3f8fc4}details{display:block}\
.chart,.card,.pair{break-inside:avoid}}\
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--text);\
font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif;-webkit-print-color-adjust:exact;print-color-adjust:exact}\
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:34px 0 10px}\
h3{font-size:14px;margin:0 0 8px}p{margin:6px 0}.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:5px 12px;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}\
th{font-weight:600}th:first-child,td:first-child{text-align:left;padding-left:0}td:first-child{white-space:nowrap}thead th{border-bottom:2px solid var(--line)}\
table.answers{width:100%}table.answers th,table.answers td{text-align:left}\
td pre,.pair pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.45 ui-monospace,Menlo,Consolas,monospace}\
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:18px}\
.chart{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px;margin:0}\
.chart svg{display:block;width:100%;height:auto}.chart figcaption{font-size:13px;color:var(--soft);margin-top:6px}\
svg text{fill:var(--text);font:11px system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif}svg .soft{fill:var(--soft)}\
.key{display:inline-block;width:10px;height:10px;border-radius:2px;margin:0 5px 0 12px}\
summary{cursor:pointer;font-weight:600;margin:10px 0}.pair{border-top:1px solid var(--line);padding:12px 0}\
.sides{display:grid;grid-template-columns:1fr 1fr;gap:16px;margin-top:10px}.sides>div{background:var(--card);\
border:1px solid var(--line);border-radius:8px;padding:10px}.box{display:inline-block;width:13px;height:13px;\
border:1.5px solid var(--text);border-radius:3px;vertical-align:-2px;margin:0 3px 0 12px}";

/// The text as HTML shows it, without control characters.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' | '\t' => escaped.push(c),
            c if c.is_control()
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}') =>
            {
                escaped.push('\u{fffd}');
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let task = &report.task;
    let mut body = format!(
        "<h1>{}</h1><p>{}</p><p class=\"soft\">{} examples of {} · task of kind {} · edgeslm {}</p>\n",
        escape(&task.name),
        escape(&task.about),
        task.examples,
        escape(&task.set.display().to_string()),
        task.kind.name(),
        escape(report.edgeslm),
    );
    body += &gate(report);
    body += &figures(report);
    body += "<h2>Charts</h2><div class=\"charts\">\n";
    for chart in charts::all(report) {
        body += &chart;
    }
    body += "</div>\n";
    for model in &report.models {
        body += &classes(report, model);
    }
    body += "<h2>Answers</h2>\n";
    for model in &report.models {
        body += &answers(model);
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>Evaluation: {}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><style>{STYLE}</style></head>\n\
         <body><main>\n{body}</main></body></html>\n",
        escape(&task.name),
    )
}

fn gate(report: &Report) -> String {
    if report.gate.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<h2>Gate</h2><div class=\"wide\"><table><thead><tr><th>condition</th><th>model</th><th>found</th><th></th></tr></thead><tbody>\n",
    );
    for line in &report.gate {
        let found = line.found.map_or("unknown".to_owned(), |found| format!("{found:.4}"));
        let (class, verdict) = if line.met { ("good", "met") } else { ("bad", "not met") };
        html += &format!(
            "<tr><td>{}</td><td>{}</td><td>{found}</td><td class=\"{class}\">{verdict}</td></tr>\n",
            escape(&line.condition),
            escape(&line.model)
        );
    }
    html + "</tbody></table></div>\n"
}

fn figures(report: &Report) -> String {
    let mut html = String::from("<h2>Figures</h2><div class=\"wide\"><table><thead><tr><th></th>");
    for column in table::columns(report) {
        html += &format!("<th>{}</th>", escape(&column));
    }
    html += "</tr></thead><tbody>\n";
    for (name, cells) in table::rows(report) {
        html += &format!("<tr><td>{}</td>", escape(&name));
        for cell in cells {
            html += &format!("<td>{}</td>", escape(&cell));
        }
        html += "</tr>\n";
    }
    html += "</tbody></table></div>\n<p class=\"soft\">";
    if report.models.iter().any(|model| model.classify.as_ref().is_some_and(|c| c.probabilities.is_some())) {
        html += "Calibration error: expected calibration error over ten bins of equal number. ";
    }
    html += "Times are per answer, one after the other.</p>\n";
    for model in &report.models {
        html += &calibration(model);
    }
    html
}

fn calibration(model: &ModelReport) -> String {
    let Some(scores) = &model.classify else { return String::new() };
    let Some(fitted) = &scores.calibration else { return String::new() };
    let text = format!(
        "<p class=\"soft\">{}: calibrated on {} examples ({} scaling",
        escape(&model.name),
        fitted.examples,
        fitted.method.name()
    );
    let end = match &scores.abstention {
        Some(abstention) if abstention.accepted == 0 => {
            "); the examples show no threshold that keeps to the risk, so every answer is for a person.</p>\n"
                .to_owned()
        }
        Some(abstention) => format!(
            "); below a probability of {:.3} a person decides, for a risk of at most {:.0} % with {:.0} % confidence.</p>\n",
            abstention.threshold,
            100.0 * abstention.risk,
            100.0 * abstention.confidence
        ),
        None => ").</p>\n".to_owned(),
    };
    text + &end
}

/// Precision, recall and F1 of each class.
fn classes(report: &Report, model: &ModelReport) -> String {
    let Some(scores) = &model.classify else { return String::new() };
    let mut html = format!(
        "<h2>{}: labels</h2><div class=\"wide\"><table><thead><tr><th>label</th><th>examples</th><th>precision</th><th>recall</th>\
         <th>F1</th></tr></thead><tbody>\n",
        escape(&model.name)
    );
    for (label, class) in report.task.labels.iter().zip(&scores.classes) {
        html += &format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            escape(label),
            class.support,
            table::percent(class.precision),
            table::percent(class.recall),
            table::percent(class.f1)
        );
    }
    html + "</tbody></table></div>\n"
}

fn answers(model: &ModelReport) -> String {
    let right = model.answers.iter().filter(|item| item.right).count();
    let mut html = format!(
        "<details><summary>{}: {right} of {} right</summary><div class=\"wide\"><table class=\"answers\"><thead><tr><th>id</th>\
         <th>input</th><th>expected</th><th>answer</th><th></th></tr></thead><tbody>\n",
        escape(&model.name),
        model.answers.len()
    );
    for item in model.answers.iter().take(SHOWN_ANSWERS) {
        let (class, mark) = if item.right { ("good", "right") } else { ("bad", "wrong") };
        let probability = item.probability.map_or(String::new(), |p| format!(" {:.0} %", 100.0 * p));
        let person = if item.abstained { ", for a person" } else { "" };
        html += &format!(
            "<tr><td>{}</td><td><pre>{}</pre></td><td><pre>{}</pre></td><td><pre>{}</pre></td>\
             <td class=\"{class}\">{mark}{probability}{person}</td></tr>\n",
            escape(&item.id),
            escape(&item.input),
            escape(&item.expected),
            escape(item.answer.trim()),
        );
    }
    html += "</tbody></table></div>";
    if model.answers.len() > SHOWN_ANSWERS {
        html += &format!("<p class=\"soft\">The first {SHOWN_ANSWERS}; --json writes all.</p>");
    }
    html + "</details>\n"
}

#[cfg(test)]
pub(super) mod tests;
