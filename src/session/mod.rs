//! A conversation: its KV cache, the generate loop and the stream of events.
//!
//! A [`Session`] answers prompts as a [`Stream`] of [`Event`]s, which it computes as they are pulled. Everything
//! else is that stream: [`Session::generate`] collects it, [`Session::generate_with`] calls back with it.
//! [`generate_batch`] answers in several sessions at once. The steps of an answer are listed at the top of
//! `session/generate.rs`.

#![forbid(unsafe_code)]

mod answer_text;
mod batch;
mod cancel;
mod constrained;
mod event;
mod generate;
mod logits;
mod options;
mod prompt;
pub(crate) mod sequence;
#[expect(clippy::module_inception, reason = "the module's main type")]
mod session;
mod speed;
mod statistics;
mod stream;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
pub(crate) mod fake_text;
#[cfg(test)]
mod tests;

pub use batch::generate_batch;
pub use cancel::CancelToken;
pub use event::{Answer, Completion, Control, Event, FinishReason, Outcome};
pub use generate::Generation;
pub use logits::LogitsOptions;
pub use options::{GenerateOptions, SessionOptions};
pub use prompt::Prompt;
pub use session::Session;
pub(crate) use speed::Speed;
pub use statistics::Statistics;
pub use stream::Stream;
