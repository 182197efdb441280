//! How fast the process can read a model's weights.

use std::collections::HashSet;
use std::hint::black_box;
use std::time::Instant;

use edgeslm::graph::{Matrix, Program};
use edgeslm::model::WeightBytes;

/// The weights that a decoded token reads.
pub(super) struct Weights {
    spans: Vec<WeightBytes>,
}

impl Weights {
    pub(super) fn of(program: &Program) -> Self {
        let mut seen = HashSet::new();
        let matrices = program.steps.iter().flat_map(|step| step.operation.matrices());
        let spans = matrices.flat_map(spans).filter(|span| seen.insert(span.as_bytes().as_ptr() as usize));
        Self { spans: spans.cloned().collect() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.spans.iter().map(|span| span.len() as u64).sum()
    }

    /// Bytes a second at which `threads` threads sum them up.
    pub(super) fn read_rate(&self, threads: usize) -> f64 {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    let sums = self.spans.iter().map(|span| sum(part(span.as_bytes(), thread, threads)));
                    black_box(sums.fold(0, u64::wrapping_add))
                });
            }
        });
        self.bytes() as f64 / started.elapsed().as_secs_f64()
    }
}

fn spans(matrix: &Matrix) -> Vec<&WeightBytes> {
    match matrix {
        Matrix::Dense(weights) => vec![&weights.elements.bytes],
        Matrix::Block(weights) => vec![&weights.codes, &weights.scales.bytes],
    }
}

/// The `index`-th of `count` equal parts.
fn part(bytes: &[u8], index: usize, count: usize) -> &[u8] {
    let cut = |index: usize| bytes.len() / count * index + (bytes.len() % count).min(index);
    &bytes[cut(index)..cut(index + 1)]
}

fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(words, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1003).collect();
        for count in [1, 2, 7] {
            let parts: Vec<&[u8]> = (0..count).map(|index| part(&bytes, index, count)).collect();
            assert_eq!(parts.concat(), bytes, "{count}");
        }
        assert_eq!(sum(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]), 6);
    }
}
