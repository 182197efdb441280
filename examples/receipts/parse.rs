//! Receipts to JSON.

use std::time::{Duration, Instant};

use edgeslm::answer::{Extractor, Task};
use edgeslm::session::{GenerateOptions, SessionOptions};
use edgeslm::text::Text;
use edgeslm::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use crate::texts::Extent;
use crate::{Work, data};

/// The fields of a receipt besides its items.
const FIELDS: [&str; 5] = ["merchant", "date", "currency", "total", "tax"];

/// Gives how many receipts had no result.
pub(crate) fn run(work: &Work) -> Result<usize> {
    let model = work.model.load()?;
    let task = Task::read(data("receipts.task.json"))?;
    let extractor = extractor(&task, model.text())?;
    let mut session = model.session(SessionOptions::default())?;
    let mut tally = Tally::default();
    let failures = work.each(Extent::File, "receipt", &mut |fields| {
        let text = fields.get("receipt").and_then(Value::as_str).unwrap_or_default();
        let options = GenerateOptions {
            max_tokens: task.max_tokens(),
            deadline: Some(Duration::from_millis(work.deadline)),
            ..GenerateOptions::default()
        };
        let started = Instant::now();
        let found = session.extract(&extractor, text, &options)?;
        let receipt = with_quantities(found.value.clone());
        let unsupported: Vec<&str> = found.unsupported().map(|field| field.path.as_str()).collect();
        let statistics = &found.outcome.statistics;
        tally.add(&receipt, fields, started.elapsed());
        Ok(json!({
            "receipt": receipt,
            "not_printed": unsupported,
            "milliseconds": (started.elapsed().as_secs_f64() * 1e4).round() / 10.0,
            "prompt_tokens": statistics.prompt_tokens,
            "reused_tokens": statistics.reused_tokens,
        }))
    })?;
    tally.print();
    Ok(failures)
}

/// Where no quantity is printed there is one of the item.
fn with_quantities(mut receipt: Value) -> Value {
    for item in receipt["items"].as_array_mut().into_iter().flatten() {
        if item["quantity"].is_null() {
            item["quantity"] = json!(1);
        }
    }
    receipt
}

/// With the schema, the instructions and the examples of the task file.
fn extractor(task: &Task, text: &Text) -> Result<Extractor> {
    let path = data("receipts.task.json");
    let schema = task.schema().cloned().unwrap_or_default().to_string();
    let mut extractor = Extractor::new(&schema, text).map_err(|error| error.with_file(&path))?;
    let bytes = std::fs::read(&path).map_err(|error| Error::io(&path, error))?;
    let file: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::new(ErrorKind::InvalidArgument, error.to_string()).with_file(&path))?;
    if let Some(start) = file["prompt"]["start"].as_str() {
        extractor = extractor.with_instructions(start.trim());
    }
    for example in file["prompt"]["examples"].as_array().into_iter().flatten() {
        extractor =
            extractor.with_example(example["receipt"].as_str().unwrap_or_default(), &example["expected"]);
    }
    Ok(extractor)
}

/// How many fields were as expected.
#[derive(Default)]
struct Tally {
    labelled: usize,
    right: [usize; FIELDS.len()],
    items_expected: usize,
    items_right: usize,
    whole: usize,
    milliseconds: Vec<f64>,
}

impl Tally {
    fn add(&mut self, found: &Value, fields: &Map<String, Value>, elapsed: Duration) {
        self.milliseconds.push(elapsed.as_secs_f64() * 1e3);
        let Some(expected) = fields.get("expected") else { return };
        self.labelled += 1;
        let mut is_whole = true;
        for (name, right) in FIELDS.iter().zip(&mut self.right) {
            let is_right = is_same(&found[name], &expected[name]);
            *right += usize::from(is_right);
            is_whole &= is_right;
        }
        let none = Vec::new();
        let list = |value: &Value| value["items"].as_array().cloned().unwrap_or_else(|| none.clone());
        let (found, expected) = (list(found), list(expected));
        let keys = ["name", "quantity", "price"];
        let is_in =
            |item: &&Value| found.iter().any(|other| keys.iter().all(|key| is_same(&other[key], &item[key])));
        let right = expected.iter().filter(is_in).count();
        self.items_expected += expected.len();
        self.items_right += right;
        self.whole += usize::from(is_whole && right == expected.len() && found.len() == right);
    }

    fn print(&mut self) {
        if self.labelled > 0 {
            let fields = FIELDS.iter().zip(self.right).map(|(name, right)| format!("{name} {right}"));
            let fields: Vec<String> = fields.collect();
            eprintln!(
                "of {} receipts right: {}, whole {}; of {} items {}",
                self.labelled,
                fields.join(", "),
                self.whole,
                self.items_expected,
                self.items_right
            );
        }
        self.milliseconds.sort_by(f64::total_cmp);
        if let Some(median) = self.milliseconds.get(self.milliseconds.len() / 2) {
            eprintln!("median {median:.0} ms for each of {}", self.milliseconds.len());
        }
    }
}

/// Numbers by value, texts apart from case and white space around them.
fn is_same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(found), Value::Number(expected)) => found.as_f64() == expected.as_f64(),
        (Value::String(found), Value::String(expected)) => found.trim().eq_ignore_ascii_case(expected.trim()),
        _ => found == expected,
    }
}
