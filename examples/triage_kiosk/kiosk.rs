//! Looks at what one patient says.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeslm::answer::{Classifier, ClassifyOptions, Task};
use edgeslm::session::{FinishReason, GenerateOptions, Session, SessionOptions};
use edgeslm::text::Text;
use edgeslm::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::calibrated::{self, ClassifierArguments, rounded};
use crate::red_flags;

/// What has to be done follows from the class and is not left to the model, which only says what about.
const OPENINGS: [(&str, &str); 3] = [
    ("emergency", "Call an ambulance at once and tell the crew about the"),
    ("urgent", "Offer an appointment today and ask about the"),
    ("routine", "Offer an ordinary appointment and ask about the"),
];

/// How the advice begins where the class is not certain, or does not fit a red flag.
const UNCERTAIN: &str = "Let a nurse decide at once and tell her about the";

/// Where there is no class.
pub(crate) const NOT_UNDERSTOOD: &str = "Let a nurse talk to the patient at once";

/// What is said about one patient.
#[derive(Serialize)]
pub(crate) struct Finding {
    pub(crate) id: String,
    /// The most probable class.
    pub(crate) label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expected: Option<String>,
    /// Of the label.
    pub(crate) probability: f64,
    /// Whether a person has to decide.
    pub(crate) ask: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    red_flags: Vec<String>,
    pub(crate) advice: String,
    pub(crate) prompt_tokens: usize,
    /// So many of them were in the KV cache.
    pub(crate) reused_tokens: usize,
    pub(crate) classify_milliseconds: f64,
    pub(crate) advice_milliseconds: f64,
}

/// A classifier, and a session that words the advice.
pub(crate) struct Kiosk {
    classifier: Classifier,
    options: ClassifyOptions,
    advice: Task,
    session: Session,
    text: Arc<Text>,
}

impl Kiosk {
    /// # Errors
    /// As [`ClassifierArguments::classifier`].
    pub(crate) fn new(arguments: &ClassifierArguments) -> Result<Self> {
        let advice = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/triage_advice.task.json");
        let advice = Task::read(advice)?;
        let model = arguments.model.load()?;
        let classifier = arguments.classifier(&model, "triage")?;
        let (text, session) = (Arc::clone(model.text()), model.session(SessionOptions::default())?);
        Ok(Self { classifier, options: arguments.options(), advice, session, text })
    }

    /// A JSON object with a statement as it is; anything else is the statement.
    pub(crate) fn fields(&self, line: &str) -> Map<String, Value> {
        calibrated::fields(&self.classifier, line)
    }

    /// # Errors
    /// For an age or red flags that make no sense, and as [`Classifier::decide_with`], [`ErrorKind::DeadlineExceeded`] among them.
    pub(crate) fn look_at(&mut self, fields: &Map<String, Value>, id: &str) -> Result<Finding> {
        let started = Instant::now();
        let statement = fields.get("statement").and_then(Value::as_str).unwrap_or_default();
        let age = age_of(fields)?;
        let mut flags = ticked(fields)?;
        for flag in red_flags::found(statement, age.or_else(|| red_flags::age_in(statement))) {
            if !flags.iter().any(|ticked| ticked == flag) {
                flags.push(flag.to_owned());
            }
        }
        let decision = self.classifier.decide_with(fields, &self.options)?;
        let reason = if decision.abstain {
            Some("not certain")
        } else if !flags.is_empty() && decision.label != "emergency" {
            Some("red flag")
        } else {
            None
        };
        let classify = started.elapsed();

        let started = Instant::now();
        let opening = OPENINGS.iter().find(|(label, _)| *label == decision.label);
        let opening = opening.map_or(UNCERTAIN, |(_, opening)| opening);
        let subject = self.subject(statement, opening)?;
        let shown = if reason.is_some() { UNCERTAIN } else { opening };
        Ok(Finding {
            id: id.to_owned(),
            probability: rounded(f64::from(decision.probability())),
            expected: fields.get("label").and_then(Value::as_str).map(str::to_owned),
            label: decision.label,
            ask: reason.is_some(),
            reason,
            red_flags: flags,
            advice: format!("{shown} {subject}."),
            prompt_tokens: decision.statistics.prompt_tokens,
            reused_tokens: decision.statistics.reused_tokens,
            classify_milliseconds: milliseconds(classify),
            advice_milliseconds: milliseconds(started.elapsed()),
        })
    }

    /// How the model ends the sentence of advice, without the full stop. Replaced where it does not come to an end or has words
    /// that the patient did not use.
    fn subject(&mut self, statement: &str, opening: &str) -> Result<String> {
        let fields = json!({ "statement": statement, "opening": opening });
        let fields = fields.as_object().cloned().unwrap_or_default();
        let prompt = self.advice.prompt(&self.text, &fields)?;
        let options = GenerateOptions {
            max_tokens: self.advice.max_tokens(),
            stop: self.advice.stop().to_vec(),
            deadline: self.options.deadline,
            ..GenerateOptions::default()
        };
        let answer = self.session.generate(prompt, &options)?;
        let subject = answer.text.split_whitespace().collect::<Vec<_>>().join(" ").replace('"', "'");
        let has_ended = matches!(answer.outcome.reason, FinishReason::StopString | FinishReason::StopToken);
        let is_usable = has_ended && !subject.is_empty() && is_said(&subject, statement);
        Ok(if is_usable { subject } else { "complaint".to_owned() })
    }
}

/// In years.
fn age_of(fields: &Map<String, Value>) -> Result<Option<f64>> {
    match fields.get("age") {
        None | Some(Value::Null) => Ok(None),
        Some(age) => match age.as_f64() {
            Some(age) if (0.0..=130.0).contains(&age) => Ok(Some(age)),
            _ => Err(Error::new(ErrorKind::InvalidArgument, format!("the age {age} is no age"))
                .with_hint("it is a number of years, 0.1 for five weeks")),
        },
    }
}

/// The red flags that were ticked.
fn ticked(fields: &Map<String, Value>) -> Result<Vec<String>> {
    let problem = || Error::new(ErrorKind::InvalidArgument, "\"red_flags\" is not a list of names");
    match fields.get("red_flags") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(names)) => {
            names.iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(problem)).collect()
        }
        Some(_) => Err(problem()),
    }
}

/// Whether the statement has the longer words, or others that begin like them.
fn is_said(subject: &str, statement: &str) -> bool {
    let statement = statement.to_lowercase();
    let mut words = subject.split(' ').filter(|word| word.chars().count() > 3);
    words.all(|word| statement.contains(&word.to_lowercase().chars().take(4).collect::<String>()))
}

fn milliseconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}
