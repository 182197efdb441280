//! A model directory on disk.

mod files;
mod graph_files;
mod root;

pub use files::{Load, MappedFile, WeightBytes};
pub use graph_files::{FileOptions, GraphFiles};
pub use root::ModelRoot;
