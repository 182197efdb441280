//! A kiosk in a waiting room: sorts what patients say into emergency, urgent and routine, and drafts a sentence of advice for the
//! operator. Everything happens on the device: no socket is opened and nothing is stored.
//!
//! `cargo run --release --example triage_kiosk -- --model DIR`
//!
//! It shows how to use the library, not how to do medicine: a model as small as the demonstration's is often wrong.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use edgeslm::session::{GenerateOptions, Session, SessionOptions};
use edgeslm::text::Message;
use edgeslm::{Error, ErrorKind, LoadOptions, Model, Result};
use serde::{Deserialize, Serialize};

/// The labels, as the model is to write them.
const LABELS: [&str; 3] = ["emergency", "urgent", "routine"];

const TRIAGE: &str = "You sort what patients say. Answer with one word. emergency: life may be in danger, call an ambulance now. \
     urgent: see a doctor today. routine: an ordinary appointment or the pharmacy.";

/// None of these is in the file of statements.
const TRIAGE_EXAMPLES: [(&str, &str); 6] = [
    ("My uncle collapsed and he is not breathing.", "emergency"),
    ("I'd like to move my check-up to next month.", "routine"),
    ("My tooth has hurt for two days and my gum is swollen, no fever.", "urgent"),
    ("I have had a mild cough for three days and feel fine otherwise.", "routine"),
    ("My arm went numb an hour ago and my speech is slurred.", "emergency"),
    ("I have had a fever of 39 and a sore throat since yesterday.", "urgent"),
];

const ADVICE: &str = "You help the receptionist of a clinic. Reply with one short sentence that says what the receptionist should do next.";

const ADVICE_EXAMPLES: [(&str, &str); 3] = [
    (
        "emergency: My uncle collapsed and he is not breathing.",
        "Call an ambulance at once and fetch the defibrillator.",
    ),
    (
        "urgent: My tooth has hurt for two days and my gum is swollen.",
        "Offer an appointment today and ask about fever.",
    ),
    ("routine: I'd like to move my check-up to next month.", "Book a new date next month."),
];

/// Sorts statements of patients into emergency, urgent and routine
#[derive(Parser)]
struct Arguments {
    /// The model directory; `cargo xtask demo` makes the default one
    #[arg(long, value_name = "DIR", default_value = "target/demo/smollm2-135m-instruct")]
    model: PathBuf,

    /// Statements, one JSON object a line: id, statement, and the label a person gave it
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/triage_statements.jsonl"))]
    file: PathBuf,

    /// Take the first N statements
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,

    /// Threads [default: as many as the process may use]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Print one JSON object a line in place of the table
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    statement: String,
    label: String,
}

#[derive(Serialize)]
struct Finding {
    id: String,
    label: String,
    expected: String,
    /// Of the label; those of the three sum to 1.
    probability: f32,
    advice: String,
    classify_milliseconds: f64,
    advice_milliseconds: f64,
}

/// The two conversations of the kiosk. Each keeps its examples in its KV cache, so that a statement costs its own tokens only.
struct Kiosk {
    triage: Session,
    advice: Session,
    /// How much the model likes each label whatever is said, as a logarithm.
    prior: Vec<f64>,
}

impl Kiosk {
    fn new(model: &Model) -> Result<Self> {
        let mut triage = model.session(SessionOptions::default())?;
        let advice = model.session(SessionOptions::default())?;
        // Zhao et al., "Calibrate Before Use", 2021: what the model says to nothing is its bias.
        let nothing = triage.classify(conversation(TRIAGE, &TRIAGE_EXAMPLES, "..."), &LABELS)?;
        Ok(Self { triage, advice, prior: nothing.log_probabilities })
    }

    fn look_at(&mut self, case: &Case) -> Result<Finding> {
        let started = Instant::now();
        let prompt = conversation(TRIAGE, &TRIAGE_EXAMPLES, &case.statement);
        let scores = self.triage.classify(prompt, &LABELS)?.log_probabilities;
        let probabilities = softmax(scores.iter().zip(&self.prior).map(|(score, prior)| score - prior));
        let best =
            (0..LABELS.len()).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b])).unwrap_or(0);
        let classify_milliseconds = milliseconds(started.elapsed());

        let started = Instant::now();
        let prompt = conversation(ADVICE, &ADVICE_EXAMPLES, &format!("{}: {}", LABELS[best], case.statement));
        let options = GenerateOptions {
            max_tokens: 40,
            stop: vec!["\n".to_owned()],
            deadline: Some(Duration::from_secs(10)),
            ..GenerateOptions::default()
        };
        let answer = self.advice.generate(prompt, &options)?;
        Ok(Finding {
            id: case.id.clone(),
            label: LABELS[best].to_owned(),
            expected: case.label.clone(),
            probability: probabilities[best] as f32,
            advice: first_sentence(&answer.text),
            classify_milliseconds,
            advice_milliseconds: milliseconds(started.elapsed()),
        })
    }
}

/// Instructions and examples, which are the same each time, and then what is new.
fn conversation(system: &str, examples: &[(&str, &str)], last: &str) -> Vec<Message> {
    let mut messages = vec![Message::system(system)];
    for (question, answer) in examples {
        messages.push(Message::user(*question));
        messages.push(Message::assistant(*answer));
    }
    messages.push(Message::user(last));
    messages
}

fn softmax(scores: impl Iterator<Item = f64>) -> Vec<f64> {
    let weights: Vec<f64> = scores.map(f64::exp).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// Up to the first full stop, on one line, without what a terminal would obey.
fn first_sentence(text: &str) -> String {
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.find(['.', '!', '?']) {
        Some(end) => text[..=end].to_owned(),
        None => text,
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn cases(file: &Path) -> Result<Vec<Case>> {
    let text = std::fs::read_to_string(file).map_err(|error| Error::io(file, error))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let cases = lines.map(|(index, line)| {
        serde_json::from_str(line).map_err(|error| {
            Error::new(ErrorKind::InvalidArgument, error.to_string())
                .with_file(file)
                .with_node(format!("line {}", index + 1))
        })
    });
    cases.collect()
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cases = cases(&arguments.file)?;
    let started = Instant::now();
    let options = LoadOptions { threads: arguments.threads, ..LoadOptions::default() };
    let model = Model::load(&arguments.model, &options).map_err(|error| match error.kind() {
        ErrorKind::NotFound => error
            .with_hint("make the demonstration's model with `cargo xtask demo`, or name one with --model"),
        _ => error,
    })?;
    let mut kiosk = Kiosk::new(&model)?;
    let ready = started.elapsed();

    if !arguments.json {
        println!(
            "{} on {}, ready in {:.0} ms\n",
            arguments.model.display(),
            model.info().engine,
            milliseconds(ready)
        );
        println!("id    expected   label      probability  classify    advise  advice for the operator");
    }
    let mut findings = Vec::new();
    for case in cases.iter().take(arguments.limit) {
        let finding = kiosk.look_at(case)?;
        if arguments.json {
            println!("{}", serde_json::json!(finding));
        } else {
            let Finding { id, expected, label, probability, advice, .. } = &finding;
            let (classify, advise) = (finding.classify_milliseconds, finding.advice_milliseconds);
            println!(
                "{id:<5} {expected:<10} {label:<10} {probability:>11.3} {classify:>6.0} ms {advise:>6.0} ms  {advice}"
            );
        }
        findings.push(finding);
    }

    let right = findings.iter().filter(|finding| finding.label == finding.expected).count();
    let classify = median(findings.iter().map(|finding| finding.classify_milliseconds).collect());
    let advise = median(findings.iter().map(|finding| finding.advice_milliseconds).collect());
    let count = findings.len();
    if arguments.json {
        let summary = serde_json::json!({
            "statements": count,
            "right": right,
            "median_classify_milliseconds": classify,
            "median_advice_milliseconds": advise,
        });
        println!("{summary}");
    } else {
        println!(
            "\n{right} of {count} labels as expected; medians: {classify:.0} ms to classify, {advise:.0} ms to advise"
        );
    }
    Ok(())
}
