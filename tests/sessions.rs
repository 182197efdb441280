//! Sessions on the CPU engine: what is kept in the KV cache, how a prompt is cut into chunks, and what else runs in
//! the same forward pass change no bit of an answer.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::path::Path;

use edgeslm::answer::{ClassifyOptions, LabelScore};
use edgeslm::session::{Answer, GenerateOptions, Prompt, Session, SessionOptions, generate_batch};
use edgeslm::{Accuracy, KvPrecision, LoadOptions, Model};

/// Grouped attention; alternate sliding windows and soft caps; LongRoPE that switches after 128 positions.
const MODELS: [&str; 3] = ["llama-3.2-1b-int4", "gemma-2-2b-int4", "phi-4-mini-int4"];

fn load(name: &str) -> Model {
    load_with(name, Accuracy::Strict, KvPrecision::Auto)
}

fn load_with(name: &str, accuracy: Accuracy, kv_precision: KvPrecision) -> Model {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models").join(name);
    Model::load(directory, &LoadOptions { accuracy, kv_precision, ..LoadOptions::default() }).unwrap()
}

/// The models with every kind of KV cache.
fn with_each_cache() -> impl Iterator<Item = (String, Model)> {
    MODELS.into_iter().flat_map(|name| {
        [
            (Accuracy::Strict, KvPrecision::Auto),
            (Accuracy::Default, KvPrecision::Auto),
            (Accuracy::Precise, KvPrecision::Auto),
            (Accuracy::Default, KvPrecision::Int8),
            (Accuracy::Precise, KvPrecision::Int8),
        ]
        .map(|(accuracy, precision)| {
            (format!("{name} {accuracy:?} {precision:?}"), load_with(name, accuracy, precision))
        })
    })
}

fn session(model: &Model, prefill_chunk: usize) -> Session {
    model.session(SessionOptions { prefill_chunk, ..SessionOptions::default() }).unwrap()
}

fn tokens(count: usize, salt: usize) -> Vec<u32> {
    (0..count).map(|index| 10 + ((index * index * 7 + index * 31 + salt) % 450) as u32).collect()
}

fn greedy(max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        max_tokens,
        ignore_stop_tokens: true,
        log_probabilities: Some(4),
        ..GenerateOptions::default()
    }
}

fn answer(session: &mut Session, prompt: &[u32], count: usize) -> Answer {
    session.generate(prompt, &greedy(count)).unwrap()
}

fn assert_same(a: &Answer, b: &Answer, what: &str) {
    assert_eq!(a.tokens, b.tokens, "{what}");
    assert_eq!(a.log_probabilities, b.log_probabilities, "{what}");
}

#[test]
fn chunks_and_the_cache_change_nothing() {
    for (name, model) in with_each_cache() {
        let name = name.as_str();
        let prompt = tokens(90, 1);
        let fresh = answer(&mut session(&model, 512), &prompt, 12);
        assert_eq!(fresh.tokens.len(), 12);

        let mut in_chunks = session(&model, 7);
        assert_same(&answer(&mut in_chunks, &prompt, 12), &fresh, name);
        let mut other = prompt[..40].to_vec();
        other.extend(tokens(30, 2));
        answer(&mut in_chunks, &other, 5);
        let again = answer(&mut in_chunks, &prompt, 12);
        assert_eq!(again.outcome.statistics.reused_tokens, 40, "{name}");
        assert_same(&again, &fresh, name);
        in_chunks.rewind(63);
        assert_same(&answer(&mut in_chunks, &prompt, 12), &fresh, name);
    }
}

#[test]
fn guessed_tokens_change_nothing() {
    for name in MODELS {
        for accuracy in [Accuracy::Strict, Accuracy::Precise, Accuracy::Default] {
            let model = load_with(name, accuracy, KvPrecision::Auto);
            let mut accepted = 0;
            for salt in 0..4 {
                // Small random models repeat themselves, and these their prompt.
                let prompt = [tokens(30, salt), tokens(30, salt), tokens(12, salt)].concat();
                let plain = answer(&mut session(&model, 512), &prompt, 90);
                let options = GenerateOptions { draft_tokens: 12, ..greedy(90) };
                let guessed = session(&model, 512).generate(&prompt[..], &options).unwrap();
                assert_same(&guessed, &plain, name);
                let statistics = guessed.outcome.statistics;
                assert!(statistics.accepted_tokens <= statistics.drafted_tokens);
                assert_eq!(plain.outcome.statistics.drafted_tokens, 0);
                accepted += statistics.accepted_tokens;
            }
            assert!(accepted > 0, "{name}: no guess was right, so that nothing was tested");
        }
    }
}

#[test]
fn decoding_equals_prefilling_what_was_decoded() {
    for (name, model) in with_each_cache() {
        let name = name.as_str();
        // Across the LongRoPE switch, and over more than one window.
        let prompt = tokens(120, 3);
        let mut long = session(&model, 512);
        let whole = answer(&mut long, &prompt, 16);
        let mut prompt_and_answer = prompt.clone();
        for (step, token) in whole.tokens.iter().enumerate() {
            let next = answer(&mut session(&model, 512), &prompt_and_answer, 1);
            assert_eq!(next.tokens, [*token], "{name}, step {step}");
            assert_eq!(next.log_probabilities[0], whole.log_probabilities[step], "{name}, step {step}");
            prompt_and_answer.push(*token);
        }
        // And back to a short prompt.
        let short = answer(&mut session(&model, 512), &prompt[..50], 6);
        assert_same(&answer(&mut long, &prompt[..50], 6), &short, name);
    }
}

#[test]
fn a_batch_equals_each_alone() {
    for (name, model) in with_each_cache() {
        let name = name.as_str();
        let prompts = [tokens(20, 4), tokens(122, 5), tokens(3, 6)];
        let alone: Vec<Answer> =
            prompts.iter().map(|prompt| answer(&mut session(&model, 512), prompt, 14)).collect();
        let mut sessions: Vec<Session> = prompts.iter().map(|_| session(&model, 512)).collect();
        let requests = sessions
            .iter_mut()
            .zip(&prompts)
            .map(|(session, prompt)| (session, Prompt::from(&prompt[..]), greedy(14)));
        for (together, alone) in generate_batch(requests.collect()).into_iter().zip(&alone) {
            assert_same(&together.unwrap(), alone, name);
        }
    }
}

/// The logarithm of the probability of `next` after `context`, from a forward pass of its own.
fn log_probability(model: &Model, context: &[u32], next: u32) -> f64 {
    let options = GenerateOptions { log_probabilities: Some(usize::MAX), ..greedy(1) };
    let answer = session(model, 512).generate(context, &options).unwrap();
    let (_, log) = answer.log_probabilities[0].top.iter().find(|(token, _)| *token == next).unwrap();
    f64::from(*log)
}

#[test]
fn classifying_equals_scoring_each_label_alone() {
    let labels = ["emergency", "urgent", "routine", "ur"];
    for name in MODELS {
        let model = load(name);
        let prompt = tokens(70, 7);
        let mut session = session(&model, 512);
        let classification = session.classify(&prompt[..], &labels).unwrap();
        assert_eq!(session.tokens(), prompt);
        let sum: f32 = classification.probabilities.iter().sum();
        assert!((sum - 1.0).abs() < 1e-6, "{name}: {sum}");
        let encode = |label: &str| model.text().tokenizer().encode_plain(label).unwrap();
        for (label, given) in labels.iter().zip(&classification.log_probabilities) {
            let continuation = encode(label);
            if labels.iter().any(|other| other != label && encode(other).starts_with(&continuation)) {
                continue; // Its probability is without that of the longer label.
            }
            let mut context = prompt.clone();
            let mut expected = 0.0;
            for token in continuation {
                expected += log_probability(&model, &context, token);
                context.push(token);
            }
            assert!((given - expected).abs() < 1e-4, "{name}, {label}: {given} and not {expected}");
        }

        let among = ClassifyOptions { score: LabelScore::TrieNormalised, ..ClassifyOptions::default() };
        let among = session.classify_with(&prompt[..], &labels[..3], &among).unwrap();
        assert_eq!(among.statistics.reused_tokens, prompt.len() - 1);
        let sum: f64 = among.log_probabilities.iter().map(|log| log.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{name}: {sum}");
    }
}

#[test]
fn a_conversation_reuses_its_turns() {
    let model = load("llama-3.2-1b-int4");
    let options = GenerateOptions { max_tokens: 8, ..GenerateOptions::default() };
    let mut session = session(&model, 512);
    let first = session.chat("Is the door open?", &options).unwrap().into_answer().unwrap();
    let second = session.chat("And the window?", &options).unwrap().into_answer().unwrap();
    assert_eq!(session.history().len(), 4);
    assert!(second.outcome.statistics.reused_tokens >= first.outcome.statistics.prompt_tokens);
}
