//! Text in and out of the model: tokenizer, chat template, streaming decoder, stop strings.

#![forbid(unsafe_code)]

mod chat_template;
mod families;
mod message;
mod shield;
mod stop_strings;
mod stream_decoder;
mod template;
mod tokenizer;

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use serde_json::Value;

pub use chat_template::{ChatTemplate, RenderOptions, TemplateOrigin, TemplateSources, TemplateTokens};
pub use families::{Family, stop_ids};
pub use message::{Message, Role};
pub use stop_strings::StopMatcher;
pub use stream_decoder::StreamDecoder;
pub use template::DateTime;
pub use tokenizer::{MAX_TEXT_BYTES, NamedToken, SpecialTokens, Tokenizer};

#[cfg(test)]
pub(crate) use tokenizer::tests::sentencepiece_like;

use self::shield::{Shield, free_mark};
use crate::model::TextFile;
use crate::sampling::constraint::GrammarVocabulary;
use crate::{Error, ErrorKind, Result};

/// A part of a raw prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextPart<'a> {
    /// Written by the program: special tokens that it spells out are recognised.
    Own(&'a str),
    /// Written by a stranger: special tokens that it spells out are plain text.
    Foreign(&'a str),
}

impl<'a> TextPart<'a> {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &'a str {
        match self {
            Self::Own(text) | Self::Foreign(text) => text,
        }
    }
}

/// The files and settings of a model directory that concern text.
#[derive(Debug, Clone)]
pub struct TextFiles<'a> {
    /// `tokenizer.json`.
    pub tokenizer_json: TextFile,
    /// `tokenizer_config.json`, if the directory has one.
    pub tokenizer_config: Option<TextFile>,
    /// `special_tokens_map.json`, if the directory has one.
    pub special_tokens_map: Option<TextFile>,
    /// `chat_template.jinja`, if the directory has one.
    pub chat_template_jinja: Option<TextFile>,
    /// `chat_template.json`, if the directory has one.
    pub chat_template_json: Option<TextFile>,
    /// `model.prompt_templates` of `genai_config.json`.
    pub prompt_templates: Option<&'a Value>,
    /// `model.type` of `genai_config.json` or `model_type` of `config.json`.
    pub model_type: Option<&'a str>,
    /// The configuration's beginning-of-text id, for tokenizers that do not name theirs.
    pub bos_token_id: Option<u32>,
    /// The configuration's end-of-text ids.
    pub eos_token_ids: &'a [u32],
}

impl TextFiles<'_> {
    /// A directory with a tokenizer alone.
    #[must_use]
    pub fn new(tokenizer_json: TextFile) -> Self {
        Self {
            tokenizer_json,
            tokenizer_config: None,
            special_tokens_map: None,
            chat_template_jinja: None,
            chat_template_json: None,
            prompt_templates: None,
            model_type: None,
            bos_token_id: None,
            eos_token_ids: &[],
        }
    }
}

/// The text side of a model: its tokenizer, its chat template and the tokens that end an answer.
///
/// Immutable, and can be shared between threads.
#[derive(Debug)]
pub struct Text {
    tokenizer: Arc<Tokenizer>,
    /// What the template is damaged by, if it is; the model still answers raw prompts.
    template: Result<Option<ChatTemplate>>,
    family: Option<&'static Family>,
    stop_ids: Vec<u32>,
    /// What the post-processor puts before every raw text.
    prefix: Vec<u32>,
    /// Markup that users and tools cannot write: special tokens, and others that the template writes.
    strangers_shield: Shield,
    /// Made for the first grammar.
    grammar_vocabulary: OnceLock<Result<Arc<GrammarVocabulary>>>,
}

impl Text {
    /// Reads the tokenizer and the first chat template that is found: in `chat_template.jinja`,
    /// `chat_template.json`, `tokenizer_config.json`, `prompt_templates`, or the model family's. A template that is
    /// not valid is an error only where it is used, since raw prompts do without.
    ///
    /// # Errors
    /// As [`Tokenizer::from_bytes`].
    pub fn load(files: TextFiles<'_>) -> Result<Self> {
        let config = files.tokenizer_config.as_ref().map(tokenizer::parse_json).transpose()?;
        let map = files.special_tokens_map.as_ref().map(tokenizer::parse_json).transpose()?;
        let config = with_special_tokens(config, map);
        let json = files.tokenizer_json;
        let tokenizer = Tokenizer::from_bytes(&json.text, config.as_ref())
            .map_err(|error| error.with_file(&json.path))?;
        drop(json);
        let family = Family::detect(files.model_type, &tokenizer);
        let sources = TemplateSources {
            jinja_file: files.chat_template_jinja.as_ref(),
            json_file: files.chat_template_json.as_ref(),
            tokenizer_config: config.as_ref(),
            prompt_templates: files.prompt_templates,
            family_template: family.map(Family::template),
        };
        let named = |token: Option<&NamedToken>| token.map(|token| token.text.clone());
        let configured_bos = || files.bos_token_id.and_then(|id| tokenizer.token_text(id));
        let configured_eos = || files.eos_token_ids.first().and_then(|id| tokenizer.token_text(*id));
        let tokens = TemplateTokens {
            bos: named(tokenizer.bos()).or_else(configured_bos),
            eos: named(tokenizer.eos()).or_else(configured_eos),
            pad: named(tokenizer.pad()),
            unk: named(tokenizer.unk()),
        };
        let template = match ChatTemplate::load(&sources, tokens) {
            Err(error) if error.kind() != ErrorKind::Template => return Err(error),
            template => template.map_err(|error| match &files.tokenizer_config {
                Some(file) => error.with_file(&file.path),
                None => error,
            }),
        };
        let stop_ids = stop_ids(&tokenizer, files.eos_token_ids, family);
        Self::new(Arc::new(tokenizer), template, family, stop_ids)
    }

    fn new(
        tokenizer: Arc<Tokenizer>,
        template: Result<Option<ChatTemplate>>,
        family: Option<&'static Family>,
        stop_ids: Vec<u32>,
    ) -> Result<Self> {
        let prefix = tokenizer.encode("", SpecialTokens::Add)?;
        let mut markup = tokenizer.shield().texts().to_vec();
        if let Ok(Some(template)) = &template {
            let written = tokenizer
                .added_tokens()
                // White space is text also where a tokenizer has tokens of its own for it.
                .filter(|(text, id)| {
                    !tokenizer.is_special(*id) && !text.trim().is_empty() && template.mentions(text)
                })
                .map(|(text, _)| text.to_owned());
            markup.extend(written);
        }
        let strangers_shield = Shield::new(markup);
        Ok(Self {
            tokenizer,
            template,
            family,
            stop_ids,
            prefix,
            strangers_shield,
            grammar_vocabulary: OnceLock::new(),
        })
    }

    /// Uses another chat template than the directory's.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn with_chat_template(self, template: ChatTemplate) -> Result<Self> {
        Self::new(self.tokenizer, Ok(Some(template)), self.family, self.stop_ids)
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The tokenizer as grammars see it.
    pub(crate) fn grammar_vocabulary(&self) -> Result<Arc<GrammarVocabulary>> {
        let vocabulary =
            self.grammar_vocabulary.get_or_init(|| GrammarVocabulary::new(&self.tokenizer).map(Arc::new));
        vocabulary.as_ref().map(Arc::clone).map_err(Error::again)
    }

    /// The chat template, if the model has one that is valid.
    #[must_use]
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref().ok()?.as_ref()
    }

    /// The model's family, if it is a known one.
    #[must_use]
    pub fn family(&self) -> Option<&'static Family> {
        self.family
    }

    /// The ids at which an answer ends, ascending.
    #[must_use]
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// The prompt for a conversation, as text.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`], and [`ErrorKind::Template`] if the model has no template or a damaged one.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        self.require_template()?.render(messages, options)
    }

    /// The tokens of the prompt for a conversation.
    ///
    /// No beginning-of-text token is added to what the template writes. Special tokens that messages spell out stay
    /// text unless [`RenderOptions::special_tokens_in_content`] is set; in user and tool messages the same holds for
    /// all other markup tokens that the template writes.
    ///
    /// # Errors
    /// As [`render`](Self::render) and [`Tokenizer::encode`].
    pub fn chat_tokens(&self, messages: &[Message], options: &RenderOptions) -> Result<Vec<u32>> {
        let template = self.require_template()?;
        if options.special_tokens_in_content {
            return self.tokenizer.encode(&template.render(messages, options)?, SpecialTokens::None);
        }
        let other =
            [&options.tools, &options.documents].into_iter().flatten().chain(options.variables.values());
        let other: Vec<String> = other.map(Value::to_string).collect();
        let contents = messages.iter().map(|message| message.content.as_str());
        let mark = free_mark(contents.chain(other.iter().map(String::as_str)))?;
        let mut is_marked = false;
        let marked: Vec<Message> = messages
            .iter()
            .map(|message| {
                let shield = match message.role {
                    Role::User | Role::Tool => &self.strangers_shield,
                    Role::System | Role::Assistant => self.tokenizer.shield(),
                };
                let content = shield.apply(&message.content, mark);
                is_marked |= content.len() != message.content.len();
                Message::new(message.role, content)
            })
            .collect();
        let text = template.render(&marked, options)?;
        self.tokenizer.encode_marked(&text, SpecialTokens::None, is_marked.then_some(mark))
    }

    /// The tokens of a raw prompt, with the beginning-of-text token that the tokenizer adds. A text that spells this
    /// token out at its start does not get it twice.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn raw_tokens(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.with_one_prefix(self.tokenizer.encode(text, SpecialTokens::Add)?))
    }

    /// The tokens of a raw prompt in which only the parts of the program can spell out special tokens; what strangers
    /// wrote stays text. Otherwise as [`raw_tokens`](Self::raw_tokens) of all parts together.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn raw_tokens_of_parts(&self, parts: &[TextPart<'_>]) -> Result<Vec<u32>> {
        let mark = free_mark(parts.iter().map(|part| part.text()))?;
        let marked = parts.iter().map(|part| match part {
            TextPart::Own(text) => (*text).to_owned(),
            TextPart::Foreign(text) => self.tokenizer.shield().apply(text, mark),
        });
        let ids =
            self.tokenizer.encode_marked(&marked.collect::<String>(), SpecialTokens::Add, Some(mark))?;
        Ok(self.with_one_prefix(ids))
    }

    /// The tokens without the beginning of the text where it stands twice.
    fn with_one_prefix(&self, mut ids: Vec<u32>) -> Vec<u32> {
        let doubled = [self.prefix.as_slice(), self.prefix.as_slice()].concat();
        if !doubled.is_empty() && ids.starts_with(&doubled) {
            ids.drain(..self.prefix.len());
        }
        ids
    }

    fn require_template(&self) -> Result<&ChatTemplate> {
        self.template.as_ref().map_err(Error::again)?.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Template, "the model has no chat template, and its family is not known")
                .with_hint("put a chat_template.jinja beside the model, give a template, or use a raw prompt")
        })
    }
}

/// `tokenizer_config.json` with the special tokens that only `special_tokens_map.json` names.
fn with_special_tokens(config: Option<Value>, map: Option<Value>) -> Option<Value> {
    let (mut config, map) = match (config, map) {
        (Some(Value::Object(config)), Some(Value::Object(map))) => (config, map),
        (None, map) => return map,
        (config, _) => return config,
    };
    for (name, token) in map {
        if config.get(&name).is_none_or(Value::is_null) {
            config.insert(name, token);
        }
    }
    Some(Value::Object(config))
}
