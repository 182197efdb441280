//! The tokenizer of a GGUF file as `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::decoder_directory::{SpecialTokens, pretty};
use super::decoder_spec::DecoderSpec;
use super::directory::NewDirectory;
use super::gguf::{self, Gguf};
use super::pre_tokenizer::PreTokenizer;
use crate::error::{Error, ErrorKind, Result};
use crate::text::Tokenizer;

/// The tokenizer's files and the ids that matter to generation.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    pub(super) special: SpecialTokens,
    tokenizer: Vec<u8>,
    config: Vec<u8>,
    template: Option<String>,
}

/// What a tokenizer has besides its vocabulary.
struct Parts {
    pre_tokenizer: PreTokenizer,
    merges: Vec<Value>,
    special: SpecialTokens,
    unknown: Option<u32>,
    add_begin: bool,
    template: Option<String>,
}

const SYNTHETIC_TEMPLATE: &str = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}\
    {% if add_generation_prompt %}[assistant] {% endif %}";

/// `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Normal,
    /// Recognised in text; not shown to the user.
    Control,
    /// Recognised in text.
    UserDefined,
    /// A row of the embedding without a token.
    Unused,
}

impl TokenizerFiles {
    /// Converts the tokenizer of `gguf`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], naming the key, for a kind of tokenizer that has no conversion;
    /// [`ErrorKind::Tokenizer`] when it contradicts itself or the model.
    pub(super) fn from_gguf(gguf: &Gguf<'_>, spec: &DecoderSpec) -> Result<Self> {
        let model = gguf.string("tokenizer.ggml.model").unwrap_or("none");
        if model != "gpt2" {
            return Err(Error::new(ErrorKind::Unsupported, format!("a tokenizer of kind {model}"))
                .with_node("tokenizer.ggml.model")
                .with_hint("byte-level BPE (gpt2) is converted"));
        }
        let vocabulary = Vocabulary::read(gguf, spec.vocabulary_size)?;
        let pre_tokenizer = PreTokenizer::named(gguf.string("tokenizer.ggml.pre").unwrap_or("default"))?;
        let unknown = gguf.unsigned("tokenizer.ggml.unknown_token_id").and_then(|id| u32::try_from(id).ok());
        let parts = Parts {
            pre_tokenizer,
            merges: merges(gguf)?,
            special: special_tokens(gguf, &vocabulary)?,
            unknown,
            add_begin: gguf.bool("tokenizer.ggml.add_bos_token").unwrap_or(pre_tokenizer.adds_begin),
            template: gguf.string("tokenizer.chat_template").map(str::to_owned),
        };
        Self::new(spec, &vocabulary, parts)
    }

    fn new(spec: &DecoderSpec, vocabulary: &Vocabulary<'_>, parts: Parts) -> Result<Self> {
        let pre_tokenizer = parts.pre_tokenizer;
        let begin = parts.special.begin.filter(|_| parts.add_begin).and_then(|id| vocabulary.entry(id));
        let config = config(spec, vocabulary, &parts);
        let json = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": vocabulary.added_tokens(),
            "normalizer": if pre_tokenizer.composes { json!({ "type": "NFC" }) } else { Value::Null },
            "pre_tokenizer": pre_tokenizer.json(),
            "post_processor": post_processor(begin),
            "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": pre_tokenizer.ignores_merges,
                "vocab": vocabulary.ids(),
                "merges": parts.merges,
            },
        });
        let tokenizer = pretty(&json);
        // What this library cannot read back must not be written.
        Tokenizer::from_bytes(&tokenizer, Some(&config))?;
        Ok(Self { special: parts.special, tokenizer, config: pretty(&config), template: parts.template })
    }

    /// A byte-level tokenizer without merges, whose further tokens are made-up words.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the vocabulary has no room for every byte.
    pub(super) fn synthetic(spec: &DecoderSpec) -> Result<Self> {
        const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];
        let bytes: Vec<String> = byte_characters().map(String::from).collect();
        if spec.vocabulary_size < SPECIAL.len() + bytes.len() {
            let message = format!("a vocabulary of {} has no room for 256 bytes", spec.vocabulary_size);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let words = (0..spec.vocabulary_size - SPECIAL.len() - bytes.len()).map(made_up_word);
        let mut tokens: Vec<(String, TokenKind)> =
            SPECIAL.iter().map(|&token| (token.to_owned(), TokenKind::Control)).collect();
        tokens.extend(bytes.into_iter().chain(words).map(|token| (token, TokenKind::Normal)));
        let vocabulary =
            Vocabulary { tokens: tokens.iter().map(|(token, kind)| (token.as_str(), *kind)).collect() };
        let parts = Parts {
            pre_tokenizer: PreTokenizer::named("gpt-2")?,
            merges: Vec::new(),
            special: SpecialTokens { begin: Some(1), end: vec![2], padding: Some(2) },
            unknown: Some(0),
            add_begin: false,
            template: Some(SYNTHETIC_TEMPLATE.to_owned()),
        };
        Self::new(spec, &vocabulary, parts)
    }

    /// # Errors
    /// [`ErrorKind::Io`].
    pub(super) fn write(&self, directory: &NewDirectory) -> Result<()> {
        directory.write("tokenizer.json", &self.tokenizer)?;
        directory.write("tokenizer_config.json", &self.config)?;
        match &self.template {
            Some(template) => directory.write("chat_template.jinja", template.as_bytes()),
            None => Ok(()),
        }
    }
}

struct Vocabulary<'a> {
    tokens: Vec<(&'a str, TokenKind)>,
}

impl<'a> Vocabulary<'a> {
    fn read(gguf: &Gguf<'a>, rows: usize) -> Result<Self> {
        let tokens = strings(gguf, "tokenizer.ggml.tokens")?;
        let fault =
            |message: String| Error::new(ErrorKind::Tokenizer, message).with_node("tokenizer.ggml.tokens");
        if tokens.is_empty() || tokens.len() > rows {
            return Err(fault(format!("{} tokens for an embedding of {rows} rows", tokens.len())));
        }
        let kinds = match gguf.array("tokenizer.ggml.token_type") {
            None => vec![TokenKind::Normal; tokens.len()],
            Some(kinds) if kinds.len() == tokens.len() => kinds.values().map(TokenKind::from_value).collect(),
            Some(kinds) => {
                return Err(fault(format!("{} tokens but {} token types", tokens.len(), kinds.len())));
            }
        };
        let mut seen = HashSet::new();
        let tokens: Vec<_> = tokens.into_iter().zip(kinds).collect();
        for &(token, kind) in &tokens {
            if kind != TokenKind::Unused && !seen.insert(token) {
                return Err(fault(format!("the token {token:?} appears twice")));
            }
        }
        Ok(Self { tokens })
    }

    fn entry(&self, id: u32) -> Option<(u32, &'a str)> {
        let index = usize::try_from(id).ok()?;
        self.tokens.get(index).filter(|(_, kind)| *kind != TokenKind::Unused).map(|&(token, _)| (id, token))
    }

    fn ids(&self) -> Map<String, Value> {
        let used = self.tokens.iter().zip(0_u32..).filter(|((_, kind), _)| *kind != TokenKind::Unused);
        used.map(|(&(token, _), id)| (token.to_owned(), json!(id))).collect()
    }

    /// Tokens that are recognised in the text before any other step.
    fn added_tokens(&self) -> Vec<Value> {
        let added = |(&(content, kind), id): (&(&str, TokenKind), u32)| {
            matches!(kind, TokenKind::Control | TokenKind::UserDefined).then(|| {
                json!({
                    "id": id,
                    "content": content,
                    "single_word": false,
                    "lstrip": false,
                    "rstrip": false,
                    "normalized": false,
                    "special": kind == TokenKind::Control,
                })
            })
        };
        self.tokens.iter().zip(0_u32..).filter_map(added).collect()
    }
}

impl TokenKind {
    fn from_value(value: gguf::Value<'_>) -> Self {
        let code = match value {
            gguf::Value::Unsigned(code) => i64::try_from(code).unwrap_or(0),
            gguf::Value::Signed(code) => code,
            _ => 0,
        };
        match code {
            // The unknown token is a control token in tokenizer.json.
            2 | 3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            _ => Self::Normal,
        }
    }
}

fn strings<'a>(gguf: &Gguf<'a>, key: &str) -> Result<Vec<&'a str>> {
    let strings = gguf.array(key).and_then(|array| array.strings().map(Iterator::collect));
    strings.ok_or_else(|| Error::new(ErrorKind::InvalidModel, "no list of strings").with_node(key))
}

fn merges(gguf: &Gguf<'_>) -> Result<Vec<Value>> {
    let key = "tokenizer.ggml.merges";
    let pair = |merge: &str| {
        // Spaces inside the parts are spelled otherwise, so the first one separates them.
        let (left, right) = merge.split_once(' ').ok_or_else(|| {
            Error::new(ErrorKind::Tokenizer, format!("the merge {merge:?} has no two parts")).with_node(key)
        })?;
        Ok(json!([left, right]))
    };
    strings(gguf, key)?.into_iter().map(pair).collect()
}

fn special_tokens(gguf: &Gguf<'_>, vocabulary: &Vocabulary<'_>) -> Result<SpecialTokens> {
    let id = |name: &str| -> Result<Option<u32>> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let Some(id) = gguf.unsigned(&key) else { return Ok(None) };
        let id = u32::try_from(id).ok().filter(|&id| vocabulary.entry(id).is_some());
        let missing = || Error::new(ErrorKind::Tokenizer, "there is no such token").with_node(key);
        id.map(Some).ok_or_else(missing)
    };
    let mut end = Vec::new();
    for name in ["eos", "eot", "eom"] {
        end.extend(id(name)?.filter(|id| !end.contains(id)));
    }
    if end.is_empty() {
        return Err(Error::new(ErrorKind::Tokenizer, "no token ends an answer")
            .with_node("tokenizer.ggml.eos_token_id"));
    }
    Ok(SpecialTokens { begin: id("bos")?, end, padding: id("padding")? })
}

/// Puts the begin token in front of raw text, where the model wants that.
fn post_processor(begin: Option<(u32, &str)>) -> Value {
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true });
    let Some((id, token)) = begin else { return byte_level };
    let special = |type_id: u32| json!({ "SpecialToken": { "id": token, "type_id": type_id } });
    let sequence = |name: &str, type_id: u32| json!({ "Sequence": { "id": name, "type_id": type_id } });
    let template = json!({
        "type": "TemplateProcessing",
        "single": [special(0), sequence("A", 0)],
        "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
        "special_tokens": { token: { "id": token, "ids": [id], "tokens": [token] } },
    });
    json!({ "type": "Sequence", "processors": [byte_level, template] })
}

fn config(spec: &DecoderSpec, vocabulary: &Vocabulary<'_>, parts: &Parts) -> Value {
    let special = &parts.special;
    let text = |id: Option<u32>| id.and_then(|id| vocabulary.entry(id)).map(|(_, token)| token);
    let mut config = json!({
        "add_bos_token": parts.add_begin,
        "add_eos_token": false,
        "add_prefix_space": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": spec.context_length,
        "tokenizer_class": "PreTrainedTokenizerFast",
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

/// The characters by which byte-level BPE spells the bytes 0 to 255: printable Latin-1 stands for itself, the others
/// follow from U+0100 on (`bytes_to_unicode` of GPT-2).
fn byte_characters() -> impl Iterator<Item = char> {
    let mut next = 0x100_u32;
    (0_u8..=255).map(move |byte| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => {
            next += 1;
            char::from_u32(next - 1).unwrap_or_default()
        }
    })
}

/// A word of its own for each number, with a space in front (`Ġ`).
fn made_up_word(number: usize) -> String {
    const SYLLABLES: [&str; 20] = [
        "ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su", "ta", "ve", "wi", "zo", "ku", "cha",
        "she", "thi", "sto", "bru",
    ];
    let mut syllables = Vec::new();
    let mut rest = number;
    loop {
        syllables.extend(SYLLABLES.get(rest % SYLLABLES.len()));
        rest /= SYLLABLES.len();
        if rest == 0 {
            break;
        }
    }
    syllables.push("Ġ");
    syllables.into_iter().rev().collect()
}
