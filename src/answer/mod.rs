//! Answers that are more than free text.

#![forbid(unsafe_code)]

mod calibration;
mod classify;
mod trie;

#[cfg(test)]
mod tests;

pub use calibration::{Calibration, CalibrationOptions};
pub use classify::{Classification, ClassifyOptions, LabelScore};
