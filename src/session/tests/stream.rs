//! The events of a stream, and what is asked of the engine.

use super::super::fake_text::END;
use super::super::{Control, Event, FinishReason, Prompt};
use super::*;
use crate::ErrorKind;
use crate::sampling::{LogProbabilities, SamplingOptions};
use crate::text::Message;

#[test]
fn a_session_can_move_between_threads() {
    fn assert_send<T: Send>() {}
    assert_send::<Session>();
    assert_send::<super::super::Generation>();
}

#[test]
fn the_answer_is_that_of_the_whole_sequence() {
    let (engine, mut session) = session(FakeEngine::default());
    for length in [1, 7, 8, 9, 16, 30] {
        session.reset();
        assert_answers(&mut session, &engine, &tokens(length), 12);
    }
}

#[test]
fn logits_are_computed_for_the_last_position_only() {
    let (engine, mut session) = session(FakeEngine::default());
    session.generate(tokens(20), &greedy(3)).unwrap();
    let calls = engine.take_calls();
    let shapes: Vec<_> = calls.iter().map(|call| (call.tokens[0], call.rows[0])).collect();
    assert_eq!(shapes, [(8, 0), (8, 0), (4, 1), (1, 1), (1, 1)]);
}

#[test]
fn chunks_never_exceed_what_the_engine_takes() {
    let (engine, mut session) = session(FakeEngine { maximum_batch: 3, ..FakeEngine::default() });
    assert_answers(&mut session, &engine, &tokens(10), 2);
}

#[test]
fn events_come_in_order_and_end() {
    let (_, mut session) = session(FakeEngine::scripted(1, vec![104, 105, 0xC3, 0xA9, END]));
    let mut prompt = tokens(9);
    prompt.push(1);
    let mut stream = session.stream(prompt, &GenerateOptions::default()).unwrap();
    let events: Vec<Event> = stream.by_ref().map(Result::unwrap).collect();
    assert!(stream.next().is_none());
    let token = |id| Event::Token { id, log_probabilities: None };
    let text = |text: &str| Event::Text(text.to_owned());
    let (finished, before) = events.split_last().unwrap();
    assert_eq!(
        before,
        [
            Event::Prompt { done: 8, total: 10 },
            Event::Prompt { done: 10, total: 10 },
            token(104),
            text("h"),
            token(105),
            text("i"),
            token(0xC3),
            token(0xA9),
            text("é"),
        ]
    );
    let Event::Finished(outcome) = finished else { panic!("{finished:?} is not the end") };
    assert_eq!(outcome.reason, FinishReason::StopToken);
}

#[test]
fn statistics_count_tokens_and_times() {
    let (_, mut session) = session(FakeEngine::default());
    let answer = session.generate(tokens(20), &greedy(5)).unwrap();
    let statistics = answer.outcome.statistics;
    assert_eq!((statistics.prompt_tokens, statistics.reused_tokens), (20, 0));
    assert_eq!((statistics.generated_tokens, statistics.decode_steps), (5, 4));
    assert_eq!(statistics.cache_bytes, 24 * 8);
    assert!(statistics.prefill_rate() > 0.0 && statistics.decode_rate() > 0.0);
    assert!(statistics.time_to_first_token.unwrap() >= statistics.prefill_time);
    assert_eq!(session.statistics(), statistics);
    assert_eq!(session.cache_bytes(), 24 * 8);
}

#[test]
fn raw_chat_and_token_prompts() {
    let (_, mut session) = session(FakeEngine::default());
    let one = greedy(1);
    session.generate("ab", &one).unwrap();
    assert_eq!(session.tokens(), [260, 97, 98], "the begin token is added");
    session.generate(vec![Message::user("ab")], &one).unwrap();
    assert_eq!(session.tokens(), [257, 97, 98, 256, 258]);
    session.generate(vec![97_u32, 98], &one).unwrap();
    assert_eq!(session.tokens(), [97, 98]);
}

#[test]
fn log_probabilities_are_the_models_own() {
    let (engine, mut session) = session(FakeEngine::default());
    let prompt = tokens(5);
    let options = GenerateOptions {
        log_probabilities: Some(3),
        sampling: Some(SamplingOptions { temperature: 3.0, seed: Some(1), ..SamplingOptions::default() }),
        ..greedy(4)
    };
    let answer = session.generate(&prompt[..], &options).unwrap();
    assert_eq!(answer.log_probabilities.len(), 4);
    let mut sequence = prompt;
    for (&token, log) in answer.tokens.iter().zip(&answer.log_probabilities) {
        let logits = engine.logits_after(&sequence);
        assert_eq!(log, &LogProbabilities::new(&logits[..TOKENS], token, 3).unwrap());
        assert!(log.top.iter().all(|(id, _)| (*id as usize) < TOKENS), "padding is left out");
        sequence.push(token);
    }
}

#[test]
fn seeds_reproduce_answers() {
    let hot = |seed| GenerateOptions {
        sampling: Some(SamplingOptions { temperature: 1.0, seed, ..SamplingOptions::default() }),
        ..greedy(20)
    };
    let (_, mut session) = session(FakeEngine::default());
    let mut answer = |seed| session.generate(tokens(3), &hot(seed)).unwrap();
    let first = answer(Some(9));
    assert_eq!(answer(Some(9)).tokens, first.tokens);
    assert_ne!(answer(Some(10)).tokens, first.tokens);
    let unseeded = answer(None);
    assert_ne!(answer(None).tokens, unseeded.tokens);
    assert_eq!(answer(Some(unseeded.outcome.seed)).tokens, unseeded.tokens);
}

#[test]
fn an_answers_sampling_overrides_the_sessions() {
    let ban = |token| SamplingOptions { logit_bias: vec![(token, f32::NEG_INFINITY)], ..Default::default() };
    let engine = FakeEngine::default();
    let plain = expected(&engine, &[40], 1)[0];
    let options = SessionOptions { sampling: ban(plain), ..SessionOptions::default() };
    let (_, mut session) = session_with(engine, options);
    let first = |session: &mut Session, options: &GenerateOptions| {
        session.generate(vec![40_u32], options).unwrap().tokens[0]
    };
    let second = first(&mut session, &greedy(1));
    assert_ne!(second, plain);
    let own = GenerateOptions { sampling: Some(ban(second)), ..greedy(1) };
    assert_eq!(first(&mut session, &own), plain);
}

#[test]
fn penalties_see_the_prompt_and_the_answer() {
    let (_, mut session) = session(FakeEngine::scripted(1, vec![65; 10]));
    let sampling = SamplingOptions { presence_penalty: 60.0, penalty_window: 100, ..Default::default() };
    let options = GenerateOptions { sampling: Some(sampling), ..greedy(2) };
    let answer = session.generate(vec![66_u32, 1], &options).unwrap();
    assert_eq!(answer.tokens[0], 65);
    assert_eq!(answer.tokens[1], 0, "65 now has 50 - 60, the others 0");
}

#[test]
fn a_callback_may_stop_or_cancel() {
    let (_, mut session) = session(FakeEngine::scripted(1, vec![97, 98, 99, 100, END]));
    let run = |session: &mut Session, verdict: Control| {
        let mut seen = String::new();
        let outcome = session
            .generate_with(vec![50_u32, 1], &GenerateOptions::default(), |event| {
                if let Event::Text(text) = event {
                    seen.push_str(text);
                }
                if seen.len() == 2 { verdict } else { Control::Continue }
            })
            .unwrap();
        (seen, outcome.reason, session.len())
    };
    assert_eq!(run(&mut session, Control::Continue), ("abcd".to_owned(), FinishReason::StopToken, 6));
    session.reset();
    assert_eq!(run(&mut session, Control::Stop), ("ab".to_owned(), FinishReason::Cancelled, 3));
    session.reset();
    assert_eq!(run(&mut session, Control::Cancel), ("ab".to_owned(), FinishReason::Cancelled, 0));
}

#[test]
fn refusals_leave_the_session_as_it_was() {
    let options = SessionOptions { context: Some(30), ..SessionOptions::default() };
    let (engine, mut session) = session_with(FakeEngine::default(), options);
    assert_answers(&mut session, &engine, &tokens(10), 4);
    let before = session.tokens().to_vec();
    let bad_sampling = SamplingOptions { top_p: 2.0, ..SamplingOptions::default() };
    let unknown_bias = SamplingOptions { logit_bias: vec![(299, 1.0)], ..SamplingOptions::default() };
    let cases: [(Prompt, GenerateOptions, ErrorKind, &str); 9] = [
        ("".into(), greedy(1), ErrorKind::InvalidArgument, "empty"),
        (Vec::<u32>::new().into(), greedy(1), ErrorKind::InvalidArgument, "empty"),
        (Vec::<Message>::new().into(), greedy(1), ErrorKind::InvalidArgument, "empty"),
        (vec![5_u32, 300].into(), greedy(1), ErrorKind::InvalidArgument, "300"),
        (tokens(31).into(), greedy(1), ErrorKind::ContextLength, "31 tokens and the context holds 30"),
        (
            tokens(3).into(),
            GenerateOptions { stop: vec![String::new()], ..greedy(1) },
            ErrorKind::InvalidArgument,
            "stop",
        ),
        (
            tokens(3).into(),
            GenerateOptions { sampling: Some(bad_sampling), ..greedy(1) },
            ErrorKind::InvalidArgument,
            "top_p",
        ),
        (
            tokens(3).into(),
            GenerateOptions { sampling: Some(unknown_bias), ..greedy(1) },
            ErrorKind::InvalidArgument,
            "299",
        ),
        (tokens(25).into(), greedy(1), ErrorKind::MemoryBudget, "fake"),
    ];
    engine.budget.store(20, std::sync::atomic::Ordering::SeqCst);
    for (prompt, options, kind, message) in cases {
        let error = session.generate(prompt, &options).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(message), "{error}");
        assert_eq!(session.tokens(), before, "after {error}");
    }
    engine.budget.store(usize::MAX, std::sync::atomic::Ordering::SeqCst);
    assert_answers(&mut session, &engine, &tokens(12), 4);
}

#[test]
fn options_out_of_range_make_no_session() {
    let (_, engine) = shared(FakeEngine::default());
    let options = SessionOptions { prefill_chunk: 0, ..SessionOptions::default() };
    let error = Session::new(engine, text(), options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn errors_end_the_stream_and_not_the_session() {
    for (failing, damaged, kind) in [
        (vec![2], vec![], ErrorKind::Io),
        (vec![5], vec![], ErrorKind::Io),
        (vec![], vec![3], ErrorKind::InvalidModel),
        (vec![], vec![6], ErrorKind::InvalidModel),
    ] {
        let (engine, mut session) = session(FakeEngine { failing, damaged, ..FakeEngine::default() });
        let prompt = tokens(20);
        let mut stream = session.stream(&prompt[..], &greedy(8)).unwrap();
        let error = stream.by_ref().find_map(Result::err).unwrap();
        assert_eq!(error.kind(), kind);
        assert!(stream.next().is_none() && stream.next().is_none());
        drop(stream);
        assert_answers(&mut session, &engine, &prompt, 8);
    }
}

#[test]
fn a_budget_that_ends_while_decoding_is_an_error_with_the_session_intact() {
    let (engine, mut session) = session(FakeEngine::default());
    engine.budget.store(12, std::sync::atomic::Ordering::SeqCst);
    let mut stream = session.stream(tokens(10), &greedy(8)).unwrap();
    let error = stream.by_ref().find_map(Result::err).unwrap();
    assert_eq!(error.kind(), ErrorKind::MemoryBudget);
    assert_eq!(stream.tokens().len(), 3, "of which two fitted the cache");
    drop(stream);
    assert_eq!(session.len(), 12);
}
