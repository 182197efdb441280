//! `edgeslm run` with a form that the answer is held to.

use std::ffi::OsString;

use serde_json::Value;

use super::command::{arguments, edgeslm, model};

fn run(more: &[OsString]) -> super::command::Outcome {
    let base = arguments!["run", model(), "--raw", "--temperature", "1.5", "--seed", "3", "the door is"];
    edgeslm(base.iter().chain(more))
}

#[test]
fn every_form_holds_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("door.json");
    std::fs::write(
        &schema,
        r#"{"type": "object", "properties": {"open": {"type": "boolean"}, "rooms": {"enum": [1, 2, 3]}},
            "required": ["open", "rooms"], "additionalProperties": false}"#,
    )
    .unwrap();
    let answer: Value =
        serde_json::from_str(&run(&arguments!["--json-schema", &schema]).success().stdout).unwrap();
    assert!(answer["open"].is_boolean() && matches!(answer["rooms"].as_u64(), Some(1..=3)), "{answer}");

    let lark = folder.path().join("door.lark");
    std::fs::write(&lark, "start: \"the \" (\"red\" | \"green\") \" door\"\n").unwrap();
    let text = run(&arguments!["--lark", &lark]).success().stdout;
    assert!(["the red door\n", "the green door\n"].contains(&&text[..]), "{text:?}");

    let text = run(&arguments!["--regex", "[0-9]{3}-[a-f]{2}"]).success().stdout;
    let (digits, letters) = text.trim_end().split_once('-').unwrap();
    assert!(digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
    assert!(letters.len() == 2 && letters.bytes().all(|byte| (b'a'..=b'f').contains(&byte)), "{text:?}");

    let json = run(&arguments!["--choice", "open", "--choice", "shut", "--json"]).success().json();
    assert!(["open", "shut"].contains(&json["text"].as_str().unwrap()), "{json}");
    assert_eq!(json["completion"], "complete");
}

#[test]
fn a_shortened_answer_says_so() {
    let line = arguments!["--regex", "[a-z]{40,400}!", "-n", "60"];
    let outcome = run(&line).success().says(&["was shortened"]);
    let text = outcome.stdout.trim_end();
    assert!(text.ends_with('!') && (41..=401).contains(&text.len()), "{text:?}");
    let json = run(&[&line[..], &arguments!["--json"]].concat()).success().json();
    assert_eq!(json["completion"], "shortened");
}

#[test]
fn a_form_that_cannot_be_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("broken.json");
    std::fs::write(&schema, "{\"type\": ").unwrap();
    run(&arguments!["--json-schema", &schema]).failure(1).says(&["broken.json", "JSON"]);
    std::fs::write(&schema, r#"{"not": {"type": "string"}}"#).unwrap();
    run(&arguments!["--json-schema", &schema]).failure(1).says(&["broken.json", "not"]);
    run(&arguments!["--lark", folder.path().join("absent.lark")]).failure(1).says(&["absent.lark"]);
    run(&arguments!["--regex", "(a"]).failure(1);
    run(&arguments!["--regex", "a{400}", "-n", "5"]).failure(2).says(&["max_tokens is 5"]);
    run(&arguments!["--choice", ""]).failure(1).says(&["a choice is empty"]);
    run(&arguments!["--choice", "a", "--regex", "a"]).failure(2).says(&["cannot be used with"]);
}
