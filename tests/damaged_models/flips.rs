//! Graphs with one byte changed.

use super::cases::Cases;
use super::fixtures::{Copy, GRAPH, Numbers, Outcome, data, golden, name, outcome};

/// Flips in all golden directories together.
const GOLDEN_FLIPS: usize = 1_200;

/// Flips in each of the variants.
const VARIANT_FLIPS: usize = 50;

/// Forms that the golden directories do not have.
const VARIANTS: [&str; 20] = [
    "bf16",
    "dense",
    "f16-directml",
    "f16-typed-fields",
    "gelu-forms",
    "gemma-4-layers",
    "granite",
    "inline",
    "layer-norm",
    "llama-3-layers",
    "longrope-concat",
    "mixed-storage",
    "qdq-8-bits",
    "qdq-uint4-zero-points",
    "qk-norm-split",
    "rotary-nodes-partial",
    "separate-qkv",
    "table-uint8-ragged",
    "two-rotations",
    "windows",
];

#[test]
fn flipped_bytes() {
    let mut cases = Cases::new("flipped bytes");
    let mut numbers = Numbers(4);
    let (mut refused, mut failed, mut answered) = (0, 0, 0);
    let golden = golden();
    let per_golden = GOLDEN_FLIPS / golden.len();
    let variants = VARIANTS.map(|variant| data("variants").join(variant));
    let directories = golden.iter().map(|path| (path, per_golden));
    for (directory, flips) in directories.chain(variants.iter().map(|path| (path, VARIANT_FLIPS))) {
        let copy = Copy::of_path(directory);
        let graph = copy.read(GRAPH);
        for _ in 0..flips {
            let (position, mask) = (numbers.below(graph.len()), 1 + numbers.below(255));
            let mut damaged = graph.clone();
            damaged[position] ^= mask as u8;
            copy.write(GRAPH, &damaged);
            cases.run(format!("{} byte {position} ^ {mask}", name(directory)), || {
                match outcome(copy.path())? {
                    Outcome::Refused(_) => refused += 1,
                    Outcome::Failed(_) => failed += 1,
                    Outcome::Answered(_) => answered += 1,
                }
                Ok(())
            });
        }
    }
    println!("{refused} refused, {failed} failed, {answered} answered");
    assert!(refused + failed + answered >= 2_000 && answered > 0, "the flips hit nothing");
    cases.finish();
}
