//! The demonstration's model, SmolLM2-135M-Instruct: answers against llama.cpp's, perplexity, chunked and joint passes, memory.
//!
//! `cargo xtask real-model` imports the model and runs these tests with `EDGESLM_DEMO_MODELS` naming the folder of the
//! imported directories.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test may panic")]
#![allow(clippy::print_stdout, reason = "measured figures are shown")]

mod apps;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use edgeslm::answer::measures::{confidence_bins, expected_calibration_error};
use edgeslm::answer::{Answer, CalibrateOptions, Classifier, Example, Split, Task, read_examples};
use edgeslm::engine::{Engine, LogitsAt, RunControl, SequenceInput};
use edgeslm::model::{Prediction, Predictions, TextScore};
use edgeslm::session::{GenerateOptions, Prompt, SessionOptions};
use edgeslm::text::{Message, RenderOptions};
use edgeslm::{Accuracy, LoadOptions, Model};
use ndarray::{Array2, ArrayView1, s};
use serde_json::Value;

/// With every weight as in the GGUF file.
const EXACT: &str = "smollm2-135m-instruct";
/// Quantised anew to 4 bits.
const INT4: &str = "smollm2-135m-instruct-int4";

const ACCURACIES: [Accuracy; 2] = [Accuracy::Default, Accuracy::Strict];

fn directory(name: &str) -> PathBuf {
    let folder = std::env::var_os("EDGESLM_DEMO_MODELS");
    let folder =
        folder.expect("EDGESLM_DEMO_MODELS names no folder: run these tests with `cargo xtask real-model`");
    Path::new(&folder).join(name)
}

fn options(accuracy: Accuracy, threads: usize) -> LoadOptions {
    LoadOptions { accuracy, threads: Some(threads), ..LoadOptions::default() }
}

fn load(name: &str, accuracy: Accuracy, threads: usize) -> Model {
    Model::load(directory(name), &options(accuracy, threads)).unwrap()
}

fn data(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// The tokens of a text of 2,000 tokens.
fn text_tokens(model: &Model) -> Vec<u32> {
    model.text().raw_tokens(&data("text/perplexity.txt")).unwrap()
}

#[test]
#[ignore = "needs the demonstration's model: cargo xtask real-model"]
fn strict_greedy_answers_are_those_of_llama_cpp() {
    let file: Value = serde_json::from_str(&data("import/smollm2_greedy.json")).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert!(cases.len() >= 8);
    let ids = |value: &Value| serde_json::from_value::<Vec<u32>>(value.clone()).unwrap();
    for threads in [1, 2] {
        let model = load(EXACT, Accuracy::Strict, threads);
        let mut total = 0;
        for case in cases {
            let (prompt, expected) = (ids(&case["prompt"]), ids(&case["expected"]));
            let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
            let rendered = model.text().chat_tokens(&messages, &RenderOptions::default()).unwrap();
            assert_eq!(rendered, prompt, "the prompt of {}", case["name"]);

            let options = GenerateOptions { max_tokens: 64, ..GenerateOptions::default() };
            let mut session = model.session(SessionOptions::default()).unwrap();
            let answer = session.generate(Prompt::Tokens(prompt), &options).unwrap();
            assert_eq!(answer.tokens, expected, "{}, {threads} threads: {:?}", case["name"], answer.text);
            assert_eq!(answer.outcome.reason.name(), case["ends"], "{}", case["name"]);
            total += expected.len();
        }
        println!("{} answers of {total} tokens equal llama.cpp's, {threads} threads", cases.len());
    }
}

#[test]
#[ignore = "needs the demonstration's model: cargo xtask real-model"]
fn default_accuracy_predicts_a_text_as_strict_does() {
    let [default, strict] = ACCURACIES.map(|accuracy| load(EXACT, accuracy, 2));
    let tokens = text_tokens(&default);
    assert!((1900..2100).contains(&tokens.len()), "{} tokens", tokens.len());
    let predictions = |model| Predictions::new(model, &tokens, 1024).unwrap().map(Result::unwrap);
    let (mut of_default, mut of_strict, mut divergence) = (TextScore::default(), TextScore::default(), 0.0);
    let mut same_choice = 0_u32;
    for (default, strict) in predictions(default.engine().as_ref()).zip(predictions(strict.engine().as_ref()))
    {
        of_default.add(&default).unwrap();
        of_strict.add(&strict).unwrap();
        divergence += rows(&strict, &default).map(|(p, q)| kl_divergence(p, q)).sum::<f64>();
        same_choice += rows(&strict, &default).map(|(p, q)| u32::from(largest(p) == largest(q))).sum::<u32>();
    }
    assert_eq!((of_default.predicted, of_strict.predicted), (tokens.len() - 1, tokens.len() - 1));
    let predicted = of_strict.predicted as f64;
    let (default, strict) = (of_default.perplexity(), of_strict.perplexity());
    let divergence = divergence / predicted;
    println!(
        "{predicted} tokens: perplexity {default:.4} default, {strict:.4} strict ({:+.3} %), mean KL divergence \
         {divergence:.6} nats, the same most probable token {:.2} %",
        100.0 * (default / strict - 1.0),
        100.0 * f64::from(same_choice) / predicted
    );
    let reference = reference_perplexity(EXACT);
    assert!((strict / reference - 1.0).abs() < 1e-4, "ONNX Runtime: {reference}");
    assert!((default / strict - 1.0).abs() < 0.01);
    // What perplexity hides: errors that cancel out. The bound is twice the divergence at the time of writing.
    assert!((0.0..0.0028).contains(&divergence));
}

/// What ONNX Runtime gives in 32-bit arithmetic on the same directory and text.
fn reference_perplexity(directory: &str) -> f64 {
    let file: Value = serde_json::from_str(&data("import/smollm2_perplexity.json")).unwrap();
    assert_eq!(file["window"], 1024);
    file[directory]["perplexity"].as_f64().unwrap()
}

/// The logits of two engines, position by position.
fn rows<'a>(
    p: &'a Prediction<'_>,
    q: &'a Prediction<'_>,
) -> impl Iterator<Item = (ArrayView1<'a, f32>, ArrayView1<'a, f32>)> {
    assert_eq!(p.targets, q.targets);
    p.logits.rows().into_iter().zip(q.logits.rows())
}

fn largest(logits: ArrayView1<'_, f32>) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
}

/// Σ p ln(p / q) for p and q the softmax of two rows of logits.
fn kl_divergence(p: ArrayView1<'_, f32>, q: ArrayView1<'_, f32>) -> f64 {
    let log_total = |logits: ArrayView1<'_, f32>| {
        let maximum = logits.iter().fold(f32::NEG_INFINITY, |maximum, logit| maximum.max(*logit));
        let total: f64 = logits.iter().map(|logit| f64::from(logit - maximum).exp()).sum();
        f64::from(maximum) + total.ln()
    };
    let (p_total, q_total) = (log_total(p), log_total(q));
    let logs = p.iter().zip(q).map(|(p, q)| (f64::from(*p) - p_total, f64::from(*q) - q_total));
    logs.map(|(p, q)| p.exp() * (p - q)).sum()
}

#[test]
fn divergence_by_hand() {
    // softmax(0, ln 3) = (1/4, 3/4), softmax(7, 7) = (1/2, 1/2)
    let (p, q) = ([0.0, 3_f32.ln()], [7.0, 7.0]);
    let expected = 0.25 * 0.5_f64.ln() + 0.75 * 1.5_f64.ln();
    let found = kl_divergence(ArrayView1::from(&p), ArrayView1::from(&q));
    assert!((found - expected).abs() < 1e-7, "{found} {expected}");
    assert_eq!(kl_divergence(ArrayView1::from(&q), ArrayView1::from(&q)), 0.0);
}

#[test]
#[ignore = "needs the demonstration's model: cargo xtask real-model"]
fn the_int4_model_answers() {
    let model = load(INT4, Accuracy::Default, 2);
    let mut session = model.session(SessionOptions::default()).unwrap();
    let options = GenerateOptions { max_tokens: 48, ..GenerateOptions::default() };
    let answer = session.chat("What is the capital of France?", &options).unwrap().into_answer().unwrap();
    println!("int4 answers {:?}", answer.text);
    assert!(answer.text.contains("Paris"));
    assert_eq!(session.history().len(), 2);

    let tokens = text_tokens(&model);
    let mut score = TextScore::default();
    for prediction in Predictions::new(model.engine().as_ref(), &tokens, 1024).unwrap() {
        score.add(&prediction.unwrap()).unwrap();
    }
    let reference = reference_perplexity(INT4);
    println!("int4: perplexity {:.4}, with the same weights ONNX Runtime {reference:.4}", score.perplexity());
    assert!((score.perplexity() / reference - 1.0).abs() < 0.01);
}

/// The logits of every token, fed in passes of `chunk`.
fn feed(engine: &dyn Engine, tokens: &[u32], chunk: usize) -> Array2<f32> {
    let mut cache = engine.new_cache();
    engine.prepare(cache.as_mut(), tokens.len()).unwrap();
    let mut logits = Array2::zeros((0, engine.vocabulary_size()));
    for tokens in tokens.chunks(chunk) {
        let cache = cache.as_mut();
        let input = SequenceInput { cache, tokens, parents: None, logits: LogitsAt::All, vocabulary: None };
        let rows = engine.forward(&mut [input], &RunControl::default()).unwrap();
        logits.append(ndarray::Axis(0), rows[0].view()).unwrap();
    }
    logits
}

#[track_caller]
fn assert_same_bits<'a>(
    found: impl Into<ndarray::ArrayView2<'a, f32>>,
    expected: impl Into<ndarray::ArrayView2<'a, f32>>,
    what: &str,
) {
    let (found, expected) = (found.into(), expected.into());
    assert_eq!(found.dim(), expected.dim(), "{what}");
    let differing = found.iter().zip(expected).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    assert_eq!(differing, 0, "{what}: of {} logits", found.len());
}

#[test]
#[ignore = "needs the demonstration's model: cargo xtask real-model"]
fn chunked_prefill_is_one_prefill() {
    for accuracy in ACCURACIES {
        let model = load(EXACT, accuracy, 2);
        let engine = model.engine().as_ref();
        let tokens = &text_tokens(&model)[..128];
        let whole = feed(engine, tokens, 128);
        for chunk in [1, 13, 64] {
            assert_same_bits(
                &feed(engine, tokens, chunk),
                &whole,
                &format!("{accuracy:?}, passes of {chunk}"),
            );
        }
        let alone = load(EXACT, accuracy, 1);
        assert_same_bits(
            &feed(alone.engine().as_ref(), tokens, 128),
            &whole,
            &format!("{accuracy:?}, one thread"),
        );
    }
}

#[test]
#[ignore = "needs the demonstration's model: cargo xtask real-model"]
fn two_sequences_in_one_pass_are_each_alone() {
    for accuracy in ACCURACIES {
        let model = load(EXACT, accuracy, 2);
        let engine = model.engine().as_ref();
        let text = text_tokens(&model);
        let sequences = [&text[..50], &text[400..490]];
        let alone = sequences.map(|tokens| feed(engine, tokens, 128));
        let mut caches = sequences.map(|tokens| {
            let mut cache = engine.new_cache();
            engine.prepare(cache.as_mut(), tokens.len()).unwrap();
            cache
        });
        // A prefill, a pass in which one of them decodes, and decoding.
        for [first, second] in [[0..40, 0..70], [40..41, 70..89], [41..42, 89..90]] {
            let ranges = [first, second];
            let mut batch: Vec<SequenceInput<'_>> = caches
                .iter_mut()
                .zip(sequences.iter().zip(ranges.clone()))
                .map(|(cache, (tokens, range))| SequenceInput {
                    cache: cache.as_mut(),
                    tokens: &tokens[range],
                    parents: None,
                    logits: LogitsAt::All,
                    vocabulary: None,
                })
                .collect();
            let logits = engine.forward(&mut batch, &RunControl::default()).unwrap();
            for ((logits, alone), range) in logits.iter().zip(&alone).zip(ranges) {
                let expected = alone.slice(s![range.clone(), ..]);
                assert_same_bits(logits, expected, &format!("{accuracy:?}, positions {range:?}"));
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs the demonstration's model: cargo xtask real-model"]
fn memory_is_as_estimated() {
    const TOKENS: usize = 1000;
    for (name, accuracy, argument) in [
        (EXACT, Accuracy::Default, "default"),
        (EXACT, Accuracy::Strict, "strict"),
        (INT4, Accuracy::Default, "default"),
    ] {
        // A process of its own, which has had no other memory.
        let output = Command::new(env!("CARGO_BIN_EXE_edgeslm"))
            .arg("bench")
            .arg(directory(name))
            .args(["--accuracy", argument, "--threads", "2", "--rounds", "1", "--json"])
            .args(["--prompt-tokens", "900", "--generate", "100"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let held = report["anonymous_bytes"].as_u64().unwrap() as f64;
        let estimate = Model::estimate(directory(name), &options(accuracy, 2), TOKENS).unwrap();
        let estimated = estimate.private() as f64;
        println!(
            "{name}, {argument}: {:.1} MB of memory of its own at {TOKENS} tokens, estimated {:.1} MB ({:+.1} %)",
            held / 1e6,
            estimated / 1e6,
            100.0 * (estimated / held - 1.0)
        );
        assert!(held < 200e6);
        assert!((estimated / held - 1.0).abs() < 0.1, "{estimate:?}");
    }
}

/// The results of a device application on the test split of a set, and how many labels were as expected.
fn sorted(application: &str, arguments: &[&str]) -> (Vec<Value>, usize) {
    let mut command = Command::new(apps::program(application));
    command
        .arg("--model")
        .arg(directory(EXACT))
        .args(["--deadline", "120000", "--threads", "2"])
        .args(arguments);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    println!("{application}: {}", errors.trim_end());
    let results = apps::json_lines(&String::from_utf8(output.stdout).unwrap());
    let right = results.iter().filter(|result| result["label"] == result["expected"]).count();
    (results, right)
}

#[test]
#[ignore = "needs the demonstration's model: cargo xtask real-model"]
fn device_applications_sort_better_than_chance() {
    for (application, set, classes, least) in
        [("equipment_logs", "equipment", 6, 0.35), ("driving_patterns", "driving", 5, 0.26)]
    {
        let file = apps::data(&format!("{set}.jsonl"));
        let (results, right) = sorted(application, &[file.to_str().unwrap(), "--split", "test"]);
        let share = right as f64 / results.len() as f64;
        println!(
            "{application}: {right} of {} right, by chance {:.2}",
            results.len(),
            1.0 / f64::from(classes)
        );
        assert!(share >= least, "{share}");
        for result in &results[1..] {
            assert!(
                result["reused_tokens"].as_u64() > result["prompt_tokens"].as_u64().map(|all| all / 3),
                "{result}"
            );
        }
    }
}

#[test]
#[ignore = "needs the demonstration's model: cargo xtask real-model"]
fn the_editor_example_ends_lines_of_code() {
    let set = apps::set("completion");
    let test: Vec<&Value> = set.iter().filter(|example| example["split"] == "test").collect();
    let mut child = Command::new(apps::program("code_completion"))
        .arg("--model")
        .arg(directory(EXACT))
        .args(["--requests", "--max-tokens", "24", "--deadline", "600000", "--threads", "2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut right = 0;
    for example in &test {
        let keys = ["id", "language", "prefix", "suffix"].map(|key| (key.to_owned(), example[key].clone()));
        writeln!(input, "{}", Value::Object(keys.into_iter().collect())).unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["id"], example["id"]);
        let completion = answer["completion"].as_str().unwrap().trim();
        let expected = example["expected"].as_array().unwrap();
        right += usize::from(expected.iter().any(|expected| expected == completion));
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    println!("code_completion: {right} of {} right", test.len());
    assert!(right * 5 >= test.len() * 2, "{right}");
}

#[test]
#[ignore = "needs the demonstration's model: cargo xtask real-model"]
fn calibration_makes_probabilities_of_labels_more_honest() {
    let model = load(EXACT, Accuracy::Default, 2);
    // The two other tasks take minutes: `edgeslm calibrate` prints theirs, which docs/evaluation.md tells.
    let name = "triage";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let task = Task::read(folder.join(name).with_extension("task.json")).unwrap();
    let examples = read_examples(folder.join(name).with_extension("jsonl"), &task).unwrap();
    let of_split = |split: Split| -> Vec<Example> {
        examples.iter().filter(|example| example.split == split).cloned().collect()
    };
    let mut classifier = Classifier::new(&model, task).unwrap();
    let held_out = of_split(Split::Test);
    let error_and_right = |classifier: &mut Classifier| {
        let decide = |example: &Example| {
            let decision = classifier.decide(&example.fields).unwrap();
            (decision.probability(), example.answer == Answer::Label(decision.index))
        };
        let decisions: Vec<(f32, bool)> = held_out.iter().map(decide).collect();
        let right = decisions.iter().filter(|(_, is_right)| *is_right).count();
        (expected_calibration_error(&confidence_bins(&decisions, 10)), right)
    };
    let (before, right_before) = error_and_right(&mut classifier);
    let options = CalibrateOptions::default();
    let calibration = classifier.calibrate(&of_split(Split::Calibration), &options, |_| {}).unwrap();
    classifier.set_calibration(Some(calibration)).unwrap();
    let (after, right_after) = error_and_right(&mut classifier);
    println!(
        "{name}: expected calibration error {before:.3} before and {after:.3} after calibration; \
         {right_before} and {right_after} of {} right",
        held_out.len()
    );
    assert!(after < before, "{name}: {after} is not below {before}");
}
