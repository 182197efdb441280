//! Answers that a program can parse: what may come next is decided by a grammar.
//!
//! A [`GrammarSource`] (JSON schema, regular expression, Lark grammar or a list of choices) becomes a [`Grammar`] for one
//! tokenizer with [`Grammar::compile`] or [`Model::grammar`](crate::Model::grammar). As
//! [`GenerateOptions::grammar`](crate::session::GenerateOptions::grammar) it holds an answer to it:
//!
//! - Tokens that the grammar does not allow are taken out before the sampling chain of [`Sampler`](super::Sampler) begins.
//! - Tokens that it forces are appended without sampling, all in one forward pass.
//! - Where it allows few tokens, only those rows of the lm_head are computed.
//! - The model's end tokens are allowed where the text may end, and nowhere else.
//! - Special tokens and markup that a chat template writes are never part of the text.
//! - Before time, tokens or context run out, the text is closed along the grammar's shortest legal path, so that it still
//!   parses: see [`Completion`](crate::session::Completion).
//!
//! The grammar's text is the answer's: what [`Answer::text`](crate::session::Answer::text) shows, byte for byte.
//!
//! Parsing and masks are those of the crate `llguidance` (Earley parser over lexemes that derivatives of regular expressions
//! match; <https://github.com/guidance-ai/llguidance>). Sources are untrusted: see [`limits`] for what is refused.

mod closing;
mod grammar;
pub mod limits;
mod mask;
mod matcher;
mod schema;
mod source;
mod vocabulary;

#[cfg(test)]
mod tests;

pub use grammar::Grammar;
pub use mask::Mask;
pub use matcher::Matcher;
pub use source::GrammarSource;

pub(crate) use vocabulary::GrammarVocabulary;
