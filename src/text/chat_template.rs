//! Conversations to prompts, with the chat template of the model.

#![forbid(unsafe_code)]

use serde_json::{Map, Value, json};

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
            Kind::Prompts(PromptTemplates { system, user, assistant, prompt }) => {
                [system, user, assistant].into_iter().chain(prompt).any(|part| part.contains(text))
            }
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

/// `prompt_templates` of old ONNX Runtime GenAI directories: one text for each role, with `{Content}` in it, and one
/// for the last question together with the beginning of the answer.
#[derive(Debug)]
struct PromptTemplates {
    system: String,
    user: String,
    assistant: String,
    prompt: Option<String>,
}

const CONTENT: &str = "{Content}";

impl PromptTemplates {
    fn from_json(json: &Value) -> Option<Self> {
        let text =
            |name: &str| json.get(name)?.as_str().filter(|text| text.contains(CONTENT)).map(str::to_owned);
        let (user, prompt) = (text("user"), text("prompt"));
        let user = user.or_else(|| prompt.clone())?;
        let plain = || CONTENT.to_owned();
        let (system, assistant) =
            (text("system").unwrap_or_else(plain), text("assistant").unwrap_or_else(plain));
        Some(Self { system, user, assistant, prompt })
    }

    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> String {
        let mut text = String::new();
        for (index, message) in messages.iter().enumerate() {
            let is_last = index + 1 == messages.len();
            let template = match (message.role, &self.prompt) {
                (Role::User, Some(prompt)) if is_last && add_generation_prompt => prompt,
                (Role::System, _) => &self.system,
                (Role::Assistant, _) => &self.assistant,
                (Role::User | Role::Tool, _) => &self.user,
            };
            text.push_str(&template.replace(CONTENT, &message.content));
        }
        let prompted = self.prompt.is_some() && messages.last().is_some_and(|last| last.role == Role::User);
        if add_generation_prompt && !prompted {
            text.push_str(self.assistant.split(CONTENT).next().unwrap_or_default());
        }
        text
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const ALTERNATING: &str = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}\
        {% endif %}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('Conversation roles must alternate') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}";

    fn render(template: &ChatTemplate, messages: &[Message]) -> Result<String> {
        template.render(messages, &RenderOptions::default())
    }

    #[test]
    fn a_refused_system_role_is_merged_into_the_next_user_message() {
        let template = ChatTemplate::from_source(ALTERNATING, TemplateTokens::default()).unwrap();
        assert!(template.merges_system());
        for (messages, text) in [
            (vec![Message::system("S"), Message::user("U")], "[user]S\n\nU"),
            (vec![Message::system("S"), Message::system("T"), Message::user("U")], "[user]S\n\nT\n\nU"),
            (
                vec![Message::user("U"), Message::assistant("A"), Message::system("S"), Message::user("V")],
                "[user]U[assistant]A[user]S\n\nV",
            ),
            (vec![Message::system("S")], "[user]S"),
        ] {
            assert_eq!(render(&template, &messages).unwrap(), text);
        }
    }

    #[test]
    fn a_dropped_system_message_is_merged_and_a_kept_one_is_not() {
        let drops = "{% for m in messages if m.role != 'system' %}[{{ m.content }}]{% endfor %}";
        let template = ChatTemplate::from_source(drops, TemplateTokens::default()).unwrap();
        assert_eq!(render(&template, &[Message::system("S"), Message::user("U")]).unwrap(), "[S\n\nU]");
        let keeps = "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}";
        let template = ChatTemplate::from_source(keeps, TemplateTokens::default()).unwrap();
        assert!(!template.merges_system());
        assert_eq!(render(&template, &[Message::system("S"), Message::user("U")]).unwrap(), "[S][U]");
    }

    #[test]
    fn errors_of_the_template_are_passed_on_with_a_hint() {
        let template = ChatTemplate::from_source(ALTERNATING, TemplateTokens::default()).unwrap();
        let error = render(&template, &[Message::user("U"), Message::user("V")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Template);
        assert_eq!(error.message(), "Conversation roles must alternate");
        assert_eq!(error.node(), Some("chat template line 1"));
        assert!(error.hint().unwrap().contains("in turn"), "{error}");
        let error = ChatTemplate::from_source("{% if %}", TemplateTokens::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Template);
    }

    #[test]
    fn templates_are_looked_for_in_order() {
        let file = |name: &str, text: &str| TextFile { path: name.into(), text: text.into() };
        let jinja = file("chat_template.jinja", "jinja {{ bos_token }}");
        let json = file("chat_template.json", r#"{"chat_template": "json"}"#);
        let config = json!({"chat_template": [{"name": "tool_use", "template": "tools"},
                                              {"name": "default", "template": "config"}]});
        let prompts = json!({"user": "prompts {Content}"});
        let mut sources = TemplateSources {
            jinja_file: Some(&jinja),
            json_file: Some(&json),
            tokenizer_config: Some(&config),
            prompt_templates: Some(&prompts),
            family_template: Some("family"),
        };
        let tokens = TemplateTokens { bos: Some("<s>".to_owned()), ..TemplateTokens::default() };
        let load =
            |sources: &TemplateSources<'_>| ChatTemplate::load(sources, tokens.clone()).unwrap().unwrap();
        let user = [Message::user("U")];
        let template = load(&sources);
        assert_eq!(
            (template.origin(), render(&template, &user).unwrap()),
            (TemplateOrigin::JinjaFile, "jinja <s>".to_owned())
        );
        sources.jinja_file = None;
        let template = load(&sources);
        assert_eq!(
            (template.origin(), render(&template, &user).unwrap()),
            (TemplateOrigin::JsonFile, "json".to_owned())
        );
        sources.json_file = None;
        let template = load(&sources);
        assert_eq!(
            (template.origin(), render(&template, &user).unwrap()),
            (TemplateOrigin::TokenizerConfig, "config".to_owned())
        );
        let options = RenderOptions { tools: Some(json!([])), ..RenderOptions::default() };
        assert_eq!(template.render(&user, &options).unwrap(), "tools");
        let by_name = json!({"chat_template": {"default": "by name"}});
        sources.tokenizer_config = Some(&by_name);
        assert_eq!(render(&load(&sources), &user).unwrap(), "by name");
        sources.tokenizer_config = None;
        let template = load(&sources);
        assert_eq!(
            (template.origin(), render(&template, &user).unwrap()),
            (TemplateOrigin::PromptTemplates, "prompts U".to_owned())
        );
        sources.prompt_templates = None;
        assert_eq!(load(&sources).origin(), TemplateOrigin::Family);
        sources.family_template = None;
        assert!(ChatTemplate::load(&sources, tokens.clone()).unwrap().is_none());
    }

    #[test]
    fn damaged_template_files_are_errors_that_name_the_file() {
        for (contents, is_jinja) in [
            (&b"{% if %}"[..], true),
            (b"\xFF\xFE", true),
            (b"{\"chat_template\": 5}", false),
            (b"{\"chat_template\": []}", false),
            (b"{}", false),
        ] {
            let file = TextFile { path: "chat_template".into(), text: contents.to_vec() };
            let mut sources = TemplateSources::default();
            *(if is_jinja { &mut sources.jinja_file } else { &mut sources.json_file }) = Some(&file);
            let error = ChatTemplate::load(&sources, TemplateTokens::default()).unwrap_err();
            assert_eq!(
                (error.kind(), error.file()),
                (ErrorKind::Template, Some(file.path.as_path())),
                "{contents:?}"
            );
        }
        let config = json!({"chat_template": {"tool_use": "x"}});
        let sources = TemplateSources { tokenizer_config: Some(&config), ..TemplateSources::default() };
        assert_eq!(
            ChatTemplate::load(&sources, TemplateTokens::default()).unwrap_err().kind(),
            ErrorKind::Template
        );
    }

    #[test]
    fn prompt_templates_put_the_beginning_of_the_answer_after_the_last_question() {
        let full = json!({"system": "<S>{Content}</S>", "user": "<U>{Content}</U>", "assistant": "<A>{Content}</A>",
                          "prompt": "<U>{Content}</U><A>"});
        let messages =
            [Message::system("s"), Message::user("u"), Message::assistant("a"), Message::user("{Content}")];
        let render = |json: &Value, messages: &[Message], add_generation_prompt| {
            let sources = TemplateSources { prompt_templates: Some(json), ..TemplateSources::default() };
            let template = ChatTemplate::load(&sources, TemplateTokens::default()).unwrap().unwrap();
            template
                .render(messages, &RenderOptions { add_generation_prompt, ..RenderOptions::default() })
                .unwrap()
        };
        assert_eq!(render(&full, &messages, true), "<S>s</S><U>u</U><A>a</A><U>{Content}</U><A>");
        assert_eq!(render(&full, &messages, false), "<S>s</S><U>u</U><A>a</A><U>{Content}</U>");
        let without_prompt = json!({"user": "<U>{Content}</U>", "assistant": "<A>{Content}</A>"});
        assert_eq!(render(&without_prompt, &messages[1..2], true), "<U>u</U><A>");
        assert_eq!(render(&without_prompt, &messages[1..3], true), "<U>u</U><A>a</A><A>");
    }

    #[test]
    fn variables_dates_and_tokens_reach_the_template() {
        let source = "{{ date_string }}|{{ strftime_now('%Y') }}|{{ eos_token }}|{{ pad_token is defined }}|{{ tools }}|\
                      {{ documents }}|{{ enable_thinking }}|{{ add_generation_prompt }}";
        let tokens = TemplateTokens { eos: Some("</s>".to_owned()), ..TemplateTokens::default() };
        let template = ChatTemplate::from_source(source, tokens).unwrap();
        let mut options = RenderOptions { date: DateTime::from_ymd(2025, 3, 9), ..RenderOptions::default() };
        options.variables.insert("enable_thinking".to_owned(), json!(false));
        let text = template.render(&[Message::user("U")], &options).unwrap();
        assert_eq!(text, "09 Mar 2025|2025|</s>|False|None|None|False|True");
    }
}
