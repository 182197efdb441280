//! How well labelled statements were sorted.

use serde_json::{Map, json};

use crate::kiosk::Finding;

/// The classes, the most serious first.
const CLASSES: [&str; 3] = ["emergency", "urgent", "routine"];

#[derive(Default)]
pub(crate) struct Summary {
    findings: Vec<Finding>,
    /// Patients without an answer.
    pub(crate) failures: usize,
}

impl Summary {
    pub(crate) fn add(&mut self, mut finding: Finding) {
        // Nothing that a patient said is needed any longer.
        finding.advice = String::new();
        self.findings.push(finding);
    }

    pub(crate) fn count(&self) -> usize {
        self.findings.len() + self.failures
    }

    pub(crate) fn print(&self, as_json: bool) {
        let labelled: Vec<&Finding> =
            self.findings.iter().filter(|finding| finding.expected.is_some()).collect();
        if labelled.is_empty() {
            return;
        }
        let is_right = |finding: &&&Finding| finding.expected.as_deref() == Some(finding.label.as_str());
        let right = labelled.iter().filter(is_right).count();
        let decided: Vec<&Finding> = labelled.iter().copied().filter(|finding| !finding.ask).collect();
        let decided_right = decided.iter().filter(is_right).count();
        let missed = decided
            .iter()
            .filter(|finding| finding.expected.as_deref() == Some(CLASSES[0]) && finding.label != CLASSES[0])
            .count();
        let recalls = CLASSES.map(|class| {
            let of_class =
                || labelled.iter().filter(move |finding| finding.expected.as_deref() == Some(class));
            (class, of_class().filter(is_right).count(), of_class().count())
        });
        let classify = median(labelled.iter().map(|finding| finding.classify_milliseconds).collect());
        let advise = median(labelled.iter().map(|finding| finding.advice_milliseconds).collect());
        let prompt: usize = labelled.iter().map(|finding| finding.prompt_tokens).sum();
        let reused: usize = labelled.iter().map(|finding| finding.reused_tokens).sum();
        let (count, asked) = (labelled.len(), labelled.len() - decided.len());
        if as_json {
            let recall = recalls.map(|(class, right, count)| (class.to_owned(), json!([right, count])));
            let summary = json!({
                "statements": count,
                "right": right,
                "recall": recall.into_iter().collect::<Map<_, _>>(),
                "escalated": asked,
                "decided_right": decided_right,
                "emergencies_missed": missed,
                "median_classify_milliseconds": classify,
                "median_advice_milliseconds": advise,
            });
            println!("{summary}");
            return;
        }
        let recalls = recalls.map(|(class, right, count)| format!("{class} {right} of {count}")).join(", ");
        println!("\n{right} of {count} labels as expected: {recalls}");
        println!(
            "{asked} left to a person (\"?\"); of the other {}, {decided_right} as expected, {missed} emergencies missed",
            decided.len(),
        );
        println!(
            "medians: {classify:.0} ms to classify, {advise:.0} ms to advise; {reused} of {prompt} prompt tokens were in the cache"
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
