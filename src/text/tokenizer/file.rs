//! The sections of `tokenizer.json`, checked before the tokenizer crate sees them: some malformed ones would make
//! it panic.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, TokenizerImpl,
};

use super::decoding::Decoding;
use super::lists::{Bounded, Merge, Piece, Pieces, id_too_large};
use super::post_processing::check_templates;
use super::sections::parse;
use super::splitting::{self, Splitting};
use super::vocabulary::{MAX_VOCABULARY, Vocabulary, VocabularyEntry};
use super::{guard, normalizing, tokenizer_error};
use crate::{Error, ErrorKind, Result};

/// More merges than any file has; the largest published ones have about 515,000.
const MAX_MERGES: usize = 1 << 20;

/// More added tokens than any file has; published ones have some thousand.
const MAX_ADDED_TOKENS: usize = 1 << 17;

/// Longest piece of a Unigram model. Those of SentencePiece have up to 64 bytes unless asked for otherwise; every place of a text is
/// compared with pieces of all lengths.
const MAX_PIECE_BYTES: usize = 256;

/// Longest normalizer, pre-tokenizer, post-processor and decoder, as JSON. The longest published ones, which hold character
/// maps, have about 320,000 bytes.
const MAX_SECTION_BYTES: usize = 1 << 20;

/// Bytes of the tree in which a Unigram model finds a text, for each text: measured on a vocabulary of 49,152. Each inner node is a
/// hash table.
const UNIGRAM_TREE: usize = 500;

pub(super) type Pipeline =
    TokenizerImpl<ModelWrapper, NormalizerWrapper, Splitting, PostProcessorWrapper, DecoderWrapper>;

/// What a file makes.
pub(super) struct Built {
    pub(super) pipeline: Pipeline,
    pub(super) vocabulary: Vocabulary,
    /// How many times as long the pipeline can make a text, at most.
    pub(super) growth: usize,
}

/// What is read from the file. `truncation` and `padding` are training settings and ignored.
#[derive(serde::Deserialize)]
pub(super) struct TokenizerFile<'a> {
    #[serde(default)]
    added_tokens: Option<Bounded<AddedTokenSection, MAX_ADDED_TOKENS>>,
    #[serde(borrow, default)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    decoder: Option<&'a RawValue>,
    #[serde(borrow)]
    model: ModelSection<'a>,
}

#[derive(serde::Deserialize)]
struct AddedTokenSection {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

/// `dropout` is a training setting and ignored: the same text always gives the same tokens.
#[derive(serde::Deserialize)]
struct ModelSection<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    vocab: Pieces<'a>,
    #[serde(borrow, default)]
    merges: Option<Bounded<Merge<'a>, MAX_MERGES>>,
    unk_token: Option<String>,
    unk_id: Option<usize>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

impl<'a> TokenizerFile<'a> {
    pub(super) fn parse(json: &'a [u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| {
            tokenizer_error(format!("not a tokenizer.json: {error}"))
                .with_hint("copy the file again, or export the tokenizer in the fast format")
                .with_source(error)
        })
    }

    /// About how many bytes of memory the tokenizer takes once it is built: its hash tables, and a string of its own for each key
    /// and each value that is one.
    pub(super) fn memory(&self) -> u64 {
        const STRING: usize = size_of::<String>();
        const ID: usize = size_of::<u32>();
        let pieces = &self.model.vocab.0;
        let merges = self.model.merges.as_ref().map_or(0, |merges| merges.0.len());
        let texts: u64 = pieces.iter().map(|piece| allocation(piece.text.len())).sum();
        let flat: u64 = pieces.iter().map(|piece| (piece.text.len() + ID + 1) as u64).sum();
        let by_text = hash_table(pieces.len(), (STRING + ID).next_multiple_of(8));
        let rest = if self.model.is_unigram() {
            // A list of texts and scores, and a tree of texts.
            (pieces.len() * (STRING + size_of::<f64>() + UNIGRAM_TREE)) as u64
        } else {
            // Texts by id, and the rank and the result of each pair of ids.
            by_text + hash_table(merges, 4 * ID)
        };
        2 * texts + flat + by_text + rest
    }

    /// The encoding pipeline and the bytes of every token.
    pub(super) fn build(self) -> Result<Built> {
        let decoding = Decoding::from_json(value("decoder", self.decoder)?.as_ref())?;
        let mut model = self.model;
        let mut added = self.added_tokens.map(|added| added.0).unwrap_or_default();
        added.retain(|token| !token.content.is_empty());
        model.keep_added_ids(&mut added)?;
        let vocabulary = build_vocabulary(&model.vocab, &added, &decoding)?;

        let normalizer = section("normalizer", self.normalizer, |section| {
            let growth = normalizing::growth(&section)?;
            Ok((parse::<NormalizerWrapper>(section)?, growth))
        })?;
        let pre_tokenizer = section("pre_tokenizer", self.pre_tokenizer, |section| {
            Ok((Splitting::from_json(&section)?, splitting::growth(&section)?))
        })?;
        let post_processor = section("post_processor", self.post_processor, |section| {
            check_templates(&section)?;
            parse::<PostProcessorWrapper>(section)
        })?;
        let (normalizer, of_normalizer) = normalizer.unzip();
        let (pre_tokenizer, of_pre_tokenizer) = pre_tokenizer.unzip();
        let growth = of_normalizer.unwrap_or(1_usize).saturating_mul(of_pre_tokenizer.unwrap_or(1));
        let model = model.build()?;
        let pipeline = guard("the tokenizer's sections", move || {
            let mut pipeline = Pipeline::new(model);
            pipeline.with_normalizer(normalizer)?;
            pipeline.with_pre_tokenizer(pre_tokenizer).with_post_processor(post_processor);
            pipeline.add_tokens(added.into_iter().map(AddedTokenSection::into_added_token))?;
            Ok(pipeline)
        })?;
        Ok(Built { pipeline, vocabulary, growth })
    }
}

/// Bytes that an allocator gives for `length`: it keeps a length beside each block and hands them out in steps of 16.
fn allocation(length: usize) -> u64 {
    (length + 8).next_multiple_of(16).max(32) as u64
}

/// Bytes of a hash table: a power of two of places, at most 7 of 8 taken, with a byte of state each.
fn hash_table(entries: usize, entry: usize) -> u64 {
    let places = (entries * 8).div_ceil(7).next_power_of_two();
    (places * (entry + 1)) as u64
}

impl AddedTokenSection {
    fn into_added_token(self) -> AddedToken {
        AddedToken::from(self.content, self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!self.special))
    }
}

impl ModelSection<'_> {
    /// Makes the model give every added token the id that the file says.
    ///
    /// The tokenizer crate numbers added tokens that the model lacks one after the other, whatever the file says;
    /// where that would differ they are put in the model's vocabulary. An added token that the model has under
    /// another id keeps the model's, as everywhere else.
    fn keep_added_ids(&mut self, added: &mut [AddedTokenSection]) -> Result<()> {
        let known: HashMap<&str, u32> =
            self.vocab.0.iter().map(|piece| (piece.text.as_ref(), piece.id)).collect();
        let mut next = u32::try_from(known.len()).unwrap_or(u32::MAX);
        let mut renumbered = false;
        let mut missing = Vec::new();
        let mut seen = HashMap::new();
        for token in added {
            if token.id >= MAX_VOCABULARY {
                return Err(id_too_large(&token.content, token.id));
            }
            if let Some(id) = known.get(token.content.as_str()).or_else(|| seen.get(&token.content)) {
                token.id = *id;
                continue;
            }
            renumbered |= token.id != next;
            next = next.saturating_add(1);
            seen.insert(token.content.clone(), token.id);
            missing.push(Piece { text: Cow::Owned(token.content.clone()), id: token.id, score: 0.0 });
        }
        drop(known);
        if renumbered {
            if self.is_unigram() {
                // Its ids are positions: nothing can be put between them.
                return Err(tokenizer_error(
                    "added tokens do not follow the vocabulary of the Unigram model",
                ));
            }
            self.vocab.0.extend(missing);
        }
        Ok(())
    }

    fn is_unigram(&self) -> bool {
        self.kind.as_deref() == Some("Unigram") || (self.kind.is_none() && self.unk_id.is_some())
    }

    fn build(self) -> Result<ModelWrapper> {
        if self.is_unigram() {
            if let Some(piece) = self.vocab.0.iter().find(|piece| piece.text.len() > MAX_PIECE_BYTES) {
                let message =
                    format!("a piece of {} bytes, the limit is {MAX_PIECE_BYTES}", piece.text.len());
                return Err(tokenizer_error(message));
            }
            let pieces =
                self.vocab.0.into_iter().map(|piece| (piece.text.into_owned(), piece.score)).collect();
            let (unk_id, byte_fallback) = (self.unk_id, self.byte_fallback.unwrap_or_default());
            return guard("the Unigram model", move || {
                let mut model = Unigram::from(pieces, unk_id, byte_fallback)?;
                // As for BPE.
                model.resize_cache(0);
                Ok(model.into())
            });
        }
        match self.kind.as_deref() {
            None | Some("BPE") => self.build_bpe(),
            Some(other) => Err(Error::new(ErrorKind::Unsupported, format!("tokenizer model '{other}'"))
                .with_hint("language models use BPE, or Unigram where they were made with SentencePiece")),
        }
    }

    fn build_bpe(self) -> Result<ModelWrapper> {
        let merges = self.merges.ok_or_else(|| tokenizer_error("the BPE model lacks its merges"))?.0;
        let longest = self.vocab.0.iter().map(|piece| piece.text.len()).max().unwrap_or(0);
        let prefix = self.continuing_subword_prefix.as_deref().unwrap_or_default();
        let mut pairs = Vec::with_capacity(merges.len());
        for Merge(left, right) in merges {
            let right_length = right.strip_prefix(prefix).map(str::len);
            if right_length.is_none_or(|length| left.len() + length > longest) {
                return Err(tokenizer_error(format!("merge of '{left}' and '{right}' gives no token")));
            }
            pairs.push((left.into_owned(), right.into_owned()));
        }
        if let Some(unk) = &self.unk_token
            && !self.vocab.0.iter().any(|piece| piece.text == unk.as_str())
        {
            return Err(tokenizer_error(format!("unk_token '{unk}' is not in the vocabulary")));
        }
        let vocab: Vocab =
            self.vocab.0.into_iter().map(|piece| (piece.text.into_owned(), piece.id)).collect();
        let mut builder = BPE::builder()
            .vocab_and_merges(vocab, pairs)
            // The cache would keep words of prompts in every thread, beyond the life of the tokenizer.
            .cache_capacity(0)
            .fuse_unk(self.fuse_unk.unwrap_or_default())
            .byte_fallback(self.byte_fallback.unwrap_or_default())
            .ignore_merges(self.ignore_merges.unwrap_or_default());
        if let Some(unk) = self.unk_token {
            builder = builder.unk_token(unk);
        }
        if let Some(prefix) = self.continuing_subword_prefix {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = self.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        guard("the BPE model", move || Ok(builder.build()?.into()))
    }
}

fn build_vocabulary(
    pieces: &Pieces<'_>,
    added: &[AddedTokenSection],
    decoding: &Decoding,
) -> Result<Vocabulary> {
    let mut entries: Vec<VocabularyEntry<'_>> = pieces
        .0
        .iter()
        .map(|piece| VocabularyEntry { id: piece.id, text: &piece.text, added: false, special: false })
        .collect();
    entries.sort_by_key(|entry| entry.id);
    let added_ids: HashSet<u32> = added.iter().map(|token| token.id).collect();
    for pair in entries.windows(2) {
        // An added token may take over an id.
        if let [first, second] = pair
            && first.id == second.id
            && first.text != second.text
            && !added_ids.contains(&first.id)
        {
            let (first, second, id) = (first.text, second.text, first.id);
            return Err(tokenizer_error(format!("id {id} is both '{first}' and '{second}'")));
        }
    }
    entries.extend(added.iter().map(|token| VocabularyEntry {
        id: token.id,
        text: &token.content,
        added: true,
        special: token.special,
    }));
    // Stable: an added token comes after the model's piece of the same id and replaces it.
    entries.sort_by_key(|entry| entry.id);
    Vocabulary::new(&entries, decoding)
}

/// What `read` makes of a section, if there is one.
fn section<T>(
    name: &str,
    text: Option<&RawValue>,
    read: impl FnOnce(Value) -> Result<T>,
) -> Result<Option<T>> {
    value(name, text)?.map(read).transpose().map_err(|error| error.with_node(name))
}

/// A section as a value, which takes many times the memory of its text.
fn value(name: &str, text: Option<&RawValue>) -> Result<Option<Value>> {
    let Some(text) = text.map(RawValue::get) else { return Ok(None) };
    if text.len() > MAX_SECTION_BYTES {
        let message = format!("the section has {} bytes, the limit is {MAX_SECTION_BYTES}", text.len());
        return Err(tokenizer_error(message).with_node(name));
    }
    serde_json::from_str(text).map(Some).map_err(|error| {
        tokenizer_error(format!("not a section: {error}")).with_node(name).with_source(error)
    })
}
