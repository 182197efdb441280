//! Text to token ids and back, from `tokenizer.json` and `tokenizer_config.json`.

#![forbid(unsafe_code)]

mod decoding;
mod file;
mod lists;
mod normalizing;
mod post_processing;
mod sections;
mod splitting;
pub(super) mod vocabulary;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::tokenizer::pre_tokenizer::{OffsetType, PreTokenizedString};
use tokenizers::{Model as _, ModelWrapper, PreTokenizer as _};

#[cfg(test)]
pub(super) use self::decoding::byte_of_char;
use self::file::{Built, Pipeline, TokenizerFile};
use self::vocabulary::Vocabulary;
use super::StreamDecoder;
use super::shield::{Shield, free_mark};
use crate::model::{MAXIMUM_TEXT_BYTES, MAXIMUM_TOKENIZER_BYTES, TextFile, read_limited};
use crate::{Error, ErrorKind, Result};

/// Longest text that is encoded: several times what fits the largest contexts. Encoding needs 200 to 500 bytes of
/// memory for each byte of text. The limit is lower for a tokenizer that can make texts more than 16 times as long.
pub const MAX_TEXT_BYTES: usize = 2 << 20;

/// Longest text within the tokenizer.
const MAX_GROWN_BYTES: usize = 16 * MAX_TEXT_BYTES;

/// Texts of this length must be encoded by any tokenizer.
const LEAST_TEXT_BYTES: usize = 64 << 10;

/// Whether [`Tokenizer::encode`] adds the tokens with which the model's texts begin (or end).
///
/// Special tokens that are spelled out in the text are recognised in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// As the tokenizer file says: usually a beginning-of-text token. For raw prompts.
    Add,
    /// Nothing is added. For rendered chat templates, which spell out what they need.
    None,
}

/// What decoding does to tokens beside joining their bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartOfText {
    /// Up to this many of this character vanish at the start of a text.
    pub(crate) strips: Option<(char, usize)>,
    /// The first token loses its spaces.
    pub(crate) first_token_loses_spaces: bool,
    /// Whether spaces are put between tokens.
    pub(crate) is_separated: bool,
}

/// A special token named in `tokenizer_config.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedToken {
    /// Its text, for example `<|eot_id|>`.
    pub text: String,
    /// Its id, if the tokenizer has it.
    pub id: Option<u32>,
}

/// Turns text into token ids and ids into text.
///
/// Encoding is that of the Hugging Face `tokenizers` crate. Decoding is its own: it never rewrites spaces before
/// punctuation (`clean_up_tokenization_spaces`), and where a character spelled in `<0xNN>` tokens is broken, only the
/// bytes that belong to no character become U+FFFD, not their intact neighbours.
///
/// A tokenizer is immutable and can be shared between threads.
pub struct Tokenizer {
    pipeline: Pipeline,
    /// Longest text that is encoded.
    longest_text: usize,
    vocabulary: Arc<Vocabulary>,
    bos: Option<NamedToken>,
    eos: Option<NamedToken>,
    pad: Option<NamedToken>,
    unk: Option<NamedToken>,
    special_ids: Vec<u32>,
    memory: u64,
    /// What [`encode_plain`](Self::encode_plain) takes for text.
    shield: Shield,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocabulary_size", &self.vocabulary_size())
            .field("bos", &self.bos)
            .field("eos", &self.eos)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json` and, where there is one, `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Tokenizer`] where a file is damaged, [`ErrorKind::InvalidModel`] where it is too large or no regular file,
    /// [`ErrorKind::Unsupported`] where it asks for a model or decoder that language models do not use, and
    /// [`ErrorKind::NotFound`] or [`ErrorKind::Io`].
    pub fn load(tokenizer_json: &Path, tokenizer_config: Option<&Path>) -> Result<Self> {
        let json = read_limited(tokenizer_json, MAXIMUM_TOKENIZER_BYTES)?;
        let config = tokenizer_config.map(|path| {
            parse_json(&TextFile { path: path.to_path_buf(), text: read_limited(path, MAXIMUM_TEXT_BYTES)? })
        });
        let config = config.transpose()?;
        Self::from_bytes(&json, config.as_ref()).map_err(|error| error.with_file(tokenizer_json))
    }

    /// Like [`load`](Self::load), from the contents of the files.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(tokenizer_json: &[u8], tokenizer_config: Option<&Value>) -> Result<Self> {
        let file = TokenizerFile::parse(tokenizer_json)?;
        let memory = file.memory();
        let Built { pipeline, vocabulary, growth } = file.build()?;
        let longest_text = MAX_TEXT_BYTES.min(MAX_GROWN_BYTES / growth.max(1));
        if longest_text < LEAST_TEXT_BYTES {
            return Err(normalizing::grows_too_much(growth));
        }
        if vocabulary.size() == 0 {
            return Err(tokenizer_error("the vocabulary is empty"));
        }
        let named = |field: &str| {
            let text = token_text_of(tokenizer_config?.get(field)?)?;
            let id = pipeline.token_to_id(&text).filter(|id| vocabulary.bytes(*id).is_some());
            Some(NamedToken { text, id })
        };
        let [bos, eos, pad, unk] = ["bos_token", "eos_token", "pad_token", "unk_token"].map(named);
        let special_ids = vocabulary.special_ids();
        let special_texts = special_ids.iter().filter_map(|id| vocabulary.text(*id)).map(str::to_owned);
        let shield = Shield::new(special_texts.collect());
        let vocabulary = Arc::new(vocabulary);
        let tokenizer =
            Self { pipeline, longest_text, vocabulary, bos, eos, pad, unk, special_ids, memory, shield };
        // Shows at load, not at the first prompt, when the post-processor is broken.
        tokenizer.encode("", SpecialTokens::Add)?;
        Ok(tokenizer)
    }

    /// About how many bytes of memory the tokenizer in `tokenizer_json` takes when it is loaded. It is not built.
    ///
    /// # Errors
    /// Those of [`load`](Self::load) that concern the file's form.
    pub fn estimate_memory(tokenizer_json: &TextFile) -> Result<u64> {
        let file = TokenizerFile::parse(&tokenizer_json.text);
        file.map(|file| file.memory()).map_err(|error| error.with_file(&tokenizer_json.path))
    }

    /// About how many bytes of memory the tokenizer takes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory
    }

    /// The token ids of `text`. Special tokens spelled out in it (`<|eot_id|>`) become their ids; for text that a
    /// stranger wrote see [`encode_plain`](Self::encode_plain).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the text is longer than [`MAX_TEXT_BYTES`]; [`ErrorKind::Tokenizer`] if the
    /// vocabulary has no token for a character and none for unknown ones, or if a pattern of the tokenizer takes too long.
    pub fn encode(&self, text: &str, special: SpecialTokens) -> Result<Vec<u32>> {
        self.encode_marked(text, special, None)
    }

    /// The token ids of `text` in which special tokens that are spelled out stay plain text, so that who wrote it
    /// cannot end a turn or speak as someone else. Nothing is added.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        let mark = free_mark([text])?;
        self.encode_marked(&self.shield.apply(text, mark), SpecialTokens::None, Some(mark))
    }

    /// The texts of all special tokens.
    pub(super) fn shield(&self) -> &Shield {
        &self.shield
    }

    /// The texts and ids of all added tokens, special or not.
    pub(super) fn added_tokens(&self) -> impl Iterator<Item = (&str, u32)> {
        let ids = 0..u32::try_from(self.vocabulary.size()).unwrap_or(u32::MAX);
        let added = ids.filter(|id| self.vocabulary.is_added(*id));
        added.filter_map(|id| Some((self.vocabulary.text(id)?, id)))
    }

    /// Encodes text in which `mark` stands inside tokens that are to stay plain text.
    pub(super) fn encode_marked(
        &self,
        text: &str,
        special: SpecialTokens,
        mark: Option<char>,
    ) -> Result<Vec<u32>> {
        if text.len() > self.longest_text {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("the text has {} bytes, the limit is {}", text.len(), self.longest_text),
            ));
        }
        let ids = guard("the text", || {
            let pipeline = &self.pipeline;
            let mut pieces =
                pipeline.get_added_vocabulary().extract_and_normalize(pipeline.get_normalizer(), text);
            if let Some(mark) = mark {
                pieces.normalize(|piece| piece.replace(mark, ""))?;
            }
            if let Some(pre_tokenizer) = pipeline.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut pieces)?;
            }
            self.tokenize_pieces(&mut pieces, mark.is_some())?;
            let mut encoding = pieces.into_encoding(None, 0, OffsetType::None)?;
            if special == SpecialTokens::Add {
                encoding = pipeline.post_process(encoding, None, true)?;
            }
            Ok(encoding.get_ids().to_vec())
        })?;
        match ids.iter().find(|id| !self.has_token(**id)) {
            Some(id) => Err(tokenizer_error(format!("the post-processor adds id {id}, which has no token"))),
            None => Ok(ids),
        }
    }

    fn tokenize_pieces(&self, pieces: &mut PreTokenizedString, shielded: bool) -> tokenizers::Result<()> {
        let model = self.pipeline.get_model();
        let unk = match model {
            ModelWrapper::BPE(bpe) => bpe.get_unk_token().as_deref().and_then(|unk| model.token_to_id(unk)),
            _ => None,
        };
        pieces.tokenize(|piece| {
            let text = piece.get();
            let tokens = model.tokenize(text)?;
            // BPE leaves out characters that it has no token for.
            let covered = tokens.last().map_or(0, |token| token.offsets.1);
            if matches!(model, ModelWrapper::BPE(_)) && covered < text.len() {
                return Err(missing_character(model, text).into());
            }
            let special = |id: u32| self.vocabulary.is_special(id) && Some(id) != unk;
            if shielded && tokens.iter().any(|token| special(token.id)) {
                return Err("the text gives a special token even without its spelling".into());
            }
            Ok(tokens)
        })
    }

    /// The text of `ids`; with `skip_special` without the special tokens. Ids without a token give no text, broken
    /// characters give U+FFFD.
    #[must_use]
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut decoder = self.stream_decoder(skip_special);
        let mut text = String::new();
        for id in ids {
            decoder.push_into(*id, &mut text);
        }
        text.push_str(&decoder.finish());
        text
    }

    /// Decodes one token at a time.
    #[must_use]
    pub fn stream_decoder(&self, skip_special: bool) -> StreamDecoder {
        StreamDecoder::new(Arc::clone(&self.vocabulary), skip_special)
    }

    /// The bytes that token `id` adds to a text; they need not be whole characters.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.vocabulary.bytes(id)
    }

    /// What is done to the start of a text and between its tokens.
    pub(crate) fn start_of_text(&self) -> StartOfText {
        let rules = self.vocabulary.text_rules();
        StartOfText {
            strips: rules.strip_start,
            first_token_loses_spaces: rules.first_token_loses_spaces,
            is_separated: rules.space_between_tokens,
        }
    }

    /// Token `id` as text, for people to read: incomplete characters show as U+FFFD.
    #[must_use]
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.token_bytes(id).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The highest token id plus one. Ids below may be unused, and the graph's vocabulary may be larger.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary.size()
    }

    /// Whether `id` has a token.
    #[must_use]
    pub fn has_token(&self, id: u32) -> bool {
        self.token_bytes(id).is_some()
    }

    /// The id of a token by its name in the file, for example `<|end|>`.
    #[must_use]
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.pipeline.token_to_id(token).filter(|id| self.has_token(*id))
    }

    /// Whether `id` is a special token: one that is markup, not text.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        self.vocabulary.is_special(id)
    }

    /// Whether `id` is listed under `added_tokens`, special or not.
    #[must_use]
    pub fn is_added(&self, id: u32) -> bool {
        self.vocabulary.is_added(id)
    }

    /// The ids of all special tokens, ascending.
    #[must_use]
    pub fn special_ids(&self) -> &[u32] {
        &self.special_ids
    }

    /// `bos_token` of `tokenizer_config.json`.
    #[must_use]
    pub fn bos(&self) -> Option<&NamedToken> {
        self.bos.as_ref()
    }

    /// `eos_token` of `tokenizer_config.json`.
    #[must_use]
    pub fn eos(&self) -> Option<&NamedToken> {
        self.eos.as_ref()
    }

    /// `pad_token` of `tokenizer_config.json`.
    #[must_use]
    pub fn pad(&self) -> Option<&NamedToken> {
        self.pad.as_ref()
    }

    /// `unk_token` of `tokenizer_config.json`.
    #[must_use]
    pub fn unk(&self) -> Option<&NamedToken> {
        self.unk.as_ref()
    }
}

/// Parses a JSON file other than `tokenizer.json`.
pub(super) fn parse_json(file: &TextFile) -> Result<Value> {
    serde_json::from_slice(&file.text).map_err(|error| {
        tokenizer_error(format!("not valid JSON: {error}")).with_file(&file.path).with_source(error)
    })
}

/// A token is written as a string or as an object with a `content`.
fn token_text_of(value: &Value) -> Option<String> {
    let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn missing_character(model: &ModelWrapper, text: &str) -> String {
    let missing =
        text.chars().find(|character| model.token_to_id(character.encode_utf8(&mut [0; 4])).is_none());
    match missing {
        Some(character) => format!("no token for the character U+{:04X}", u32::from(character)),
        None => "no token for part of the text".to_owned(),
    }
}

fn tokenizer_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Tokenizer, message)
}

/// Runs code of the tokenizer crate. It panics on some contradictory files (post-processors that name tokens they
/// do not define, character maps cut short), and their checks are not ours to repeat.
fn guard<T>(what: &str, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    // Nothing that the work changes is used after a panic: a failed load is dropped, and encoding only fills caches.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            Err(Error::new(ErrorKind::Tokenizer, format!("{what}: {error}")).with_source(error))
        }
        Err(_) => Err(tokenizer_error(format!("{what}: the tokenizer's sections contradict each other"))),
    }
}
