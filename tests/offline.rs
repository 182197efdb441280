//! The command and the device applications try no network call, and work where there is no network.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod apps;
#[path = "apps/tiny.rs"]
mod tiny;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};

use self::apps::program;
use self::tiny::{few_examples, tiny_model};

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
        // A thread that the end of the process stops between calls is shown as `???`.
        .filter(|line| {
            !line.contains("+++") && !line.contains("--- SIG") && !line.contains(" ???( <unfinished")
        })
        .map(str::to_owned)
        .collect()
}

/// What is to run offline, on a model made in `directory`.
fn commands(directory: &Path) -> Vec<(OsString, Vec<OsString>)> {
    let model = tiny_model(directory);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/llama-3.2-1b-int4");
    let edgeslm = OsString::from(env!("CARGO_BIN_EXE_edgeslm"));
    let line = |words: &[&dyn AsRef<OsStr>]| words.iter().map(|word| word.as_ref().to_owned()).collect();
    let text = directory.join("text.txt");
    std::fs::write(&text, "pump 3 is hot\n").unwrap();
    let classifier = |name: &str, file: &Path| -> Vec<OsString> {
        let examples = few_examples(name, directory);
        line(&[&"--model", &model, &"--examples", &examples, &"--limit", &"2", &file])
    };
    vec![
        (program("triage_kiosk").into(), classifier("triage", &apps::data("triage.jsonl"))),
        (program("equipment_logs").into(), classifier("equipment", &text)),
        (program("driving_patterns").into(), classifier("driving", &text)),
        (program("code_completion").into(), line(&[&"--model", &model, &text, &"--max-tokens", &"4"])),
        (program("receipts").into(), line(&[&"parse", &"--model", &model, &text])),
        (program("receipts").into(), line(&[&"describe", &"--model", &model, &text])),
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
