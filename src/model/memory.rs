//! How much memory a model needs, and how much the machine has left.

#![forbid(unsafe_code)]

use std::collections::HashSet;

use serde::Serialize;

use super::WeightBytes;
use crate::graph::{FloatWeights, Matrix, Operation, Program, ZeroPointWeights};

/// What running a model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryEstimate {
    /// Weights that a pass over the model reads. With [`Load::Map`](super::Load::Map) these are pages of the files, which the
    /// system may drop and read again; with [`Load::Copy`](super::Load::Copy) they are memory of the process.
    pub weights: u64,
    /// Keys and values of one session at the number of positions asked for.
    pub cache: u64,
    /// Buffers for activations and logits.
    pub scratch: u64,
    /// Tokenizer, chat template and the graph's own data.
    pub text: u64,
}

impl MemoryEstimate {
    /// Memory of the process besides the weights: what must fit whatever else happens.
    #[must_use]
    pub fn private(&self) -> u64 {
        self.cache + self.scratch + self.text
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights + self.private()
    }
}

/// Bytes of the parts of a program's weights that every pass reads, those shared by two steps counted once.
pub(super) fn weight_bytes(program: &Program) -> u64 {
    let mut seen = HashSet::new();
    let mut total = 0;
    let mut count = |bytes: &WeightBytes| {
        let place = (bytes.as_bytes().as_ptr() as usize, bytes.len());
        if seen.insert(place) {
            total += bytes.len() as u64;
        }
    };
    for step in &program.steps {
        for matrix in step.operation.matrices() {
            parts(matrix).into_iter().for_each(&mut count);
        }
    }
    total
}

/// The spans of bytes that a matrix consists of.
pub(super) fn parts(matrix: &Matrix) -> Vec<&WeightBytes> {
    match matrix {
        Matrix::Dense(weights) => vec![&weights.elements.bytes],
        Matrix::Block(weights) => {
            let zero_points = match &weights.zero_points {
                Some(
                    ZeroPointWeights::Packed(bytes) | ZeroPointWeights::Floats(FloatWeights { bytes, .. }),
                ) => Some(bytes),
                Some(ZeroPointWeights::Same(_)) | None => None,
            };
            [&weights.codes, &weights.scales.bytes].into_iter().chain(zero_points).collect()
        }
    }
}

/// Bytes of the embedding table, if it is not also the head.
pub(super) fn table_bytes(program: &Program) -> u64 {
    let heads: HashSet<usize> = program
        .steps
        .iter()
        .flat_map(|step| step.operation.matrices())
        .flat_map(parts)
        .map(|bytes| bytes.as_bytes().as_ptr() as usize)
        .collect();
    program
        .steps
        .iter()
        .filter_map(|step| match &step.operation {
            Operation::Embed { table } => Some(parts(&table.matrix)),
            _ => None,
        })
        .flatten()
        .filter(|bytes| !heads.contains(&(bytes.as_bytes().as_ptr() as usize)))
        .map(|bytes| bytes.len() as u64)
        .sum()
}

/// Memory of everything but weights, cache and scratch: the tokenizer, and the program, the template, the threads' stacks and what
/// the allocator cannot use, as measured with models of 1 to 30 layers.
pub(super) fn text_bytes(tokenizer: u64) -> u64 {
    const FIXED: u64 = 3 << 19;
    FIXED + tokenizer
}

/// Bytes of memory that are free for this process, by its cgroup and the whole machine, where the system tells.
#[must_use]
pub fn available_memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |text: Option<String>| text.and_then(|text| text.trim().parse::<u64>().ok());
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:").map(str::to_owned))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
    });
    let group = number(read("/sys/fs/cgroup/memory.max"))
        .zip(number(read("/sys/fs/cgroup/memory.current")))
        .map(|(limit, used)| limit.saturating_sub(used));
    machine.into_iter().chain(group).min()
}
