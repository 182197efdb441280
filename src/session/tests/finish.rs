//! Every way in which an answer ends of itself.

use super::super::FinishReason;
use super::super::fake_text::END;
use super::*;
use crate::ErrorKind;

/// What the scripted tokens give as an answer.
fn answer(script: &[u32], options: &GenerateOptions) -> (String, usize, FinishReason) {
    let (_, mut session) = session(FakeEngine::scripted(1, script.to_vec()));
    let answer = session.generate(vec![60_u32, 1], options).unwrap();
    (answer.text, answer.tokens.len(), answer.outcome.reason)
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

fn stops(stop: &[&str]) -> GenerateOptions {
    GenerateOptions { stop: stop.iter().map(|&stop| stop.to_owned()).collect(), ..GenerateOptions::default() }
}

#[test]
fn stop_tokens_end_the_answer_and_are_not_part_of_it() {
    let script = [bytes("ab"), vec![END], bytes("cd"), vec![END]].concat();
    let default = GenerateOptions::default;
    let cases = [
        (default(), ("ab".to_owned(), 2, FinishReason::StopToken)),
        (
            GenerateOptions { stop_tokens: vec![98], ..default() },
            ("a".to_owned(), 1, FinishReason::StopToken),
        ),
        (
            GenerateOptions { ignore_stop_tokens: true, max_tokens: 4, ..default() },
            ("abc".to_owned(), 4, FinishReason::MaxTokens),
        ),
        (
            GenerateOptions { ignore_stop_tokens: true, stop_tokens: vec![99], ..default() },
            ("ab".to_owned(), 3, FinishReason::StopToken),
        ),
    ];
    for (options, expected) in cases {
        assert_eq!(answer(&script, &options), expected, "{options:?}");
    }
    assert_eq!(answer(&[END], &default()), (String::new(), 0, FinishReason::StopToken));
}

#[test]
fn stop_strings_end_the_answer_wherever_token_borders_fall() {
    let script = [bytes("Hello "), vec![262], bytes(" STOP here"), vec![END]].concat();
    let cases = [
        (&["STOP"][..], "Hello yes ", FinishReason::StopString),
        (&["lo ye"], "Hel", FinishReason::StopString),
        (&["zzz", "here", "STOP"], "Hello yes ", FinishReason::StopString),
        (&["H"], "", FinishReason::StopString),
        (&["here!", "HelloX"], "Hello yes STOP here", FinishReason::StopToken),
        (&[], "Hello yes STOP here", FinishReason::StopToken),
    ];
    for (stop, text, reason) in cases {
        let (given, _, why) = answer(&script, &stops(stop));
        assert_eq!((given.as_str(), why), (text, reason), "{stop:?}");
    }
}

#[test]
fn text_that_only_begins_a_stop_string_is_not_lost() {
    let script = [bytes("abST"), vec![END]].concat();
    assert_eq!(answer(&script, &stops(&["STOP"])), ("abST".to_owned(), 4, FinishReason::StopToken));
    let limited = GenerateOptions { max_tokens: 3, ..stops(&["STOP"]) };
    assert_eq!(answer(&script, &limited), ("abS".to_owned(), 3, FinishReason::MaxTokens));
}

#[test]
fn a_broken_character_at_the_end_shows() {
    let script = [bytes("a"), vec![0xC3, END]].concat();
    assert_eq!(answer(&script, &stops(&[])), ("a\u{FFFD}".to_owned(), 2, FinishReason::StopToken));
}

#[test]
fn the_texts_of_a_stream_are_the_text_of_the_answer() {
    let (_, mut session) = session(FakeEngine::scripted(1, [bytes("naïve – 日本 STO"), vec![END]].concat()));
    let stream = session.stream(vec![1_u32], &stops(&["STOP", "–x"])).unwrap();
    let texts: Vec<String> = stream
        .filter_map(|event| match event.unwrap() {
            super::super::Event::Text(text) => Some(text),
            _ => None,
        })
        .collect();
    assert!(texts.iter().all(|text| !text.is_empty()));
    assert_eq!(texts.concat(), "naïve – 日本 STO");
}

#[test]
fn the_number_of_tokens_is_limited() {
    let (engine, mut session) = session(FakeEngine::default());
    for count in [1, 2, 9] {
        let answer = assert_answers(&mut session, &engine, &tokens(6), count);
        assert_eq!((answer.outcome.reason, answer.tokens.len()), (FinishReason::MaxTokens, count));
    }
}

#[test]
fn no_tokens_at_all_only_computes_the_prompt() {
    let (engine, mut session) = session(FakeEngine::default());
    let answer = session.generate(tokens(12), &greedy(0)).unwrap();
    assert_eq!((answer.outcome.reason, answer.tokens.len()), (FinishReason::MaxTokens, 0));
    assert_eq!(answer.outcome.statistics.time_to_first_token, None);
    assert_eq!(session.tokens(), tokens(12));
    let computed = engine.computed();
    assert_answers(&mut session, &engine, &tokens(15), 1);
    assert_eq!(engine.computed() - computed, 3);
}

#[test]
fn prompt_and_answer_fit_the_context_exactly() {
    let options = SessionOptions { context: Some(20), ..SessionOptions::default() };
    let (engine, mut session) = session_with(FakeEngine::default(), options);
    for (prompt, generated) in [(15, 5), (19, 1), (20, 0)] {
        let answer = session.generate(tokens(prompt), &greedy(usize::MAX)).unwrap();
        assert_eq!((answer.outcome.reason, answer.tokens.len()), (FinishReason::ContextLength, generated));
        assert_eq!(answer.tokens, expected(&engine, &tokens(prompt), generated));
    }
    let error = session.generate(tokens(21), &greedy(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextLength);
    // At the limit by tokens and by context alike, the tokens are the reason.
    let answer = session.generate(tokens(15), &greedy(5)).unwrap();
    assert_eq!(answer.outcome.reason, FinishReason::MaxTokens);
}

#[test]
fn the_models_context_bounds_the_sessions() {
    let options = SessionOptions { context: Some(1_000), ..SessionOptions::default() };
    let (_, mut session) = session_with(FakeEngine { context: 10, ..FakeEngine::default() }, options);
    assert_eq!(session.context(), 10);
    let answer = session.generate(tokens(4), &greedy(100)).unwrap();
    assert_eq!((answer.outcome.reason, answer.tokens.len()), (FinishReason::ContextLength, 6));
}

#[test]
fn reasons_have_names() {
    assert_eq!(FinishReason::StopToken.name(), "stop_token");
    assert_eq!(FinishReason::ContextLength.name(), "context_length");
}
