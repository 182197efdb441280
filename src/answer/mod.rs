//! Answers that are more than free text.

#![forbid(unsafe_code)]

mod calibration;
mod classifier;
mod classify;
#[cfg(feature = "cloud")]
pub mod cloud;
mod extract;
pub mod measures;
pub mod route;
mod task;
mod trie;

#[cfg(test)]
mod tests;

pub use calibration::{
    Abstention, Calibration, CalibrationChoice, CalibrationIdentity, CalibrationMethod, CalibrationOptions,
    CalibrationSummary, Decision, LabelCalibration,
};
pub use classifier::{CalibrateOptions, Classifier};
pub use classify::{Classification, ClassifyOptions, LabelScore};
pub use extract::{Extraction, Extractor, Field, Support};
pub use task::{Answer, Example, Split, Task, TaskKind, TextMatch, read_examples, values_agree};
