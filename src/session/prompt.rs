//! What an answer is to.

use crate::text::Message;

/// A prompt in one of its three forms.
///
/// ```
/// use edgeslm::session::Prompt;
/// use edgeslm::text::Message;
///
/// let raw: Prompt = "Once upon a time".into();
/// let chat: Prompt = vec![Message::user("Is the door open?")].into();
/// assert_ne!(raw, chat);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text as it is, after the tokens with which the model's texts begin. Special tokens that it spells out are
    /// recognised, so it must not hold what a stranger wrote.
    Raw(String),
    /// Messages that the model's chat template turns into text. What the messages spell out stays text.
    Chat(Vec<Message>),
    /// Tokens as they are.
    Tokens(Vec<u32>),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Raw(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Raw(text)
    }
}

impl From<Vec<Message>> for Prompt {
    fn from(messages: Vec<Message>) -> Self {
        Self::Chat(messages)
    }
}

impl From<&[Message]> for Prompt {
    fn from(messages: &[Message]) -> Self {
        Self::Chat(messages.to_vec())
    }
}

impl From<Vec<u32>> for Prompt {
    fn from(tokens: Vec<u32>) -> Self {
        Self::Tokens(tokens)
    }
}

impl From<&[u32]> for Prompt {
    fn from(tokens: &[u32]) -> Self {
        Self::Tokens(tokens.to_vec())
    }
}
