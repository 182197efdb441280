//! How long a grammar's part of a token takes, beside a model's.
//!
//!     cargo bench --bench masks -- TOKENIZER... [--model DIR]
//!
//! A TOKENIZER is a `tokenizer.json` or a directory that has one. Each document below is followed token by token, as its grammar's
//! tokenizer writes it: the mask of what may come next, then the token. With a model directory (`cargo xtask synth llama-3.2-1b`
//! writes one of 1 billion random weights) the time of its tokens is measured too, and the share is printed.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edgeslm::model::TextFile;
use edgeslm::sampling::constraint::{Grammar, GrammarSource};
use edgeslm::session::{GenerateOptions, SessionOptions};
use edgeslm::text::{Text, TextFiles};
use edgeslm::{Error, LoadOptions, Model, Result};

/// How often each document is followed.
const ROUNDS: usize = 5;

const RECEIPT: &str = r#"{"type": "object", "properties": {
    "shop": {"type": ["string", "null"]}, "date": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
    "currency": {"enum": ["EUR", "USD", "GBP", null]},
    "items": {"type": "array", "items": {"type": "object", "properties": {
        "name": {"type": "string"}, "quantity": {"type": "integer"}, "price": {"type": "number"}},
        "required": ["name", "quantity", "price"], "additionalProperties": false}},
    "total": {"type": "number"}},
    "required": ["shop", "date", "currency", "items", "total"], "additionalProperties": false}"#;

const RECEIPT_TEXT: &str = r#"{"shop": "Corner Café & Sons", "date": "2025-03-12", "currency": "EUR", "items": [
  {"name": "Double espresso", "quantity": 2, "price": 4.9}, {"name": "Chocolate croissant, large", "quantity": 1, "price": 3.25}],
  "total": 13.05}"#;

const ANY_TEXT: &str = r#"{"device": "pump-7", "readings": [12.5, 13.75, null, -0.5], "alarm": {"level": "high", "since": "10:45",
  "message": "Pressure above the limit, valve 3 does not close."}, "acknowledged": false}"#;

fn cases() -> [(&'static str, GrammarSource, &'static str); 4] {
    [
        ("receipt schema", GrammarSource::json_schema(RECEIPT), RECEIPT_TEXT),
        ("any JSON", GrammarSource::json(), ANY_TEXT),
        (
            "regex",
            GrammarSource::regex(r"[A-Z][a-z]+( [a-z]+){3,12}\."),
            "The pump in hall three has lost its pressure.",
        ),
        (
            "choices",
            GrammarSource::choices(["needs an ambulance", "needs a doctor today", "needs an appointment"]),
            "needs a doctor today",
        ),
    ]
}

fn main() -> Result<()> {
    let (mut tokenizers, mut model) = (Vec::new(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--model" => model = arguments.next().map(PathBuf::from),
            // What Cargo says to every bench.
            "--bench" => {}
            _ => tokenizers.push(PathBuf::from(argument)),
        }
    }
    if tokenizers.is_empty() {
        println!("usage: cargo bench --bench masks -- TOKENIZER... [--model DIR]");
        return Ok(());
    }
    let token = model.map(|directory| token_time(&directory)).transpose()?;
    if let Some(token) = token {
        println!("a token of the model: {:.1} ms", 1e3 * token.as_secs_f64());
    }
    for path in &tokenizers {
        measure(path, token)?;
    }
    Ok(())
}

/// Loads the tokenizer and prints a line for each case.
fn measure(path: &Path, token: Option<Duration>) -> Result<()> {
    let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
    let bytes = std::fs::read(&file).map_err(|error| Error::io(&file, error))?;
    let text = Text::load(TextFiles::new(TextFile { path: file, text: bytes }))?;
    let before = resident();
    let started = Instant::now();
    Grammar::compile(&GrammarSource::choices(["a"]), &text)?;
    println!(
        "\n{}: {} tokens, made ready for grammars in {:.0} ms and {} MB",
        path.display(),
        text.tokenizer().vocabulary_size(),
        1e3 * started.elapsed().as_secs_f64(),
        resident().saturating_sub(before) >> 20,
    );
    println!(
        "{:<16} {:>10} {:>8} {:>10} {:>10} {:>10} {:>8}",
        "", "compile ms", "tokens", "median us", "p90 us", "worst us", "share"
    );
    for (name, source, document) in cases() {
        let started = Instant::now();
        let grammar = Grammar::compile(&source, &text)?;
        let compiled = started.elapsed();
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            follow(&grammar, &text, document, &mut times)?;
        }
        times.sort_unstable();
        let at =
            |share: usize| times.get(times.len() * share / 100).or(times.last()).copied().unwrap_or_default();
        let share = token.map_or_else(String::new, |token| {
            format!("{:.2} %", 100.0 * at(50).as_secs_f64() / token.as_secs_f64())
        });
        println!(
            "{name:<16} {:>10.1} {:>8} {:>10} {:>10} {:>10} {share:>8}",
            1e3 * compiled.as_secs_f64(),
            times.len() / ROUNDS,
            at(50).as_micros(),
            at(90).as_micros(),
            at(100).as_micros(),
        );
    }
    Ok(())
}

/// Times every token of the document: what may come next, and going on.
fn follow(grammar: &Grammar, text: &Text, document: &str, times: &mut Vec<Duration>) -> Result<()> {
    let mut matcher = grammar.matcher();
    for id in text.tokenizer().encode_plain(document)? {
        let started = Instant::now();
        if !matcher.is_complete()? {
            let (mask, _) = matcher.mask()?;
            std::hint::black_box(mask.count());
            matcher.consume(id)?;
        }
        times.push(started.elapsed());
    }
    Ok(())
}

/// The median time of a token in decoding.
fn token_time(directory: &Path) -> Result<Duration> {
    let model = Model::load(directory, &LoadOptions::default())?;
    let mut session = model.session(SessionOptions::default())?;
    let options = GenerateOptions { max_tokens: 33, ignore_stop_tokens: true, ..GenerateOptions::default() };
    let mut times = Vec::new();
    for _ in 0..3 {
        let statistics = session.generate("The pump is", &options)?.outcome.statistics;
        let steps = u32::try_from(statistics.decode_steps.max(1)).unwrap_or(1);
        times.push(statistics.decode_time / steps);
    }
    times.sort_unstable();
    Ok(times.get(1).copied().unwrap_or_default())
}

/// Bytes of memory that the process has; 0 where the system does not say.
fn resident() -> u64 {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}
