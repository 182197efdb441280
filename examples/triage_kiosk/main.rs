//! A kiosk in a waiting room: how soon has a patient to be seen? `emergency`, `urgent` or `routine`, with a sentence for the
//! receptionist. What is not certain, and what has a red flag that the answer does not fit, goes to a person at once.
//!
//! `cargo run --release --example triage_kiosk -- --model DIR`
//! `cargo run --release --example triage_kiosk -- --model DIR examples/data/triage.jsonl --split test`
//!
//! Made for a model of 1 to 4 billion parameters, int4, and for an answer within two seconds on a kiosk of four cores. The small one
//! of the demonstration shows what labelled examples get out of 135 million parameters. It shows how to use the library, not how to
//! do medicine.
//!
//! At a terminal it asks for age and complaint. Otherwise each line of the input is what a patient says, or a JSON object:
//!
//! ```text
//! {"age": 58, "statement": "A heavy feeling in my chest since breakfast.", "red_flags": ["chest"]}
//! ```
//!
//! `red_flags` are those that were ticked on the screen; the program looks for them in the text too. They only ever raise the
//! urgency. Everything happens on the device: no socket is opened, and nothing of what a patient says is kept on disk. Answers go to
//! the standard output alone.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

#[path = "../common/calibrated.rs"]
mod calibrated;
#[path = "../common/exit.rs"]
mod exit;
mod kiosk;
mod red_flags;
#[path = "../common/small_model.rs"]
mod small_model;
mod summary;
#[path = "../common/text_file.rs"]
mod text_file;

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use edgeslm::{Error, Result};
use serde_json::{Map, Value, json};

use self::calibrated::{ClassifierArguments, is_of_other_split};
use self::exit::finish;
use self::kiosk::{Finding, Kiosk};
use self::summary::Summary;
use self::text_file::{Lines, MAXIMUM_BYTES};

/// Sorts what patients say into emergency, urgent and routine
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    classifier: ClassifierArguments,

    /// What patients say, one a line [default: the standard input]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Print one JSON object a line in place of the table
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    finish(run(&Arguments::parse()))
}

/// Gives how many patients got no answer.
fn run(arguments: &Arguments) -> Result<usize> {
    // Before the model is loaded, so that a wrong name shows at once.
    let file = arguments.file.as_deref().map(|path| File::open(path).map_err(|error| Error::io(path, error)));
    let file = file.transpose()?;
    let mut kiosk = Kiosk::new(&arguments.classifier)?;
    let mut desk = Desk { arguments, kiosk: &mut kiosk, summary: Summary::default() };
    match file {
        Some(file) => desk.lines(arguments.file.as_deref(), Lines::new(file, MAXIMUM_BYTES))?,
        None if std::io::stdin().is_terminal() => desk.conversation()?,
        None => desk.lines(None, Lines::new(std::io::stdin(), MAXIMUM_BYTES))?,
    }
    desk.summary.print(arguments.json);
    Ok(desk.summary.failures)
}

/// Where answers are given.
struct Desk<'a> {
    arguments: &'a Arguments,
    kiosk: &'a mut Kiosk,
    summary: Summary,
}

impl Desk<'_> {
    fn lines<R: std::io::Read>(&mut self, path: Option<&Path>, lines: Lines<R>) -> Result<()> {
        if !self.arguments.json {
            println!("id    expected   label      probability  classify   advise  advice for the operator");
        }
        let limit = self.arguments.classifier.limit.unwrap_or(usize::MAX);
        for (line, number) in lines.zip(1..) {
            if self.summary.count() >= limit {
                break;
            }
            let line = match line {
                Ok(line) if line.is_empty() => continue,
                Ok(line) => line,
                Err(error) if error.kind() == edgeslm::ErrorKind::Io => {
                    return Err(match path {
                        Some(path) => error.with_file(path),
                        None => error,
                    });
                }
                Err(error) => {
                    self.no_answer(&format!("line {number}"), &error);
                    continue;
                }
            };
            let fields = self.kiosk.fields(&line);
            if is_of_other_split(&fields, self.arguments.classifier.split.as_deref()) {
                continue;
            }
            self.answer(&fields, &format!("line {number}"));
        }
        Ok(())
    }

    /// Asks at the terminal until there is no answer.
    fn conversation(&mut self) -> Result<()> {
        let mut lines = Lines::new(std::io::stdin(), MAXIMUM_BYTES);
        let mut ask = |question: &str| {
            eprint!("{question} ");
            std::io::stderr().flush().ok();
            lines.next()
        };
        eprintln!("This is an example of a library and no medical device. An empty line ends it.");
        loop {
            let Some(age) = ask("How old are you, in years?").transpose()? else { return Ok(()) };
            let Some(statement) = ask("What is the matter?").transpose()? else { return Ok(()) };
            if statement.is_empty() {
                return Ok(());
            }
            let mut fields = Map::from_iter([("statement".to_owned(), json!(statement))]);
            if let Ok(age) = age.trim().parse::<f64>() {
                fields.insert("age".to_owned(), json!(age));
            }
            self.answer(&fields, "patient");
        }
    }

    fn answer(&mut self, fields: &Map<String, Value>, place: &str) {
        let id = fields.get("id").and_then(Value::as_str).unwrap_or(place);
        match self.kiosk.look_at(fields, id) {
            Ok(finding) => {
                self.print(&finding);
                self.summary.add(finding);
            }
            Err(error) => self.no_answer(id, &error),
        }
    }

    fn print(&self, finding: &Finding) {
        if self.arguments.json {
            println!("{}", json!(finding));
            return;
        }
        let Finding { id, expected, label, probability, advice, .. } = finding;
        let label = if finding.ask { format!("{label}?") } else { label.clone() };
        let expected = expected.as_deref().unwrap_or("");
        let (classify, advise) = (finding.classify_milliseconds, finding.advice_milliseconds);
        println!(
            "{id:<5} {expected:<10} {label:<10} {probability:>11.2} {classify:>6.0} ms {advise:>5.0} ms  {advice}"
        );
    }

    /// Whoever cannot be understood goes to a person.
    fn no_answer(&mut self, id: &str, error: &Error) {
        self.summary.failures += 1;
        if self.arguments.json {
            println!(
                "{}",
                json!({ "id": id, "ask": true, "advice": kiosk::NOT_UNDERSTOOD, "error": error.to_string() })
            );
        } else {
            println!("{id:<5} {}: {error}", kiosk::NOT_UNDERSTOOD);
        }
    }
}
