//! `edgeslm calibrate` and `edgeslm eval`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::command::{arguments, copy, edgeslm, model};

/// A folder with a task and its set of forty examples.
struct Set(tempfile::TempDir);

impl Set {
    fn new() -> Self {
        let set = Self(tempfile::tempdir().unwrap());
        let task = json!({
            "version": 1, "name": "doors", "kind": "classify", "about": "Is the door <open>?",
            "labels": ["open", "shut"], "words": ["ajar"],
            "prompt": {"input": "Door {number} {report:line}. It is", "examples": [{"number": 0, "report": "moves", "label": "open"}]},
            "content_free": [{"number": 0, "report": ""}]
        });
        fs::write(set.path("doors.task.json"), task.to_string()).unwrap();
        let line = |index: usize| {
            let split = if index < 24 { "calibration" } else { "test" };
            let label = if index.is_multiple_of(3) { "shut" } else { "open" };
            json!({"id": format!("d{index}"), "split": split, "number": index, "report": "rattles", "label": label}).to_string()
        };
        fs::write(set.path("doors.jsonl"), (0..40).map(|index| line(index) + "\n").collect::<String>())
            .unwrap();
        set
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn examples(&self) -> PathBuf {
        self.path("doors.jsonl")
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_calibration_is_fitted_saved_and_used() {
    let (set, model) = (Set::new(), copy(&model()));
    let line = arguments!["calibrate", set.examples(), model.path(), "--json", "--risk", "0.45"];
    let report = edgeslm(&line).success().json();
    assert_eq!((&report["task"], &report["fitted"]["examples"]), (&json!("doors"), &json!(24)));
    assert_eq!((&report["held_out"]["examples"], &report["bins"]), (&json!(16), &json!(10)));
    for when in ["before", "after"] {
        let quality = &report["held_out"][when];
        for figure in ["accuracy", "expected_calibration_error", "brier_score", "log_loss"] {
            assert!(quality[figure].as_f64().is_some_and(f64::is_finite), "{when} {figure}: {quality}");
        }
        let last = quality["coverage_risk"].as_array().unwrap().last().unwrap();
        assert_eq!(last["coverage"], 1.0);
        let risk = last["risk"].as_f64().unwrap();
        assert!((risk - (1.0 - quality["accuracy"].as_f64().unwrap())).abs() < 1e-9, "{quality}");
    }
    let saved = model.path().join("doors.calibration.json");
    assert_eq!(report["saved"], saved.to_str().unwrap());
    let file: Value = serde_json::from_str(&read(&saved)).unwrap();
    assert_eq!(file["labels"], json!([" open", " shut", " ajar"]));

    let line = arguments!["eval", set.examples(), model.path(), "--json", "-"];
    let evaluated = edgeslm(&line).success().json();
    let scores = &evaluated["models"][0]["classify"];
    assert_eq!(scores["calibration"], report["fitted"]);
    let found = scores["probabilities"]["log_loss"].as_f64().unwrap();
    assert!((found - report["held_out"]["after"]["log_loss"].as_f64().unwrap()).abs() < 1e-6, "{scores}");
    edgeslm(arguments!["calibrate", set.examples(), model.path(), "--dry-run"])
        .success()
        .says(&["expected calibration error", "Share wrong when only the surest are answered"]);

    // For another prompt the file is not taken.
    let task = read(&set.path("doors.task.json")).replace("rattles", "").replace("It is", "It was");
    fs::write(set.path("doors.task.json"), task).unwrap();
    edgeslm(&line).failure(2).says(&["doors.calibration.json", "another prompt"]);
    edgeslm(line.iter().chain(&arguments!["--calibration", "none"])).success();
}

#[test]
fn models_are_compared_in_every_form() {
    let set = Set::new();
    let [page, figures, sheet] = ["r.html", "r.json", "blind.csv"].map(|name| set.path(name));
    let line = arguments![
        "eval",
        set.examples(),
        model(),
        "--limit",
        "8",
        "--free-text",
        "--html",
        &page,
        "--json",
        &figures,
        "--blind",
        &sheet
    ];
    edgeslm(&line).success().says(&[
        "always open",
        "macro F1",
        "right label in rows",
        "free text",
        "no label found",
    ]);
    let report: Value = serde_json::from_str(&read(&figures)).unwrap();
    assert_eq!(report["baseline"]["label"], "open");
    let [labels, free] = &report["models"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&labels["mode"], &free["mode"]), (&json!("task"), &json!("free_text")));
    assert_eq!(labels["answers"].as_array().unwrap().len(), 8);
    let right = labels["answers"].as_array().unwrap().iter().filter(|item| item["right"] == true).count();
    assert_eq!(labels["classify"]["accuracy"].as_f64().unwrap(), right as f64 / 8.0);
    assert!(
        free["speed"]["generated_tokens"].as_u64().unwrap() > 0
            && labels["speed"]["p95"].as_f64().unwrap() > 0.0
    );
    let page = read(&page);
    assert!(
        page.starts_with("<!DOCTYPE html>")
            && page.contains("Is the door &lt;open&gt;?")
            && page.contains("<svg")
    );
    assert!(!page.contains("<script") && !page.contains("http"), "the page refers to something");
    assert_eq!(read(&sheet).lines().next().unwrap().matches(',').count(), 6);
    let key = read(&set.path("blind.csv.key.csv"));
    assert_eq!(key.lines().count(), 9);
    assert!(key.contains("free text"), "{key}");
}

#[test]
fn a_gate_sets_the_exit_status() {
    let set = Set::new();
    let with = |gate: &str| {
        edgeslm(arguments![
            "eval",
            set.examples(),
            model(),
            "--limit",
            "4",
            "--calibration",
            "none",
            "--gate",
            gate
        ])
    };
    with("accuracy>=0,p95<=10m").success().says(&["gate accuracy>=0: met"]);
    let failed = with("accuracy>=0,accuracy>1");
    assert_eq!(failed.code, Some(3), "{failed:?}");
    failed.says(&["gate accuracy>1: NOT MET"]);
    // What is not known is not met.
    let unknown = with("field_accuracy>=0");
    assert_eq!(unknown.code, Some(3), "{unknown:?}");
    unknown.says(&["field_accuracy is not known"]);
    with("beauty>=1").failure(2).says(&["beauty"]);
    edgeslm(arguments!["eval", set.examples(), "absent", "--gate", "accuracy>=0"])
        .failure(1)
        .says(&["absent"]);
}

#[test]
fn fields_and_texts_are_scored() {
    let set = Set::new();
    let extract = json!({
        "version": 1, "name": "receipt", "kind": "extract",
        "schema": {"type": "object", "properties": {"total": {"type": "number"}, "shop": {"type": "string"}}},
        "prompt": {"input": "{text}", "answer": "\n{answer}\n"}, "generate": {"max_tokens": 40}
    });
    fs::write(set.path("receipt.task.json"), extract.to_string()).unwrap();
    fs::write(set.path("receipt.csv"), "text,expected.total,expected.shop\nMilk 3,3,A\nTea 1,1,\n").unwrap();
    let line = arguments!["eval", set.path("receipt.csv"), model(), "--free-text", "--json", "-"];
    let report = edgeslm(line).success().json();
    // A model of random weights writes JSON where the grammar makes it, and nowhere else.
    let [task, free] = &report["models"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&task["extract"]["parsed"], &free["extract"]["parsed"]), (&json!(1.0), &json!(0.0)));
    assert_eq!(
        (&free["extract"]["exact"], &free["extract"]["fields"][1]["missing"]),
        (&json!(0.0), &json!(1))
    );
    edgeslm(arguments!["eval", set.path("receipt.csv"), model()])
        .success()
        .says(&["field total", "is a JSON object"]);

    let text = json!({
        "version": 1, "name": "code", "kind": "text", "match": "prefix", "prompt": {"input": "{before}", "answer": "{answer}"},
        "generate": {"max_tokens": 4}
    });
    fs::write(set.path("code.task.json"), text.to_string()).unwrap();
    // Every text begins with the empty one.
    fs::write(set.path("code.jsonl"), "{\"before\": \"def f\", \"expected\": [\"\", \"x\"]}\n").unwrap();
    let report = edgeslm(arguments!["eval", set.path("code.jsonl"), model(), "--json", "-"]).success().json();
    assert_eq!(report["models"][0]["text"]["prefix"], 1.0);
    edgeslm(arguments!["calibrate", set.path("code.jsonl"), model()]).failure(2);
}

#[test]
fn damaged_sets_and_tasks_are_named_with_their_line() {
    let set = Set::new();
    let eval = |name: &str| {
        edgeslm(arguments!["eval", set.path(name), model(), "--task", set.path("doors.task.json")])
    };
    let good = r#"{"number": 1, "report": "x", "label": "open"}"#;
    for (name, bytes, expected) in [
        ("json.jsonl", format!("{good}\n{{\n").into_bytes(), "json.jsonl: line 2: the line is not JSON"),
        (
            "label.jsonl",
            good.replace("open", "ajar").into_bytes(),
            "label.jsonl: line 1: \"ajar\" is no label",
        ),
        (
            "field.jsonl",
            good.replace("report", "x").into_bytes(),
            "field.jsonl: line 1: the field \"report\" is missing",
        ),
        ("empty.jsonl", Vec::new(), "empty.jsonl: the set has no examples"),
        ("bytes.jsonl", b"\xff".to_vec(), "bytes.jsonl: line 1: the set is not UTF-8"),
        ("short.csv", b"number,report,label\r\n1,x\r\n".to_vec(), "short.csv: line 2: there are 2 values"),
    ] {
        fs::write(set.path(name), bytes).unwrap();
        eval(name).failure(2).says(&[expected]);
    }
    fs::write(set.path("bom.csv"), "\u{feff}number,report,label\r\n1,x,open\r\n").unwrap();
    eval("bom.csv").success();
    fs::write(set.path("learn.csv"), "number,report,label,split\n1,x,open,calibration\n").unwrap();
    eval("learn.csv").failure(2).says(&["no examples to test with"]);
    edgeslm(arguments!["calibrate", set.path("bom.csv"), model(), "--task", set.path("doors.task.json")])
        .failure(2)
        .says(&["no examples to calibrate with"]);
    edgeslm(arguments!["eval", set.path("bom.csv"), model()]).failure(1).says(&["bom.task.json", "--task"]);
    fs::write(set.path("doors.task.json"), "{").unwrap();
    eval("bom.csv").failure(2).says(&["doors.task.json", "not as expected"]);
    edgeslm(arguments!["eval", set.examples(), model(), "--blind", "x.html"])
        .failure(2)
        .says(&["compares two"]);
}
