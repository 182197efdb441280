//! Answers that a grammar constrains.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Completion, FinishReason, generate_batch};
use super::*;
use crate::ErrorKind;
use crate::engine::Engine;
use crate::sampling::SamplingOptions;
use crate::sampling::constraint::{Grammar, GrammarSource};
use crate::text::Text;

fn hot(seed: u64) -> Option<SamplingOptions> {
    Some(SamplingOptions { temperature: 1.5, seed: Some(seed), ..SamplingOptions::default() })
}

fn compile(text: &Text, source: &GrammarSource) -> Option<Grammar> {
    Some(Grammar::compile(source, text).unwrap())
}

fn person() -> GrammarSource {
    GrammarSource::json_schema(
        json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 6},
                "size": {"enum": ["small", "large"]},
                "ok": {"type": "boolean"},
            },
            "required": ["name", "size", "ok"], "additionalProperties": false,
        })
        .to_string(),
    )
}

fn is_person(text: &str) -> bool {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    value["name"].as_str().is_some_and(|name| name.chars().count() <= 6)
        && ["small", "large"].contains(&value["size"].as_str().unwrap())
        && value["ok"].is_boolean()
        && value.as_object().unwrap().len() == 3
}

#[test]
fn answers_parse_at_any_seed_and_end_of_themselves() {
    let (engine, mut session) = session(FakeEngine::default());
    let grammar = compile(session.text(), &person());
    for seed in 0..40 {
        let options = GenerateOptions { grammar: grammar.clone(), sampling: hot(seed), ..greedy(400) };
        let answer = session.generate(tokens(20), &options).unwrap();
        assert!(is_person(&answer.text), "{}", answer.text);
        assert_eq!(
            (answer.outcome.reason, answer.outcome.completion),
            (FinishReason::Grammar, Completion::Complete)
        );
        assert_eq!(session.text().tokenizer().decode(&answer.tokens, true), answer.text);
        let statistics = answer.outcome.statistics;
        assert_eq!((statistics.prompt_tokens, statistics.generated_tokens), (20, answer.tokens.len()));
    }
    drop(engine);
}

#[test]
fn forced_tokens_take_one_forward_pass_and_few_rows_are_computed() {
    let (engine, mut session) = session(FakeEngine::default());
    let options = GenerateOptions { grammar: compile(session.text(), &person()), ..greedy(400) };
    let answer = session.generate(tokens(4), &options).unwrap();
    let calls = engine.take_calls();
    // `{` and perhaps white space are the model's choice; `"name":` is forced.
    assert!(calls.iter().any(|call| call.tokens[0] >= "\"size\"".len()), "{calls:?}");
    assert!(calls.len() < answer.tokens.len(), "{} passes for {} tokens", calls.len(), answer.tokens.len());
    assert!(calls.iter().any(|call| call.rows == [1] && (1..10).contains(&call.columns)), "{calls:?}");
    let steps = answer.outcome.statistics.decode_steps;
    let fed: usize = calls.iter().map(|call| call.tokens[0]).sum();
    assert!(fed >= 4 + steps && steps <= answer.tokens.len(), "{fed} fed, {steps} of them decoded");
}

#[test]
fn a_forced_beginning_is_fed_with_the_prompt() {
    let (engine, mut session) = session(FakeEngine::default());
    let grammar = compile(session.text(), &GrammarSource::choices(["label: a", "label: b"]));
    let options = GenerateOptions { grammar, ..greedy(400) };
    let answer = session.generate(tokens(1), &options).unwrap();
    assert!(["label: a", "label: b"].contains(&answer.text.as_str()));
    let calls = engine.take_calls();
    assert_eq!(calls.len(), 1, "nothing is fed after the only choice");
    assert_eq!((calls[0].tokens[0], calls[0].columns), (1 + "label: ".len(), 2));
    assert_eq!(session.tokens().len(), 1 + "label: ".len());

    let only = compile(session.text(), &GrammarSource::choices(["only"]));
    let answer = session.generate(tokens(3), &GenerateOptions { grammar: only, ..greedy(400) }).unwrap();
    assert_eq!((answer.text.as_str(), answer.outcome.reason), ("only", FinishReason::Grammar));
}

#[test]
fn the_allowed_token_of_the_highest_logit_is_the_greedy_one() {
    let (engine, mut session) = session(FakeEngine::default());
    let grammar = compile(session.text(), &GrammarSource::regex("[a-z]{3}"));
    let options = GenerateOptions { grammar, ..greedy(400) };
    let answer = session.generate(tokens(5), &options).unwrap();
    let mut sequence = tokens(5);
    for token in &answer.tokens {
        let logits = engine.logits_after(&sequence);
        let left = 3 - (sequence.len() - 5);
        let fits = |id: u32| (97..123).contains(&id) || id == 261 && left >= 2 || id == 262 && left == 3;
        let best = (0..TOKENS as u32)
            .filter(|id| fits(*id))
            .max_by(|a, b| logits[*a as usize].total_cmp(&logits[*b as usize]));
        assert_eq!(Some(*token), best);
        sequence.push(*token);
    }
}

#[test]
fn end_tokens_come_where_the_text_may_end() {
    let end = super::super::fake_text::END;
    // The model wants to end at once.
    let engine = FakeEngine { script: Some(Box::new(move |_| Some(end))), ..FakeEngine::default() };
    let (_, mut session) = session(engine);
    let grammar = compile(session.text(), &GrammarSource::regex("[0-9]{2,}"));
    let options = GenerateOptions { grammar: grammar.clone(), max_tokens: 9, ..GenerateOptions::default() };
    let answer = session.generate(tokens(3), &options).unwrap();
    assert_eq!((answer.text.len(), answer.outcome.reason), (2, FinishReason::StopToken));
    // A stop token of the caller's is text no more, but where the text may end.
    let options = GenerateOptions { stop_tokens: vec![u32::from(b'7')], ..options };
    let answer = session.generate(tokens(3), &options).unwrap();
    assert!(!answer.text.contains('7') && answer.text.len() >= 2, "{}", answer.text);
}

#[test]
fn stop_strings_end_a_constrained_answer_too() {
    let (_, mut session) = session(FakeEngine::default());
    let grammar = compile(session.text(), &GrammarSource::choices(["one, two, three", "one, two, four"]));
    let options = GenerateOptions { grammar, stop: vec![", t".to_owned()], ..greedy(400) };
    let answer = session.generate(tokens(3), &options).unwrap();
    assert_eq!((answer.text.as_str(), answer.outcome.reason), ("one", FinishReason::StopString));
    assert_eq!(answer.tokens.len(), "one, t".len());
    // And what the cache holds beyond does not disturb the next.
    assert_eq!(session.generate(tokens(3), &options).unwrap().text, "one");
}

#[test]
fn log_probabilities_are_the_models_own() {
    let (engine, mut session) = session(FakeEngine::default());
    let grammar = compile(session.text(), &GrammarSource::choices(["abc", "abd"]));
    let options = GenerateOptions { grammar, log_probabilities: Some(1), ..greedy(400) };
    let answer = session.generate(tokens(3), &options).unwrap();
    assert_eq!(answer.log_probabilities.len(), 3);
    let mut sequence = tokens(3);
    for (token, reported) in answer.tokens.iter().zip(&answer.log_probabilities) {
        let logits = &engine.logits_after(&sequence)[..TOKENS];
        let expected = crate::sampling::LogProbabilities::new(logits, *token, 1).unwrap();
        assert_eq!(*reported, expected);
        sequence.push(*token);
    }
}

#[test]
fn the_cache_is_reused_and_may_be_rewound() {
    let (engine, mut session) = session(FakeEngine::default());
    let options = GenerateOptions { grammar: compile(session.text(), &person()), ..greedy(400) };
    let first = session.generate(tokens(30), &options).unwrap();
    for length in [30, 17, 0] {
        session.rewind(length);
        engine.take_calls();
        let again = session.generate(tokens(30), &options).unwrap();
        assert_eq!(again.text, first.text);
        assert_eq!(again.outcome.statistics.reused_tokens, length);
    }
}

#[test]
fn several_constrained_answers_share_passes() {
    let engine = Arc::new(FakeEngine::default());
    let shared: Arc<dyn Engine> = Arc::clone(&engine) as Arc<dyn Engine>;
    let text = text();
    let make = || Session::new(Arc::clone(&shared), Arc::clone(&text), SessionOptions::default()).unwrap();
    let numbers = compile(&text, &GrammarSource::regex("[0-9 ]{40}"));
    let requests = [
        GenerateOptions { grammar: compile(&text, &person()), sampling: hot(1), ..greedy(400) },
        GenerateOptions { grammar: numbers.clone(), ..greedy(400) },
        GenerateOptions { sampling: hot(2), ..greedy(30) },
        GenerateOptions { grammar: numbers, sampling: hot(3), log_probabilities: Some(0), ..greedy(400) },
    ];
    let prompt = || tokens(10).into();
    let alone: Vec<Answer> = requests
        .iter()
        .map(|options| make().stream(tokens(10), options).unwrap().into_answer().unwrap())
        .collect();
    engine.take_calls();
    let mut sessions: Vec<Session> = requests.iter().map(|_| make()).collect();
    let batch =
        sessions.iter_mut().zip(&requests).map(|(session, options)| (session, prompt(), options.clone()));
    for (answer, alone) in generate_batch(batch.collect()).into_iter().zip(&alone) {
        let answer = answer.unwrap();
        assert_eq!((&answer.text, &answer.tokens), (&alone.text, &alone.tokens));
        assert_eq!(answer.log_probabilities, alone.log_probabilities);
    }
    assert!(engine.take_calls().iter().any(|call| call.tokens.len() >= 3));
}

#[test]
fn an_answer_that_comes_to_its_token_limit_is_closed() {
    let (_, mut session) = session(FakeEngine::default());
    let grammar = compile(session.text(), &person());
    let shortest = r#"{"name":"","size":"small","ok":true}"#;
    let mut shortened = 0;
    for seed in 0..60 {
        for limit in [shortest.len(), shortest.len() + 1, shortest.len() + 5, shortest.len() + 12] {
            let options = GenerateOptions { grammar: grammar.clone(), sampling: hot(seed), ..greedy(limit) };
            let answer = session.generate(tokens(3), &options).unwrap();
            assert!(answer.tokens.len() <= limit);
            assert!(is_person(&answer.text), "{}", answer.text);
            match answer.outcome.completion {
                Completion::Complete => assert_eq!(answer.outcome.reason, FinishReason::Grammar),
                Completion::Shortened => {
                    shortened += 1;
                    assert_eq!(answer.outcome.reason, FinishReason::MaxTokens);
                }
                other => panic!("{other:?}: {}", answer.text),
            }
        }
    }
    assert!(shortened > 20, "{shortened}");
    let too_few = GenerateOptions { grammar, ..greedy(shortest.len() - 1) };
    assert_eq!(session.generate(tokens(3), &too_few).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(session.generate(tokens(3), &GenerateOptions { max_tokens: 0, ..too_few }).unwrap().text, "");
}

#[test]
fn the_contexts_end_closes_an_answer_too() {
    let (_, mut session) = session(FakeEngine { context: 60, ..FakeEngine::default() });
    let grammar = compile(session.text(), &GrammarSource::regex("[a-z]*!"));
    let options = GenerateOptions { grammar, sampling: hot(3), ..greedy(usize::MAX) };
    let mut reasons = Vec::new();
    for seed in 0..20 {
        let answer = session
            .generate(tokens(30), &GenerateOptions { sampling: hot(seed), ..options.clone() })
            .unwrap();
        assert!(answer.text.ends_with('!') && answer.tokens.len() <= 30, "{}", answer.text);
        reasons.push((answer.outcome.reason, answer.outcome.completion));
    }
    assert!(reasons.contains(&(FinishReason::ContextLength, Completion::Shortened)), "{reasons:?}");
    let error = session.generate(tokens(60), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextLength);
}

#[test]
fn an_answer_that_runs_out_of_time_is_closed_and_parses() {
    let engine = FakeEngine { token_time: Duration::from_millis(2), ..FakeEngine::default() };
    let (_, mut session) = session(engine);
    let grammar = compile(
        session.text(),
        &GrammarSource::json_schema(r#"{"type": "array", "items": {"type": "string"}}"#),
    );
    // No string ends at a stop token or a quote.
    let bias = vec![(u32::from(b'"'), -100.0), (u32::from(b']'), -200.0)];
    let sampling =
        SamplingOptions { temperature: 1.0, logit_bias: bias, seed: Some(1), ..SamplingOptions::default() };
    let budget = Duration::from_secs(1);
    let options =
        GenerateOptions { grammar, sampling: Some(sampling), deadline: Some(budget), ..greedy(5_000) };
    let answer = session.generate(tokens(5), &options).unwrap();
    assert_eq!(
        (answer.outcome.reason, answer.outcome.completion),
        (FinishReason::Deadline, Completion::Shortened)
    );
    let value: Vec<String> = serde_json::from_str(&answer.text).unwrap();
    assert!(value.concat().len() > 10, "what the model said stays: {value:?}");
    assert_eq!(session.text().tokenizer().decode(&answer.tokens, true), answer.text);
}

#[test]
fn without_a_token_of_the_model_there_is_no_answer() {
    let engine = FakeEngine { token_time: Duration::from_millis(2), ..FakeEngine::default() };
    let (engine, mut session) = session(engine);
    let grammar = compile(session.text(), &person());
    let options = GenerateOptions { grammar, deadline: Some(Duration::from_millis(300)), ..greedy(100) };
    let answer = session.generate(tokens(2_000), &options).unwrap();
    let outcome = answer.outcome;
    assert_eq!((outcome.reason, outcome.completion), (FinishReason::Deadline, Completion::Expired));
    assert_eq!(answer.text, "");
    // By now the speed is known, and the next such prompt is refused before anything is computed.
    session.reset();
    let before = engine.computed();
    let error = session.generate(tokens(2_000), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.message().contains("new tokens"), "{error}");
    assert_eq!(engine.computed(), before);
    let enough = GenerateOptions { deadline: Some(Duration::from_secs(600)), ..options };
    assert!(is_person(&session.generate(tokens(20), &enough).unwrap().text));
}

#[test]
fn a_grammar_whose_end_is_not_known_is_cut() {
    let (_, mut session) = session(FakeEngine::default());
    let grammar =
        compile(session.text(), &GrammarSource::lark("start: word\nword[max_tokens=50]: /[a-z]{30}/"));
    let answer = session.generate(tokens(3), &GenerateOptions { grammar, ..greedy(5) }).unwrap();
    assert_eq!((answer.tokens.len(), answer.outcome.completion), (5, Completion::Cut));
}

#[test]
fn another_models_grammar_is_refused() {
    let (_, mut session) = session(FakeEngine::default());
    let options = GenerateOptions { grammar: compile(&text(), &GrammarSource::json()), ..greedy(9) };
    let error = session.generate(tokens(3), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_bias_that_bans_all_that_is_allowed_is_refused() {
    let (_, mut session) = session(FakeEngine::default());
    let bias = [b'a', b'b'].map(|byte| (u32::from(byte), f32::NEG_INFINITY)).to_vec();
    let sampling = Some(SamplingOptions { logit_bias: bias, ..SamplingOptions::default() });
    let grammar = compile(session.text(), &GrammarSource::choices(["a", "b"]));
    let error = session.generate(tokens(3), &GenerateOptions { grammar, sampling, ..greedy(9) }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
