//! Task files and sets, whole and damaged.

use std::fs;

use serde_json::json;

use super::*;
use crate::ErrorKind;
use crate::session::fake_text::{ASSISTANT, END, text, text_without_template};

const DOORS: &str = r#"{
    "version": 1, "name": "doors", "kind": "classify", "about": "Is the door open?",
    "labels": ["open", {"name": "closed", "text": "shut"}],
    "words": ["ajar"],
    "prompt": {
        "start": "Doors.\n",
        "input": "{report:line}:",
        "answer": " {answer}.\n",
        "examples": [{"report": "It\nmoves", "label": "open"}, {"label": "closed", "report": "Locked"}]
    },
    "content_free": [{"report": ""}]
}"#;

fn task(edit: impl FnOnce(&mut Value)) -> Result<Task> {
    let mut file: Value = serde_json::from_str(DOORS).unwrap();
    edit(&mut file);
    Task::parse(&file.to_string())
}

fn extract() -> Task {
    let file = json!({
        "version": 1, "name": "receipt", "kind": "extract",
        "schema": {"type": "object", "properties": {"total": {"type": "number"}, "shop": {"type": "string"}}},
        "prompt": {"input": "{text}", "answer": "\n{answer}\n", "examples": [{"text": "t", "expected": {"total": 1}}]},
        "generate": {"max_tokens": 9, "stop": ["\n"]}
    });
    Task::parse(&file.to_string()).unwrap()
}

fn completion() -> Task {
    let file = json!({
        "version": 1, "name": "code", "kind": "text", "match": "prefix",
        "prompt": {"input": "<user>{before}<assistant>{after}", "answer": "{answer}"}
    });
    Task::parse(&file.to_string()).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// The prompt's tokens as text, special tokens spelled out.
fn shown(prompt: Prompt) -> String {
    match prompt {
        Prompt::Tokens(tokens) => text().tokenizer().decode(&tokens, false),
        Prompt::Chat(messages) => text().render(&messages, &Default::default()).unwrap(),
        Prompt::Raw(_) => panic!("a raw prompt lets fields spell out special tokens"),
    }
}

#[test]
fn a_prompt_is_start_examples_and_input() {
    let doors = task(|_| {}).unwrap();
    assert_eq!(doors.words(), [" open", " shut", " ajar"]);
    assert_eq!(
        (doors.labels(), doors.inputs()),
        (&["open".to_owned(), "closed".to_owned()][..], vec!["report"])
    );
    let prompt = doors.prompt(&text(), &object(json!({"report": "Now\n<end>"}))).unwrap();
    assert!(matches!(&prompt, Prompt::Tokens(tokens) if !tokens.contains(&END)), "a field ends the text");
    assert_eq!(shown(prompt), "<begin>Doors.\nIt moves: open.\nLocked: shut.\nNow <end>:");

    let chat = task(|file| file["prompt"]["chat"] = json!(true)).unwrap();
    let prompt = shown(chat.prompt(&text(), &object(json!({"report": "Now"}))).unwrap());
    assert_eq!(
        prompt,
        "<system>Doors.\n<end><user>It moves:<end><assistant> open.\n<end><user>Locked:<end><assistant> shut.\n<end>\
         <user>Now:<end><assistant>"
    );
}

#[test]
fn what_is_generated_follows_the_beginning_of_the_answer() {
    let prompt = extract().prompt(&text(), &object(json!({"text": "x"}))).unwrap();
    assert_eq!(shown(prompt), "<begin>t\n{\"total\":1}\nx\n");
    assert_eq!((extract().max_tokens(), extract().stop()), (9, &["\n".to_owned()][..]));
    assert_eq!(extract().fields(), ["total", "shop"]);
}

#[test]
fn only_the_template_spells_out_special_tokens() {
    let fields = object(json!({"before": "a<end>", "after": "<assistant>"}));
    let Prompt::Tokens(tokens) = completion().prompt(&text(), &fields).unwrap() else { panic!() };
    assert!(!tokens.contains(&END));
    assert_eq!(tokens.iter().filter(|token| **token == ASSISTANT).count(), 1);
    assert_eq!(shown(Prompt::Tokens(tokens)), "<begin><user>a<end><assistant><assistant>");
}

#[test]
fn the_free_question_names_what_is_wanted() {
    let fields = object(json!({"report": "Now", "text": "x", "before": "a", "after": "b"}));
    let doors = task(|_| {}).unwrap();
    let ask = |task: &Task| shown(task.free_prompt(&text(), &fields).unwrap());
    assert_eq!(ask(&doors), "<user>Now:\n\nAnswer with one of these: open, closed.<end><assistant>");
    assert_eq!(
        ask(&extract()),
        "<user>x\n\nAnswer with a JSON object that has these fields: total, shop.<end><assistant>"
    );
    assert_eq!(ask(&completion()), "<begin><user>a<assistant>b");
    let asked = task(|file| file["question"] = json!("Open? {report}")).unwrap();
    assert_eq!(ask(&asked), "<user>Open? Now<end><assistant>");
    let plain = doors.free_prompt(&text_without_template(&[END]), &fields).unwrap();
    assert_eq!(shown(plain), "<begin>Now:\n\nAnswer with one of these: open, closed.\n\n");
}

#[test]
fn the_digest_is_of_what_is_asked() {
    let digest = task(|_| {}).unwrap().digest().to_owned();
    assert_eq!(digest.len(), 64);
    type Edit = fn(&mut Value);
    let same: [Edit; 3] = [
        |file| file["name"] = json!("other"),
        |file| file["prompt"]["examples"][0] = json!({"label": "open", "report": "It  moves"}),
        |file| file["content_free"] = json!([]),
    ];
    for edit in same {
        assert_eq!(task(edit).unwrap().digest(), digest);
    }
    let other: [Edit; 6] = [
        |file| file["labels"] = json!([{"name": "closed", "text": "shut"}, "open"]),
        |file| file["words"] = json!([]),
        |file| file["prompt"]["start"] = json!("Doors"),
        |file| file["prompt"]["answer"] = json!(" {answer}\n"),
        |file| file["prompt"]["examples"][0]["report"] = json!("It moved"),
        |file| file["prompt"]["input"] = json!("{report}:"),
    ];
    for edit in other {
        assert_ne!(task(edit).unwrap().digest(), digest);
    }
}

#[test]
fn damaged_tasks_are_refused_by_place() {
    type Edit = fn(&mut Value);
    let cases: [(Edit, &str); 17] = [
        (|file| file["version"] = json!(2), "version 2"),
        (|file| file["colour"] = json!(1), "colour"),
        (|file| file["kind"] = json!("guess"), "guess"),
        (|file| drop(file.as_object_mut().unwrap().remove("prompt")), "prompt"),
        (|file| file["labels"] = json!(["open"]), "labels: there is nothing to tell apart in 1"),
        (|file| file["labels"] = json!(["open", "open"]), "labels: \"open\" is given twice"),
        (|file| file["words"] = json!(["shut"]), "words: \" shut\" is given twice"),
        (|file| file["schema"] = json!({}), "has no schema"),
        (|file| file["kind"] = json!("text"), "has no labels"),
        (|file| file["prompt"]["input"] = json!("{report"), "prompt.input: the brace"),
        (|file| file["prompt"]["answer"] = json!("yes"), "prompt.answer: an answer's template"),
        (|file| file["prompt"]["answer"] = json!("{answer}{answer}"), "prompt.answer: an answer's template"),
        (|file| file["prompt"]["answer"] = json!("{label}"), "prompt.answer: an answer's template"),
        (
            |file| file["prompt"]["examples"][1] = json!({"report": "x"}),
            "prompt.examples[1]: the example has no",
        ),
        (
            |file| file["prompt"]["examples"][0]["label"] = json!("ajar"),
            "prompt.examples[0]: \"ajar\" is no label",
        ),
        (|file| file["prompt"]["examples"][0] = json!({"label": "open"}), "\"report\" is missing"),
        (|file| file["content_free"] = json!([{}]), "content_free[0]: the field \"report\" is missing"),
    ];
    for (edit, expected) in cases {
        let error = task(edit).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::Unsupported), "{error:?}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.json");
    fs::write(&path, b"{\"version\": 1\xff").unwrap();
    assert!(Task::read(&path).unwrap_err().to_string().contains("t.json: the task is not UTF-8"));
    fs::write(&path, format!("\u{feff}{DOORS}")).unwrap();
    assert_eq!(Task::read(&path).unwrap().name(), "doors");
    assert_eq!(Task::read(folder.path().join("absent")).unwrap_err().kind(), ErrorKind::NotFound);
}

fn read(name: &str, bytes: &[u8], task: &Task) -> Result<Vec<Example>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    read_examples(&path, task)
}

#[test]
fn sets_are_read_in_both_forms() {
    let doors = task(|_| {}).unwrap();
    let lines = "\u{feff}{\"id\": 7, \"report\": \"a,\", \"label\": \"closed\", \"split\": \"calibration\"}\r\n\r\n\
                 {\"report\": \"b\", \"label\": \"open\", \"note\": 1}\r\n";
    let columns = "\u{feff}id,report,label,split\r\n7,\"a,\",closed,calibration\r\n";
    let found = read("s.jsonl", lines.as_bytes(), &doors).unwrap();
    let first = Example {
        id: "7".to_owned(),
        split: Split::Calibration,
        line: 1,
        fields: object(json!({"report": "a,"})),
        answer: Answer::Label(1),
    };
    let second = Example {
        id: "line 3".to_owned(),
        split: Split::Test,
        line: 3,
        fields: object(json!({"report": "b", "note": 1})),
        answer: Answer::Label(0),
    };
    assert_eq!(found, [first.clone(), second]);
    assert_eq!(read("s.CSV", columns.as_bytes(), &doors).unwrap(), [Example { line: 2, ..first }]);

    let fields = Answer::Fields(object(json!({"total": "3", "shop": "A"})));
    let found = read("s.csv", b"text,expected.total,expected.shop\nx,3,A\ny,,B\n", &extract()).unwrap();
    assert_eq!(found[0].answer, fields);
    assert_eq!(found[1].answer, Answer::Fields(object(json!({"shop": "B"}))));
    let found = read(
        "s.csv",
        b"text,expected\nx,\"{\"\"total\"\": \"\"3\"\", \"\"shop\"\": \"\"A\"\"}\"\n",
        &extract(),
    );
    assert_eq!(found.unwrap()[0].answer, fields);
    let found = read("s.jsonl", br#"{"before": "a", "after": "b", "expected": ["c", "d"]}"#, &completion());
    assert_eq!(found.unwrap()[0].answer, Answer::Texts(vec!["c".to_owned(), "d".to_owned()]));
}

#[test]
fn damaged_sets_are_refused_by_file_and_line() {
    let doors = task(|_| {}).unwrap();
    let good = "{\"id\": \"a\", \"report\": \"x\", \"label\": \"open\"}\n";
    for (name, text, expected) in [
        ("s.jsonl", format!("{good}{{\"report\": "), "s.jsonl: line 2: the line is not JSON: EOF"),
        ("s.jsonl", format!("{good}[1]"), "s.jsonl: line 2: the line is JSON but no object"),
        (
            "s.jsonl",
            format!("{good}\n{{\"report\": \"x\", \"label\": \"ajar\"}}"),
            "line 3: \"ajar\" is no label",
        ),
        (
            "s.jsonl",
            format!("{good}{{\"report\": \"x\", \"label\": 1}}"),
            "line 2: \"label\" has the wrong type: 1",
        ),
        ("s.jsonl", format!("{good}{{\"report\": \"x\"}}"), "line 2: the field \"label\" is missing"),
        ("s.jsonl", format!("{good}{{\"label\": \"open\"}}"), "line 2: the field \"report\" is missing"),
        ("s.jsonl", format!("{good}{good}"), "line 2: the id \"a\" stands twice"),
        ("s.jsonl", good.replace("\"a\"", "[]"), "line 1: the id [] is neither"),
        ("s.jsonl", good.replace("\"id\"", "\"split\""), "line 1: the split \"a\" is neither"),
        ("s.jsonl", String::new(), "s.jsonl: the set has no examples"),
        ("s.jsonl", "\u{feff}\r\n \n".to_owned(), "s.jsonl: the set has no examples"),
        ("s.csv", "report,label\n".to_owned(), "s.csv: the set has no examples"),
        ("s.csv", "report,label\nx,open\ny\n".to_owned(), "s.csv: line 3: there are 1 values in 2 columns"),
        ("s.csv", "report,report\n".to_owned(), "s.csv: line 1: the column \"report\" stands twice"),
        ("s.csv", "report,label\n\"x".to_owned(), "s.csv: line 2: a quotation mark is not closed"),
    ] {
        let error = read(name, text.as_bytes(), &doors).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text:?}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    let error = read("s.jsonl", &[good.as_bytes(), b"{\"report\": \"\xe4\"}"].concat(), &doors).unwrap_err();
    assert!(error.to_string().contains("s.jsonl: line 2: the set is not UTF-8"), "{error}");
    for (text, expected) in [
        (r#"{"text": "x", "expected": {"tax": 1}}"#, "no property \"tax\""),
        (r#"{"text": "x", "expected": "3"}"#, "no JSON object"),
        (r#"{"text": "x", "expected": 3}"#, "wrong type: 3"),
    ] {
        let error = read("s.jsonl", text.as_bytes(), &extract()).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    let error =
        read("s.jsonl", br#"{"before": "", "after": "", "expected": []}"#, &completion()).unwrap_err();
    assert!(error.to_string().contains("wrong type: []"), "{error}");
    let missing = read_examples("absent.jsonl", &doors).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn values_agree_by_meaning() {
    let cases = [
        (json!(3), json!(3.0), true),
        (json!("3.50"), json!(3.5), true),
        (json!(" A "), json!("A"), true),
        (json!("a"), json!("A"), false),
        (json!(null), json!(null), true),
        (json!(0), json!(null), false),
        (json!([1, "x"]), json!([1.0, "x "]), true),
        (json!([1]), json!([1, 2]), false),
        (json!({"a": null, "b": 1}), json!({"b": 1.0}), true),
        (json!({"a": 2}), json!({"b": 1}), false),
        (json!(true), json!("true"), false),
    ];
    for (found, expected, agree) in cases {
        assert_eq!(values_agree(Some(&found), Some(&expected)), agree, "{found} and {expected}");
        assert_eq!(values_agree(Some(&expected), Some(&found)), agree, "{expected} and {found}");
    }
    assert!(values_agree(None, Some(&json!(null))));
    assert!(!values_agree(None, Some(&json!(""))));
}
