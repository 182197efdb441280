//! Answers that are more than free text.

#![forbid(unsafe_code)]

mod calibration;
mod classify;
mod task;
mod trie;

#[cfg(test)]
mod tests;

pub use calibration::{Calibration, CalibrationOptions};
pub use classify::{Classification, ClassifyOptions, LabelScore};
pub use task::{Answer, Example, Split, Task, TaskKind, TextMatch, read_examples, values_agree};
