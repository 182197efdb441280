//! Answers that are more than free text.

#![forbid(unsafe_code)]

mod classify;
mod trie;

#[cfg(test)]
mod tests;

pub use classify::{Classification, ClassifyOptions, LabelScore};
