//! Conversations to prompts, with the chat template of the model.

#![forbid(unsafe_code)]

mod prompt_templates;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use self::prompt_templates::PromptTemplates;
use super::message::{Message, Role};
use super::template::{DateTime, Failure, FailureKind, Template};
use super::tokenizer::parse_json;
use crate::model::TextFile;
use crate::{Error, ErrorKind, Result};

/// Where a chat template was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TemplateOrigin {
    /// `chat_template.jinja`.
    JinjaFile,
    /// `chat_template.json`.
    JsonFile,
    /// `chat_template` in `tokenizer_config.json`.
    TokenizerConfig,
    /// `prompt_templates` in an old `genai_config.json`.
    PromptTemplates,
    /// The built-in template of the model's family.
    Family,
    /// Given by the host program.
    Given,
}

/// Texts of special tokens that templates write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateTokens {
    /// Beginning of text.
    pub bos: Option<String>,
    /// End of text.
    pub eos: Option<String>,
    /// Padding.
    pub pad: Option<String>,
    /// Unknown character.
    pub unk: Option<String>,
}

/// Places where a template may be, in the order in which they are tried.
#[derive(Debug, Clone, Default)]
pub struct TemplateSources<'a> {
    /// `chat_template.jinja`, if the directory has one.
    pub jinja_file: Option<&'a TextFile>,
    /// `chat_template.json`, if the directory has one.
    pub json_file: Option<&'a TextFile>,
    /// The contents of `tokenizer_config.json`.
    pub tokenizer_config: Option<&'a Value>,
    /// `model.prompt_templates` of `genai_config.json`.
    pub prompt_templates: Option<&'a Value>,
    /// The template of the model's family.
    pub family_template: Option<&'a str>,
}

/// What a prompt is made with besides the messages.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderOptions {
    /// Ends the prompt with the beginning of an answer. Default true.
    pub add_generation_prompt: bool,
    /// Descriptions of the tools that the model may call: a JSON array, as the model's template expects it.
    pub tools: Option<Value>,
    /// Documents that the model may use: a JSON array, as the model's template expects it.
    pub documents: Option<Value>,
    /// The date for templates that write one. Without it they get the system clock's, in UTC: set it where prompts
    /// are to be the same every day.
    pub date: Option<DateTime>,
    /// Further variables for the template, for example `enable_thinking`.
    pub variables: Map<String, Value>,
    /// Recognises special tokens that messages spell out. Default false: a message in which somebody writes
    /// `<|eot_id|>` is text, and ends no turn. Concerns tokens, not the rendered text.
    pub special_tokens_in_content: bool,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            tools: None,
            documents: None,
            date: None,
            variables: Map::new(),
            special_tokens_in_content: false,
        }
    }
}

/// The chat template of a model: how a conversation is written for it.
///
/// Templates are in the part of Jinja that Hugging Face chat templates use, and are untrusted: they can reach nothing
/// outside, and one that runs or grows without end stops with an error.
///
/// Where a template refuses or drops messages of the system role (Gemma 2), the system's text is put before the next
/// user message.
///
/// ```
/// use edgeslm::text::{ChatTemplate, Message, RenderOptions};
/// let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
/// let template = ChatTemplate::from_source(source, Default::default())?;
/// let prompt = template.render(&[Message::user("Hello")], &RenderOptions::default())?;
/// assert_eq!(prompt, "<user>Hello");
/// # Ok::<(), edgeslm::Error>(())
/// ```
#[derive(Debug)]
pub struct ChatTemplate {
    kind: Kind,
    origin: TemplateOrigin,
    tokens: TemplateTokens,
    merges_system: bool,
}

#[derive(Debug)]
enum Kind {
    Jinja {
        default: Template,
        source: String,
        /// A template of its own for prompts with tools.
        with_tools: Option<Template>,
    },
    Prompts(PromptTemplates),
}

impl ChatTemplate {
    /// Reads the first template that `sources` has; `None` if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Template`] where the template is not valid, and [`ErrorKind::Tokenizer`] where its file is not JSON.
    pub fn load(sources: &TemplateSources<'_>, tokens: TemplateTokens) -> Result<Option<Self>> {
        let (kind, origin) = if let Some(TextFile { path, text }) = sources.jinja_file {
            let source = std::str::from_utf8(text).map_err(|error| {
                Error::new(ErrorKind::Template, "the template is not UTF-8")
                    .with_file(path)
                    .with_source(error)
            })?;
            (Kind::parse(source, None).map_err(|error| error.with_file(path))?, TemplateOrigin::JinjaFile)
        } else if let Some(file) = sources.json_file {
            let path = &file.path;
            let json = parse_json(file)?;
            let kind = Kind::from_json(json.get("chat_template").unwrap_or(&Value::Null));
            let missing = || Error::new(ErrorKind::Template, "'chat_template' is missing");
            let kind =
                kind.and_then(|kind| kind.ok_or_else(missing)).map_err(|error| error.with_file(path))?;
            (kind, TemplateOrigin::JsonFile)
        } else if let Some(kind) =
            kind_of(sources.tokenizer_config.and_then(|config| config.get("chat_template")))?
        {
            (kind, TemplateOrigin::TokenizerConfig)
        } else if let Some(prompts) = sources.prompt_templates.and_then(PromptTemplates::from_json) {
            (Kind::Prompts(prompts), TemplateOrigin::PromptTemplates)
        } else if let Some(source) = sources.family_template {
            (Kind::parse(source, None)?, TemplateOrigin::Family)
        } else {
            return Ok(None);
        };
        Ok(Some(Self::new(kind, origin, tokens)))
    }

    /// A template that the host program gives.
    ///
    /// # Errors
    /// [`ErrorKind::Template`] if it is not valid.
    pub fn from_source(source: &str, tokens: TemplateTokens) -> Result<Self> {
        Ok(Self::new(Kind::parse(source, None)?, TemplateOrigin::Given, tokens))
    }

    fn new(kind: Kind, origin: TemplateOrigin, tokens: TemplateTokens) -> Self {
        let mut template = Self { kind, origin, tokens, merges_system: false };
        template.merges_system = template.loses_system_text();
        template
    }

    /// Whether a conversation works without a system message, but fails or lacks the system's text with one.
    fn loses_system_text(&self) -> bool {
        let options = RenderOptions { date: DateTime::from_ymd(2024, 1, 1), ..RenderOptions::default() };
        let probe = "Probe of the system role.";
        let with = [Message::system(probe), Message::user("Probe.")];
        let kept = self.render_as_given(&with, &options).is_ok_and(|text| text.contains(probe));
        !kept && self.render_as_given(&with[1..], &options).is_ok_and(|text| text.contains("Probe."))
    }

    /// Where the template was found.
    #[must_use]
    pub fn origin(&self) -> TemplateOrigin {
        self.origin
    }

    /// Whether system messages are put before the next user message, because the template does not take them.
    #[must_use]
    pub fn merges_system(&self) -> bool {
        self.merges_system
    }

    /// Whether `text` occurs in the template itself.
    pub(super) fn mentions(&self, text: &str) -> bool {
        match &self.kind {
            Kind::Jinja { source, .. } => source.contains(text),
            Kind::Prompts(prompts) => prompts.mentions(text),
        }
    }

    /// The prompt for `messages`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if there are no messages;
    /// [`ErrorKind::Template`] if the template refuses the conversation (with the reason it gives), does something
    /// that its values do not allow, or runs or grows without end.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        if messages.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the conversation has no messages"));
        }
        let merged;
        let messages = if self.merges_system && messages.iter().any(|message| message.role == Role::System) {
            merged = merge_system(messages);
            &merged
        } else {
            messages
        };
        self.render_as_given(messages, options).map_err(to_error)
    }

    fn render_as_given(&self, messages: &[Message], options: &RenderOptions) -> Result<String, Failure> {
        match &self.kind {
            Kind::Jinja { default, with_tools, .. } => {
                let template = match with_tools {
                    Some(template) if options.tools.is_some() => template,
                    _ => default,
                };
                let date = options.date.unwrap_or_else(DateTime::now);
                template.render(&self.variables(messages, options), date)
            }
            Kind::Prompts(prompts) => Ok(prompts.render(messages, options.add_generation_prompt)),
        }
    }

    fn variables(&self, messages: &[Message], options: &RenderOptions) -> Map<String, Value> {
        let mut variables = Map::new();
        let TemplateTokens { bos, eos, pad, unk } = &self.tokens;
        for (name, token) in [("bos_token", bos), ("eos_token", eos), ("pad_token", pad), ("unk_token", unk)]
        {
            if let Some(token) = token {
                variables.insert(name.to_owned(), json!(token));
            }
        }
        if let Some(date) = &options.date {
            variables.insert("date_string".to_owned(), json!(date.format("%d %b %Y")));
        }
        variables.extend(options.variables.clone());
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| json!({"role": message.role.name(), "content": message.content}))
            .collect();
        variables.insert("messages".to_owned(), Value::Array(messages));
        variables.insert("tools".to_owned(), options.tools.clone().unwrap_or_default());
        variables.insert("documents".to_owned(), options.documents.clone().unwrap_or_default());
        variables.insert("add_generation_prompt".to_owned(), json!(options.add_generation_prompt));
        variables
    }
}

impl Kind {
    fn parse(source: &str, tools_source: Option<&str>) -> Result<Self> {
        let default = Template::parse(source).map_err(to_error)?;
        let with_tools = tools_source.map(Template::parse).transpose().map_err(to_error)?;
        let source = [source, tools_source.unwrap_or_default()].concat();
        Ok(Self::Jinja { default, source, with_tools })
    }

    /// A template as text, a list of `{name, template}`, or an object of templates by name.
    fn from_json(value: &Value) -> Result<Option<Self>> {
        if let Some(source) = value.as_str() {
            return Self::parse(source, None).map(Some);
        }
        let named = |name: &str| match value {
            Value::Array(list) => list
                .iter()
                .find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
                .and_then(|entry| entry.get("template")?.as_str()),
            Value::Object(_) => value.get(name)?.as_str(),
            _ => None,
        };
        match named("default") {
            Some(source) => Self::parse(source, named("tool_use")).map(Some),
            None if value.is_null() => Ok(None),
            None => Err(Error::new(ErrorKind::Template, "'chat_template' has no default template")),
        }
    }
}

fn kind_of(value: Option<&Value>) -> Result<Option<Kind>> {
    value.map_or(Ok(None), Kind::from_json)
}

/// Puts the text of system messages before the next user message.
fn merge_system(messages: &[Message]) -> Vec<Message> {
    let mut merged = Vec::with_capacity(messages.len());
    let mut pending = Vec::new();
    for message in messages {
        match message.role {
            Role::System => pending.push(message.content.as_str()),
            Role::User if !pending.is_empty() => {
                pending.push(message.content.as_str());
                merged.push(Message::user(pending.join("\n\n")));
                pending.clear();
            }
            _ => merged.push(message.clone()),
        }
    }
    if !pending.is_empty() {
        merged.push(Message::user(pending.join("\n\n")));
    }
    merged
}

fn to_error(failure: Failure) -> Error {
    let Failure { kind, message, line } = failure;
    let hint = match kind {
        FailureKind::Syntax => "use the template that the model was published with",
        FailureKind::Raised if message.contains("alternate") => {
            "the model's template wants user and assistant messages in turn, beginning with a user message"
        }
        FailureKind::Raised => "the model's template refuses this conversation",
        FailureKind::Runtime => "the template may need a variable or a message that was not given",
        FailureKind::Limit => "the template repeats itself or grows without end",
    };
    let error = Error::new(ErrorKind::Template, message).with_hint(hint);
    if line > 0 { error.with_node(format!("chat template line {line}")) } else { error }
}
