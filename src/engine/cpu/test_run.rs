//! Runs a program from start to end, for tests of what makes programs.

use super::{CpuEngine, CpuOptions};
use crate::engine::{Accuracy, Engine, LogitsAt, RunControl, SequenceInput};
use crate::graph::Program;

/// The logits of every position of `tokens`, fed in one pass on one thread.
pub(crate) fn all_logits(program: Program, accuracy: Accuracy, tokens: &[u32]) -> Vec<Vec<f32>> {
    let options =
        CpuOptions { accuracy, threads: Some(1), context_length: tokens.len(), ..CpuOptions::default() };
    let engine = CpuEngine::new(program, &options).unwrap();
    let mut cache = engine.new_cache();
    engine.prepare(cache.as_mut(), tokens.len()).unwrap();
    let input = SequenceInput {
        cache: cache.as_mut(),
        tokens,
        parents: None,
        logits: LogitsAt::All,
        vocabulary: None,
    };
    let logits = engine.forward(&mut [input], &RunControl::default()).unwrap();
    logits[0].rows().into_iter().map(|row| row.to_vec()).collect()
}
