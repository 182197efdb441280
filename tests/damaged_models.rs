//! Damaged and hostile models, prompts and options, from `Model::load` to the answer: a typed error or an answer,
//! within seconds and within a stated amount of memory; never a panic.
//!
//! Every case is measured: see `cases` for the limits, and `memory` for what is counted.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod damaged_models {
    mod cases;
    mod files;
    mod fixtures;
    mod flips;
    mod memory;
    mod numbers;
    mod operators;
    mod options;
    mod programs;
    mod prompts;
    mod properties;
    mod templates;
    mod tensors;
    mod tokenizers;
    mod truncations;
    mod vocabularies;
    mod wide;
}
