//! Text in and out of the model: tokenizer, chat template, streaming decoder, stop strings.

#![forbid(unsafe_code)]

mod message;
mod stream_decoder;
mod tokenizer;

pub use message::{Message, Role};
pub use stream_decoder::StreamDecoder;
pub use tokenizer::{MAX_TEXT_BYTES, NamedToken, SpecialTokens, Tokenizer};
