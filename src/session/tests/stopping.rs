//! Cancelling and deadlines.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::super::{CancelToken, Event, FinishReason};
use super::*;

/// An engine that sets `cancel` before it computes token number `at`.
fn cancelling(at: usize, cancel: &CancelToken) -> FakeEngine {
    let cancel = cancel.clone();
    let hook = move |computed: usize| {
        if computed == at {
            cancel.cancel();
        }
    };
    FakeEngine { on_token: Some(Box::new(hook)), ..FakeEngine::default() }
}

#[test]
fn cancelling_inside_prefill_keeps_the_finished_chunks() {
    let cancel = CancelToken::new();
    let (engine, mut session) = session(cancelling(19, &cancel));
    let options = GenerateOptions { cancel: Some(cancel.clone()), ..greedy(5) };
    let answer = session.generate(tokens(40), &options).unwrap();
    assert_eq!((answer.outcome.reason, answer.tokens.len()), (FinishReason::Cancelled, 0));
    assert_eq!(engine.computed(), 20, "the third chunk was left at once");
    assert_eq!(session.tokens(), &tokens(40)[..16]);
    // The caller's token is the caller's to clear.
    let again = session.generate(tokens(40), &options).unwrap();
    assert_eq!(again.outcome.reason, FinishReason::Cancelled);
    cancel.reset();
    let answer = assert_answers(&mut session, &engine, &tokens(40), 5);
    assert_eq!(answer.outcome.statistics.reused_tokens, 16);
}

#[test]
fn cancelling_while_decoding_keeps_the_text() {
    let cancel = CancelToken::new();
    let (engine, mut session) = session(cancelling(13, &cancel));
    let options = GenerateOptions { cancel: Some(cancel.clone()), ..greedy(50) };
    let answer = session.generate(tokens(10), &options).unwrap();
    assert_eq!(answer.outcome.reason, FinishReason::Cancelled);
    assert_eq!(answer.tokens, expected(&engine, &tokens(10), 4));
    assert_eq!(session.len(), 13);
    cancel.reset();
    assert_answers(&mut session, &engine, &tokens(10), 8);
}

#[test]
fn the_sessions_token_stops_the_answer_in_progress_from_another_thread() {
    let engine = FakeEngine { token_time: Duration::from_millis(1), ..FakeEngine::default() };
    let (_, mut session) = session(engine);
    let token = session.cancel_token();
    let mut stream = session.stream(tokens(5), &greedy(usize::MAX)).unwrap();
    stream.next().unwrap().unwrap();
    let canceller = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(10));
        token.cancel();
    });
    let last = stream.by_ref().last().unwrap().unwrap();
    canceller.join().unwrap();
    assert!(matches!(last, Event::Finished(outcome) if outcome.reason == FinishReason::Cancelled));
}

#[test]
fn the_sessions_token_is_cleared_when_an_answer_begins() {
    let (engine, mut session) = session(FakeEngine::default());
    session.cancel_token().cancel();
    assert_answers(&mut session, &engine, &tokens(5), 3);
}

#[test]
fn both_tokens_count() {
    let own = CancelToken::new();
    let (_, mut session) = session(FakeEngine::default());
    let options = GenerateOptions { cancel: Some(own), ..greedy(5) };
    let token = session.cancel_token();
    let stream = session.stream(tokens(5), &options).unwrap();
    token.cancel();
    assert_eq!(stream.into_answer().unwrap().outcome.reason, FinishReason::Cancelled);
}

#[test]
fn a_deadline_holds_in_prefill() {
    let engine = FakeEngine { token_time: Duration::from_millis(2), ..FakeEngine::default() };
    let (engine, mut session) = session(engine);
    let options = GenerateOptions { deadline: Some(Duration::from_millis(30)), ..greedy(5) };
    let started = Instant::now();
    let answer = session.generate(tokens(2_000), &options).unwrap();
    assert_eq!((answer.outcome.reason, answer.tokens.len()), (FinishReason::Deadline, 0));
    assert!(started.elapsed() < Duration::from_secs(2), "2,000 tokens take 4 s");
    assert!(engine.computed() <= 16);
    assert!(session.len().is_multiple_of(8));
}

#[test]
fn a_deadline_holds_while_decoding_and_keeps_the_text() {
    let engine = FakeEngine { token_time: Duration::from_millis(10), ..FakeEngine::default() };
    let (engine, mut session) = session(engine);
    let options = GenerateOptions { deadline: Some(Duration::from_millis(400)), ..greedy(2_000) };
    let answer = session.generate(tokens(2), &options).unwrap();
    assert_eq!(answer.outcome.reason, FinishReason::Deadline);
    let count = answer.tokens.len();
    assert!((1..=40).contains(&count), "{count} tokens");
    assert_eq!(answer.tokens, expected(&engine, &tokens(2), count));
}

#[test]
fn no_time_at_all_and_more_than_the_clock_knows() {
    let (engine, mut session) = session(FakeEngine::default());
    let options = GenerateOptions { deadline: Some(Duration::ZERO), ..greedy(5) };
    let answer = session.generate(tokens(3), &options).unwrap();
    assert_eq!((answer.outcome.reason, engine.computed()), (FinishReason::Deadline, 0));
    let options = GenerateOptions { deadline: Some(Duration::MAX), ..greedy(5) };
    assert_eq!(session.generate(tokens(3), &options).unwrap().outcome.reason, FinishReason::MaxTokens);
}

#[test]
fn a_slow_consumer_uses_up_the_deadline_too() {
    let (_, mut session) = session(FakeEngine::default());
    let options = GenerateOptions { deadline: Some(Duration::from_millis(40)), ..greedy(1_000_000) };
    let slowest = Mutex::new(Duration::ZERO);
    let outcome = session
        .generate_with(tokens(3), &options, |_| {
            std::thread::sleep(Duration::from_millis(5));
            *slowest.lock().unwrap() += Duration::from_millis(5);
            super::super::Control::Continue
        })
        .unwrap();
    assert_eq!(outcome.reason, FinishReason::Deadline);
    assert!(*slowest.lock().unwrap() < Duration::from_secs(2));
}
