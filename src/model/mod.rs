//! A model directory on disk.

mod config;
mod directory;
mod files;
mod graph_files;
mod json;
mod layout;
mod reference;
mod root;

pub use config::{
    ConfigFile, ConfigFiles, GraphNames, LayerName, ModelConfig, PromptTemplates, SamplingDefaults,
};
pub use directory::{DirectoryOverrides, ModelDirectory, TextFiles};
pub use files::{Load, MappedFile, WeightBytes};
pub use graph_files::{FileOptions, GraphFiles};
pub use layout::Layout;
pub use reference::{Reference, ReferenceCase};
pub use root::ModelRoot;
