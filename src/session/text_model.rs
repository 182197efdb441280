//! The text side of a model.

use crate::error::{Error, ErrorKind, Result};
use crate::text::{Message, Tokenizer};

/// How a model wants a conversation to be written.
pub trait ChatFormat: Send + Sync {
    /// The tokens of a conversation up to where the model's next answer begins.
    ///
    /// # Errors
    /// [`ErrorKind::Template`] where the conversation cannot be written, [`ErrorKind::Tokenizer`] where it cannot be
    /// tokenised.
    fn tokens(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>>;
}

/// What a session needs to know of a model's text; immutable and shared, as the engine is.
pub struct TextModel {
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// How a conversation is written; `None` for models without, which take raw prompts only.
    pub chat: Option<Box<dyn ChatFormat>>,
    /// The tokens with which the model ends an answer.
    pub stop_tokens: Vec<u32>,
}

impl TextModel {
    /// The tokens of a conversation up to where the model's next answer begins.
    ///
    /// # Errors
    /// [`ErrorKind::Template`] without a chat format, and as [`ChatFormat::tokens`].
    pub fn chat_tokens(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let chat = self.chat.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Template, "the model has no chat template").with_hint("use a raw prompt")
        })?;
        chat.tokens(&self.tokenizer, messages)
    }
}
