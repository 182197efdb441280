//! The sections of `tokenizer.json`, checked before the tokenizer crate sees them: some malformed ones would make
//! it panic.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerImpl,
};

use super::decoding::Decoding;
use super::vocabulary::{MAX_VOCABULARY, Vocabulary, VocabularyEntry};
use super::{guard, tokenizer_error};
use crate::{Error, ErrorKind, Result};

pub(super) type Pipeline =
    TokenizerImpl<ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// What is read from the file. `truncation` and `padding` are training settings and ignored.
#[derive(serde::Deserialize)]
pub(super) struct TokenizerFile<'a> {
    #[serde(default)]
    added_tokens: Option<Vec<AddedTokenSection>>,
    #[serde(default)]
    normalizer: Option<Value>,
    #[serde(default)]
    pre_tokenizer: Option<Value>,
    #[serde(default)]
    post_processor: Option<Value>,
    #[serde(default)]
    decoder: Option<Value>,
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
    merges: Option<Vec<Merge<'a>>>,
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

    /// The encoding pipeline and the bytes of every token.
    pub(super) fn build(self) -> Result<(Pipeline, Vocabulary)> {
        let decoding = Decoding::from_json(self.decoder.as_ref())?;
        let mut model = self.model;
        let mut added = self.added_tokens.unwrap_or_default();
        added.retain(|token| !token.content.is_empty());
        model.keep_added_ids(&mut added)?;
        let vocabulary = build_vocabulary(&model.vocab, &added, &decoding)?;

        let normalizer: Option<NormalizerWrapper> = section("normalizer", self.normalizer)?;
        let pre_tokenizer: Option<PreTokenizerWrapper> = section("pre_tokenizer", self.pre_tokenizer)?;
        let post_processor: Option<PostProcessorWrapper> = section("post_processor", self.post_processor)?;
        let model = model.build()?;
        let pipeline = guard("the tokenizer's sections", move || {
            let mut pipeline = Pipeline::new(model);
            pipeline.with_normalizer(normalizer)?;
            pipeline.with_pre_tokenizer(pre_tokenizer).with_post_processor(post_processor);
            pipeline.add_tokens(added.into_iter().map(AddedTokenSection::into_added_token))?;
            Ok(pipeline)
        })?;
        Ok((pipeline, vocabulary))
    }
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
        let merges = self.merges.ok_or_else(|| tokenizer_error("the BPE model lacks its merges"))?;
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

/// A section that is passed on to the tokenizer crate. It is parsed from a value, not from the file: the crate
/// panics on some syntax errors.
fn section<T: serde::de::DeserializeOwned>(name: &str, value: Option<Value>) -> Result<Option<T>> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    guard(name, move || Ok(serde_json::from_value(value)?)).map(Some).map_err(|error| error.with_node(name))
}

fn id_too_large(token: &str, id: u32) -> Error {
    tokenizer_error(format!("token '{token}' has the id {id}, above the limit of {MAX_VOCABULARY}"))
}

/// A token of the model. The score is for Unigram models.
struct Piece<'a> {
    text: Cow<'a, str>,
    id: u32,
    score: f64,
}

/// `vocab` of the model: a map from token to id, or for Unigram a list of `[token, score]`.
struct Pieces<'a>(Vec<Piece<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Pieces<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PiecesVisitor;
        impl<'de> Visitor<'de> for PiecesVisitor {
            type Value = Pieces<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vocabulary")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pieces = Vec::new();
                while let Some((Text(text), id)) = map.next_entry::<Text<'de>, u32>()? {
                    if id >= MAX_VOCABULARY {
                        return Err(A::Error::custom(id_too_large(&text, id).message()));
                    }
                    pieces.push(Piece { text, id, score: 0.0 });
                }
                Ok(Pieces(pieces))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut pieces = Vec::new();
                for id in 0..MAX_VOCABULARY {
                    let Some((Text(text), score)) = list.next_element::<(Text<'de>, f64)>()? else { break };
                    pieces.push(Piece { text, id, score });
                }
                Ok(Pieces(pieces))
            }
        }
        deserializer.deserialize_any(PiecesVisitor)
    }
}

/// One merge: `"left right"` or `["left", "right"]`.
struct Merge<'a>(Cow<'a, str>, Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MergeVisitor;
        impl<'de> Visitor<'de> for MergeVisitor {
            type Value = Merge<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge of two tokens")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                match text.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => Ok(Merge(left.into(), right.into())),
                    _ => Err(E::custom(format!("'{text}' is not a merge of two tokens"))),
                }
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => {
                        Ok(Merge(left.to_owned().into(), right.to_owned().into()))
                    }
                    _ => Err(E::custom(format!("'{text}' is not a merge of two tokens"))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let (Some(Text(left)), Some(Text(right)), None) =
                    (list.next_element()?, list.next_element()?, list.next_element::<Value>()?)
                else {
                    return Err(A::Error::custom("a merge does not name two tokens"));
                };
                Ok(Merge(left, right))
            }
        }
        deserializer.deserialize_any(MergeVisitor)
    }
}

/// A string that borrows from the file unless it holds escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(text.into()))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(text.to_owned().into()))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}
