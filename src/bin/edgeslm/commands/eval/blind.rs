//! A sheet on which people compare two models' answers without knowing whose they are.

use edgeslm::sampling::Random;

use super::html::{STYLE, escape};
use super::report::{ModelReport, TaskFacts};

/// Pairs of answers, each in an order that the seed decides.
pub(super) struct Sheet<'a> {
    task: &'a TaskFacts,
    pairs: Vec<Pair<'a>>,
}

struct Pair<'a> {
    id: &'a str,
    input: &'a str,
    /// The answers A and B, and whose they are.
    answers: [(&'a str, &'a str); 2],
}

impl<'a> Sheet<'a> {
    pub(super) fn new(task: &'a TaskFacts, left: &'a ModelReport, right: &'a ModelReport, seed: u64) -> Self {
        let mut random = Random::from_seed(seed);
        let pairs = left.answers.iter().zip(&right.answers).map(|(first, second)| {
            let mut answers = [(&first.answer[..], &left.name[..]), (&second.answer[..], &right.name[..])];
            if random.next_f64() < 0.5 {
                answers.reverse();
            }
            Pair { id: &first.id, input: &first.input, answers }
        });
        Self { task, pairs: pairs.collect() }
    }

    /// The sheet to fill in: `better` is for A, B or =.
    pub(super) fn csv(&self) -> String {
        let mut text = record(&["id", "input", "answer A", "answer B", "better (A, B or =)", "remarks"]);
        for pair in &self.pairs {
            text += &record(&[pair.id, pair.input, pair.answers[0].0, pair.answers[1].0, "", ""]);
        }
        text
    }

    /// Whose answers they are, and nothing that a judge should see.
    pub(super) fn key(&self) -> String {
        let mut text = record(&["id", "A", "B"]);
        for pair in &self.pairs {
            text += &record(&[pair.id, pair.answers[0].1, pair.answers[1].1]);
        }
        text
    }

    /// A page to print and fill in.
    pub(super) fn html(&self) -> String {
        let mut rows = String::new();
        for pair in &self.pairs {
            let [a, b] = pair.answers.map(|(answer, _)| escape(answer.trim()));
            rows += &format!(
                "<section class=\"pair\"><h2>{}</h2><pre>{}</pre><div class=\"sides\"><div><h3>A</h3><pre>{a}</pre></div>\
                 <div><h3>B</h3><pre>{b}</pre></div></div><p>Better: <span class=\"box\"></span> A \
                 <span class=\"box\"></span> B <span class=\"box\"></span> equal</p></section>\n",
                escape(pair.id),
                escape(pair.input),
            );
        }
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>Comparison: {name}</title>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><style>{STYLE}</style></head>\n\
             <body><main><h1>Which answer is better?</h1><p>{about} Two systems answered each of these {count} inputs; which \
             of them is A changes from one to the next. Mark the better answer, or that they are equally good.</p>\n{rows}\
             </main></body></html>\n",
            name = escape(&self.task.name),
            about = escape(&self.task.about),
            count = self.pairs.len(),
        )
    }
}

/// A record of comma-separated values as RFC 4180 has it. A value that a spreadsheet would take for a formula begins with
/// an apostrophe.
fn record(values: &[&str]) -> String {
    let quoted = values.iter().map(|value| {
        let formula = if value.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
        format!("\"{formula}{}\"", value.replace('"', "\"\""))
    });
    quoted.collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::eval::html::tests::{is_self_contained, report};

    #[test]
    fn sides_are_mixed_and_the_key_tells_them() {
        let report = report();
        let [left, right] = &report.models[..] else { panic!() };
        let sheet = Sheet::new(&report.task, left, right, 1);
        assert_eq!(sheet.pairs.len(), left.answers.len());
        let reversed = sheet.pairs.iter().filter(|pair| pair.answers[0].1 == right.name).count();
        assert!(reversed > 0 && reversed < sheet.pairs.len(), "{reversed} of {}", sheet.pairs.len());
        for (pair, (first, second)) in sheet.pairs.iter().zip(left.answers.iter().zip(&right.answers)) {
            for (answer, whose) in pair.answers {
                let expected = if whose == left.name { &first.answer } else { &second.answer };
                assert_eq!(answer, expected);
            }
        }
        let same = Sheet::new(&report.task, left, right, 1);
        assert_eq!(same.key(), sheet.key());
        for text in [sheet.csv(), sheet.html()] {
            assert!(!text.contains(&left.name) && !text.contains(&right.name), "the sheet names a model");
        }
        is_self_contained(&sheet.html());
        assert_eq!(sheet.key().lines().count(), 1 + left.answers.len());
        assert_eq!(
            sheet.csv().lines().next(),
            Some("\"id\",\"input\",\"answer A\",\"answer B\",\"better (A, B or =)\",\"remarks\"")
        );
    }

    #[test]
    fn values_are_quoted() {
        assert_eq!(record(&["a\"b", "x,\ny", "=1+1"]), "\"a\"\"b\",\"x,\ny\",\"'=1+1\"\r\n");
    }
}
