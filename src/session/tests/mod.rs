//! Sessions on an engine whose every logit depends on the whole sequence: an answer is right only if the KV cache
//! held exactly the right tokens at each step.

mod batch;
mod cache;
mod chat;
mod drafts;
mod finish;
mod grammar;
mod logits;
mod stopping;
mod stream;

use std::sync::Arc;

use super::fake::{FakeEngine, shared};
use super::fake_text::{TOKENS, text};
use super::{Answer, GenerateOptions, Session, SessionOptions};

/// A session on `engine` and the engine itself.
fn session(engine: FakeEngine) -> (Arc<FakeEngine>, Session) {
    session_with(engine, SessionOptions { prefill_chunk: 8, ..SessionOptions::default() })
}

fn session_with(engine: FakeEngine, options: SessionOptions) -> (Arc<FakeEngine>, Session) {
    let (engine, shared) = shared(engine);
    (engine, Session::new(shared, text(), options).unwrap())
}

/// Greedy, and not ended by a stop token that the hash happens to choose.
fn greedy(max_tokens: usize) -> GenerateOptions {
    GenerateOptions { max_tokens, ignore_stop_tokens: true, ..GenerateOptions::default() }
}

/// What a greedy answer of `count` tokens to `prompt` must be, without any cache.
fn expected(engine: &FakeEngine, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut sequence = prompt.to_vec();
    for _ in 0..count {
        let logits = engine.logits_after(&sequence);
        let best = (0..TOKENS).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        sequence.push(best as u32);
    }
    sequence.split_off(prompt.len())
}

/// Tokens that look like those of a text.
fn tokens(count: usize) -> Vec<u32> {
    (0..count as u32).map(|index| 32 + index * 7 % 90).collect()
}

/// Asserts that the session answers `prompt` as a fresh one would.
fn assert_answers(session: &mut Session, engine: &FakeEngine, prompt: &[u32], count: usize) -> Answer {
    let answer = session.generate(prompt, &greedy(count)).unwrap();
    assert_eq!(answer.tokens, expected(engine, prompt, count));
    let fed = prompt.len() + count.saturating_sub(1);
    assert_eq!(session.len(), fed, "everything but the last token is cached");
    assert_eq!(session.tokens()[..prompt.len()], *prompt);
    answer
}
