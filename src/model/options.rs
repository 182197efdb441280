//! How a model is loaded.

#![forbid(unsafe_code)]

use super::Load;
use crate::engine::{Accuracy, EngineChoice, KvPrecision, ThreadPriority};

/// How [`Model::load`](super::Model::load) loads.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Which engine runs the model.
    pub engine: EngineChoice,
    /// Which graph of the directory: a file name relative to it, or a variant such as `q4f16`. `None`: chosen by looking, one
    /// that suits the engine.
    pub graph: Option<String>,
    /// How exact the arithmetic is.
    pub accuracy: Accuracy,
    /// In which numbers keys and values are kept. Of the CPU engine alone.
    pub kv_precision: KvPrecision,
    /// Threads, the caller's included; `None` for as many as the process may use, or as `processors` has.
    pub threads: Option<usize>,
    /// The processors that the engine's own threads may run on, as the system numbers them; `None` for those of the thread that
    /// loads the model. The threads that call the library belong to the host and stay as they are: see
    /// [`schedule_this_thread`](crate::engine::schedule_this_thread). Of the CPU engine alone, on Linux, Android and Windows. On
    /// Windows they are 0 to 63 of one processor group, and `None` means the processors of the process.
    pub processors: Option<Vec<usize>>,
    /// How urgent the engine's own threads are. Of the CPU engine alone, on Linux, Android and Windows. On Windows normal priority is
    /// the process's.
    pub priority: ThreadPriority,
    /// The kernel row, such as `avx2` or `scalar`; `None` for the best that the CPU has. Of the CPU engine alone.
    pub kernels: Option<String>,
    /// The most bytes that the KV caches of all sessions may hold together. `None`: three quarters of the memory that is free
    /// when the model is loaded.
    pub memory_budget: Option<u64>,
    /// The most positions of a session; `None` for what the model was trained for.
    pub context_length: Option<usize>,
    /// Whether weights are mapped or read into memory.
    pub load: Load,
    /// Whether links that leave the directory are followed.
    pub follow_links: bool,
}
