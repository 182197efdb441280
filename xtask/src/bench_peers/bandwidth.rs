//! How fast this machine's memory can be read: the limit of decoding.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use super::figures::median;

/// Far more than a last-level cache holds.
const BYTES: usize = 1 << 30;
/// How often the memory is read; the middle counts.
const PASSES: usize = 5;

/// Bytes per second at which `threads` threads read memory and do nothing else.
pub(super) fn measure(threads: usize) -> f64 {
    measure_over(BYTES, threads)
}

fn measure_over(bytes: usize, threads: usize) -> f64 {
    // Written, so that every page is memory of its own.
    let words: Vec<u64> = (0..bytes as u64 / 8).collect();
    let part = words.len().div_ceil(threads.max(1)).max(1);
    let rates: Vec<f64> = (0..PASSES)
        .map(|_| {
            let start = Instant::now();
            thread::scope(|scope| {
                for part in words.chunks(part) {
                    scope.spawn(|| black_box(sums(part)));
                }
            });
            (words.len() * 8) as f64 / start.elapsed().as_secs_f64()
        })
        .collect();
    median(&rates)
}

/// Sums side by side, which the compiler turns into wide loads and additions.
fn sums(words: &[u64]) -> [u64; 32] {
    let mut sums = [0_u64; 32];
    for words in words.as_chunks::<32>().0 {
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_read() {
        let words: Vec<u64> = (0..64).collect();
        let sums = sums(&words);
        assert_eq!((sums[0], sums[31]), (32, 31 + 63));
        for threads in [0, 1, 3] {
            let rate = measure_over(1 << 20, threads);
            assert!(rate.is_finite() && rate > 0.0, "{threads}: {rate}");
        }
    }
}
