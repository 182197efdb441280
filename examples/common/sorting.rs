//! An application that sorts texts: a result for each, and how many were as expected.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use edgeslm::Result;
use edgeslm::answer::Decision;
use serde_json::{Map, Value, json};

use crate::calibrated::{ClassifierArguments, fields, is_of_other_split, rounded};
use crate::exit::finish;
use crate::results::Results;
use crate::texts::{Entry, Extent, InputArguments};

/// What an application is about.
pub(crate) struct Application<'a> {
    /// The task's name.
    pub(crate) task: &'a str,
    pub(crate) extent: Extent,
    /// What to do, for each label.
    pub(crate) actions: &'a [(&'a str, &'a str)],
    /// What to do where the label is not certain.
    pub(crate) otherwise: &'a str,
}

impl Application<'_> {
    /// Sorts everything and says how that went.
    pub(crate) fn run(&self, arguments: &ClassifierArguments, input: &InputArguments) -> ExitCode {
        finish(self.sort(arguments, input))
    }

    fn sort(&self, arguments: &ClassifierArguments, input: &InputArguments) -> Result<usize> {
        let mut results = input.results()?;
        let mut classifier = arguments.classifier(&arguments.model.load()?, self.task)?;
        let mut tally = Tally::default();
        input.each(self.extent, &mut |entry| {
            if results.has(entry.key.as_deref()) || tally.count >= arguments.limit.unwrap_or(usize::MAX) {
                return Ok(());
            }
            let text = match &entry.text {
                Ok(text) => text,
                Err(error) => return results.write_error(&entry.source, entry.key.as_deref(), error),
            };
            let fields = fields(&classifier, text);
            if is_of_other_split(&fields, arguments.split.as_deref()) {
                return Ok(());
            }
            let started = Instant::now();
            match classifier.decide_with(&fields, &arguments.options()) {
                Ok(decision) => {
                    tally.add(&decision, &fields, started.elapsed());
                    self.write(&entry, &fields, &decision, started.elapsed(), &mut results)
                }
                Err(error) => results.write_error(&entry.source, entry.key.as_deref(), &error),
            }
        })?;
        tally.print();
        Ok(results.failures())
    }

    fn write(
        &self,
        entry: &Entry,
        fields: &Map<String, Value>,
        decision: &Decision,
        elapsed: Duration,
        results: &mut Results,
    ) -> Result<()> {
        let of_label = self.actions.iter().find(|(label, _)| *label == decision.label);
        let action =
            if decision.abstain { self.otherwise } else { of_label.map_or("", |(_, action)| action) };
        let mut result = json!({ "source": entry.source });
        if let Some(key) = &entry.key {
            result["key"] = json!(key);
        }
        for name in ["id", "label"] {
            if let Some(value) = fields.get(name) {
                result[if name == "label" { "expected" } else { name }] = value.clone();
            }
        }
        result["label"] = json!(decision.label);
        result["probability"] = json!(rounded(f64::from(decision.probability())));
        result["ask"] = json!(decision.abstain);
        result["action"] = json!(action);
        result["milliseconds"] = json!(rounded(elapsed.as_secs_f64() * 1e3));
        result["prompt_tokens"] = json!(decision.statistics.prompt_tokens);
        result["reused_tokens"] = json!(decision.statistics.reused_tokens);
        results.write(&result)
    }
}

/// How many texts were sorted, and how many of them as expected.
#[derive(Default)]
struct Tally {
    count: usize,
    /// Those of which the label was known.
    labelled: usize,
    right: usize,
    decided: usize,
    decided_right: usize,
    prompt: usize,
    reused: usize,
    milliseconds: Vec<f64>,
}

impl Tally {
    fn add(&mut self, decision: &Decision, fields: &Map<String, Value>, elapsed: Duration) {
        self.count += 1;
        if let Some(expected) = fields.get("label").and_then(Value::as_str) {
            let is_right = usize::from(expected == decision.label);
            self.labelled += 1;
            self.right += is_right;
            if !decision.abstain {
                self.decided += 1;
                self.decided_right += is_right;
            }
        }
        self.prompt += decision.statistics.prompt_tokens;
        self.reused += decision.statistics.reused_tokens;
        self.milliseconds.push(elapsed.as_secs_f64() * 1e3);
    }

    fn print(&mut self) {
        if self.count == 0 {
            return;
        }
        if self.labelled > 0 {
            eprintln!(
                "{} of {} labels as expected; {} left to a person; of the other {}, {} as expected",
                self.right,
                self.labelled,
                self.labelled - self.decided,
                self.decided,
                self.decided_right
            );
        }
        self.milliseconds.sort_by(f64::total_cmp);
        let median = self.milliseconds.get(self.count / 2).copied().unwrap_or(0.0);
        eprintln!(
            "median {median:.0} ms for each of {}; {} of {} prompt tokens were in the cache",
            self.count, self.reused, self.prompt
        );
    }
}
