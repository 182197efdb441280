//! Whether constrained answers keep to their time on a loaded machine.

use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use edgeslm::sampling::SamplingOptions;
use edgeslm::sampling::constraint::{Grammar, GrammarSource};
use edgeslm::session::{Completion, GenerateOptions, SessionOptions};
use edgeslm::text::Message;
use edgeslm::{ErrorKind, LoadOptions, Model};
use serde_json::Value;

use crate::demo;

/// The budgets in turn.
const BUDGETS: [u64; 3] = [300, 1_000, 3_000];

/// The share that has to end within its budget and 5 % more.
const LEAST_SHARE: f64 = 0.99;

const TICKET: &str = r#"{"type": "object", "properties": {
    "summary": {"type": "string"}, "machine": {"type": ["string", "null"]},
    "urgency": {"enum": ["now", "today", "this week"]}, "steps": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
    "required": ["summary", "machine", "urgency", "steps"], "additionalProperties": false}"#;

const NOTES: [&str; 4] = [
    "The pump in hall three lost pressure at 10:45 and the valve does not close.",
    "Belt 7 makes a grinding noise since the last shift. It still runs, but the motor is warmer than usual, about 70 degrees.",
    "Nothing happened.",
    "Operator reports: smell of burnt rubber near the press, then the emergency stop went off by itself. Two people felt dizzy.",
];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many requests
    #[arg(long, default_value_t = 500)]
    requests: usize,
    /// How many threads of another process load the machine meanwhile
    #[arg(long, default_value_t = 2)]
    load: usize,
    /// Loads the machine with so many threads for so many seconds, and does nothing else
    #[arg(long, hide = true, num_args = 2)]
    burn: Option<Vec<u64>>,
}

/// A kind of request.
struct Request {
    prompt: String,
    grammar: Grammar,
    check: Check,
}

/// What makes an answer legal.
enum Check {
    Ticket,
    AnyJson,
    OneOf(&'static [&'static str]),
    Line,
}

const URGENCIES: &[&str] = &["act now", "act today", "no need to act"];

/// Runs the requests and prints how they ended.
#[allow(clippy::print_stdout, reason = "the result of the command")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some([threads, seconds]) = arguments.burn.as_deref() {
        burn(*threads, Duration::from_secs(*seconds));
        return Ok(());
    }
    let model = Model::load(demo::models()?.int4, &LoadOptions::default())?;
    let requests = requests(&model)?;
    let _load = Load::start(arguments.load)?;
    let mut within = 0;
    let mut ends: BTreeMap<(u64, &str), usize> = BTreeMap::new();
    let mut late = Vec::new();
    let mut session = model.session(SessionOptions::default())?;
    for (index, request) in (0..arguments.requests).zip(requests.iter().cycle()) {
        let milliseconds = BUDGETS[index % BUDGETS.len()];
        let budget = Duration::from_millis(milliseconds);
        let seed = Some(index as u64);
        let options = GenerateOptions {
            grammar: Some(request.grammar.clone()),
            deadline: Some(budget),
            sampling: Some(SamplingOptions { temperature: 0.8, seed, ..SamplingOptions::default() }),
            ..GenerateOptions::default()
        };
        // A fresh conversation now and then, so that prompts are computed too.
        if index % 3 == 0 {
            session.reset();
        }
        let started = Instant::now();
        let result = session.generate(vec![Message::user(request.prompt.clone())], &options);
        let time = started.elapsed();
        let end = match result {
            Ok(answer) => {
                let is_whole =
                    matches!(answer.outcome.completion, Completion::Complete | Completion::Shortened);
                ensure!(
                    if is_whole { request.check.accepts(&answer.text) } else { answer.text.is_empty() },
                    "request {index} is answered with {:?}",
                    answer.text
                );
                answer.outcome.completion.name()
            }
            Err(error) if error.kind() == ErrorKind::DeadlineExceeded => "refused",
            Err(error) => return Err(error).with_context(|| format!("request {index}")),
        };
        *ends.entry((milliseconds, end)).or_default() += 1;
        if time <= budget.mul_f64(1.05) {
            within += 1;
        } else {
            late.push(format!("{:.0} of {milliseconds} ms", 1e3 * time.as_secs_f64()));
        }
    }
    let share = within as f64 / arguments.requests as f64;
    println!(
        "{} requests, every answer legal; {} threads of another process at work",
        arguments.requests, arguments.load
    );
    for ((budget, end), count) in &ends {
        println!("  {budget:>5} ms: {count:>4} {end}");
    }
    println!("{:.1} % ended within their budget and 5 % more", 100.0 * share);
    if !late.is_empty() {
        println!("late: {}", late.join(", "));
    }
    ensure!(share >= LEAST_SHARE, "less than {:.0} % were in time", 100.0 * LEAST_SHARE);
    Ok(())
}

fn requests(model: &Model) -> anyhow::Result<Vec<Request>> {
    let ticket = model.grammar(&GrammarSource::json_schema(TICKET))?;
    let any = model.grammar(&GrammarSource::json())?;
    let urgency = model.grammar(&GrammarSource::choices(URGENCIES.iter().copied()))?;
    let line = model.grammar(&GrammarSource::regex("[A-Z][a-z ]{20,400}\\."))?;
    let mut requests = Vec::new();
    for note in NOTES {
        let mut add = |question: &str, grammar: &Grammar, check: Check| {
            requests.push(Request {
                prompt: format!("{note}\n\n{question}"),
                grammar: grammar.clone(),
                check,
            });
        };
        add("Write a maintenance ticket as JSON.", &ticket, Check::Ticket);
        add("How urgent is it?", &urgency, Check::OneOf(URGENCIES));
        add("Describe it as JSON.", &any, Check::AnyJson);
        add("Say it in one sentence.", &line, Check::Line);
    }
    // A long prompt, whose computing takes a good part of the time.
    let long = NOTES.join("\n").repeat(6);
    requests.push(Request {
        prompt: format!("{long}\n\nWrite one ticket."),
        grammar: ticket,
        check: Check::Ticket,
    });
    Ok(requests)
}

impl Check {
    fn accepts(&self, text: &str) -> bool {
        let json = || serde_json::from_str::<Value>(text).ok();
        match self {
            Self::AnyJson => json().is_some(),
            Self::OneOf(choices) => choices.contains(&text),
            Self::Line => {
                text.starts_with(|c: char| c.is_ascii_uppercase())
                    && text.strip_suffix('.').is_some_and(|line| (21..=401).contains(&line.len()))
            }
            Self::Ticket => json().is_some_and(|ticket| {
                let is_text = |name: &str| ticket[name].is_string();
                is_text("summary")
                    && (is_text("machine") || ticket["machine"].is_null())
                    && ["now", "today", "this week"].contains(&ticket["urgency"].as_str().unwrap_or_default())
                    && ticket["steps"]
                        .as_array()
                        .is_some_and(|steps| !steps.is_empty() && steps.iter().all(Value::is_string))
            }),
        }
    }
}

/// A process that keeps processors busy until it is dropped.
struct Load(Child);

impl Load {
    fn start(threads: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["deadlines", "--burn", &threads.to_string(), "3600"]);
        Ok(Self(command.spawn().context("starting the process that loads the machine")?))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn burn(threads: u64, time: Duration) {
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        for seed in 0..threads {
            scope.spawn(move || {
                let mut value = seed;
                while Instant::now() < end {
                    for _ in 0..100_000 {
                        value = std::hint::black_box(
                            value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1),
                        );
                    }
                }
            });
        }
    });
}
