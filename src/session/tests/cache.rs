//! What is kept in the KV cache from answer to answer.

use proptest::prelude::*;

use super::*;

/// Tokens computed for an answer of one token.
fn computed_for(session: &mut Session, engine: &FakeEngine, prompt: &[u32]) -> usize {
    let before = engine.computed();
    let answer = assert_answers(session, engine, prompt, 1);
    let computed = engine.computed() - before;
    assert_eq!(answer.outcome.statistics.reused_tokens, prompt.len() - computed);
    computed
}

#[test]
fn the_longest_common_prefix_is_reused() {
    let (engine, mut session) = session(FakeEngine::default());
    let first = tokens(40);
    let mut branch = first[..25].to_vec();
    branch.extend([5, 6, 7]);
    assert_eq!(computed_for(&mut session, &engine, &first), 40);
    assert_eq!(computed_for(&mut session, &engine, &first), 1, "only the last token again");
    assert_eq!(computed_for(&mut session, &engine, &branch), 3);
    assert_eq!(computed_for(&mut session, &engine, &branch[..10]), 1);
    assert_eq!(computed_for(&mut session, &engine, &first), 30);
    assert_eq!(computed_for(&mut session, &engine, &[9, 9]), 2);
}

#[test]
fn an_answer_is_reused_by_the_prompt_that_continues_it() {
    let (engine, mut session) = session(FakeEngine::default());
    let mut prompt = tokens(10);
    let answer = assert_answers(&mut session, &engine, &prompt, 5);
    prompt.extend(&answer.tokens);
    prompt.extend([3, 4]);
    assert_eq!(computed_for(&mut session, &engine, &prompt), 3, "the answer's last token and two new ones");
}

#[test]
fn rewinding_forgets_and_resetting_forgets_all() {
    let (engine, mut session) = session(FakeEngine::default());
    let prompt = tokens(30);
    computed_for(&mut session, &engine, &prompt);
    session.rewind(100);
    assert_eq!(session.len(), 30);
    session.rewind(12);
    assert_eq!((session.len(), session.tokens()), (12, &prompt[..12]));
    assert_eq!(computed_for(&mut session, &engine, &prompt), 18);
    session.reset();
    assert!(session.is_empty() && session.cache_bytes() == 0);
    assert_eq!(computed_for(&mut session, &engine, &prompt), 30);
}

#[test]
fn a_cache_that_is_cut_in_blocks_is_filled_up_again() {
    let (engine, mut session) = session(FakeEngine { block: 4, ..FakeEngine::default() });
    let prompt = tokens(30);
    computed_for(&mut session, &engine, &prompt);
    session.rewind(11);
    assert_eq!((session.len(), session.tokens()), (8, &prompt[..8]));
    assert_eq!(computed_for(&mut session, &engine, &prompt[..15]), 7);
    assert_eq!(computed_for(&mut session, &engine, &prompt[..15]), 3, "only the first 12 could be kept");
}

#[test]
fn dropping_a_stream_leaves_a_usable_cache() {
    let (engine, mut session) = session(FakeEngine::default());
    let prompt = tokens(20);
    for events in 0..12 {
        let mut stream = session.stream(&prompt[..], &greedy(50)).unwrap();
        for _ in 0..events {
            stream.next().unwrap().unwrap();
        }
        drop(stream);
        assert_answers(&mut session, &engine, &prompt[..15], 3);
    }
}

#[test]
fn longrope_switches_while_decoding_and_back() {
    let (engine, mut session) = session(FakeEngine { switch: 24, ..FakeEngine::default() });
    let prompt = tokens(20);
    let before = engine.computed();
    // 20 to 24 cached tokens are short; at 25 everything is fed again.
    assert_answers(&mut session, &engine, &prompt, 10);
    assert_eq!(engine.computed() - before, 20 + 4 + 25 + 4);
    assert_eq!(session.statistics().decode_steps, 9);
    // The cache is long now, so a short prompt starts anew, and a long one again.
    assert_eq!(computed_for(&mut session, &engine, &prompt), 20);
    assert_eq!(computed_for(&mut session, &engine, &tokens(26)), 26);
    assert_eq!(computed_for(&mut session, &engine, &tokens(30)), 4);
}

#[test]
fn a_switch_is_cancelled_between_chunks_and_made_up_for() {
    let (engine, mut session) = session(FakeEngine { switch: 40, on_token: None, ..FakeEngine::default() });
    let prompt = tokens(39);
    let cancel = super::super::CancelToken::new();
    let options = GenerateOptions { cancel: Some(cancel.clone()), ..greedy(10) };
    let mut stream = session.stream(&prompt[..], &options).unwrap();
    while stream.tokens().len() < 2 {
        stream.next().unwrap().unwrap();
    }
    cancel.cancel();
    assert!(stream.all(|event| event.is_ok()));
    drop(stream);
    assert_answers(&mut session, &engine, &prompt, 6);
}

#[test]
fn generations_of_one_session_may_interleave() {
    let (engine, mut session) = session(FakeEngine::default());
    let prompts = [tokens(12), tokens(15), vec![3, 1, 4]];
    let mut generations: Vec<_> =
        prompts.iter().map(|prompt| session.begin(&prompt[..], &greedy(6)).unwrap()).collect();
    let mut running = true;
    while running {
        running = false;
        for generation in &mut generations {
            running |= generation.next(&mut session).map(Result::unwrap).is_some();
        }
    }
    for (generation, prompt) in generations.iter().zip(&prompts) {
        assert_eq!(generation.tokens(), expected(&engine, prompt, 6));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever happened to a session, it answers as a fresh one.
    #[test]
    fn answers_do_not_depend_on_the_past(
        steps in prop::collection::vec((0_usize..5, 1_usize..40, 0_usize..8, 0_usize..30), 1..12),
        switch in prop::sample::select(vec![10_usize, 25, usize::MAX]),
        block in 1_usize..5,
    ) {
        let (engine, mut session) = session(FakeEngine { switch, block, ..FakeEngine::default() });
        for (action, length, count, detail) in steps {
            let mut prompt = tokens(length);
            if detail < length {
                prompt[detail] = 2;
            }
            match action {
                0 => session.rewind(detail),
                1 => {
                    let mut stream = session.stream(&prompt[..], &greedy(50)).unwrap();
                    stream.by_ref().take(detail).for_each(drop);
                }
                2 => {
                    let mut stream = session.stream(&prompt[..], &greedy(50)).unwrap();
                    stream.by_ref().take(detail).for_each(drop);
                    stream.discard();
                }
                _ => {
                    assert_answers(&mut session, &engine, &prompt, count);
                }
            }
        }
    }
}
