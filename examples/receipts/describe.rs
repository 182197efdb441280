//! A line for customers about an item, with nothing in it that the till does not know.

use std::time::{Duration, Instant};

use edgeslm::Result;
use edgeslm::answer::Task;
use edgeslm::session::{FinishReason, GenerateOptions, SessionOptions};
use serde_json::{Map, Value, json};

use crate::texts::Extent;
use crate::{Work, data};

/// The most characters of a line on the display and on the shelf.
const LONGEST: usize = 80;

/// Words that a sentence needs and that say nothing of an item.
const GLUE: [&str; 38] = [
    "a", "an", "the", "of", "for", "with", "without", "and", "in", "from", "to", "by", "on", "at", "each",
    "per", "is", "are", "it", "that", "this", "its", "made", "set", "pack", "box", "piece", "pieces", "size",
    "litre", "litres", "pair", "pairs", "bag", "bags", "bottle", "bottles", "com",
];

/// Gives how many items had no result.
pub(crate) fn run(work: &Work) -> Result<usize> {
    let model = work.model.load()?;
    let task = Task::read(data("descriptions.task.json"))?;
    let mut session = model.session(SessionOptions::default())?;
    let text = model.text();
    let mut tally = Tally::default();
    let failures = work.each(Extent::Line, "item", &mut |fields| {
        let item = fields.get("item").and_then(Value::as_str).unwrap_or_default();
        let options = GenerateOptions {
            max_tokens: task.max_tokens(),
            stop: task.stop().to_vec(),
            deadline: Some(Duration::from_millis(work.deadline)),
            ..GenerateOptions::default()
        };
        let started = Instant::now();
        let answer = session.generate(task.prompt(text, fields)?, &options)?;
        let line = answer.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let has_ended = matches!(answer.outcome.reason, FinishReason::StopString | FinishReason::StopToken);
        let invented = invented(&line, item);
        let fits = line.chars().count() <= LONGEST;
        let is_usable = has_ended && !line.is_empty() && fits && invented.is_empty();
        let description = if is_usable { line.clone() } else { by_rule(item) };
        tally.add(is_usable, fits && has_ended, invented.is_empty(), &description, fields);
        let statistics = &answer.outcome.statistics;
        let mut result = json!({
            "description": description,
            "by": if is_usable { "model" } else { "rule" },
            "milliseconds": (started.elapsed().as_secs_f64() * 1e4).round() / 10.0,
            "prompt_tokens": statistics.prompt_tokens,
            "reused_tokens": statistics.reused_tokens,
        });
        if !is_usable {
            result["refused"] = json!(line);
            result["invented"] = json!(invented);
        }
        Ok(result)
    })?;
    tally.print();
    Ok(failures)
}

/// Words and numbers of a line that the item does not have. An inflected word counts as had if its first four letters are.
fn invented(line: &str, item: &str) -> Vec<String> {
    let known = words(item);
    let is_known = |word: &String| {
        let beginning: String = word.chars().take(4).collect();
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        GLUE.contains(&word.as_str())
            || known.iter().any(|other| {
                other == word
                    || (!is_number && beginning.chars().count() == 4 && other.starts_with(&beginning))
            })
    };
    words(line).into_iter().filter(|word| !is_known(word)).collect()
}

/// Runs of letters and runs of digits, so that `1KG` and `1 kg` have the same.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = None;
    for c in text.to_lowercase().chars() {
        let kind = if c.is_alphabetic() { Some(0) } else { c.is_numeric().then_some(1) };
        match (kind, words.last_mut()) {
            (Some(_), Some(word)) if kind == before => word.push(c),
            (Some(_), _) => words.push(c.to_string()),
            (None, _) => {}
        }
        before = kind;
    }
    words
}

/// The item's own words, as many parts as fit.
fn by_rule(item: &str) -> String {
    let mut line = String::new();
    for part in item.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let separator = if line.is_empty() { "" } else { ", " };
        if line.chars().count() + separator.len() + part.chars().count() < LONGEST {
            line += separator;
            line += part;
        }
    }
    if line.is_empty() { item.chars().take(LONGEST - 1).collect::<String>() + "." } else { line + "." }
}

/// How many lines of the model could be used.
#[derive(Default)]
struct Tally {
    count: usize,
    usable: usize,
    fitting: usize,
    honest: usize,
    facts: usize,
    facts_said: usize,
}

impl Tally {
    fn add(
        &mut self,
        is_usable: bool,
        fits: bool,
        is_honest: bool,
        description: &str,
        fields: &Map<String, Value>,
    ) {
        self.count += 1;
        self.usable += usize::from(is_usable);
        self.fitting += usize::from(fits);
        self.honest += usize::from(is_honest);
        let said = words(description);
        for fact in fields.get("facts").and_then(Value::as_array).into_iter().flatten() {
            self.facts += 1;
            let fact = words(fact.as_str().unwrap_or_default());
            self.facts_said += usize::from(fact.iter().all(|word| said.contains(word)));
        }
    }

    fn print(&self) {
        eprintln!(
            "of {} lines of the model {} fit, {} have nothing invented, {} were used; {} of {} facts are said",
            self.count, self.fitting, self.honest, self.usable, self.facts_said, self.facts
        );
    }
}
