//! `edgeslm run` and `edgeslm chat`.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use super::command::{arguments, command, copy, data, edgeslm, edgeslm_with, model};

#[test]
fn an_answer_as_text_and_as_json_is_the_same() {
    let line = arguments!["run", model(), "--raw", "-n", "12", "the door is open"];
    let text = edgeslm(&line).success();
    let json = edgeslm(line.iter().chain(&arguments!["--json"])).success().json();
    assert_eq!(text.stdout.strip_suffix('\n'), json["text"].as_str());
    assert_eq!(json["tokens"].as_array().unwrap().len(), 12);
    assert_eq!(json["finish_reason"], "max_tokens");
    let statistics = &json["statistics"];
    assert_eq!((&statistics["generated_tokens"], &statistics["reused_tokens"]), (&12.into(), &0.into()));
    assert!(statistics["prompt_tokens"].as_u64().unwrap() > 1);
    for name in
        ["time_to_first_token", "prefill_tokens_per_second", "decode_tokens_per_second", "cache_bytes"]
    {
        assert!(statistics[name].as_f64().unwrap() > 0.0, "{name}: {statistics}");
    }
    assert!(text.stderr.is_empty());
}

#[test]
fn a_prompt_comes_from_an_argument_a_file_or_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prompt.txt");
    std::fs::write(&file, "the door is open\n").unwrap();
    let base = arguments!["run", model(), "--raw", "-n", "8", "--json"];
    let tokens = |more: &[std::ffi::OsString], input: &[u8]| {
        edgeslm_with(base.iter().chain(more), input).success().json()["tokens"].clone()
    };
    let expected = tokens(&arguments!["the door is open"], b"");
    assert_eq!(tokens(&arguments!["--file", &file], b""), expected);
    assert_eq!(tokens(&[], b"the door is open\n"), expected);
    assert_eq!(tokens(&arguments!["--file", "-"], b"the door is open"), expected);
}

#[test]
fn sampling_obeys_the_seed() {
    let tokens = |seed: &str, temperature: &str| {
        let line = arguments![
            "run",
            model(),
            "--raw",
            "-n",
            "24",
            "--json",
            "--temperature",
            temperature,
            "--seed",
            seed,
            "a"
        ];
        let json = edgeslm(line).success().json();
        assert_eq!(json["seed"], seed.parse::<u64>().unwrap());
        json["tokens"].clone()
    };
    assert_eq!(tokens("7", "1.5"), tokens("7", "1.5"));
    assert_ne!(tokens("7", "1.5"), tokens("8", "1.5"));
    assert_eq!(tokens("7", "0"), tokens("8", "0"));
}

#[test]
fn log_probabilities_have_the_chosen_token_first_when_greedy() {
    let line = arguments!["run", model(), "--raw", "-n", "3", "--json", "--log-probabilities", "4", "a"];
    let json = edgeslm(line).success().json();
    let entries = json["log_probabilities"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    for (entry, token) in entries.iter().zip(json["tokens"].as_array().unwrap()) {
        let top = entry["top"].as_array().unwrap();
        assert_eq!((top.len(), &entry["token"], &top[0]["token"]), (4, token, token));
        assert_eq!(entry["log_probability"], top[0]["log_probability"]);
        let values: Vec<f64> = top.iter().map(|one| one["log_probability"].as_f64().unwrap()).collect();
        assert!(values.is_sorted_by(|a, b| a >= b) && values[0] <= 0.0, "{values:?}");
    }
    edgeslm(arguments!["run", model(), "--raw", "--log-probabilities", "4", "a"]).failure(2);
}

#[test]
fn stop_strings_and_deadlines_end_an_answer() {
    let base = arguments!["run", model(), "--raw", "-n", "40", "--json", "the door"];
    let whole = edgeslm(&base).success().json()["text"].as_str().unwrap().to_owned();
    let stop: String = whole.chars().skip(6).take(3).collect();
    let json = edgeslm(base.iter().chain(&arguments!["--stop", &stop])).success().json();
    assert_eq!(json["finish_reason"], "stop_string");
    assert_eq!(json["text"].as_str().unwrap(), whole.split(&stop).next().unwrap());
    let json = edgeslm(base.iter().chain(&arguments!["--deadline", "0"])).success().json();
    assert_eq!((&json["finish_reason"], &json["text"]), (&"deadline".into(), &"".into()));
}

#[test]
fn statistics_go_to_standard_error() {
    let outcome = edgeslm(arguments!["run", model(), "--raw", "-n", "5", "--stats", "a"]).success();
    assert!(!outcome.stdout.contains("tok/s"));
    assert!(outcome.stderr.starts_with("max_tokens; prompt "), "{outcome:?}");
    outcome.says(&["answer 5 tokens", "KV cache"]);
}

#[test]
fn a_prompt_goes_through_the_chat_template_unless_raw() {
    let count = |line: &[std::ffi::OsString]| {
        let line = arguments!["run", model(), "--json", "-n", "2"].into_iter().chain(line.iter().cloned());
        edgeslm(line).success().json()["statistics"]["prompt_tokens"].as_u64().unwrap()
    };
    let raw = count(&arguments!["--raw", "hello"]);
    let chat = count(&arguments!["hello"]);
    let system = count(&arguments!["--system", "be brief and be kind", "hello"]);
    assert!(raw < chat && chat < system, "{raw} {chat} {system}");
}

#[test]
fn what_cannot_be_answered_is_an_error() {
    let raw = arguments!["run", model(), "--raw"];
    let run = |more: &[std::ffi::OsString], input: &[u8]| edgeslm_with(raw.iter().chain(more), input);
    run(&arguments![""], b"").failure(2).says(&["the prompt is empty"]);
    run(&[], b"").failure(2).says(&["the prompt is empty"]);
    run(&[], b"\xff\xfe").failure(2).says(&["standard input", "not UTF-8"]);
    run(&arguments!["--file", "absent.txt"], b"").failure(1).says(&["absent.txt"]);
    run(&arguments!["--temperature", "nan", "a"], b"").failure(2).says(&["temperature", "hint: "]);
    run(&arguments!["--context", "4", "word ".repeat(40)], b"")
        .failure(1)
        .says(&["context holds 4", "hint: shorten the prompt"]);
    run(&arguments!["--memory-budget", "1KB", "a"], b"").failure(1).says(&["error: "]);
    run(&arguments!["--threads", "0", "a"], b"").failure(2);
    // A model of no known family, without a template.
    let copy = copy(&data("variants/dense"));
    for (file, from, to) in [
        ("genai_config.json", "\"llama\"", "\"other\""),
        ("tokenizer_config.json", "\"chat_template\"", "\"x\""),
    ] {
        let path = copy.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    }
    edgeslm(arguments!["run", copy.path(), "hello"]).failure(1).says(&["no chat template", "--raw"]);
    edgeslm(arguments!["chat", copy.path()]).failure(1).says(&["no chat template", "run --raw"]);
}

#[test]
fn a_closed_pipe_ends_the_command_quietly() {
    let mut child = command()
        .args(arguments!["run", model(), "--raw", "-n", "400", "a"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_answer() {
    let mut child = command()
        .args(arguments![
            "run",
            data("models/gemma-2-9b-int4"),
            "--raw",
            "--kernels",
            "scalar",
            "--accuracy",
            "strict"
        ])
        .args(arguments!["-n", "100000000", "--stats", "a"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // A model this small may come to its context's end before the signal does.
    if !stderr.starts_with("context_length; ") {
        assert_eq!(output.status.code(), Some(130), "{stderr}");
        assert!(stderr.starts_with("cancelled; "), "{stderr}");
    }
}

#[test]
fn a_conversation() {
    let input =
        "/help\nhello\n/stats\n/rewind\n/system be brief\n/nonsense\n\nhello \\\nthere\n/quit\nnever\n";
    let line = arguments!["chat", model(), "-n", "6", "--stats"];
    let outcome = edgeslm_with(&line, input.as_bytes()).success();
    let outcome = outcome.says(&[
        "Ctrl-C stops an answer",
        "(cut at --max-tokens)",
        "positions used",
        "Took back 1 turn.",
        "System message set.",
        "no command /nonsense",
    ]);
    assert_eq!(outcome.stderr.matches("answer 6 tokens").count(), 3, "{outcome:?}");
    // The answers alone are the output: two lines at least.
    assert!(outcome.stdout.lines().count() >= 2 && !outcome.stdout.contains("tok/s"), "{outcome:?}");
    // The same words in the same place of a conversation give the same answer.
    let again = edgeslm_with(&line, b"hello\n/rewind\nhello\n").success();
    let half = again.stdout.len() / 2;
    assert_eq!(again.stdout[..half], again.stdout[half..], "{again:?}");
}

#[test]
fn a_conversation_leaves_nothing_behind_unless_asked() {
    let home = tempfile::tempdir().unwrap();
    let talk = |more: &[std::ffi::OsString]| {
        let mut child = command()
            .args(arguments!["chat", model(), "-n", "2"])
            .args(more)
            .current_dir(home.path())
            .env("HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"a secret\n").unwrap();
        assert!(child.wait().unwrap().success());
    };
    talk(&[]);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    let history = home.path().join("history");
    talk(&arguments!["--history", &history]);
    let lines = BufReader::new(std::fs::File::open(history).unwrap()).lines().map(Result::unwrap);
    assert!(lines.into_iter().any(|line| line == "a secret"));
}
