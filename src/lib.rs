//! Runs quantised small language models inside other programs, on the device and without a network.

pub mod answer;
pub mod engine;
mod error;
pub mod graph;
#[cfg(feature = "import")]
pub mod import;
pub mod model;
pub mod onnx;
pub mod ops;
pub mod sampling;
pub mod session;
pub mod text;

pub use edgeslm_kernels as kernels;
pub use engine::{Accuracy, KvPrecision};
pub use error::{Error, ErrorKind, Result};
pub use model::{LoadOptions, MemoryEstimate, Model, ModelInfo};
pub use session::CancelToken;
