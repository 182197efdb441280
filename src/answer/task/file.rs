//! The task file's parts, and whether they fit each other.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::template::{Filled, Template};
use super::{TaskKind, TextMatch};
use crate::answer::classify::invalid;
use crate::error::Result;

/// The most labels and words of a task.
const MAXIMUM_LABELS: usize = 10_000;

/// A label as a task file gives it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum LabelEntry {
    /// Named as the model writes it.
    Name(String),
    /// Named otherwise than the model writes it.
    Named { name: String, text: String },
}

/// The file, before its parts are checked against each other.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskFile {
    pub(super) version: u64,
    pub(super) name: String,
    pub(super) kind: TaskKind,
    #[serde(default)]
    pub(super) about: String,
    #[serde(default)]
    pub(super) labels: Vec<LabelEntry>,
    #[serde(default)]
    pub(super) words: Vec<String>,
    pub(super) schema: Option<Value>,
    pub(super) prompt: PromptFile,
    #[serde(default)]
    pub(super) content_free: Vec<Map<String, Value>>,
    #[serde(default)]
    pub(super) generate: GenerateFile,
    #[serde(default, rename = "match")]
    pub(super) text_match: TextMatch,
    pub(super) question: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PromptFile {
    #[serde(default)]
    pub(super) chat: bool,
    #[serde(default)]
    pub(super) start: String,
    pub(super) input: String,
    pub(super) answer: Option<String>,
    #[serde(default)]
    pub(super) examples: Vec<Map<String, Value>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GenerateFile {
    pub(super) max_tokens: usize,
    pub(super) stop: Vec<String>,
}

impl Default for GenerateFile {
    fn default() -> Self {
        Self { max_tokens: 128, stop: Vec::new() }
    }
}

impl LabelEntry {
    pub(super) fn name_and_text(&self) -> (String, String) {
        match self {
            Self::Name(name) => (name.clone(), name.clone()),
            Self::Named { name, text } => (name.clone(), text.clone()),
        }
    }
}

pub(super) fn label_index(labels: &[String], name: &str) -> Result<usize> {
    labels.iter().position(|label| label == name).ok_or_else(|| {
        invalid(format!("{name:?} is no label"))
            .with_hint(format!("the task's labels are {}", labels.join(", ")))
    })
}

/// What a template with the one place `{answer}` has before and after it.
pub(super) fn around_answer(template: &str) -> Result<(String, String)> {
    let problem = || invalid("an answer's template has the one place {answer}");
    let template = Template::parse(template)?;
    let fields = Map::from_iter([("answer".to_owned(), Value::Null)]);
    let (mut before, mut after) = (String::new(), None::<String>);
    for part in template.fill(&fields).map_err(|_| problem())? {
        match (part, &mut after) {
            (Filled::Own(text), None) => before += text,
            (Filled::Own(text), Some(after)) => *after += text,
            (Filled::Field(_), after @ None) => *after = Some(String::new()),
            (Filled::Field(_), Some(_)) => return Err(problem()),
        }
    }
    Ok((before, after.ok_or_else(problem)?))
}

pub(super) fn check_kind(
    kind: &TaskKind,
    labels: &[LabelEntry],
    words: &[String],
    schema: Option<&Value>,
) -> Result<()> {
    if *kind == TaskKind::Classify {
        if labels.len() < 2 {
            return Err(invalid(format!("there is nothing to tell apart in {} labels", labels.len()))
                .with_node("labels"));
        }
        if labels.len().saturating_add(words.len()) > MAXIMUM_LABELS {
            return Err(invalid(format!("there are more than {MAXIMUM_LABELS} labels and words")));
        }
    } else if !labels.is_empty() || !words.is_empty() {
        return Err(invalid(format!("a task of kind {} has no labels and words", kind.name())));
    }
    match (kind, schema) {
        (TaskKind::Extract, None) => Err(invalid("a task of kind extract has a schema")),
        (TaskKind::Extract, Some(schema)) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            match properties {
                Some(properties) if !properties.is_empty() => Ok(()),
                _ => Err(invalid("the schema has no properties").with_node("schema")),
            }
        }
        (_, None) => Ok(()),
        (_, Some(_)) => Err(invalid(format!("a task of kind {} has no schema", kind.name()))),
    }
}

pub(super) fn check_distinct(names: &[String]) -> Result<()> {
    let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    if sorted.first() == Some(&"") {
        return Err(invalid("a label or word is empty"));
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(invalid(format!("{:?} is given twice", pair[0]))),
        None => Ok(()),
    }
}

/// Takes the answer out of an example of the prompt, as the prompt shows it.
pub(super) fn answer_of_shot(
    fields: &mut Map<String, Value>,
    kind: TaskKind,
    labels: &[String],
    texts: &[String],
) -> Result<String> {
    let key = if kind == TaskKind::Classify { "label" } else { "expected" };
    let value = fields.remove(key).ok_or_else(|| invalid(format!("the example has no {key:?}")))?;
    match (kind, value) {
        (TaskKind::Classify, Value::String(name)) => {
            let index = label_index(labels, &name)?;
            Ok(texts.get(index).cloned().unwrap_or_default())
        }
        (TaskKind::Extract, value @ Value::Object(_)) => Ok(value.to_string()),
        (TaskKind::Text, Value::String(text)) => Ok(text),
        (TaskKind::Extract, _) => Err(invalid("\"expected\" is no object")),
        _ => Err(invalid(format!("{key:?} is no text"))),
    }
}
