//! The tokenizer of a GGUF file as `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`.
//!
//! What the keys under `tokenizer.` mean where the GGUF description is silent, and what absent ones stand for:
//! `llama-vocab.cpp` of the llama.cpp project.

mod byte_level;
mod pre_tokenizer;
mod sentence_piece;
mod synthetic;
mod vocabulary;

use serde_json::{Value, json};

use self::pre_tokenizer::PreTokenizer;
use self::vocabulary::Vocabulary;
use super::decoder_directory::{SpecialTokens, pretty};
use super::directory::NewDirectory;
use super::gguf::Gguf;
use crate::error::{Error, ErrorKind, Result};
use crate::text::Tokenizer;

/// The tokenizer's files and the ids that matter to generation.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    pub(super) special: SpecialTokens,
    tokenizer: Vec<u8>,
    config: Value,
    template: Option<String>,
}

/// The sections of `tokenizer.json` that depend on the kind of tokenizer.
struct Sections {
    normalizer: Value,
    pre_tokenizer: Value,
    /// What is done to tokens besides adding special ones.
    post_processor: Option<Value>,
    decoder: Value,
    model: Value,
    /// `tokenizer_class` of `tokenizer_config.json`.
    class: &'static str,
    /// Whether text gets a space in front.
    space_first: bool,
}

/// What a tokenizer has besides its vocabulary and its sections.
struct Parts {
    special: SpecialTokens,
    unknown: Option<u32>,
    add_begin: bool,
    add_end: bool,
    template: Option<String>,
    context_length: usize,
}

impl TokenizerFiles {
    /// Converts the tokenizer of `gguf` for a model with `rows` rows of its embedding.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], naming the key, for a kind of tokenizer that has no conversion;
    /// [`ErrorKind::Tokenizer`] when it contradicts itself or the model.
    pub(super) fn from_gguf(gguf: &Gguf<'_>, rows: usize, context_length: usize) -> Result<Self> {
        let key = "tokenizer.ggml.model";
        let sentence_piece = match gguf.string(key) {
            Some("llama") => true,
            Some("gpt2") => false,
            other => {
                let name = other.unwrap_or("none");
                return Err(Error::new(ErrorKind::Unsupported, format!("a tokenizer of kind {name}"))
                    .with_node(key)
                    .with_hint("byte-level BPE (gpt2) and SentencePiece's BPE (llama) are converted"));
            }
        };
        let vocabulary = Vocabulary::read(gguf, rows)?;
        let mut special = SpecialTokens {
            begin: token_id(gguf, &vocabulary, "bos")?,
            end: Vec::new(),
            padding: token_id(gguf, &vocabulary, "padding")?,
        };
        for name in ["eos", "eot", "eom"] {
            special.end.extend(token_id(gguf, &vocabulary, name)?.filter(|id| !special.end.contains(id)));
        }
        let mut unknown = token_id(gguf, &vocabulary, "unknown")?;
        let (sections, adds_begin);
        if sentence_piece {
            // SentencePiece's own numbering.
            special.begin = special.begin.or_else(|| vocabulary.control(1));
            if special.end.is_empty() {
                special.end.extend(vocabulary.control(2));
            }
            unknown = unknown.or_else(|| vocabulary.control(0));
            sections = sentence_piece::sections(gguf, &vocabulary, unknown)?;
            adds_begin = true;
        } else {
            let split = PreTokenizer::named(gguf.string("tokenizer.ggml.pre"))?;
            sections = byte_level::sections(split, &vocabulary, byte_level::merges(gguf)?);
            adds_begin = split.adds_begin;
        }
        if special.end.is_empty() {
            return Err(Error::new(ErrorKind::Tokenizer, "no token ends an answer")
                .with_node("tokenizer.ggml.eos_token_id"));
        }
        let parts = Parts {
            special,
            unknown,
            add_begin: gguf.bool("tokenizer.ggml.add_bos_token").unwrap_or(adds_begin),
            add_end: gguf.bool("tokenizer.ggml.add_eos_token").unwrap_or(false),
            template: gguf.string("tokenizer.chat_template").map(str::to_owned),
            context_length,
        };
        Self::new(&vocabulary, sections, parts)
    }

    /// A byte-level tokenizer without merges, whose further tokens are made-up words.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the vocabulary has no room for every byte.
    pub(super) fn synthetic(rows: usize, context_length: usize) -> Result<Self> {
        let tokens = synthetic::tokens(rows)?;
        let vocabulary = Vocabulary::new(tokens.iter().map(|(token, kind)| (token.as_str(), *kind)));
        let split = PreTokenizer::named(Some("gpt-2"))?;
        let parts = Parts {
            special: SpecialTokens { begin: Some(1), end: vec![2], padding: Some(2) },
            unknown: Some(0),
            add_begin: false,
            add_end: false,
            template: Some(synthetic::TEMPLATE.to_owned()),
            context_length,
        };
        Self::new(&vocabulary, byte_level::sections(split, &vocabulary, Vec::new()), parts)
    }

    fn new(vocabulary: &Vocabulary<'_>, sections: Sections, parts: Parts) -> Result<Self> {
        let entry = |id: Option<u32>| id.and_then(|id| vocabulary.entry(id));
        let begin = entry(parts.special.begin.filter(|_| parts.add_begin));
        let end = entry(parts.special.end.first().copied().filter(|_| parts.add_end));
        let config = config(vocabulary, &sections, &parts);
        let json = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": vocabulary.added_tokens(),
            "normalizer": sections.normalizer,
            "pre_tokenizer": sections.pre_tokenizer,
            "post_processor": post_processor(sections.post_processor, begin, end),
            "decoder": sections.decoder,
            "model": sections.model,
        });
        let tokenizer = pretty(&json);
        // What this library cannot read back must not be written.
        Tokenizer::from_bytes(&tokenizer, Some(&config))?;
        Ok(Self { special: parts.special, tokenizer, config, template: parts.template })
    }

    /// # Errors
    /// [`ErrorKind::Io`].
    pub(super) fn write(&self, directory: &NewDirectory) -> Result<()> {
        directory.write("tokenizer.json", &self.tokenizer)?;
        directory.write("tokenizer_config.json", &pretty(&self.config))?;
        match &self.template {
            Some(template) => directory.write("chat_template.jinja", template.as_bytes()),
            None => Ok(()),
        }
    }
}

/// The special token that the file calls `name`; `None` when it names none.
fn token_id(gguf: &Gguf<'_>, vocabulary: &Vocabulary<'_>, name: &str) -> Result<Option<u32>> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    if gguf.value(&key).is_none() {
        return Ok(None);
    }
    let id = gguf.unsigned(&key).and_then(|id| u32::try_from(id).ok());
    let id = id.filter(|&id| vocabulary.entry(id).is_some());
    let missing = || Error::new(ErrorKind::Tokenizer, "there is no such token").with_node(key);
    id.map(Some).ok_or_else(missing)
}

/// Puts special tokens before and after raw text, where the model wants that.
fn post_processor(first: Option<Value>, begin: Option<(u32, &str)>, end: Option<(u32, &str)>) -> Value {
    if begin.is_none() && end.is_none() {
        return first.unwrap_or(Value::Null);
    }
    let special = |token: Option<(u32, &str)>, type_id: u32| {
        token.map(|(_, text)| json!({ "SpecialToken": { "id": text, "type_id": type_id } }))
    };
    let around = |name: &str, type_id: u32| {
        let text = json!({ "Sequence": { "id": name, "type_id": type_id } });
        [special(begin, type_id), Some(text), special(end, type_id)].into_iter().flatten().collect::<Vec<_>>()
    };
    let tokens: serde_json::Map<String, Value> = [begin, end]
        .into_iter()
        .flatten()
        .map(|(id, text)| (text.to_owned(), json!({ "id": text, "ids": [id], "tokens": [text] })))
        .collect();
    let pair = [around("A", 0), around("B", 1)].concat();
    let template = json!({
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": pair,
        "special_tokens": tokens,
    });
    match first {
        Some(first) => json!({ "type": "Sequence", "processors": [first, template] }),
        None => template,
    }
}

fn config(vocabulary: &Vocabulary<'_>, sections: &Sections, parts: &Parts) -> Value {
    let special = &parts.special;
    let text = |id: Option<u32>| id.and_then(|id| vocabulary.entry(id)).map(|(_, token)| token);
    let mut config = json!({
        "add_bos_token": parts.add_begin,
        "add_eos_token": parts.add_end,
        "add_prefix_space": sections.space_first,
        "clean_up_tokenization_spaces": false,
        "model_max_length": parts.context_length,
        "tokenizer_class": sections.class,
    });
    let tokens = [
        ("bos_token", special.begin),
        ("eos_token", special.end.first().copied()),
        ("pad_token", special.padding),
        ("unk_token", parts.unknown),
    ];
    for (name, id) in tokens {
        if let Some(token) = text(id) {
            config[name] = json!(token);
        }
    }
    config
}

#[cfg(test)]
mod tests;
