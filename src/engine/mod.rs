//! What a session needs from whatever runs the model.
//!
//! An [`Engine`] is immutable and shared; the state of a conversation lives in a [`KvCache`] that the engine
//! makes and the session owns. [`Engine::forward`] runs several sequences at once.

mod budget;
mod choice;
pub mod cpu;
#[cfg(feature = "ort")]
pub mod ort;
mod turns;

pub use choice::{EngineChoice, OrtOptions, Provider};

pub use crate::kernels::{ThreadPriority, schedule_this_thread};

use std::any::Any;
use std::time::Instant;

use ndarray::Array2;

use crate::error::{Error, ErrorKind, Result};
use crate::session::CancelToken;

/// Refuses a sequence of more positions than the context has.
fn check_context(total_length: usize, context_length: usize) -> Result<()> {
    if total_length <= context_length {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ContextLength,
        format!("{total_length} positions are more than the context of {context_length}"),
    )
    .with_hint("shorten the prompt or start a new conversation"))
}

/// How exact the arithmetic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Accuracy {
    /// Integer dot products over activations quantised to 8 bits per block of 16; f16 KV cache unless [`KvPrecision`] says otherwise.
    #[default]
    Default,
    /// As the default, but over activations in two planes of 8 bits: the second quantises what the first leaves.
    Precise,
    /// fp32 arithmetic in a fixed order; f32 KV cache unless [`KvPrecision`] says otherwise.
    Strict,
}

/// In which numbers the CPU engine keeps keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum KvPrecision {
    /// As the accuracy says: f32 in strict accuracy, else f16.
    #[default]
    Auto,
    /// Codes of 8 bits with an f16 scale for each 32 elements of a head: 17/32 of the memory of f16, in every accuracy.
    Int8,
}

/// The keys and values of one sequence, owned by a session and understood by the engine that made it.
pub trait KvCache: Send {
    /// How many positions hold keys and values.
    fn len(&self) -> usize;

    /// Whether no position is cached.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the positions from `length` on; no effect when fewer are cached.
    fn truncate(&mut self, length: usize);

    /// Bytes of memory that the cache holds at present.
    fn bytes(&self) -> u64;

    /// The concrete type, for the engine.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// Which of a sequence's new tokens get logits. A position that is not asked for costs no lm_head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitsAt<'a> {
    /// None.
    None,
    /// The last new token only.
    Last,
    /// Every new token.
    All,
    /// These indices into the new tokens, in this order.
    Positions(&'a [usize]),
}

/// One sequence's part of a batch.
pub struct SequenceInput<'a> {
    /// The sequence's cache; the new tokens continue at [`KvCache::len`].
    pub cache: &'a mut dyn KvCache,
    /// The new tokens, at least one.
    pub tokens: &'a [u32],
    /// For a tree of continuations: each token's parent among `tokens` (an earlier index), or `None` for one
    /// that follows the cached positions directly. `None` in place of the slice: a plain chain.
    ///
    /// A tree is only scored: afterwards the cache is as long as before.
    pub parents: Option<&'a [Option<usize>]>,
    /// Which tokens get logits.
    pub logits: LogitsAt<'a>,
    /// The vocabulary entries whose logits are wanted, in this order; `None` for all.
    pub vocabulary: Option<&'a [u32]>,
}

/// What may stop a forward pass before its end.
#[derive(Debug, Clone, Default)]
pub struct RunControl {
    /// Stops the pass when signalled.
    pub cancel: Option<CancelToken>,
    /// Stops the pass when this moment has passed.
    pub deadline: Option<Instant>,
}

impl RunControl {
    /// # Errors
    /// [`ErrorKind::Cancelled`] or [`ErrorKind::DeadlineExceeded`] when the work is to stop.
    pub fn check(&self) -> Result<()> {
        if self.cancel.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled by the caller"));
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Error::new(ErrorKind::DeadlineExceeded, "the deadline has passed"));
        }
        Ok(())
    }
}

/// Runs a decoder model.
pub trait Engine: Send + Sync {
    /// The engine's name and what it runs on, such as `cpu (avx512vnni, 2 threads)`.
    fn describe(&self) -> String;

    /// How many logits a position has: the rows of the lm_head.
    fn vocabulary_size(&self) -> usize;

    /// The most positions a sequence may have.
    fn context_length(&self) -> usize;

    /// The most tokens, over all sequences, that one [`forward`](Self::forward) takes.
    fn maximum_batch_tokens(&self) -> usize;

    /// An empty cache.
    fn new_cache(&self) -> Box<dyn KvCache>;

    /// Bytes of KV cache that a sequence of `positions` holds.
    fn cache_bytes(&self, positions: usize) -> u64;

    /// Makes room in `cache` for a sequence that will grow to `total_length` positions.
    ///
    /// Returns how many cached positions stay valid: all of them, or fewer where a model with LongRoPE switches
    /// its rotation between the present and the coming length. The caller then feeds the rest again.
    ///
    /// # Errors
    /// [`ErrorKind::ContextLength`] when `total_length` is above [`context_length`](Self::context_length);
    /// [`ErrorKind::MemoryBudget`], before anything is allocated, when the memory budget does not allow it. The
    /// cache is unchanged on error.
    fn prepare(&self, cache: &mut dyn KvCache, total_length: usize) -> Result<usize>;

    /// Runs the new tokens of every sequence and returns, per sequence, the logits asked for: one row a position,
    /// one column a vocabulary entry.
    ///
    /// Every cache must have been [prepared](Self::prepare) for its new length. On success each cache (of a chain) is longer by
    /// its sequence's tokens; on error every cache is as it was.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an empty batch, an unknown token id or an impossible request;
    /// [`ErrorKind::Cancelled`] and [`ErrorKind::DeadlineExceeded`] as `control` says.
    fn forward(&self, batch: &mut [SequenceInput<'_>], control: &RunControl) -> Result<Vec<Array2<f32>>>;
}
