//! Sessions: what the cache keeps, several at once, cancelling and deadlines.

use std::time::{Duration, Instant};

use edgeslm::answer::ClassifyOptions;
use edgeslm::session::{
    Answer, CancelToken, FinishReason, GenerateOptions, Prompt, Session, SessionOptions, generate_batch,
};
use edgeslm::{ErrorKind, LoadOptions, Model};

use super::{golden_directory, load, options, tokens};

/// Grouped attention; alternate sliding windows and soft caps; LongRoPE that switches after 128 positions.
const MODELS: [&str; 3] = ["llama-3.2-1b-int4", "gemma-2-2b-int4", "phi-4-mini-int4"];

fn session(model: &Model) -> Session {
    model.session(SessionOptions::default()).unwrap()
}

fn greedy(max_tokens: usize) -> GenerateOptions {
    GenerateOptions { max_tokens, ignore_stop_tokens: true, ..GenerateOptions::default() }
}

fn answer(session: &mut Session, prompt: &[u32], count: usize) -> Answer {
    session.generate(prompt, &greedy(count)).unwrap()
}

#[test]
fn the_cache_is_reused_and_can_be_rewound() {
    for name in MODELS {
        let Some(model) = load(name) else { return };
        let prompt = tokens(90, 1);
        let fresh = answer(&mut session(&model), &prompt, 12);
        assert_eq!(fresh.tokens.len(), 12);
        let mut used = session(&model);
        let mut other = prompt[..40].to_vec();
        other.extend(tokens(30, 2));
        answer(&mut used, &other, 5);
        let again = answer(&mut used, &prompt, 12);
        assert_eq!(again.outcome.statistics.reused_tokens, 40, "{name}");
        assert_eq!(again.tokens, fresh.tokens, "{name}");
        used.rewind(63);
        assert_eq!(used.len(), 63);
        let again = answer(&mut used, &prompt, 12);
        assert_eq!((again.outcome.statistics.reused_tokens, &again.tokens), (63, &fresh.tokens), "{name}");
    }
}

#[test]
fn a_growing_cache_keeps_what_is_in_it() {
    // Across several growths in single steps, and over LongRoPE's switch, against one that has its room from the beginning.
    for name in MODELS {
        let Some(model) = load(name) else { return };
        let prompt = tokens(20, 4);
        let mut growing = session(&model);
        let grown = answer(&mut growing, &prompt, 300);
        assert_eq!(grown.tokens.len(), 300);
        let before = growing.cache_bytes();
        let mut whole = prompt.clone();
        whole.extend(&grown.tokens[..299]);
        let next = answer(&mut session(&model), &whole, 1);
        let last = answer(&mut growing, &whole, 1);
        assert_eq!(last.tokens, next.tokens, "{name}");
        assert!(
            before >= model.engine().cache_bytes(320) && before <= model.engine().cache_bytes(400),
            "{before}"
        );
        assert!(before < model.engine().cache_bytes(model.engine().context_length().max(1024)));
    }
}

#[test]
fn several_sequences_answer_together_as_alone() {
    let Some(model) = load("llama-3.2-1b-int4") else { return };
    let prompts: Vec<Vec<u32>> = (0..3).map(|index| tokens(20 + 9 * index, index)).collect();
    let alone: Vec<Vec<u32>> =
        prompts.iter().map(|prompt| answer(&mut session(&model), prompt, 10).tokens).collect();
    let mut sessions: Vec<Session> = prompts.iter().map(|_| session(&model)).collect();
    let requests = sessions
        .iter_mut()
        .zip(&prompts)
        .map(|(session, prompt)| (session, Prompt::Tokens(prompt.clone()), greedy(10)))
        .collect();
    let together = generate_batch(requests);
    for (answer, alone) in together.into_iter().zip(alone) {
        assert_eq!(answer.unwrap().tokens, alone);
    }
}

#[test]
fn threads_take_turns() {
    let Some(model) = load("llama-3.2-1b-int4") else { return };
    let expected = answer(&mut session(&model), &tokens(30, 7), 10).tokens;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(answer(&mut session(&model), &tokens(30, 7), 10).tokens, expected));
        }
    });
}

#[test]
fn labels_are_chosen_as_by_the_cpu_engine() {
    let Some(options) = options() else { return };
    let directory = golden_directory("gemma-2-2b-int4");
    let labels = ["pump", "pumps are", "valve", "valve is open", "door", "the door"];
    let classify = |options: &LoadOptions| {
        let model = Model::load(&directory, options).unwrap();
        let mut session = session(&model);
        let prompt = Prompt::Tokens(tokens(24, 3));
        let result = session.classify_with(prompt, &labels, &ClassifyOptions::default()).unwrap();
        (result.log_probabilities, session.len())
    };
    let (found, length) = classify(&options);
    let (expected, expected_length) = classify(&LoadOptions::default());
    assert_eq!(length, expected_length);
    for ((label, found), expected) in labels.iter().zip(found).zip(expected) {
        assert!((found - expected).abs() < 0.1, "{label}: {found} and {expected}");
    }
}

/// A prompt that takes seconds, as tokens of a model with a long context.
fn long_prompt(model: &Model) -> Vec<u32> {
    tokens(model.engine().context_length() - 8, 5)
}

#[test]
fn cancelling_stops_a_pass() {
    let Some(model) = load("mistral-nemo-int4") else { return };
    let prompt = long_prompt(&model);
    let whole = Instant::now();
    answer(&mut session(&model), &prompt, 1);
    let whole = whole.elapsed();
    let cancel = CancelToken::new();
    let signal = cancel.clone();
    let mut session = session(&model);
    let started = Instant::now();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(whole / 10);
        signal.cancel();
    });
    let stopped =
        session.generate(prompt.as_slice(), &GenerateOptions { cancel: Some(cancel), ..greedy(4) }).unwrap();
    assert_eq!(stopped.outcome.reason, FinishReason::Cancelled);
    assert!(started.elapsed() < whole * 9 / 10, "{:?} of {whole:?}", started.elapsed());
    thread.join().unwrap();
    // The session goes on as if nothing had happened.
    assert_eq!(answer(&mut session, &tokens(9, 1), 3).tokens.len(), 3);
}

#[test]
fn a_deadline_stops_a_pass() {
    let Some(model) = load("mistral-nemo-int4") else { return };
    let prompt = long_prompt(&model);
    let options = GenerateOptions { deadline: Some(Duration::from_millis(1)), ..greedy(4) };
    let mut session = session(&model);
    let stopped = session.generate(prompt.as_slice(), &options).unwrap();
    assert_eq!(stopped.outcome.reason, FinishReason::Deadline);
    assert!(session.len() < prompt.len());
}

#[test]
fn the_memory_budget_holds() {
    let Some(options) = options() else { return };
    let directory = golden_directory("llama-3.2-1b-int4");
    let bytes = Model::load(&directory, &options).unwrap().engine().cache_bytes(128);
    let model = Model::load(&directory, &LoadOptions { memory_budget: Some(bytes), ..options }).unwrap();
    let mut session = session(&model);
    assert_eq!(answer(&mut session, &tokens(100, 1), 4).tokens.len(), 4);
    let error = session.generate(tokens(140, 1).as_slice(), &greedy(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MemoryBudget);
    assert_eq!(answer(&mut session, &tokens(100, 2), 4).tokens.len(), 4);
    drop(session);
}
