//! Classification against scoring every label alone, token by token.

use std::sync::Arc;
use std::time::Duration;

use super::{CalibrateOptions, Classification, Classifier, ClassifyOptions, Example, LabelScore, Task};
use crate::ErrorKind;
use crate::session::fake::{FakeEngine, shared};
use crate::session::fake_text::{END, SPACE_YES, TOKENS, text, text_without_template};
use crate::session::{CancelToken, GenerateOptions, Prompt, Session, SessionOptions};
use crate::text::Message;

fn session(engine: FakeEngine) -> (Arc<FakeEngine>, Session) {
    let (engine, shared) = shared(engine);
    let options = SessionOptions { prefill_chunk: 8, ..SessionOptions::default() };
    (engine, Session::new(shared, text(), options).unwrap())
}

fn joint(session: &mut Session, prompt: impl Into<Prompt>, labels: &[&str]) -> Classification {
    session.classify(prompt, labels).unwrap()
}

fn among_labels() -> ClassifyOptions {
    ClassifyOptions { score: LabelScore::TrieNormalised, ..ClassifyOptions::default() }
}

/// `ln` of the sum of the exponentials, computed plainly.
fn log_sum(logits: impl Iterator<Item = f32>) -> f64 {
    logits.map(|logit| f64::from(logit).exp()).sum::<f64>().ln()
}

/// `ln` of the probability of `tokens` after `context`, under the whole vocabulary.
fn chain(engine: &FakeEngine, context: &[u32], tokens: &[u32]) -> f64 {
    let mut sequence = context.to_vec();
    let mut sum = 0.0;
    for &token in tokens {
        let logits = engine.logits_after(&sequence);
        sum += f64::from(logits[token as usize]) - log_sum(logits[..TOKENS].iter().copied());
        sequence.push(token);
    }
    sum
}

/// Beginning with `label` and with none of the `labels` that it begins: those that no other one between covers.
fn brute_force_joint(engine: &FakeEngine, context: &[u32], labels: &[Vec<u32>], label: &Vec<u32>) -> f64 {
    let longer = |long: &Vec<u32>, short: &Vec<u32>| long.len() > short.len() && long.starts_with(short);
    let nearest = labels.iter().filter(|other| {
        longer(other, label) && !labels.iter().any(|between| longer(between, label) && longer(other, between))
    });
    let of_longer: f64 = nearest.map(|other| chain(engine, context, other).exp()).sum();
    (chain(engine, context, label).exp() - of_longer).ln()
}

/// Generating `label` and its end when only `labels` can be generated.
fn brute_force_constrained(engine: &FakeEngine, context: &[u32], labels: &[Vec<u32>], label: &[u32]) -> f64 {
    let labels: Vec<Vec<u32>> = labels.iter().map(|label| [&label[..], &[END]].concat()).collect();
    let label = [label, &[END]].concat();
    let mut sequence = context.to_vec();
    let mut sum = 0.0;
    for (step, &token) in label.iter().enumerate() {
        let logits = engine.logits_after(&sequence);
        let mut allowed: Vec<u32> = labels
            .iter()
            .filter(|other| other.starts_with(&label[..step]))
            .map(|other| other[step])
            .collect();
        allowed.sort_unstable();
        allowed.dedup();
        let of_allowed = log_sum(allowed.iter().map(|&token| logits[token as usize]));
        sum += f64::from(logits[token as usize]) - of_allowed;
        sequence.push(token);
    }
    sum
}

fn assert_scores(
    engine: &FakeEngine,
    context: &[u32],
    labels: &[Vec<u32>],
    score: LabelScore,
    classification: &Classification,
) {
    let of_label = |label: &Vec<u32>| match score {
        LabelScore::Joint => brute_force_joint(engine, context, labels, label),
        LabelScore::TrieNormalised => brute_force_constrained(engine, context, labels, label),
    };
    let scores: Vec<f64> = labels.iter().map(of_label).collect();
    let total: f64 = scores.iter().map(|score| score.exp()).sum();
    for (index, score) in scores.iter().enumerate() {
        let given = classification.log_probabilities[index];
        assert!((given - score).abs() < 1e-9, "label {index}: {given} and not {score}");
        let probability = f64::from(classification.probabilities[index]);
        assert!((probability - score.exp() / total).abs() < 1e-6);
    }
    let sum: f64 = classification.probabilities.iter().map(|&p| f64::from(p)).sum();
    assert!((sum - 1.0).abs() < 1e-6, "the probabilities sum to {sum}");
    let best = classification.probabilities[classification.index];
    assert!(classification.probabilities.iter().all(|&probability| probability <= best));
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

const TRIAGE: [&str; 5] = ["emergency", "urgent", "urgent care", "routine", "rout"];

#[test]
fn scores_equal_those_of_each_label_alone() {
    let labels: Vec<Vec<u32>> = TRIAGE.iter().map(|label| bytes(label)).collect();
    let context: Vec<u32> = [vec![260], bytes("Case: ")].concat();
    for score in [LabelScore::Joint, LabelScore::TrieNormalised] {
        let (engine, mut session) = session(FakeEngine::default());
        let options = ClassifyOptions { score, ..ClassifyOptions::default() };
        let classification = session.classify_with("Case: ", &TRIAGE, &options).unwrap();
        assert_eq!(classification.label, TRIAGE[classification.index]);
        assert_scores(&engine, &context, &labels, score, &classification);
        assert_eq!(session.tokens(), context, "the cache holds the prompt only");
    }
}

#[test]
fn joint_labels_exclude_each_other() {
    let (_, mut session) = session(FakeEngine::default());
    let all: Vec<String> = (b'a'..=b'z').map(|letter| char::from(letter).to_string()).collect();
    let mut labels: Vec<&str> = all.iter().map(String::as_str).collect();
    labels.extend(["ab", "abc", "xyz"]);
    let classification = joint(&mut session, "Case: ", &labels);
    let total: f64 = classification.log_probabilities.iter().map(|log| log.exp()).sum();
    assert!(total > 0.0 && total < 1.0, "{total}");
    let alone = joint(&mut session, "Case: ", &labels[..26]);
    let total_alone: f64 = alone.log_probabilities.iter().map(|log| log.exp()).sum();
    assert!((total - total_alone).abs() < 1e-12, "longer labels share what the shorter ones had");
}

#[test]
fn one_forward_scores_all_labels_with_no_more_logits_than_needed() {
    let (engine, mut session) = session(FakeEngine::default());
    let classification = joint(&mut session, "Ca: ", &["abc", "abd", "x"]);
    let calls = engine.take_calls();
    assert_eq!(calls.len(), 2);
    assert_eq!((calls[0].tokens[0], calls[0].rows[0], calls[0].columns), (5, 1, 300));
    assert_eq!((calls[1].tokens[0], calls[1].rows[0], calls[1].columns), (2, 2, 300), "a and b");
    let statistics = classification.statistics;
    assert_eq!((statistics.prompt_tokens, statistics.reused_tokens, statistics.decode_steps), (5, 0, 1));

    session.classify_with("Ca: ", &["abc", "abd", "x"], &among_labels()).unwrap();
    let calls = engine.take_calls();
    assert_eq!((calls[0].tokens[0], calls[0].columns), (1, 5), "five different tokens");
    assert_eq!((calls[1].tokens[0], calls[1].rows[0], calls[1].columns), (2, 1, 5), "only b branches");

    session.classify_with("Ca: ", &["a", "b", "c"], &among_labels()).unwrap();
    assert_eq!(engine.take_calls().len(), 1, "the prompt's logits tell all");
}

#[test]
fn large_trees_are_split() {
    let labels: Vec<Vec<u32>> = TRIAGE.iter().map(|label| bytes(label)).collect();
    let context: Vec<u32> = [vec![260], bytes("Case: ")].concat();
    for (maximum_batch, vocabulary) in [(11, 300), (12, 300), (20, 300), (4_096, 2_000_000)] {
        let (engine, mut session) =
            session(FakeEngine { maximum_batch, vocabulary, ..FakeEngine::default() });
        let classification = joint(&mut session, "Case: ", &TRIAGE);
        assert!(classification.statistics.decode_steps > 1);
        if vocabulary == 300 {
            assert_scores(&engine, &context, &labels, LabelScore::Joint, &classification);
        } else {
            assert!(engine.take_calls().iter().all(|call| call.rows[0] * call.columns <= 1 << 22));
        }
    }
    let (_, mut session) = session(FakeEngine { maximum_batch: 5, ..FakeEngine::default() });
    let error = session.classify("Case: ", &TRIAGE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn labels_that_merge_with_the_prompt_are_scored_over_the_same_text() {
    // "A: yes" ends in one token " yes", so that the common context ends before the space.
    let (engine, mut session) = session(FakeEngine::default());
    let context = [vec![260], bytes("A:")].concat();
    let labels = [vec![SPACE_YES], bytes(" no"), bytes(" nope")];
    let classification = joint(&mut session, "A: ", &["yes", "no", "nope"]);
    assert_scores(&engine, &context, &labels, LabelScore::Joint, &classification);
    assert_eq!(session.tokens(), context);
    // With the space in the labels it is the same text and the same scores.
    let spaced = joint(&mut session, "A:", &[" yes", " no", " nope"]);
    assert_eq!(spaced.log_probabilities, classification.log_probabilities);
}

#[test]
fn chat_and_token_prompts_take_labels_as_they_are() {
    let (engine, mut session) = session(FakeEngine::default());
    let labels = [vec![262], bytes("no")];
    let prompt = vec![Message::user("ok?")];
    let classification = joint(&mut session, prompt, &["yes", "no"]);
    let context = [vec![257], bytes("ok?"), vec![256, 258]].concat();
    assert_scores(&engine, &context, &labels, LabelScore::Joint, &classification);
    let by_tokens = joint(&mut session, &context[..], &["yes", "no"]);
    assert_eq!(by_tokens.probabilities, classification.probabilities);
    assert_eq!(by_tokens.statistics.reused_tokens, context.len() - 1);
    assert!(session.history().is_empty());
}

#[test]
fn special_tokens_in_labels_are_plain_text() {
    let (engine, mut session) = session(FakeEngine::default());
    let labels = [bytes("<end>"), bytes("b")];
    let classification = joint(&mut session, &[97_u32][..], &["<end>", "b"]);
    assert_scores(&engine, &[97], &labels, LabelScore::Joint, &classification);
}

#[test]
fn prompts_share_their_prefix_with_answers_before_and_after() {
    let (engine, mut session) = session(FakeEngine::default());
    let greedy = GenerateOptions { max_tokens: 4, ignore_stop_tokens: true, ..GenerateOptions::default() };
    let fresh = session.generate("Case: chest pain", &greedy).unwrap();
    let before = engine.computed();
    let classification = joint(&mut session, "Case: chest pain", &["ab", "c"]);
    assert_eq!(engine.computed() - before, 1 + 1, "the last token and one inner node");
    assert_eq!(classification.statistics.reused_tokens, 16);
    assert_eq!(session.generate("Case: chest pain", &greedy).unwrap().tokens, fresh.tokens);
}

#[test]
fn one_label_is_certain() {
    let (_, mut session) = session(FakeEngine::default());
    for options in [ClassifyOptions::default(), among_labels()] {
        let classification = session.classify_with("a", &["only"], &options).unwrap();
        assert_eq!((classification.index, &classification.probabilities[..]), (0, &[1.0][..]));
        assert_eq!(classification.log_probabilities[0] == 0.0, options.score == LabelScore::TrieNormalised);
    }
}

#[test]
fn bad_labels_and_prompts_are_refused() {
    let (_, mut session) = session(FakeEngine { context: 20, ..FakeEngine::default() });
    session.generate("abc", &GenerateOptions { max_tokens: 1, ..GenerateOptions::default() }).unwrap();
    let before = session.tokens().to_vec();
    let long = "x".repeat(19);
    let cases: [(&str, &[&str], ErrorKind, &str); 6] = [
        ("a", &[], ErrorKind::InvalidArgument, "no labels"),
        ("a", &["x", ""], ErrorKind::InvalidArgument, "empty"),
        ("a", &["x", "y", "x"], ErrorKind::InvalidArgument, "twice"),
        ("", &["x"], ErrorKind::InvalidArgument, "prompt is empty"),
        ("a", &[&long], ErrorKind::ContextLength, "21 tokens"),
        (&"p".repeat(25), &["x"], ErrorKind::ContextLength, "20"),
    ];
    for (prompt, labels, kind, message) in cases {
        let error = session.classify(prompt, labels).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(message), "{error}");
    }
    assert_eq!(session.tokens(), before);
    session.classify("a", &[&long[..18], "y"]).unwrap();
}

#[test]
fn inner_labels_need_a_stop_token_when_only_labels_count() {
    let (_, engine) = shared(FakeEngine::default());
    let text = Arc::new(text_without_template(&[]));
    let mut session = Session::new(engine, text, SessionOptions::default()).unwrap();
    let error = session.classify_with("a", &["x", "xy"], &among_labels()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    session.classify_with("a", &["xz", "xy"], &among_labels()).unwrap();
    session.classify("a", &["x", "xy"]).unwrap();
}

#[test]
fn damaged_logits_and_failures_are_errors_and_the_session_goes_on() {
    for (failing, damaged, kind) in [
        (vec![1], vec![], ErrorKind::Io),
        (vec![2], vec![], ErrorKind::Io),
        (vec![], vec![1], ErrorKind::InvalidModel),
        (vec![], vec![2], ErrorKind::InvalidModel),
    ] {
        let (_, mut session) = session(FakeEngine { failing, damaged, ..FakeEngine::default() });
        assert_eq!(session.classify("abc", &["xy", "xz"]).unwrap_err().kind(), kind);
        let after = joint(&mut session, "abc", &["xy", "xz"]);
        let (_, mut fresh) = self::session(FakeEngine::default());
        assert_eq!(joint(&mut fresh, "abc", &["xy", "xz"]).probabilities, after.probabilities);
    }
}

#[test]
fn it_can_be_cancelled_and_has_a_deadline() {
    let cancel = CancelToken::new();
    cancel.cancel();
    let (_, mut session) =
        session(FakeEngine { token_time: Duration::from_millis(2), ..FakeEngine::default() });
    let options = ClassifyOptions { cancel: Some(cancel), ..ClassifyOptions::default() };
    assert_eq!(session.classify_with("abc", &["x"], &options).unwrap_err().kind(), ErrorKind::Cancelled);
    let options = ClassifyOptions { deadline: Some(Duration::from_millis(30)), ..ClassifyOptions::default() };
    let error = session.classify_with("abc".repeat(400), &["x"], &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(session.len() < 400 && session.len().is_multiple_of(8));
}

const DOORS: &str = r#"{
    "version": 1, "name": "doors", "kind": "classify", "labels": ["yes", "no"], "words": ["maybe"],
    "prompt": {"input": "{report}?"}, "content_free": [{"report": ""}]
}"#;

fn classifier() -> Classifier {
    let (_, session) = session(FakeEngine::default());
    Classifier::of_session(session, text(), "fake".to_owned(), Task::parse(DOORS).unwrap()).unwrap()
}

fn report(text: &str) -> serde_json::Map<String, serde_json::Value> {
    serde_json::Map::from_iter([("report".to_owned(), text.into())])
}

/// Examples whose label is what the engine prefers, but for each fifth.
fn examples(classifier: &mut Classifier) -> Vec<Example> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.jsonl");
    let mut lines = String::new();
    for index in 0..40 {
        let text = format!("case {}", index * 7919);
        let said = classifier.decide(&report(&text)).unwrap().index;
        let label = classifier.task().labels()[if index % 5 == 0 { 1 - said } else { said }].clone();
        lines += &format!("{}\n", serde_json::json!({"report": text, "label": label}));
    }
    std::fs::write(&path, lines).unwrap();
    super::read_examples(&path, classifier.task()).unwrap()
}

#[test]
fn a_classifier_without_calibration_takes_the_labels_as_they_are() {
    let mut classifier = classifier();
    let decision = classifier.decide(&report("a")).unwrap();
    let scores = classifier.scores(&report("a"), &ClassifyOptions::default()).unwrap();
    assert_eq!((scores.log_probabilities.len(), decision.probabilities.len()), (3, 2));
    let odds = (scores.log_probabilities[0] - scores.log_probabilities[1]).exp();
    let found = f64::from(decision.probabilities[0] / decision.probabilities[1]);
    assert!((found / odds - 1.0).abs() < 1e-4, "{found} is not {odds}");
    assert_eq!(decision.label, classifier.task().labels()[decision.index]);
    assert!(!decision.abstain);
    let habit = classifier.content_free_scores(&ClassifyOptions::default()).unwrap().unwrap();
    let empty = classifier.scores(&report(""), &ClassifyOptions::default()).unwrap().log_probabilities;
    assert!(habit.iter().zip(&empty).all(|(a, b)| (a - b).abs() < 1e-9), "{habit:?} is not {empty:?}");
    assert!(classifier.decide(&report("a").into_iter().take(0).collect()).is_err());
}

#[test]
fn a_classifier_decides_by_its_calibration() {
    let mut classifier = classifier();
    let examples = examples(&mut classifier);
    let mut done = Vec::new();
    let options = CalibrateOptions { risk: Some(0.5), ..CalibrateOptions::default() };
    let calibration = classifier.calibrate(&examples, &options, |count| done.push(count)).unwrap();
    assert_eq!(done, (1..=40).collect::<Vec<_>>());
    assert_eq!(calibration.identity().prompt, classifier.task().digest());
    let threshold = calibration.abstention().unwrap().threshold;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("doors.json");
    calibration.save(&path).unwrap();
    classifier.load_calibration(&path).unwrap();
    for example in &examples {
        let scores = classifier.scores(&example.fields, &ClassifyOptions::default()).unwrap();
        let expected = calibration.calibration().probabilities(&scores.log_probabilities).unwrap();
        let decision = classifier.decide(&example.fields).unwrap();
        assert_eq!(decision.probabilities, expected);
        assert_eq!(decision.abstain, decision.probability() < threshold);
    }

    let few = &examples[..1];
    let error = classifier.calibrate(few, &options, |_| {}).unwrap_err();
    assert!(error.message().contains("examples"), "{error}");
    let other = Task::parse(&DOORS.replace("}?", "}!")).unwrap();
    let (_, fresh) = session(FakeEngine::default());
    let mut other = Classifier::of_session(fresh, text(), "fake".to_owned(), other).unwrap();
    let error = other.load_calibration(&path).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::InvalidArgument, Some(path.as_path())));
    assert!(error.message().contains("another prompt"), "{error}");
    let (_, fresh) = session(FakeEngine::default());
    let mut other =
        Classifier::of_session(fresh, text(), "other".to_owned(), Task::parse(DOORS).unwrap()).unwrap();
    assert!(other.load_calibration(&path).unwrap_err().message().contains("another model"));
}
