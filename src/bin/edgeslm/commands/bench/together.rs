//! Several sequences that are computed together, each with a prompt and an answer of its own.

use std::time::{Duration, Instant};

use edgeslm::engine::{Engine, KvCache, LogitsAt, RunControl, SequenceInput};
use edgeslm::kernels::KernelTable;
use edgeslm::{Error, ErrorKind, Result};
use ndarray::Array2;

/// What computing them took.
pub(super) struct Together {
    /// From the start to the last sequence's first token.
    pub(super) first_token: Duration,
    /// For all passes after that.
    pub(super) decode: Duration,
    /// Of all sequences.
    pub(super) cache_bytes: u64,
}

/// Computes the prompts one after another, then in each pass one more token of every sequence until each has `generate`.
///
/// # Errors
/// Those of the engine, and [`ErrorKind::InvalidArgument`] when a pass has no room for all sequences.
pub(super) fn generate(engine: &dyn Engine, prompts: &[Vec<u32>], generate: usize) -> Result<Together> {
    let room = engine.maximum_batch_tokens();
    if prompts.len() > room {
        let message = format!("a pass takes {room} tokens, and there are {} sequences", prompts.len());
        return Err(Error::new(ErrorKind::InvalidArgument, message).with_hint("choose fewer --sequences"));
    }
    let kernels = KernelTable::select()?;
    let most_probable = |logits: &Array2<f32>| logits.as_slice().map_or(0, |row| kernels.argmax(row) as u32);
    let started = Instant::now();
    let mut sequences = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let mut cache = engine.new_cache();
        engine.prepare(cache.as_mut(), prompt.len() + generate)?;
        let logits = prefill(engine, cache.as_mut(), prompt)?;
        sequences.push((cache, logits.as_ref().map_or(0, most_probable)));
    }
    let first_token = started.elapsed();
    // The first token of each has come from its prompt.
    for _ in 1..generate {
        let mut batch: Vec<_> = sequences
            .iter_mut()
            .map(|(cache, token)| input(cache.as_mut(), std::slice::from_ref(token)))
            .collect();
        let logits = engine.forward(&mut batch, &RunControl::default())?;
        for ((_, token), logits) in sequences.iter_mut().zip(&logits) {
            *token = most_probable(logits);
        }
    }
    let decode = started.elapsed() - first_token;
    let cache_bytes = sequences.iter().map(|(cache, _)| cache.bytes()).sum();
    Ok(Together { first_token, decode, cache_bytes })
}

/// The logits after the prompt.
fn prefill(engine: &dyn Engine, cache: &mut dyn KvCache, prompt: &[u32]) -> Result<Option<Array2<f32>>> {
    let mut logits = None;
    for tokens in prompt.chunks(engine.maximum_batch_tokens()) {
        logits = engine.forward(&mut [input(cache, tokens)], &RunControl::default())?.pop();
    }
    Ok(logits)
}

fn input<'a>(cache: &'a mut dyn KvCache, tokens: &'a [u32]) -> SequenceInput<'a> {
    SequenceInput { cache, tokens, parents: None, logits: LogitsAt::Last, vocabulary: None }
}
