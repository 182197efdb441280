//! The device applications on what a machine or a person gives them: files, streams, folders, and what is none of these.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod apps;
#[path = "apps/tiny.rs"]
mod tiny;

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::apps::{data, json_lines, program, set};
use self::tiny::{few_examples, tiny_model};

/// A folder with a model, in which an application is run.
struct Place {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny_model(folder.path());
        Self { folder, model }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// An application that sorts, calibrated on a few examples.
    fn classifier(&self, name: &str, task: &str) -> Command {
        let mut command = Command::new(program(name));
        command.arg("--model").arg(&self.model).arg("--examples").arg(few_examples(task, self.folder.path()));
        command
    }

    fn completion(&self) -> Command {
        let mut command = Command::new(program("code_completion"));
        command.arg("--model").arg(&self.model);
        command
    }
}

fn start(command: &mut Command, input: impl AsRef<[u8]>) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A program that ends early does not read it all.
    let _ = child.stdin.take().unwrap().write_all(input.as_ref());
    child
}

fn output(command: &mut Command, input: impl AsRef<[u8]>) -> Output {
    start(command, input).wait_with_output().unwrap()
}

fn results(output: &Output) -> Vec<Value> {
    json_lines(&String::from_utf8(output.stdout.clone()).unwrap())
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", errors(output));
}

#[test]
fn logs_are_sorted_block_by_block() {
    let place = Place::new();
    let input = "P1 10:00 bearing 41 C\nP1 10:05 bearing 55 C\r\n\n\nP2 running\n{\"log\": \"P3 stopped\", \"id\": \"x\"}";
    let found = output(&mut place.classifier("equipment_logs", "equipment"), input);
    succeeded(&found);
    let found = results(&found);
    let sources: Vec<&str> = found.iter().map(|result| result["source"].as_str().unwrap()).collect();
    // What stands together is one text.
    assert_eq!(sources, ["input:1", "input:5"]);
    let labels = ["normal", "wear", "overheating", "electrical", "leak", "sensor_fault"];
    for result in &found {
        assert!(labels.contains(&result["label"].as_str().unwrap()), "{result}");
        let probability = result["probability"].as_f64().unwrap();
        assert!((1.0 / 6.0 - 1e-3..=1.0).contains(&probability), "{result}");
        assert_eq!(result["ask"] == true, result["action"] == "a technician should read the log", "{result}");
        // The examples of the prompt stay in the cache.
        let (prompt, reused) = (result["prompt_tokens"].as_u64(), result["reused_tokens"].as_u64());
        assert!(reused.unwrap() > prompt.unwrap() / 2, "{result}");
    }
    let blocks = output(place.classifier("equipment_logs", "equipment").args(["--lines", "2"]), "a\nb\nc\n");
    assert_eq!(results(&blocks).len(), 2);
}

#[test]
fn examples_of_one_split_are_taken_with_what_was_expected() {
    let place = Place::new();
    let mut command = place.classifier("driving_patterns", "driving");
    let found = output(command.arg(data("driving.jsonl")).args(["--split", "test", "--limit", "7"]), "");
    succeeded(&found);
    let test: Vec<Value> = set("driving").into_iter().filter(|example| example["split"] == "test").collect();
    let found_lines = results(&found);
    assert_eq!(found_lines.len(), 7);
    for (result, example) in found_lines.iter().zip(&test) {
        assert_eq!((&result["id"], &result["expected"]), (&example["id"], &example["label"]));
    }
    let right = found_lines.iter().filter(|result| result["label"] == result["expected"]).count();
    assert!(errors(&found).contains(&format!("{right} of 7 labels as expected")), "{}", errors(&found));
}

#[test]
fn telematics_of_any_form_are_one_text_a_line() {
    let place = Place::new();
    let input = "{\"v\": 118, \"limit\": 130}\n61 in 50, late\n";
    let found = output(&mut place.classifier("driving_patterns", "driving"), input);
    succeeded(&found);
    assert_eq!(results(&found).len(), 2);
}

#[test]
fn a_calibration_is_kept_and_found_again() {
    let place = Place::new();
    let file = place.path("kept.json");
    let run =
        || output(place.classifier("driving_patterns", "driving").arg("--calibration").arg(&file), "a\n");
    let (first, second) = (run(), run());
    succeeded(&first);
    succeeded(&second);
    assert!(errors(&first).contains("calibrated on 10 examples"), "{}", errors(&first));
    assert!(!errors(&second).contains("calibrated on"), "{}", errors(&second));
    let label =
        |output: &Output| (results(output)[0]["label"].clone(), results(output)[0]["probability"].clone());
    assert_eq!(label(&first), label(&second));
    place.file("kept.json", "{}");
    let damaged = run();
    assert!(!damaged.status.success() && errors(&damaged).contains("kept.json"), "{}", errors(&damaged));
}

#[test]
fn what_is_no_text_is_an_error_and_the_rest_is_answered() {
    let place = Place::new();
    let huge = [vec![b'x'; 300_000], b"\nnext line\n".to_vec()].concat();
    let mut input = huge.clone();
    input.extend(b"caf\xe9\nlast\n");
    let found = output(&mut place.classifier("driving_patterns", "driving"), &input);
    let found_lines = results(&found);
    let have_error: Vec<bool> = found_lines.iter().map(|result| result["error"].is_string()).collect();
    assert_eq!(have_error, [true, false, true, false], "{found_lines:?}");
    assert!(found_lines[0]["error"].as_str().unwrap().contains("65536 bytes"), "{found_lines:?}");
    assert!(found_lines[2]["error"].as_str().unwrap().contains("UTF-8 at byte 3"), "{found_lines:?}");
    assert!(
        !found.status.success() && errors(&found).contains("2 texts had no result"),
        "{}",
        errors(&found)
    );

    let empty = place.file("empty.txt", "");
    let binary = place.file("binary.txt", [0, 159, 146, 150, 0]);
    let missing = place.path("missing.txt");
    for (application, task) in [("equipment_logs", "equipment"), ("driving_patterns", "driving")] {
        for (file, expected) in [
            (&empty, "no text"),
            (&binary, "UTF-8"),
            (&missing, "No such file"),
            (&place.folder.path().to_owned(), "directory"),
        ] {
            let found = output(place.classifier(application, task).arg(file), "");
            assert_eq!(found.status.code(), Some(1), "{file:?}: {}", errors(&found));
            let result = &results(&found)[0];
            assert!(result["error"].as_str().unwrap().contains(expected), "{file:?}: {result}");
            assert!(result["source"].as_str().unwrap().starts_with(file.to_str().unwrap()), "{result}");
        }
    }
    let no_model = output(Command::new(program("driving_patterns")).args(["--model", "/nowhere"]), "a\n");
    assert_eq!(no_model.status.code(), Some(1));
    assert!(errors(&no_model).contains("/nowhere"), "{}", errors(&no_model));
}

/// Whether a file that nobody may read can be read all the same, as root can.
fn may_read_all(path: &Path) -> bool {
    fs::File::open(path).is_ok()
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_an_error() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new();
    let file = place.file("secret.txt", "text\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    if may_read_all(&file) {
        eprintln!("skipped: this user may read every file");
        return;
    }
    let found = output(place.classifier("driving_patterns", "driving").arg(&file), "");
    assert_eq!(found.status.code(), Some(1));
    assert!(results(&found)[0]["error"].as_str().unwrap().contains("ermission"), "{:?}", results(&found));
}

/// The sources of the results in a file, in order of the file names.
fn answered(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut names: Vec<String> = json_lines(whole)
        .iter()
        .map(|result| result["source"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_folder_is_watched_and_nothing_is_answered_twice() {
    let place = Place::new();
    let (folder, results) = (place.path("in"), place.path("results.jsonl"));
    fs::create_dir(&folder).unwrap();
    let watch = |idle: &str| {
        let mut command = place.classifier("equipment_logs", "equipment");
        command.arg("--watch").arg(&folder).arg("--output").arg(&results).args(["--idle", idle]);
        command
    };
    fs::write(folder.join("a.log"), "pump hot\n").unwrap();
    fs::write(folder.join(".hidden"), "not yet\n").unwrap();
    fs::write(folder.join("b.part"), "not yet\n").unwrap();
    let mut command = watch("4");
    let child = start(&mut command, "");
    // A file that grows while it is looked at, and one that is renamed when it is complete.
    let mut growing = fs::File::create(folder.join("c.log")).unwrap();
    for line in ["one\n", "two\n", "three\n"] {
        growing.write_all(line.as_bytes()).unwrap();
        sleep(Duration::from_millis(300));
    }
    drop(growing);
    fs::rename(folder.join("b.part"), folder.join("b.log")).unwrap();
    let found = child.wait_with_output().unwrap();
    succeeded(&found);
    assert!(found.stdout.is_empty());
    assert_eq!(answered(&results), ["a.log:1", "b.log:1", "c.log:1"]);

    // After a crash: the last line is half written, and a file has got another name.
    let mut text = fs::read_to_string(&results).unwrap();
    text.truncate(text.len() - 9);
    let last = text.rfind('\n').unwrap() + 1;
    let lost: String = text[last..].to_owned();
    fs::write(&results, &text).unwrap();
    fs::rename(folder.join("a.log"), folder.join("d.log")).unwrap();
    succeeded(&output(&mut watch("1"), ""));
    let after = answered(&results);
    assert_eq!(after.len(), 3, "{after:?} after {lost}");

    // Written anew, it is another text.
    fs::write(folder.join("c.log"), "four\n").unwrap();
    succeeded(&output(&mut watch("1"), ""));
    assert_eq!(answered(&results).len(), 4);
}

#[test]
fn a_folder_that_vanishes_is_an_error() {
    let place = Place::new();
    let folder = place.path("in");
    fs::create_dir(&folder).unwrap();
    let mut command = place.classifier("equipment_logs", "equipment");
    let child = start(command.arg("--watch").arg(&folder).args(["--idle", "60"]), "");
    sleep(Duration::from_millis(1500));
    fs::remove_dir(&folder).unwrap();
    let started = Instant::now();
    let found = child.wait_with_output().unwrap();
    assert!(started.elapsed() < Duration::from_secs(50));
    assert_eq!(found.status.code(), Some(1));
    assert!(errors(&found).contains(folder.to_str().unwrap()), "{}", errors(&found));
}

#[test]
fn results_are_not_appended_to_something_else() {
    let place = Place::new();
    for content in ["a poem\nof two lines\n", "a poem"] {
        let file = place.file("poem.txt", content);
        let found = output(place.classifier("driving_patterns", "driving").arg("--output").arg(&file), "a\n");
        assert_eq!(found.status.code(), Some(1));
        assert!(errors(&found).contains("poem.txt"), "{}", errors(&found));
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
}

#[test]
fn the_kiosk_sorts_every_statement() {
    let place = Place::new();
    let mut command = place.classifier("triage_kiosk", "triage");
    let statements = data("triage.jsonl");
    let found = output(command.arg(statements).args(["--split", "test", "--limit", "9", "--json"]), "");
    succeeded(&found);
    let lines = results(&found);
    let (summary, findings) = lines.split_last().unwrap();
    assert_eq!((findings.len(), &summary["statements"]), (9, &json!(9)));
    for finding in findings {
        assert!(["emergency", "urgent", "routine"].contains(&finding["label"].as_str().unwrap()));
        let probability = finding["probability"].as_f64().unwrap();
        assert!((1.0 / 3.0 - 1e-3..=1.0).contains(&probability), "{finding}");
        let advice = finding["advice"].as_str().unwrap();
        assert_eq!(advice.find('.'), Some(advice.len() - 1), "one sentence: {advice}");
        assert!(!advice.contains(char::is_control), "{advice:?}");
        assert_eq!(advice.starts_with("Let a nurse decide"), finding["ask"] == true, "{finding}");
        let has_flag = !finding["red_flags"].as_array().unwrap().is_empty();
        assert!(!has_flag || finding["ask"] == true || finding["label"] == "emergency", "{finding}");
        // The examples stay in the cache, so that a statement costs its own tokens.
        let [prompt, reused] = ["prompt_tokens", "reused_tokens"].map(|key| finding[key].as_u64().unwrap());
        assert!(reused > prompt / 3 && reused < prompt, "{finding}");
    }
    let count = |what: &dyn Fn(&&Value) -> bool| findings.iter().filter(|finding| what(finding)).count();
    let is_right = |finding: &&Value| finding["label"] == finding["expected"];
    assert_eq!(summary["right"], count(&is_right));
    assert_eq!(summary["escalated"], count(&|finding| finding["ask"] == true));
    assert_eq!(summary["decided_right"], count(&|finding| finding["ask"] == false && is_right(finding)));
    for class in ["emergency", "urgent", "routine"] {
        let of_class = count(&|finding| finding["expected"] == class);
        let right = count(&|finding| finding["expected"] == class && is_right(finding));
        assert_eq!(summary["recall"][class], json!([right, of_class]));
    }
}

#[test]
fn red_flags_and_ages_send_patients_to_a_person() {
    let place = Place::new();
    let input = [
        json!({"age": 40, "statement": "I can't breathe and my chest is tight."}),
        json!({"age": 40, "statement": "No chest pain, I am not short of breath, I want a new date."}),
        json!({"age": 0.1, "statement": "He feels hot and is quiet."}),
        json!({"age": 30, "statement": "He feels hot and is quiet."}),
        json!({"statement": "Our boy is seven weeks old and has a fever."}),
        json!({"age": 30, "statement": "My hand itches.", "red_flags": ["allergy"]}),
        json!({"age": -3, "statement": "My hand itches."}),
        json!({"age": 30, "statement": "My hand itches.", "red_flags": "allergy"}),
    ]
    .map(|line| line.to_string())
    .join("\n");
    let found = output(place.classifier("triage_kiosk", "triage").arg("--json"), input);
    let found_lines = results(&found);
    let flags: Vec<&Value> = found_lines.iter().map(|finding| &finding["red_flags"]).collect();
    assert_eq!(*flags[0], json!(["breathing", "chest"]));
    assert_eq!(*flags[1], json!([]));
    assert_eq!(*flags[2], json!(["infant fever"]));
    assert_eq!(*flags[3], json!([]));
    assert_eq!(*flags[4], json!(["infant fever"]));
    assert_eq!(*flags[5], json!(["allergy"]));
    for (finding, expected) in found_lines[6..].iter().zip(["-3", "red_flags"]) {
        // Whoever cannot be understood goes to a person too.
        assert_eq!(finding["ask"], true);
        assert!(finding["error"].as_str().unwrap().contains(expected), "{finding}");
    }
    assert_eq!(found.status.code(), Some(1));
    let huge = output(place.classifier("triage_kiosk", "triage").arg("--json"), vec![b'a'; 200_000]);
    assert_eq!(results(&huge)[0]["ask"], true, "{:?}", results(&huge));
}

#[cfg(target_os = "linux")]
#[test]
fn the_kiosk_keeps_nothing_on_disk() {
    if Command::new("strace").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is missing, and CI needs it");
        eprintln!("skipped: strace is missing");
        return;
    }
    let place = Place::new();
    let kiosk = place.classifier("triage_kiosk", "triage");
    let trace = place.path("trace");
    let mut traced = Command::new("strace");
    let calls =
        "trace=open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,memfd_create";
    traced.args(["-f", "--seccomp-bpf", "-e", calls, "-o"]).arg(&trace);
    traced.arg(kiosk.get_program()).args(kiosk.get_args());
    succeeded(&output(&mut traced, "My chest hurts.\nI need a new date.\n"));
    let trace = fs::read_to_string(trace).unwrap();
    assert!(trace.contains("tokenizer.json"), "{trace}");
    for line in trace.lines().filter(|line| !line.contains("/dev/") && !line.contains("/proc/")) {
        let writes =
            ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TMPFILE", "creat(", "mkdir", "rename", "link", "memfd"];
        assert!(!writes.iter().any(|call| line.contains(call)), "{line}");
    }
}

#[test]
fn code_is_completed_at_the_cursor() {
    let place = Place::new();
    let file = place.file("a.py", "def f(x):\n    return x * \n\n# é\n");
    let complete = |arguments: &[&str]| output(place.completion().arg(&file).args(arguments), "");
    let found = complete(&["--line", "2", "--json", "--max-tokens", "5"]);
    succeeded(&found);
    let result = &results(&found)[0];
    assert!(result["generated_tokens"].as_u64().unwrap() <= 5, "{result}");
    assert!(!result["completion"].as_str().unwrap().contains('\n'), "{result}");
    assert_eq!(result["mode"], "prefix");
    assert!(errors(&found).contains("no tokens for filling in the middle"), "{}", errors(&found));
    for (arguments, expected) in [
        (&["--line", "9"][..], "no line 9"),
        (&["--line", "0"], "no line 0"),
        (&["--line", "4", "--column", "5"], "no column 5 in a line of 3"),
        (&["--mode", "middle"], "no tokens for filling in the middle"),
    ] {
        let found = complete(arguments);
        assert_eq!(found.status.code(), Some(1), "{arguments:?}");
        assert!(errors(&found).contains(expected), "{}", errors(&found));
    }
    succeeded(&complete(&["--line", "4", "--column", "4", "--max-tokens", "2"]));
    let binary = place.file("b.py", [0xff, 0xfe, 0, 1]);
    let found = output(place.completion().arg(&binary), "");
    assert!(errors(&found).contains("b.py") && errors(&found).contains("UTF-8"), "{}", errors(&found));
}

#[test]
fn an_editor_takes_a_request_back_even_before_it_is_looked_at() {
    let place = Place::new();
    let input = "{\"id\": 1, \"prefix\": \"let a = \"}\n{\"cancel\": true}\n";
    let found = output(place.completion().args(["--requests", "--max-tokens", "2000"]), input);
    succeeded(&found);
    assert_eq!(results(&found), [json!({"id": 1, "cancelled": true})]);
}

#[test]
fn an_editor_gets_one_answer_to_each_request_and_the_last_is_made() {
    let place = Place::new();
    let file = place.file("a.rs", "fn main() {\n    let x = \n}\n");
    let mut input = String::new();
    for id in 0..40 {
        let prefix = format!("{}let a{id} = ", "// a line of code\n".repeat(id));
        input += &format!("{}\n", json!({"id": id, "language": "rust", "prefix": prefix, "suffix": ";\n"}));
    }
    input += "no request\n";
    input += &format!("{}\n", json!({"id": "both", "prefix": "a", "file": file}));
    input += &format!("{}\n", json!({"id": "last", "file": file, "line": 2, "max_lines": 2}));
    let found = output(place.completion().args(["--requests", "--max-tokens", "40"]), input);
    succeeded(&found);
    let answers = results(&found);
    let ids: HashSet<String> = answers.iter().map(|answer| answer["id"].to_string()).collect();
    assert_eq!((ids.len(), answers.len()), (43, 43));
    let of = |id: Value| answers.iter().find(|answer| answer["id"] == id).unwrap();
    assert!(of(json!("last"))["completion"].is_string(), "{answers:?}");
    assert!(of(Value::Null)["error"].as_str().unwrap().contains("no request"));
    // All come at once, so that most are out of date before they are looked at.
    assert!(answers.iter().filter(|answer| answer["cancelled"] == true).count() > 20, "{answers:?}");
}

#[test]
fn an_editor_pays_only_for_what_it_has_typed() {
    use std::io::{BufRead, BufReader};

    let place = Place::new();
    let mut child = place
        .completion()
        .args(["--requests", "--max-tokens", "4"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut input, mut lines) =
        (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
    let mut ask = |prefix: &str| -> Value {
        writeln!(input, "{}", json!({"id": prefix.len(), "language": "c", "prefix": prefix})).unwrap();
        serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
    };
    let code = "int add(int a, int b) { return a + b; }\n".repeat(8);
    let first = ask(&code);
    let second = ask(&format!("{code}int x"));
    drop(input);
    assert!(child.wait().unwrap().success());
    let [prompt, reused] = ["prompt_tokens", "reused_tokens"].map(|key| second[key].as_u64().unwrap());
    assert_eq!(first["reused_tokens"], 0);
    assert!(reused + 12 > prompt && reused < prompt, "{second}");
}

#[test]
fn receipts_become_json_with_what_is_printed_on_them() {
    let place = Place::new();
    let mut command = Command::new(program("receipts"));
    command.arg("parse").arg("--model").arg(&place.model);
    let receipt = "TEA 12.03.2026\nGreen tea 2,50\nTotal EUR 2,50";
    let listed = place.file("list.jsonl", format!("{}\n", json!({"receipt": receipt, "id": "x"})));
    let plain = place.file("plain.txt", receipt);
    let found = output(command.arg(plain).arg(listed).arg("-"), format!("{receipt}\n---\n{receipt}\n"));
    succeeded(&found);
    let found = results(&found);
    assert_eq!(found.len(), 4);
    for result in &found {
        let fields = &result["receipt"];
        for name in ["merchant", "date", "total", "tax"] {
            let value = &fields[name];
            let is_printed = match value {
                Value::Null => true,
                Value::String(text) if name == "date" => text == "2026-03-12" || text == "2026-12-03",
                Value::String(text) => receipt.to_lowercase().contains(&text.trim().to_lowercase()),
                // The numbers on it.
                number => [2.5, 12.0, 3.0, 2026.0, 12.03].contains(&number.as_f64().unwrap()),
            };
            assert!(is_printed, "{name}: {result}");
        }
        assert!(fields["items"].is_array() || fields["items"].is_null(), "{result}");
        // What random weights say is not on the receipt.
        assert!(result["not_printed"].is_array(), "{result}");
    }
    let [first, second] = [&found[0], &found[1]].map(|result| result["reused_tokens"].as_u64().unwrap());
    assert!(first == 0 && second > found[1]["prompt_tokens"].as_u64().unwrap() / 2, "{found:?}");
}

#[test]
fn a_description_says_nothing_that_the_item_does_not() {
    let place = Place::new();
    let mut command = Command::new(program("receipts"));
    command
        .arg("describe")
        .arg("--model")
        .arg(&place.model)
        .arg(data("descriptions.jsonl"))
        .args(["--limit", "5"]);
    let found = output(&mut command, "");
    succeeded(&found);
    let found = results(&found);
    assert_eq!(found.len(), 5);
    for (result, example) in found.iter().zip(set("descriptions")) {
        let description = result["description"].as_str().unwrap();
        assert!(description.chars().count() <= 80 && !description.contains('\n'), "{result}");
        // Random weights invent everything, so that the line is made by rule, of the item's own parts.
        assert_eq!(result["by"], "rule", "{result}");
        let item = example["item"].as_str().unwrap();
        let parts = description.trim_end_matches('.').split(", ");
        assert!(item.starts_with(parts.clone().next().unwrap()), "{description}");
        assert!(!result["invented"].as_array().unwrap().is_empty() || result["refused"] == "", "{result}");
    }
}
