//! The tokens of a GGUF file.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::import::gguf::{self, Gguf};

/// `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A piece of text.
    Normal,
    /// Recognised in text; not shown to the user.
    Control,
    /// Recognised in text.
    UserDefined,
    /// A row of the embedding without a token.
    Unused,
    /// A byte of a character that has no token.
    Byte,
}

/// The tokens by id.
pub(super) struct Vocabulary<'a> {
    tokens: Vec<(&'a str, TokenKind)>,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn new(tokens: impl IntoIterator<Item = (&'a str, TokenKind)>) -> Self {
        Self { tokens: tokens.into_iter().collect() }
    }

    /// Reads the tokens of a model whose embedding has `rows` rows.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] and [`ErrorKind::Tokenizer`], naming the key.
    pub(super) fn read(gguf: &Gguf<'a>, rows: usize) -> Result<Self> {
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
        let mut tokens: Vec<_> = tokens.into_iter().zip(kinds).collect();
        for (token, kind) in &mut tokens {
            if token.is_empty() {
                // Nothing in a text could become it.
                *kind = TokenKind::Unused;
            }
            if *kind != TokenKind::Unused && !seen.insert(*token) {
                return Err(fault(format!("the token {token:?} appears twice")));
            }
        }
        Ok(Self { tokens })
    }

    /// The tokens in use, with their ids.
    pub(super) fn used(&self) -> impl Iterator<Item = (u32, &'a str, TokenKind)> {
        let tokens = (0_u32..).zip(&self.tokens).map(|(id, &(token, kind))| (id, token, kind));
        tokens.filter(|&(_, _, kind)| kind != TokenKind::Unused)
    }

    /// How many ids there are, unused ones included.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The token with an id, if it is in use.
    pub(super) fn entry(&self, id: u32) -> Option<(u32, &'a str)> {
        let index = usize::try_from(id).ok()?;
        self.tokens.get(index).filter(|(_, kind)| *kind != TokenKind::Unused).map(|&(token, _)| (id, token))
    }

    /// `id`, if it is that of a control token.
    pub(super) fn control(&self, id: u32) -> Option<u32> {
        let (_, kind) = self.tokens.get(usize::try_from(id).ok()?)?;
        (*kind == TokenKind::Control).then_some(id)
    }

    /// Every token with its id, as `vocab` of a model in `tokenizer.json`.
    pub(super) fn ids(&self) -> Map<String, Value> {
        self.used().map(|(id, token, _)| (token.to_owned(), json!(id))).collect()
    }

    /// Tokens that are recognised in the text before any other step.
    pub(super) fn added_tokens(&self) -> Vec<Value> {
        let added = |(id, content, kind)| {
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
        self.used().filter_map(added).collect()
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
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// The list of strings at `key`.
///
/// # Errors
/// [`ErrorKind::InvalidModel`], naming the key, when there is none.
pub(super) fn strings<'a>(gguf: &Gguf<'a>, key: &str) -> Result<Vec<&'a str>> {
    let strings = gguf.array(key).and_then(|array| array.strings().map(Iterator::collect));
    strings.ok_or_else(|| Error::new(ErrorKind::InvalidModel, "no list of strings").with_node(key))
}
