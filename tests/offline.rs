//! The command and the triage example try no network call, and work where there is no network.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "cli/gguf.rs"]
mod gguf;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use edgeslm::import::{ImportOptions, import_gguf};

/// The triage example beside the command, up to date also where only this test was asked for.
fn triage() -> PathBuf {
    let directory = Path::new(env!("CARGO_BIN_EXE_edgeslm")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    // Everything, so that features are those of `cargo test --workspace` and nothing is built twice.
    cargo.args(["build", "--quiet", "--offline", "--workspace", "--lib", "--bins", "--examples"]);
    if directory.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    directory.join("examples/triage_kiosk")
}

fn is_there(program: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "{program} is missing, and CI needs it");
    found
}

/// The network calls of a program and all its threads and children.
fn network_calls(program: &OsStr, arguments: &[OsString]) -> Vec<String> {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("strace")
        // The filter in the kernel stops a thread at network calls alone.
        .args(["-f", "--seccomp-bpf", "-e", "trace=network", "-o"])
        .arg(trace.path())
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{program:?} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = std::fs::read_to_string(trace.path()).unwrap();
    assert!(text.contains("+++ exited with 0 +++"), "{program:?} was not traced: {text}");
    text.lines()
        .filter(|line| !line.contains("+++") && !line.contains("--- SIG"))
        .map(str::to_owned)
        .collect()
}

/// The labelled statements that ship with the example.
fn statements(file: &str) -> Vec<serde_json::Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What is to run offline, on a model imported into `directory`.
fn commands(directory: &Path) -> Vec<(OsString, Vec<OsString>)> {
    let (file, model) = (directory.join("tiny.gguf"), directory.join("tiny"));
    std::fs::write(&file, gguf::llama()).unwrap();
    import_gguf(&file, &model, &ImportOptions::default(), &mut |_| {}).unwrap();
    let calibration = directory.join("calibration.jsonl");
    let shipped = statements("triage_calibration.jsonl");
    let of_class = |class: &str| shipped.iter().find(|case| case["label"] == class).unwrap().to_string();
    std::fs::write(&calibration, ["emergency", "urgent", "routine"].map(of_class).join("\n")).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/llama-3.2-1b-int4");
    let edgeslm = OsString::from(env!("CARGO_BIN_EXE_edgeslm"));
    let line = |words: &[&dyn AsRef<OsStr>]| words.iter().map(|word| word.as_ref().to_owned()).collect();
    vec![
        (triage().into(), line(&[&"--model", &model, &"--calibration", &calibration, &"--limit", &"2"])),
        (edgeslm.clone(), line(&[&"run", &model, &"-n", &"8", &"hello"])),
        (edgeslm.clone(), line(&[&"chat", &model])),
        (edgeslm.clone(), line(&[&"info", &golden])),
        (edgeslm.clone(), line(&[&"check", &golden])),
        (
            edgeslm,
            line(&[&"bench", &golden, &"--rounds", &"1", &"--prompt-tokens", &"9", &"--generate", &"3"]),
        ),
    ]
}

#[test]
fn no_network_call_is_tried() {
    if !is_there("strace") {
        eprintln!("skipped: strace is missing");
        return;
    }
    // The tracer sees a call where there is one.
    let call = "(exec 3<>/dev/tcp/127.0.0.1/9) 2>/dev/null; true";
    let calls = network_calls(OsStr::new("bash"), &["-c".into(), call.into()]);
    assert!(calls.iter().any(|call| call.contains("socket(")), "{calls:?}");

    let directory = tempfile::tempdir().unwrap();
    for (program, arguments) in commands(directory.path()) {
        let calls = network_calls(&program, &arguments);
        assert!(calls.is_empty(), "{program:?} {arguments:?}: {calls:?}");
    }
}

#[test]
fn everything_works_without_a_network() {
    let unshare = |program: &OsStr, arguments: &[OsString]| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net"]).arg(program).args(arguments).stdin(Stdio::null());
        command.output()
    };
    if !unshare(OsStr::new("true"), &[]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a network namespace of one's own is not permitted here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (program, arguments) in commands(directory.path()) {
        let output = unshare(&program, &arguments).unwrap();
        assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_triage_example_sorts_every_statement() {
    let directory = tempfile::tempdir().unwrap();
    let (program, mut arguments) = commands(directory.path()).remove(0);
    arguments.truncate(4);
    arguments.extend(["--limit", "5", "--json"].map(OsString::from));
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, findings) = lines.split_last().unwrap();
    assert_eq!((findings.len(), &summary["statements"]), (5, &5.into()));
    for finding in findings {
        assert!(["emergency", "urgent", "routine"].contains(&finding["label"].as_str().unwrap()));
        let probability = finding["probability"].as_f64().unwrap();
        assert!((1.0 / 3.0 - 1e-6..=1.0).contains(&probability), "{finding}");
        assert_eq!(finding["ask"], probability < 0.7, "{finding}");
        let advice = finding["advice"].as_str().unwrap();
        assert_eq!(advice.find('.'), Some(advice.len() - 1), "one sentence: {advice}");
        assert!(!advice.contains(char::is_control), "{advice:?}");
        assert_eq!(advice.starts_with("Let a nurse decide"), finding["ask"], "{finding}");
        // The examples stay in the cache, so that a statement costs its own tokens.
        let [prompt, reused] = ["prompt_tokens", "reused_tokens"].map(|key| finding[key].as_u64().unwrap());
        assert!(reused > prompt / 3 && reused < prompt, "{finding}");
    }
    let count =
        |what: &dyn Fn(&&serde_json::Value) -> bool| findings.iter().filter(|finding| what(finding)).count();
    let is_right = |finding: &&serde_json::Value| finding["label"] == finding["expected"];
    assert_eq!(summary["right"], count(&is_right));
    assert_eq!(summary["escalated"], count(&|finding| finding["ask"] == true));
    assert_eq!(summary["decided_right"], count(&|finding| finding["ask"] == false && is_right(finding)));
    for class in ["emergency", "urgent", "routine"] {
        let of_class = count(&|finding| finding["expected"] == class);
        let found = count(&|finding| finding["expected"] == class && is_right(finding));
        assert_eq!(summary["recall"][class], serde_json::json!([found, of_class]));
    }
}

#[test]
fn the_statements_to_sort_are_not_those_to_calibrate_with() {
    let (sorted, calibration) =
        (statements("triage_statements.jsonl"), statements("triage_calibration.jsonl"));
    for (set, each) in [(&sorted, 20), (&calibration, 40)] {
        for class in ["emergency", "urgent", "routine"] {
            assert_eq!(set.iter().filter(|case| case["label"] == class).count(), each, "{class}");
        }
    }
    let words = |case: &serde_json::Value| -> Vec<String> {
        let text = case["statement"].as_str().unwrap().to_lowercase();
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    // Six words in a row in common would be the same story told again.
    let known: Vec<Vec<String>> = calibration.iter().map(words).collect();
    for case in &sorted {
        for run in words(case).windows(6) {
            assert!(!known.iter().any(|other| other.windows(6).any(|there| there == run)), "{case}: {run:?}");
        }
    }
}
