//! Asks the model what comes next.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeslm::answer::Task;
use edgeslm::session::{
    CancelToken, Control, Event, FinishReason, GenerateOptions, Outcome, Prompt, Session, SessionOptions,
};
use edgeslm::text::Text;
use edgeslm::{Error, ErrorKind, Model, Result};
use serde_json::{Value, json};

use crate::Mode;

/// Tokens that stand before the text before the cursor, before that after it, and before the answer: Qwen 2.5 Coder, StarCoder and
/// Granite, DeepSeek Coder (which marks the hole), Code Llama.
const MARKERS: [[&str; 3]; 4] = [
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
    ["▁<PRE>", "▁<SUF>", "▁<MID>"],
];

/// Tokens with which such models end what they fill in, besides their stop tokens.
const ENDS: [&str; 8] = [
    "<|endoftext|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<|cursor|>",
    "<file_sep>",
    "<fim_pad>",
    "▁<EOT>",
];

/// The most bytes that the model sees before the cursor and after it.
const BEFORE: usize = 6000;
const AFTER: usize = 1500;

/// What the bounds of a completion are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) max_lines: usize,
    pub(crate) max_tokens: usize,
    pub(crate) deadline: Duration,
}

/// What comes next.
pub(crate) struct Completion {
    pub(crate) text: String,
    outcome: Outcome,
    /// Whether it ended because it had as many lines as it may have.
    is_full: bool,
    /// Whether the model saw what is after the cursor.
    middle: bool,
    elapsed: Duration,
}

impl Completion {
    pub(crate) fn to_json(&self) -> Value {
        let statistics = &self.outcome.statistics;
        json!({
            "completion": self.text,
            "reason": if self.is_full { "lines" } else { self.outcome.reason.name() },
            "mode": if self.middle { "middle" } else { "prefix" },
            "milliseconds": (self.elapsed.as_secs_f64() * 1e4).round() / 10.0,
            "prompt_tokens": statistics.prompt_tokens,
            "reused_tokens": statistics.reused_tokens,
            "generated_tokens": statistics.generated_tokens,
        })
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.outcome.reason == FinishReason::Cancelled && !self.is_full
    }
}

/// What the model goes on with.
struct Answer {
    text: String,
    outcome: Outcome,
    is_full: bool,
}

impl Answer {
    /// Whether there is no time for another.
    fn is_over(&self) -> bool {
        !self.is_full && matches!(self.outcome.reason, FinishReason::Cancelled | FinishReason::Deadline)
    }
}

/// A session that completes code.
pub(crate) struct Completer {
    session: Session,
    text: Arc<Text>,
    task: Task,
    /// Before, after, middle; `None` if only the text before the cursor is used.
    markers: Option<[u32; 3]>,
    ends: Vec<u32>,
    settings: Settings,
}

impl Completer {
    /// # Errors
    /// If both sides of the cursor are to be used and the model has no tokens for that.
    pub(crate) fn new(model: &Model, mode: Mode, settings: Settings) -> Result<Self> {
        let text = Arc::clone(model.text());
        let tokenizer = text.tokenizer();
        let ids = |names: [&str; 3]| match names.map(|name| tokenizer.id_of(name)) {
            [Some(before), Some(after), Some(middle)] => Some([before, after, middle]),
            _ => None,
        };
        let markers = match mode {
            Mode::Prefix => None,
            Mode::Auto | Mode::Middle => MARKERS.into_iter().find_map(ids),
        };
        if mode == Mode::Middle && markers.is_none() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the model has no tokens for filling in the middle",
            )
            .with_hint("take a code model such as Qwen 2.5 Coder, or --mode prefix"));
        }
        let ends = ENDS.iter().filter_map(|name| tokenizer.id_of(name)).collect();
        let task = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/completion.task.json");
        let task = Task::read(task)?;
        Ok(Self { session: model.session(SessionOptions::default())?, text, task, markers, ends, settings })
    }

    pub(crate) fn fills_in_the_middle(&self) -> bool {
        self.markers.is_some()
    }

    /// What comes between `prefix` and `suffix`.
    ///
    /// # Errors
    /// Those of [`Session::generate`].
    pub(crate) fn complete(
        &mut self,
        language: Option<&str>,
        prefix: &str,
        suffix: &str,
        max_lines: Option<usize>,
        cancel: CancelToken,
    ) -> Result<Completion> {
        let started = Instant::now();
        let max_lines = max_lines.unwrap_or(self.settings.max_lines);
        let before = last_part(prefix);
        let Answer { text, outcome, is_full } = if let Some([first, second, third]) = self.markers {
            let tokenizer = self.text.tokenizer();
            let mut prompt = self.text.raw_tokens("")?;
            prompt.push(first);
            prompt.extend(tokenizer.encode_plain(before)?);
            prompt.push(second);
            prompt.extend(tokenizer.encode_plain(first_part(suffix))?);
            prompt.push(third);
            self.generate(Prompt::Tokens(prompt), max_lines, &cancel, started)?
        } else {
            self.go_on(language, before, max_lines, &cancel, started)?
        };
        let middle = self.markers.is_some();
        Ok(Completion { text, outcome, is_full, middle, elapsed: started.elapsed() })
    }

    /// What comes after `before`.
    ///
    /// The token of a word begins with the space before it, so a text that ends in a space is not as in training. That space is
    /// left to the model, and only where it gives something else it is asked with it.
    fn go_on(
        &mut self,
        language: Option<&str>,
        before: &str,
        max_lines: usize,
        cancel: &CancelToken,
        started: Instant,
    ) -> Result<Answer> {
        if let Some(kept) = before.strip_suffix(' ').filter(|kept| !kept.is_empty()) {
            let prompt = self.plain(language, kept)?;
            let answer = self.generate(prompt, max_lines, cancel, started)?;
            if let Some(rest) = answer.text.strip_prefix(' ').filter(|rest| !rest.trim().is_empty()) {
                return Ok(Answer { text: rest.to_owned(), ..answer });
            }
            if answer.is_over() {
                return Ok(Answer { text: String::new(), ..answer });
            }
        }
        let prompt = self.plain(language, before)?;
        self.generate(prompt, max_lines, cancel, started)
    }

    /// The prompt of the task, which names the language; small models need to be told. What the text spells out stays text.
    fn plain(&self, language: Option<&str>, before: &str) -> Result<Prompt> {
        if before.trim().is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "there is nothing before the cursor"));
        }
        let fields = json!({ "language": language.unwrap_or_default(), "prefix": before });
        self.task.prompt(&self.text, &fields.as_object().cloned().unwrap_or_default())
    }

    /// At most so many lines, without the last one's end.
    fn generate(
        &mut self,
        prompt: Prompt,
        max_lines: usize,
        cancel: &CancelToken,
        started: Instant,
    ) -> Result<Answer> {
        let options = GenerateOptions {
            max_tokens: self.settings.max_tokens,
            stop_tokens: self.ends.clone(),
            deadline: Some(self.settings.deadline.saturating_sub(started.elapsed())),
            cancel: Some(cancel.clone()),
            ..GenerateOptions::default()
        };
        let (mut text, mut is_full) = (String::new(), false);
        let outcome = self.session.generate_with(prompt, &options, |event| {
            if let Event::Text(piece) = event {
                text.push_str(piece);
            }
            is_full = text.matches('\n').count() >= max_lines;
            if is_full { Control::Stop } else { Control::Continue }
        })?;
        let lines: Vec<&str> = text.split('\n').take(max_lines).collect();
        Ok(Answer { text: lines.join("\n"), outcome, is_full })
    }
}

/// The end of the text before the cursor. Where it begins moves in large steps only, so that what the cache holds of it stays true
/// from key to key.
fn last_part(text: &str) -> &str {
    let step = BEFORE / 2;
    let excess = text.len().saturating_sub(BEFORE);
    let least = excess.div_ceil(step) * step;
    let begin = (least..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    if begin == 0 {
        return text;
    }
    // At the beginning of a line, if one is near.
    let rest = &text[begin..];
    rest.find('\n').filter(|at| *at < step / 2).map_or(rest, |at| &rest[at + 1..])
}

/// The beginning of the text after the cursor.
fn first_part(text: &str) -> &str {
    let end = (0..=AFTER.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}
