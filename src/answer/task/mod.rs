//! A task: what is asked of a model again and again, with the examples that show whether it answers well.
//!
//! A task file holds a prompt and its closed set of labels, or the schema of what is read out of a text; a set of examples
//! holds inputs and the right answers. Programs, calibration and evaluation read the same files, so that a prompt exists
//! once. `docs/evaluation.md` describes both.

mod csv;
mod example;
mod file;
mod template;

#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub use self::example::{Answer, Example, Split, read_examples, values_agree};

use self::file::{
    GenerateFile, LabelEntry, PromptFile, TaskFile, answer_of_shot, around_answer, check_distinct,
    check_kind, label_index,
};
use self::template::{Filled, Template};
use super::classify::invalid;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{hexadecimal, read_limited};
use crate::session::Prompt;
use crate::text::{Message, Text, TextPart};

/// The longest task file that is read, in bytes.
const MAXIMUM_TASK_BYTES: u64 = 4 << 20;

/// What kind of answer a task wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskKind {
    /// One of a closed set of labels.
    Classify,
    /// A JSON object that follows a schema.
    Extract,
    /// Text.
    Text,
}

impl TaskKind {
    /// The kind's name in a task file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Extract => "extract",
            Self::Text => "text",
        }
    }
}

/// When a text counts as right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TextMatch {
    /// It is the expected text, apart from white space around both.
    #[default]
    Exact,
    /// It begins with the expected text, apart from white space around both.
    Prefix,
}

impl TextMatch {
    /// Whether `answer` is right where `expected` is.
    ///
    /// ```
    /// use edgeslm::answer::TextMatch;
    ///
    /// assert!(TextMatch::Exact.holds(" a + b\n", "a + b"));
    /// assert!(TextMatch::Prefix.holds("a + b;\n", "a + b"));
    /// ```
    #[must_use]
    pub fn holds(self, answer: &str, expected: &str) -> bool {
        let (answer, expected) = (answer.trim(), expected.trim());
        match self {
            Self::Exact => answer == expected,
            Self::Prefix => answer.starts_with(expected),
        }
    }
}

/// A prompt with its labels or its schema, read from a task file.
///
/// ```
/// use edgeslm::answer::Task;
///
/// let task = Task::parse(
///     r#"{
///         "version": 1, "name": "doors", "kind": "classify",
///         "labels": ["open", "closed"],
///         "prompt": {
///             "input": "Report: {report:line}\nThe door is",
///             "answer": " {answer}.\n\n",
///             "examples": [{"report": "It stands ajar.", "label": "open"}]
///         }
///     }"#,
/// )?;
/// assert_eq!(task.labels(), ["open", "closed"]);
/// assert_eq!(task.words(), [" open", " closed"]);
/// # Ok::<(), edgeslm::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Task {
    name: String,
    kind: TaskKind,
    about: String,
    labels: Vec<String>,
    /// Of each label and then the others, as the model would go on with them.
    words: Vec<String>,
    schema: Option<Value>,
    chat: bool,
    start: String,
    input: Template,
    /// What stands before an answer and after it.
    around: (String, String),
    /// Inputs and answers.
    shots: Vec<(Map<String, Value>, String)>,
    content_free: Vec<Map<String, Value>>,
    generate: GenerateFile,
    text_match: TextMatch,
    question: Option<Template>,
    digest: String,
}

impl Task {
    /// Reads a task file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and [`ErrorKind::Io`]; otherwise as [`parse`](Self::parse), naming the file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_limited(path, MAXIMUM_TASK_BYTES)?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| invalid(format!("the task is not UTF-8: {error}")).with_file(path))?;
        Self::parse(text).map_err(|error| error.with_file(path))
    }

    /// The task that a file's text describes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for text that is not JSON, for another version, for unknown or missing keys, for
    /// labels, schema, templates and examples that do not fit each other.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let file: TaskFile = serde_json::from_str(text).map_err(|error| {
            invalid(format!("the task file is not as expected: {error}")).with_source(error)
        })?;
        if file.version != 1 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the task file has version {}, and this library reads version 1", file.version),
            ));
        }
        let node = |place: &'static str| move |error: Error| error.with_node(place);
        let PromptFile { chat, start, input, answer, examples } = file.prompt;
        let input = Template::parse(&input).map_err(node("prompt.input"))?;
        let answer = answer.unwrap_or_else(|| if chat { "{answer}" } else { " {answer}\n\n" }.to_owned());
        let around = around_answer(&answer).map_err(node("prompt.answer"))?;
        let question = file.question.as_deref().map(Template::parse).transpose().map_err(node("question"))?;
        check_kind(&file.kind, &file.labels, &file.words, file.schema.as_ref())?;
        let (labels, texts): (Vec<String>, Vec<String>) =
            file.labels.iter().map(LabelEntry::name_and_text).unzip();
        let words: Vec<String> =
            texts.iter().chain(&file.words).map(|word| format!("{}{word}", around.0)).collect();
        check_distinct(&labels).map_err(node("labels"))?;
        check_distinct(&words).map_err(node("words"))?;
        let mut shots = Vec::with_capacity(examples.len());
        for (index, mut fields) in examples.into_iter().enumerate() {
            let shot = answer_of_shot(&mut fields, file.kind, &labels, &texts)
                .and_then(|answer| input.fill(&fields).map(|_| answer))
                .map_err(|error| error.with_node(format!("prompt.examples[{index}]")))?;
            shots.push((fields, shot));
        }
        for (index, fields) in file.content_free.iter().enumerate() {
            input.fill(fields).map_err(|error| error.with_node(format!("content_free[{index}]")))?;
        }
        let mut task = Self {
            name: file.name,
            kind: file.kind,
            about: file.about,
            labels,
            words,
            schema: file.schema,
            chat,
            start,
            input,
            around,
            shots,
            content_free: file.content_free,
            generate: file.generate,
            text_match: file.text_match,
            question,
            digest: String::new(),
        };
        task.digest = task.digest_of_parts()?;
        Ok(task)
    }

    /// The task's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kind of answer it wants.
    #[must_use]
    pub fn kind(&self) -> TaskKind {
        self.kind
    }

    /// What the file says of the task.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.about
    }

    /// The names of the labels; empty if the task is not [`TaskKind::Classify`].
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The index of a label.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a name that is none of [`labels`](Self::labels).
    pub fn label_index(&self, name: &str) -> Result<usize> {
        label_index(&self.labels, name)
    }

    /// The texts that are scored after the prompt: one of each label, in their order, and then the further words that
    /// only a calibration can interpret.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The JSON schema of the answer; only of [`TaskKind::Extract`].
    #[must_use]
    pub fn schema(&self) -> Option<&Value> {
        self.schema.as_ref()
    }

    /// The names of the properties of the schema, in their order.
    #[must_use]
    pub fn fields(&self) -> Vec<&str> {
        let properties = self.schema.as_ref().and_then(|schema| schema.get("properties")?.as_object());
        properties.map(|properties| properties.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// The names of the fields of an input that the prompt shows.
    #[must_use]
    pub fn inputs(&self) -> Vec<&str> {
        self.input.fields()
    }

    /// Inputs that say nothing, for [`Calibration`](super::Calibration)s that correct the label bias.
    #[must_use]
    pub fn content_free(&self) -> &[Map<String, Value>] {
        &self.content_free
    }

    /// The most tokens of an answer that is generated.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.generate.max_tokens
    }

    /// The texts that end an answer that is generated.
    #[must_use]
    pub fn stop(&self) -> &[String] {
        &self.generate.stop
    }

    /// When a generated text counts as right.
    #[must_use]
    pub fn text_match(&self) -> TextMatch {
        self.text_match
    }

    /// Of all that the answer depends on besides the model and the input: SHA-256, in hexadecimal. Two tasks that ask the
    /// same in the same words have the same digest, whatever their files look like.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The prompt for an input, whose fields cannot spell out special tokens.
    ///
    /// Prompts of one task begin with the same tokens, so that a session that is asked one after the other computes the
    /// shared part once.
    ///
    /// ```no_run
    /// # fn example(model: &edgeslm::Model, task: &edgeslm::answer::Task) -> edgeslm::Result<()> {
    /// use serde_json::json;
    ///
    /// let mut session = model.session(Default::default())?;
    /// let fields = json!({"report": "Nobody could get in."});
    /// let prompt = task.prompt(model.text(), fields.as_object().unwrap())?;
    /// let words: Vec<&str> = task.words().iter().map(String::as_str).collect();
    /// println!("{:?}", session.classify(prompt, &words)?.probabilities);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a missing field; otherwise as [`Text::raw_tokens_of_parts`].
    pub fn prompt(&self, text: &Text, fields: &Map<String, Value>) -> Result<Prompt> {
        let input = self.input.fill(fields)?;
        if self.chat {
            return Ok(Prompt::Chat(self.messages(&input)?));
        }
        let before = match self.kind {
            // Part of each label.
            TaskKind::Classify => "",
            TaskKind::Extract | TaskKind::Text => &self.around.0,
        };
        let beginning = self.beginning()?;
        let own = [TextPart::Own(&beginning)].into_iter();
        let parts: Vec<TextPart<'_>> =
            own.chain(input.iter().map(Filled::part)).chain([TextPart::Own(before)]).collect();
        Ok(Prompt::Tokens(text.raw_tokens_of_parts(&parts)?))
    }

    /// The question as a person would put it, without examples: to compare what the model does with and without what
    /// this library adds. A chat prompt where the model has a chat template.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt).
    pub fn free_prompt(&self, text: &Text, fields: &Map<String, Value>) -> Result<Prompt> {
        let question = self.question.as_ref().unwrap_or(&self.input);
        let filled = question.fill(fields)?;
        let request = match (&self.question, self.kind) {
            (None, TaskKind::Classify) => {
                format!("\n\nAnswer with one of these: {}.", self.labels.join(", "))
            }
            (None, TaskKind::Extract) => {
                format!("\n\nAnswer with a JSON object that has these fields: {}.", self.fields().join(", "))
            }
            _ => String::new(),
        };
        let has_template = text.chat_template().is_some();
        if has_template && self.kind != TaskKind::Text {
            let message = filled.iter().map(|part| part.part().text()).collect::<String>() + &request;
            return Ok(Prompt::Chat(vec![Message::user(message)]));
        }
        let end = if request.is_empty() { String::new() } else { format!("{request}\n\n") };
        let parts: Vec<TextPart<'_>> = filled.iter().map(Filled::part).chain([TextPart::Own(&end)]).collect();
        Ok(Prompt::Tokens(text.raw_tokens_of_parts(&parts)?))
    }

    fn messages(&self, input: &[Filled<'_>]) -> Result<Vec<Message>> {
        let join = |parts: &[Filled<'_>]| parts.iter().map(|part| part.part().text()).collect::<String>();
        let mut messages = Vec::new();
        if !self.start.is_empty() {
            messages.push(Message::system(self.start.clone()));
        }
        for (fields, answer) in &self.shots {
            messages.push(Message::user(join(&self.input.fill(fields)?)));
            messages.push(Message::assistant(format!("{}{answer}{}", self.around.0, self.around.1)));
        }
        messages.push(Message::user(join(input)));
        Ok(messages)
    }

    /// What all raw prompts begin with.
    fn beginning(&self) -> Result<String> {
        let mut beginning = self.start.clone();
        for (fields, answer) in &self.shots {
            for part in self.input.fill(fields)? {
                beginning += part.part().text();
            }
            for text in [&self.around.0, answer, &self.around.1] {
                beginning += text;
            }
        }
        Ok(beginning)
    }

    fn digest_of_parts(&self) -> Result<String> {
        let mut shots = Vec::with_capacity(self.shots.len());
        for (fields, answer) in &self.shots {
            let input = self.input.fill(fields)?;
            shots.push((input.iter().map(|part| part.part().text()).collect::<String>(), answer));
        }
        let parts = json!([
            self.kind.name(),
            self.labels,
            self.words,
            self.schema,
            self.chat,
            self.start,
            self.input.source(),
            [self.around.0, self.around.1],
            shots,
        ]);
        Ok(hexadecimal(&Sha256::digest(parts.to_string())))
    }
}
