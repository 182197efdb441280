//! A tokenizer as the grammar's parser sees it: the bytes of each token, and how texts are tokenised.

use std::collections::HashMap;
use std::sync::Arc;

use llguidance::ParserFactory;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};

use super::limits;
use super::source::refused;
use crate::error::{Error, ErrorKind, Result};
use crate::text::{SpecialTokens, Tokenizer};

/// Tokens of more bytes than this are never part of a constrained answer.
const LONGEST_TOKEN: usize = 512;

/// Texts that a tokenizer is asked to continue, so that it does not treat what follows as the start of a text.
const STARTS: [&str; 3] = ["\n", "\u{2}", "."];

/// What every grammar of a tokenizer shares.
pub(crate) struct GrammarVocabulary {
    tokenizer: Arc<Tokenizer>,
    pub(super) factory: ParserFactory,
    environment: TokEnv,
    start: Start,
    /// Pairs of a token that loses spaces as a text's first, and the token of what is left; sorted by the latter.
    first_tokens: Vec<(u32, u32)>,
}

impl GrammarVocabulary {
    /// Takes below a second for 200,000 tokens.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a tokenizer whose tokens do not simply follow each other, and what llguidance refuses.
    pub(crate) fn new(tokenizer: &Arc<Tokenizer>) -> Result<Self> {
        let start = Start::of(tokenizer)?;
        let size = tokenizer.vocabulary_size();
        let words: Vec<Vec<u8>> =
            (0..=size).map(|id| word(tokenizer, id).unwrap_or_default().to_vec()).collect();
        let end = to_id(size);
        let first_tokens = first_tokens(&words, start);
        let trie = TokTrie::from(&TokRxInfo::new(end + 1, end), &words);
        let environment: TokEnv = Arc::new(Environment { trie, tokenizer: Arc::clone(tokenizer) });
        let capabilities = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
        let mut factory =
            ParserFactory::new(&environment, capabilities, &SlicedBiasComputer::general_slices())
                .map_err(|error| refused(format!("the vocabulary cannot be used with grammars: {error}")))?;
        factory.quiet();
        *factory.limits_mut() = limits::of_parser();
        Ok(Self { tokenizer: Arc::clone(tokenizer), factory, environment, start, first_tokens })
    }

    /// The id that stands for the end of the text: one more than the tokenizer has.
    pub(super) fn end(&self) -> u32 {
        to_id(self.tokenizer.vocabulary_size())
    }

    pub(super) fn size(&self) -> usize {
        self.tokenizer.vocabulary_size()
    }

    /// The bytes of a token.
    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        self.environment.tok_trie().token(id)
    }

    /// Tokens that spell `text` after other tokens, byte for byte.
    pub(super) fn tokenize(&self, text: &[u8]) -> Vec<u32> {
        self.environment.tokenize_bytes(text)
    }

    /// Whether `id` as an answer's first token shows as its bytes.
    pub(super) fn is_whole_at_start(&self, id: u32) -> bool {
        self.start.shown(self.bytes(id)).is_none()
    }

    /// Whether the start of a text loses a space.
    pub(super) fn strips_the_start(&self) -> bool {
        self.start != Start::Whole
    }

    /// The tokens that show as token `id` does where they are an answer's first.
    pub(super) fn shown_at_start_as(&self, id: u32) -> impl Iterator<Item = u32> {
        let from = self.first_tokens.partition_point(|(_, shown)| *shown < id);
        let rest = self.first_tokens.get(from..).unwrap_or_default();
        rest.iter().take_while(move |(_, shown)| *shown == id).map(|(token, _)| *token)
    }

    /// The token as which the first token `id` shows; itself where it loses nothing.
    pub(super) fn shown_at_start(&self, id: u32) -> u32 {
        self.first_tokens.iter().find(|(token, _)| *token == id).map_or(id, |(_, shown)| *shown)
    }
}

impl std::fmt::Debug for GrammarVocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrammarVocabulary").field("size", &self.size()).finish_non_exhaustive()
    }
}

/// Vocabularies have at most a million tokens.
fn to_id(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX - 1)
}

/// The bytes of a token that text may consist of.
fn word(tokenizer: &Tokenizer, id: usize) -> Option<&[u8]> {
    let id = u32::try_from(id).ok()?;
    let bytes = tokenizer.token_bytes(id)?;
    // Markup: what ends turns and names speakers, special or not. White space is text also where it is an added token.
    let is_markup =
        tokenizer.is_special(id) || tokenizer.is_added(id) && !bytes.iter().all(u8::is_ascii_whitespace);
    // No UTF-8 has the byte that llguidance marks special tokens with.
    let is_text =
        !is_markup && bytes.len() <= LONGEST_TOKEN && bytes.first() != Some(&TokTrie::SPECIAL_TOKEN_MARKER);
    is_text.then_some(bytes)
}

/// What a text's first token loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Whole,
    /// A space before it.
    OneSpace,
    /// All its spaces.
    AllSpaces,
}

impl Start {
    fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let rules = tokenizer.start_of_text();
        match (rules.is_separated, rules.strips, rules.first_token_loses_spaces) {
            (false, None, false) => Ok(Self::Whole),
            (false, Some((' ', 1)), false) => Ok(Self::OneSpace),
            (false, None, true) => Ok(Self::AllSpaces),
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                "the tokenizer puts or takes characters between tokens, which no grammar can follow",
            )),
        }
    }

    /// As what the bytes of a first token show, if not as they are.
    fn shown(self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Whole => None,
            Self::OneSpace => bytes.strip_prefix(b" ").map(<[u8]>::to_vec),
            Self::AllSpaces => {
                bytes.contains(&b' ').then(|| bytes.iter().copied().filter(|byte| *byte != b' ').collect())
            }
        }
    }
}

/// Pairs of a token that loses spaces as a text's first and the token of what is left, sorted by the latter.
fn first_tokens(words: &[Vec<u8>], start: Start) -> Vec<(u32, u32)> {
    if start == Start::Whole {
        return Vec::new();
    }
    let ids = || (0_u32..).zip(words).filter(|(_, word)| !word.is_empty());
    let by_bytes: HashMap<&[u8], u32> = ids().map(|(id, word)| (word.as_slice(), id)).collect();
    let mut pairs: Vec<(u32, u32)> =
        ids().filter_map(|(id, word)| Some((id, *by_bytes.get(&start.shown(word)?[..])?))).collect();
    pairs.sort_unstable_by_key(|(_, shown)| *shown);
    pairs
}

/// llguidance's view of the tokenizer.
struct Environment {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
}

impl Environment {
    /// As the model's texts are tokenised, where that gives exactly these bytes.
    fn canonical(&self, text: &str) -> Option<Vec<u32>> {
        let whole = self.tokenizer.encode_plain(text).ok();
        if let Some(ids) = whole.filter(|ids| self.spells(ids, text)) {
            return Some(ids);
        }
        STARTS.iter().find_map(|start| {
            let before = self.tokenizer.encode(start, SpecialTokens::None).ok()?;
            let mut ids = self.tokenizer.encode_plain(&format!("{start}{text}")).ok()?;
            if !ids.starts_with(&before) {
                return None;
            }
            ids.drain(..before.len());
            self.spells(&ids, text).then_some(ids)
        })
    }

    fn spells(&self, ids: &[u32], text: &str) -> bool {
        let mut rest = text.as_bytes();
        for id in ids {
            let word = self.trie.token(*id);
            match rest.strip_prefix(word) {
                Some(after) if !word.is_empty() => rest = after,
                _ => return false,
            }
        }
        rest.is_empty()
    }
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<u32> {
        std::str::from_utf8(text)
            .ok()
            .and_then(|text| self.canonical(text))
            .unwrap_or_else(|| self.trie.greedy_tokenize(text))
    }
}
