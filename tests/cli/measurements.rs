//! `edgeslm info`, `perplexity` and `bench`.

use edgeslm::session::{GenerateOptions, Prompt, SessionOptions};
use edgeslm::{Accuracy, LoadOptions, Model};

use super::command::{arguments, data, directories, edgeslm, model};

#[test]
fn info_of_every_golden_directory() {
    for directory in [directories("models"), directories("variants")].concat() {
        let json = edgeslm(arguments!["info", &directory, "--json"]).success().json();
        assert_eq!(json["directory"], directory.to_str().unwrap());
        assert!(json["layers"].as_u64().unwrap() > 0 && json["vocabulary_size"].as_u64().unwrap() > 0);
        assert!(!json["operators"].as_object().unwrap().is_empty());
        let kinds = json["weights"].as_object().unwrap();
        let total: u64 = kinds.values().map(|bytes| bytes.as_u64().unwrap()).sum();
        assert!(total > 0, "{json}");
        let memory = &json["memory"];
        let parts = ["weights", "cache", "scratch", "text"].map(|part| memory[part].as_u64().unwrap());
        assert_eq!(json["memory_total"], parts.iter().sum::<u64>());
        assert_eq!(json["memory_private"], parts[1..].iter().sum::<u64>());
        edgeslm(arguments!["info", &directory]).success().says(&["KV cache", "Operators", "Weights by kind"]);
    }
}

#[test]
fn memory_is_estimated_for_the_positions_asked_for() {
    let cache = |positions: &str| {
        let line = arguments!["info", model(), "--json", "--positions", positions];
        let json = edgeslm(line).success().json();
        (json["memory"]["cache"].as_u64().unwrap(), json["cache_bytes_per_position"].as_u64().unwrap())
    };
    let (small, one) = cache("128");
    let (large, _) = cache("256");
    assert_eq!(large - small, 128 * one);
}

#[test]
fn a_cache_in_8_bits_is_told_and_takes_half_of_the_memory() {
    let info = |precision: &str| {
        let line = arguments!["info", model(), "--json", "--kv-precision", precision];
        edgeslm(line).success().json()
    };
    let (auto, int8) = (info("auto"), info("int8"));
    assert_eq!((&auto["cache_format"], &int8["cache_format"]), (&"f16".into(), &"int8".into()));
    let bytes = |json: &serde_json::Value| json["memory"]["cache"].as_u64().unwrap();
    // A head of 32 elements or more has one scale of two bytes for each 32.
    assert_eq!(32 * bytes(&int8), 17 * bytes(&auto), "{auto} {int8}");
    let line = arguments!["info", model(), "--accuracy", "strict"];
    edgeslm(line).success().says(&["strict accuracy, KV cache in f32"]);
    let line = arguments!["info", model(), "--accuracy", "strict", "--kv-precision", "int8"];
    edgeslm(line).success().says(&["strict accuracy, KV cache in int8"]);
    let line = arguments!["bench", model(), "--rounds", "1", "--prompt-tokens", "8", "--generate", "2"];
    let json =
        edgeslm(line.into_iter().chain(arguments!["--kv-precision", "int8", "--json"])).success().json();
    assert_eq!(json["cache_format"], "int8");
}

#[test]
fn layouts_and_longrope_are_told() {
    let json = edgeslm(arguments!["info", data("variants/transformers-js"), "--json"]).success().json();
    assert_eq!(json["layout"], "transformers.js");
    let json = edgeslm(arguments!["info", data("variants/transformers-js"), "--graph", "q4f16", "--json"])
        .success()
        .json();
    assert!(json["graph"].as_str().unwrap().ends_with("model_q4f16.onnx"), "{json}");
    let json = edgeslm(arguments!["info", data("models/phi-4-mini-int4"), "--json"]).success().json();
    assert!(json["longrope_switch"].as_u64().is_some_and(|switch| switch >= 128), "{json}");
}

#[test]
fn perplexity_does_not_depend_on_how_tokens_are_given() {
    let directory = tempfile::tempdir().unwrap();
    let ids: Vec<u32> = (0..150).map(|index| 3 + (index * 7919) % 400).collect();
    let (plain, json) = (directory.path().join("ids.txt"), directory.path().join("ids.json"));
    let words: Vec<String> = ids.iter().map(u32::to_string).collect();
    std::fs::write(&plain, words.join("\n")).unwrap();
    std::fs::write(&json, format!("[{}]", words.join(", "))).unwrap();
    let measure = |file: &std::path::Path, window: &str, accuracy: &str| {
        let line = arguments!["perplexity", model(), "--tokens", file, "--window", window];
        edgeslm(line.iter().chain(&arguments!["--accuracy", accuracy, "--json"])).success().json()
    };
    let whole = measure(&plain, "200", "strict");
    assert_eq!((&whole["tokens"], &whole["predicted_tokens"]), (&150.into(), &149.into()));
    assert_eq!(whole["perplexity"], measure(&json, "200", "strict")["perplexity"]);
    let value = |report: &serde_json::Value| report["mean_negative_log_likelihood"].as_f64().unwrap();
    let difference = |other: &serde_json::Value| (value(other) / value(&whole) - 1.0).abs();
    assert!(difference(&measure(&plain, "200", "default")) < 0.02);
    // A window forgets what was before it.
    let cut = measure(&plain, "40", "strict");
    assert_eq!(cut["predicted_tokens"], 149);
    assert!(difference(&cut) > 1e-6 && difference(&cut) < 0.5, "{cut} {whole}");
}

#[test]
fn perplexity_is_e_to_the_mean_negative_log_likelihood() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ids.txt");
    let total = |ids: &[u32]| {
        std::fs::write(&file, ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")).unwrap();
        let line = arguments!["perplexity", model(), "--tokens", &file, "--json", "--accuracy", "strict"];
        let report = edgeslm(line).success().json();
        let mean = report["mean_negative_log_likelihood"].as_f64().unwrap();
        assert!((report["perplexity"].as_f64().unwrap() / mean.exp() - 1.0).abs() < 1e-9, "{report}");
        mean * report["predicted_tokens"].as_f64().unwrap()
    };
    let mut ids = vec![5, 77, 301, 12];
    let before = total(&ids);
    // One more token, whose log-probability the session reports on its own.
    let options = LoadOptions { accuracy: Accuracy::Strict, ..LoadOptions::default() };
    let mut session = Model::load(model(), &options).unwrap().session(SessionOptions::default()).unwrap();
    let options = GenerateOptions {
        max_tokens: 1,
        ignore_stop_tokens: true,
        log_probabilities: Some(0),
        ..GenerateOptions::default()
    };
    let answer = session.generate(Prompt::Tokens(ids.clone()), &options).unwrap();
    ids.extend(&answer.tokens);
    let expected = before - f64::from(answer.log_probabilities[0].chosen);
    assert!((total(&ids) - expected).abs() < 1e-4, "{} {expected}", total(&ids));
}

#[test]
fn texts_that_predict_nothing_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ids.txt");
    for (content, text) in
        [("5", "too short"), ("", "too short"), ("5 six", "\"six\""), ("5 6 999999", "999999")]
    {
        std::fs::write(&file, content).unwrap();
        edgeslm(arguments!["perplexity", model(), "--tokens", &file]).failure(2).says(&[text]);
    }
    edgeslm(arguments!["perplexity", model(), "--text", "absent.txt"]).failure(1).says(&["absent.txt"]);
    edgeslm(arguments!["perplexity", model()]).failure(2);
    std::fs::write(&file, "5 6 7").unwrap();
    let line = arguments!["perplexity", model(), "--tokens", &file, "--window", "4000000000"];
    edgeslm(line).failure(2).says(&["hint: choose a shorter --window"]);
}

#[test]
fn bench_measures_every_round() {
    let line = arguments!["bench", model(), "--prompt-tokens", "20", "--generate", "6", "--rounds", "3"];
    let json = edgeslm(line.iter().chain(&arguments!["--json"])).success().json();
    for name in [
        "load_seconds",
        "time_to_first_token_seconds",
        "prefill_tokens_per_second",
        "decode_tokens_per_second",
        "weight_bytes_per_second_reading",
    ] {
        let [least, median, most] =
            ["least", "median", "most"].map(|part| json[name][part].as_f64().unwrap());
        assert!(0.0 < least && least <= median && median <= most, "{name}: {json}");
    }
    assert_eq!(
        (&json["prompt_tokens"], &json["generated_tokens"], &json["rounds"]),
        (&20.into(), &6.into(), &3.into())
    );
    assert!(json["weight_bytes"].as_u64().unwrap() > 100_000);
    if cfg!(target_os = "linux") {
        assert!(
            json["estimated_bytes"].as_u64().unwrap() > json["estimated_anonymous_bytes"].as_u64().unwrap()
        );
        assert!(json["peak_resident_bytes"].as_u64().unwrap() > json["anonymous_bytes"].as_u64().unwrap());
    }
    edgeslm(&line).success().says(&[
        "prefill, tok/s",
        "decode, tok/s",
        "peak resident memory",
        "plain reading",
    ]);
    let together = [line.as_slice(), &arguments!["--sequences", "3"]].concat();
    edgeslm(&together).success().says(&["3 sequences together"]);
    let json = edgeslm(together.iter().chain(&arguments!["--json"])).success().json();
    assert_eq!(json["sequences"], 3);
    assert!(json["decode_tokens_per_second"]["least"].as_f64().unwrap() > 0.0, "{json}");
    edgeslm(arguments!["bench", model(), "--sequences", "0"]).failure(2).says(&["--sequences"]);
    let long = arguments!["bench", model(), "--prompt-tokens", "1000000"];
    edgeslm(long).failure(2).says(&["the context holds", "hint: "]);
}
