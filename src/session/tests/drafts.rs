//! Guessed tokens: they save passes and change nothing else.

use serde_json::json;

use super::super::FinishReason;
use super::*;
use crate::ErrorKind;
use crate::sampling::SamplingOptions;
use crate::sampling::constraint::{Grammar, GrammarSource};

/// An engine that repeats what it said `period` tokens ago, but says something new at every `surprise`th position.
fn repeating(period: usize, surprise: usize) -> FakeEngine {
    let script = move |sequence: &[u32]| {
        let length = sequence.len();
        (length >= period && !length.is_multiple_of(surprise)).then(|| sequence[length - period])
    };
    FakeEngine { script: Some(Box::new(script)), ..FakeEngine::default() }
}

fn with_drafts(options: &GenerateOptions) -> GenerateOptions {
    GenerateOptions { draft_tokens: 9, ..options.clone() }
}

fn hot(seed: u64) -> Option<SamplingOptions> {
    Some(SamplingOptions {
        temperature: 6.0,
        repetition_penalty: 1.1,
        seed: Some(seed),
        ..SamplingOptions::default()
    })
}

/// As [`assert_same_under`] without a grammar.
fn assert_same(engine: impl Fn() -> FakeEngine, prompt: &[u32], options: &GenerateOptions) -> [usize; 3] {
    assert_same_under(None, engine, prompt, options)
}

/// Asserts that an answer with guesses is the answer without, in all that can be seen; returns the passes with and without, and the
/// guesses that were right.
fn assert_same_under(
    source: Option<&GrammarSource>,
    engine: impl Fn() -> FakeEngine,
    prompt: &[u32],
    options: &GenerateOptions,
) -> [usize; 3] {
    let (plain_engine, mut plain) = session(engine());
    let (draft_engine, shared) = shared(engine());
    let in_chunks = SessionOptions { prefill_chunk: 8, ..SessionOptions::default() };
    let mut drafting = Session::new(shared, Arc::clone(plain.text()), in_chunks).unwrap();
    let grammar = source.map(|source| Grammar::compile(source, plain.text()).unwrap());
    let options = &GenerateOptions { grammar, ..options.clone() };
    let expected = plain.generate(prompt, options).unwrap();
    let found = drafting.generate(prompt, &with_drafts(options)).unwrap();
    assert_eq!(found.tokens, expected.tokens);
    assert_eq!((&found.text, found.outcome.reason), (&expected.text, expected.outcome.reason));
    assert_eq!(found.outcome.completion, expected.outcome.completion);
    assert_eq!(found.log_probabilities, expected.log_probabilities);
    let [a, b] = [&found, &expected].map(|answer| answer.outcome.statistics);
    assert_eq!((a.generated_tokens, a.decode_steps), (b.generated_tokens, b.decode_steps));
    assert!(a.accepted_tokens <= a.drafted_tokens && b.drafted_tokens == 0);
    if options.grammar.is_none() {
        assert_eq!(drafting.tokens(), plain.tokens(), "the cache is as if nothing had been guessed");
    }
    let passes = [&draft_engine, &plain_engine].map(|engine| engine.take_calls().len());
    // The session goes on as the other does.
    let next = [&drafting.tokens()[..prompt.len().min(drafting.len())], &tokens(5)].concat();
    let next_options = GenerateOptions { grammar: None, ..options.clone() };
    assert_eq!(
        drafting.generate(&next[..], &with_drafts(&next_options)).unwrap().tokens,
        plain.generate(&next[..], &next_options).unwrap().tokens
    );
    [passes[0], passes[1], a.accepted_tokens]
}

#[test]
fn guesses_change_no_answer() {
    let mut accepted = 0;
    for (period, surprise) in [(3, 4), (7, 10), (11, 13), (20, 64), (40, 1), (1, 50)] {
        for seed in 0..3 {
            let sampling = if seed == 0 { None } else { hot(seed) };
            for (max_tokens, stop, log_probabilities) in [
                (60, vec![], None),
                (41, vec!["a".to_owned(), "Zz".to_owned()], Some(3)),
                (1, vec![], None),
                (0, vec![], None),
            ] {
                let options = GenerateOptions {
                    max_tokens,
                    stop,
                    log_probabilities,
                    sampling: sampling.clone(),
                    ignore_stop_tokens: seed == 2,
                    ..GenerateOptions::default()
                };
                accepted += assert_same(|| repeating(period, surprise), &tokens(25), &options)[2];
            }
        }
    }
    assert!(accepted > 500, "{accepted}");
}

#[test]
fn right_guesses_save_passes_and_wrong_ones_add_none() {
    let [drafting, plain, accepted] = assert_same(|| repeating(10, 1_000), &tokens(12), &greedy(200));
    assert!(3 * drafting < plain && accepted > 150, "{drafting} {plain} {accepted}");
    // Nothing ever repeats.
    let [drafting, plain, _] = assert_same(FakeEngine::default, &tokens(40), &greedy(100));
    assert_eq!(drafting, plain);
}

#[test]
fn a_stop_token_among_the_guesses_ends_the_answer() {
    // The prompt ends twice in the same way; the second time the answer stops where the first went on.
    let prompt = [&tokens(9)[..], &[b'x'.into(), b'y'.into()], &tokens(9)].concat();
    let answer = |count: usize| {
        let mut answer = vec![u32::from(b'x'), u32::from(b'y')];
        answer.extend(tokens(count));
        answer.push(super::super::fake_text::END);
        answer
    };
    for count in 0..9 {
        let script = answer(count);
        let length = prompt.len();
        let engine = move || {
            let script = script.clone();
            let script = move |sequence: &[u32]| script.get(sequence.len().checked_sub(length)?).copied();
            FakeEngine { script: Some(Box::new(script)), ..FakeEngine::default() }
        };
        let options = GenerateOptions { max_tokens: 50, ..GenerateOptions::default() };
        let [drafting, plain, _] = assert_same(&engine, &prompt, &options);
        assert!(drafting < plain, "{drafting} {plain}");
        let (_, mut session) = session(engine());
        let answer = session.generate(&prompt[..], &with_drafts(&options)).unwrap();
        assert_eq!((answer.outcome.reason, answer.tokens.len()), (FinishReason::StopToken, count + 2));
    }
}

#[test]
fn a_grammar_holds_guesses_too() {
    let schema = json!({
        "type": "array", "minItems": 2, "maxItems": 12,
        "items": {"type": "object", "required": ["name", "state"], "additionalProperties": false,
            "properties": {"name": {"type": "string", "maxLength": 4}, "state": {"enum": ["open", "shut"]}}},
    });
    let source = GrammarSource::json_schema(schema.to_string());
    let mut accepted = 0;
    for (seed, period) in (0..30).zip([1, 2, 4, 5, 8].into_iter().cycle()) {
        let options = GenerateOptions { sampling: hot(seed), ..greedy(300) };
        accepted += assert_same_under(Some(&source), || repeating(period, 9), &tokens(20), &options)[2];
    }
    assert!(accepted > 20, "{accepted}");
}

#[test]
fn what_bounds_an_answer_bounds_its_guesses() {
    let options = greedy(120);
    // LongRoPE's switch, a cache that is cut at multiples, a context that ends, little memory.
    assert_same(|| FakeEngine { switch: 50, ..repeating(6, 17) }, &tokens(25), &options);
    assert_same(|| FakeEngine { block: 8, ..repeating(6, 17) }, &tokens(25), &options);
    assert_same(|| FakeEngine { context: 71, ..repeating(6, 17) }, &tokens(25), &options);
    for budget in 60..70 {
        let engine = || FakeEngine { budget: budget.into(), ..repeating(6, 1_000) };
        let fits = greedy(budget + 1 - 25);
        let answer = |options| session(engine()).1.generate(&tokens(25)[..], &options).unwrap();
        let found = answer(with_drafts(&fits));
        assert_eq!(found.tokens, answer(fits.clone()).tokens);
        assert!(found.outcome.statistics.accepted_tokens > 0);
    }
}

#[test]
fn a_pass_that_fails_leaves_nothing_behind() {
    for failing in 4..9 {
        let (engine, mut session) = session(FakeEngine { failing: vec![failing], ..repeating(6, 17) });
        let options = with_drafts(&greedy(60));
        let error = session.generate(&tokens(20)[..], &options).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(
            session.generate(&tokens(20)[..], &options).unwrap().tokens,
            expected(&engine, &tokens(20), 60)
        );
    }
}
