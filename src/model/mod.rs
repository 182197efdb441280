//! A model directory on disk, or its files from elsewhere.

mod compare;
mod config;
mod directory;
mod files;
mod fingerprint;
mod graph_files;
mod json;
mod layout;
mod load;
mod memory;
mod options;
#[cfg(feature = "ort")]
mod ort;
mod parts;
mod prediction;
mod reference;
mod root;
mod source;
mod text;

pub use compare::Comparison;
pub use config::{
    ConfigFiles, GraphNames, LayerName, ModelConfig, PromptTemplates, SamplingDefaults, TextFile,
};
pub use directory::{DirectoryOverrides, ModelDirectory, TextFiles};
pub(crate) use directory::{MAXIMUM_TEXT_BYTES, MAXIMUM_TOKENIZER_BYTES};
pub use files::{Load, MappedFile, WeightBytes};
pub(crate) use fingerprint::hexadecimal;
pub use graph_files::{FileOptions, GraphFiles};
pub(crate) use json::read_limited;
pub use layout::{GraphPreference, Layout};
pub use load::{Model, ModelInfo};
pub use memory::{MemoryEstimate, available_memory};
pub use options::LoadOptions;
pub use prediction::{Prediction, Predictions, TextScore};
pub use reference::{Reference, ReferenceCase};
pub use root::ModelRoot;
pub use source::Source;
