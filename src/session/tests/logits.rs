//! Logits that the host asks for.

use super::*;
use crate::error::ErrorKind;
use crate::session::{CancelToken, LogitsOptions};

fn last(last: usize) -> LogitsOptions {
    LogitsOptions { last, ..LogitsOptions::default() }
}

#[test]
fn logits_are_those_of_the_last_tokens_whatever_is_cached() {
    let (engine, mut session) = session(FakeEngine { maximum_batch: 7, ..FakeEngine::default() });
    let tokens = tokens(30);
    for (length, count) in [(30, 1), (30, 30), (20, 9), (25, 1), (25, 10), (1, 1), (30, 8)] {
        let logits = session.logits(&tokens[..length], &last(count)).unwrap();
        assert_eq!(logits.dim(), (count, 300));
        for (row, position) in logits.rows().into_iter().zip(length - count..) {
            assert_eq!(row.to_vec(), engine.logits_after(&tokens[..=position]), "{position} of {length}");
        }
        assert_eq!(session.tokens(), &tokens[..length]);
    }
    let before = engine.computed();
    session.logits(&tokens, &last(2)).unwrap();
    assert_eq!(engine.computed() - before, 2, "the tokens before those asked for are cached");
}

#[test]
fn what_cannot_be_asked_for_is_refused_and_changes_nothing() {
    let (_, mut session) = session(FakeEngine { context: 50, ..FakeEngine::default() });
    let tokens = tokens(51);
    session.logits(&tokens[..10], &last(1)).unwrap();
    for (tokens, options, kind) in [
        (&tokens[..0], last(1), ErrorKind::InvalidArgument),
        (&tokens[..5], last(0), ErrorKind::InvalidArgument),
        (&tokens[..5], last(6), ErrorKind::InvalidArgument),
        (&[1, 300], last(1), ErrorKind::InvalidArgument),
        (&tokens[..], last(1), ErrorKind::ContextLength),
    ] {
        assert_eq!(session.logits(tokens, &options).unwrap_err().kind(), kind);
        assert_eq!(session.len(), 10);
    }
    let cancel = CancelToken::new();
    cancel.cancel();
    let options = LogitsOptions { cancel: Some(cancel), ..LogitsOptions::default() };
    assert_eq!(session.logits(&tokens[..50], &options).unwrap_err().kind(), ErrorKind::Cancelled);
}
