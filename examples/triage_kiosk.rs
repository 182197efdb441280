//! A kiosk in a waiting room: sorts what patients say into emergency, urgent and routine, and drafts a sentence of advice for the
//! operator. What it is not sure of goes to a person. Everything happens on the device: no socket is opened and nothing is stored.
//!
//! `cargo run --release --example triage_kiosk -- --model DIR`
//!
//! It shows how to get the most out of a very small model, not how to do medicine. Such a model follows examples better than
//! instructions, so both prompts are texts to go on with, not conversations. It has favourite words whatever is said, so the
//! probabilities of many words that it may go on with are turned into those of the three classes by a calibration, which is fitted
//! at the start on labelled statements that are not among those to be sorted.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use edgeslm::answer::{Calibration, CalibrationOptions, Classification};
use edgeslm::sampling::SamplingOptions;
use edgeslm::session::{FinishReason, GenerateOptions, Session, SessionOptions};
use edgeslm::text::Text;
use edgeslm::{Error, ErrorKind, LoadOptions, Model, Result};
use serde::{Deserialize, Serialize};

/// The classes, the most serious first.
const CLASSES: [&str; 3] = ["emergency", "urgent", "routine"];

/// A less probable class is not taken for certain. In cross-validation on the statements for calibration, nine in ten of those at
/// least this probable were right.
const CERTAIN: f32 = 0.7;

/// How both prompts begin: what a patient says, the index of its class, and what the advice is about. None of these is in the files
/// of statements.
const EXAMPLES: [(&str, usize, &str); 6] = [
    ("My uncle collapsed and he is not breathing.", 0, "collapse and the missing breath"),
    ("I'd like to move my check-up to next month.", 2, "new date for the check-up"),
    (
        "My tooth has hurt for two days and my gum is swollen, no fever.",
        1,
        "painful tooth and the swollen gum",
    ),
    ("I have had a mild cough for three days and feel fine otherwise.", 2, "mild cough"),
    ("My arm went numb an hour ago and my speech is slurred.", 0, "numb arm and the slurred speech"),
    ("I have had a fever of 39 and a sore throat since yesterday.", 1, "fever and the sore throat"),
];

/// What may follow "classifies this case as". No word decides alone; the calibration finds out what each is worth.
const WORDS: &str = "emergency urgent routine serious mild severe critical life non minor high low normal common rare potentially \
     medical acute chronic immediate requiring possible suspected moderate simple dangerous fatal safe fine stable priority ambulance \
     pharmacy hospital doctor appointment infection injury heart pain";

/// How the advice for each class begins. What has to be done follows from the class and is not left to the model, which only
/// says what about.
const OPENINGS: [&str; 3] = [
    "Call an ambulance at once and tell the crew about the",
    "Offer an appointment today and ask about the",
    "Offer an ordinary appointment and ask about the",
];

/// How the advice begins where the class is not certain.
const UNCERTAIN: &str = "Let a nurse decide at once and tell her about the";

/// Sorts statements of patients into emergency, urgent and routine
#[derive(Parser)]
struct Arguments {
    /// The model directory; `cargo xtask demo` makes the default one
    #[arg(long, value_name = "DIR", default_value = "target/demo/smollm2-135m-instruct")]
    model: PathBuf,

    /// Statements, one JSON object a line: id, statement, and the label a person gave it
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/triage_statements.jsonl"))]
    file: PathBuf,

    /// Statements to calibrate with, in the same form; they should not be among those to sort
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/triage_calibration.jsonl"))]
    calibration: PathBuf,

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
    /// The most probable class.
    label: &'static str,
    expected: String,
    /// Of the label; those of the three sum to 1.
    probability: f32,
    /// Whether a person has to decide.
    ask: bool,
    advice: String,
    prompt_tokens: usize,
    /// So many of them were in the KV cache.
    reused_tokens: usize,
    classify_milliseconds: f64,
    advice_milliseconds: f64,
}

/// A session and the tokens with which all its prompts begin. They stay in the KV cache, so that a prompt costs its own end only.
struct Prompter {
    session: Session,
    text: Arc<Text>,
    beginning: Vec<u32>,
}

impl Prompter {
    fn new(model: &Model, beginning: &str) -> Result<Self> {
        let text = Arc::clone(model.text());
        let beginning = text.raw_tokens(beginning)?;
        Ok(Self { session: model.session(SessionOptions::default())?, text, beginning })
    }

    /// What a patient says is encoded as plain text, so that it cannot spell out a special token.
    fn prompt(&self, end: &str) -> Result<Vec<u32>> {
        let mut tokens = self.beginning.clone();
        tokens.extend(self.text.tokenizer().encode_plain(end)?);
        Ok(tokens)
    }
}

struct Kiosk {
    triage: Prompter,
    advice: Prompter,
    calibration: Calibration,
}

impl Kiosk {
    fn new(model: &Model, labelled: &[Case]) -> Result<Self> {
        let labels = EXAMPLES
            .map(|(statement, class, _)| format!("{} {}.\n\n", triage_end(statement), CLASSES[class]));
        let mut triage = Prompter::new(model, &labels.concat())?;
        let notes = EXAMPLES.map(|(statement, class, subject)| {
            format!("{} {subject}.\n\n", advice_end(statement, OPENINGS[class]))
        });
        let advice = Prompter::new(model, &notes.concat())?;

        let mut scores = Vec::new();
        for case in labelled {
            let class = CLASSES.iter().position(|class| *class == case.label).ok_or_else(|| {
                Error::new(ErrorKind::InvalidArgument, format!("{:?} is no class", case.label))
                    .with_node(&case.id)
            })?;
            scores.push((classify(&mut triage, &case.statement)?.log_probabilities, class));
        }
        let calibration = Calibration::fit(&scores, CLASSES.len(), &CalibrationOptions::default())?;
        Ok(Self { triage, advice, calibration })
    }

    fn look_at(&mut self, case: &Case) -> Result<Finding> {
        let started = Instant::now();
        let words = classify(&mut self.triage, &case.statement)?;
        let probabilities = self.calibration.probabilities(&words.log_probabilities)?;
        let best =
            (0..CLASSES.len()).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b])).unwrap_or(0);
        let ask = probabilities[best] < CERTAIN;
        let classify_milliseconds = milliseconds(started.elapsed());

        let started = Instant::now();
        let subject = self.subject(&case.statement, OPENINGS[best])?;
        let opening = if ask { UNCERTAIN } else { OPENINGS[best] };
        Ok(Finding {
            id: case.id.clone(),
            label: CLASSES[best],
            expected: case.label.clone(),
            probability: probabilities[best],
            ask,
            advice: format!("{opening} {subject}."),
            prompt_tokens: words.statistics.prompt_tokens,
            reused_tokens: words.statistics.reused_tokens,
            classify_milliseconds,
            advice_milliseconds: milliseconds(started.elapsed()),
        })
    }

    /// How the model ends the sentence of advice, without the full stop. Replaced where it does not come to an end or has words
    /// that the patient did not use.
    fn subject(&mut self, statement: &str, opening: &str) -> Result<String> {
        let prompt = self.advice.prompt(&advice_end(statement, opening))?;
        let options = GenerateOptions {
            max_tokens: 24,
            sampling: Some(SamplingOptions::default()),
            stop: vec![".".to_owned(), "\n".to_owned()],
            deadline: Some(Duration::from_secs(10)),
            ..GenerateOptions::default()
        };
        let answer = self.advice.session.generate(prompt, &options)?;
        let subject = one_line(&answer.text);
        let has_ended = matches!(answer.outcome.reason, FinishReason::StopString | FinishReason::StopToken);
        let is_usable = has_ended && !subject.is_empty() && is_said(&subject, statement);
        Ok(if is_usable { subject } else { "complaint".to_owned() })
    }
}

fn classify(triage: &mut Prompter, statement: &str) -> Result<Classification> {
    let prompt = triage.prompt(&triage_end(statement))?;
    let words: Vec<String> = WORDS.split(' ').map(|word| format!(" {word}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    triage.session.classify(prompt, &words)
}

fn triage_end(statement: &str) -> String {
    format!("A patient says: \"{}\"\nThe triage nurse classifies this case as", one_line(statement))
}

fn advice_end(statement: &str, opening: &str) -> String {
    format!("Patient: \"{}\"\nNote to the receptionist: {opening}", one_line(statement))
}

/// The text without line breaks and what else a prompt or a terminal would obey.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('"', "'")
}

/// Whether the statement has the longer words, or others that begin like them.
fn is_said(subject: &str, statement: &str) -> bool {
    let statement = statement.to_lowercase();
    let mut words = subject.split(' ').filter(|word| word.chars().count() > 3);
    words.all(|word| statement.contains(&word.to_lowercase().chars().take(4).collect::<String>()))
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
    let (cases, labelled) = (cases(&arguments.file)?, cases(&arguments.calibration)?);
    let started = Instant::now();
    let options = LoadOptions { threads: arguments.threads, ..LoadOptions::default() };
    let model = Model::load(&arguments.model, &options).map_err(|error| match error.kind() {
        ErrorKind::NotFound => error
            .with_hint("make the demonstration's model with `cargo xtask demo`, or name one with --model"),
        _ => error,
    })?;
    if !arguments.json {
        println!("{} on {}", arguments.model.display(), model.info().engine);
    }
    let mut kiosk = Kiosk::new(&model, &labelled)?;
    if !arguments.json {
        println!(
            "calibrated on {} other statements, ready in {:.1} s\n",
            labelled.len(),
            started.elapsed().as_secs_f64()
        );
        println!("id    expected   label      probability  classify   advise  advice for the operator");
    }
    let mut findings = Vec::new();
    for case in cases.iter().take(arguments.limit) {
        let finding = kiosk.look_at(case)?;
        if arguments.json {
            println!("{}", serde_json::json!(finding));
        } else {
            let Finding { id, expected, probability, advice, .. } = &finding;
            let label = if finding.ask { format!("{}?", finding.label) } else { finding.label.to_owned() };
            let (classify, advise) = (finding.classify_milliseconds, finding.advice_milliseconds);
            println!(
                "{id:<5} {expected:<10} {label:<10} {probability:>11.2} {classify:>6.0} ms {advise:>5.0} ms  {advice}"
            );
        }
        findings.push(finding);
    }
    summarise(&findings, arguments.json);
    Ok(())
}

fn summarise(findings: &[Finding], json: bool) {
    let right = |finding: &&Finding| finding.label == finding.expected;
    let decided: Vec<&Finding> = findings.iter().filter(|finding| !finding.ask).collect();
    let decided_right = decided.iter().copied().filter(right).count();
    let missed =
        decided.iter().filter(|finding| finding.expected == CLASSES[0] && finding.label != CLASSES[0]);
    let (count, all_right, missed) = (findings.len(), findings.iter().filter(right).count(), missed.count());
    let recalls = CLASSES.map(|class| {
        let of_class = || findings.iter().filter(move |finding| finding.expected == class);
        (class, of_class().filter(right).count(), of_class().count())
    });
    let classify = median(findings.iter().map(|finding| finding.classify_milliseconds).collect());
    let advise = median(findings.iter().map(|finding| finding.advice_milliseconds).collect());
    let prompt: usize = findings.iter().map(|finding| finding.prompt_tokens).sum();
    let reused: usize = findings.iter().map(|finding| finding.reused_tokens).sum();
    if json {
        let recall =
            recalls.map(|(class, right, count)| (class.to_owned(), serde_json::json!([right, count])));
        let summary = serde_json::json!({
            "statements": count,
            "right": all_right,
            "recall": recall.into_iter().collect::<serde_json::Map<_, _>>(),
            "escalated": count - decided.len(),
            "decided_right": decided_right,
            "emergencies_missed": missed,
            "median_classify_milliseconds": classify,
            "median_advice_milliseconds": advise,
        });
        println!("{summary}");
        return;
    }
    let recalls = recalls.map(|(class, right, count)| format!("{class} {right} of {count}")).join(", ");
    println!("\n{all_right} of {count} labels as expected: {recalls}");
    println!(
        "{} left to a person (\"?\", below {CERTAIN}); of the other {}, {decided_right} as expected, {missed} emergencies missed",
        count - decided.len(),
        decided.len(),
    );
    println!(
        "medians: {classify:.0} ms to classify, {advise:.0} ms to advise; {reused} of {prompt} prompt tokens were in the cache"
    );
}
