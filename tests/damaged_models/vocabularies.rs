//! Vocabularies and merges that lack what a prompt needs, contradict each other, or have no end.

use edgeslm::ErrorKind;
use serde_json::{Map, Value, json};

use super::cases::{Cases, LIMITS, Limits};
use super::fixtures::{CONFIG, Copy, TOKENIZER};
use super::tokenizers::{MODEL, fails, is_sound, refused, with, works};

fn vocabulary(json: &mut Value) -> &mut Map<String, Value> {
    json["model"]["vocab"].as_object_mut().unwrap()
}

#[test]
fn vocabularies() {
    let mut cases = Cases::new("vocabularies");
    cases.run("a letter without token", || {
        let copy = with(|json| {
            vocabulary(json).remove("q");
            json["model"]["merges"] = json!([]);
        });
        works(&copy, "door")?;
        fails(&copy, "queue", ErrorKind::Tokenizer)
    });
    cases.run("no stop token", || {
        let copy = with(|json| {
            vocabulary(json).remove("</s>");
            json["added_tokens"].as_array_mut().unwrap().retain(|token| token["content"] != "</s>");
        });
        works(&copy, "door")
    });
    cases.run("no special tokens at all", || {
        let copy = with(|json| json["added_tokens"] = json!([]));
        works(&copy, "door</s>")
    });
    cases.run("fewer tokens than logits", || {
        let copy = with(|json| {
            vocabulary(json).retain(|_, id| id.as_u64().unwrap() < 259);
            json["model"]["merges"] = json!([]);
        });
        works(&copy, "door")
    });
    cases.run("more tokens than logits", || {
        let copy = with(|json| {
            vocabulary(json).extend((0..1_000).map(|index| (format!("extra {index}"), json!(512 + index))))
        });
        works(&copy, "door")
    });
    cases.run("a token beyond the logits in the prompt", || {
        let copy = with(|json| {
            let added = json["added_tokens"].as_array_mut().unwrap();
            added.push(json!({"id": 512, "content": "<|far|>", "special": true}));
        });
        works(&copy, "door")?;
        fails(&copy, "door <|far|>", ErrorKind::InvalidArgument)
    });
    cases.run("a gap of a million ids", || {
        let copy = with(|json| drop(vocabulary(json).insert("far".to_owned(), json!(1_000_000))));
        works(&copy, "door")
    });
    cases.run("a stop token beyond the vocabulary", || {
        let copy = Copy::of(MODEL);
        copy.edit_json(CONFIG, |json| json["model"]["eos_token_id"] = json!([u32::MAX, 1 << 22]));
        works(&copy, "door")
    });
    for id in [
        json!(1_u64 << 22),
        json!(u32::MAX),
        json!(1_u64 << 32),
        json!(u64::MAX),
        json!(-1),
        json!(1.5),
        json!("1"),
        Value::Null,
    ] {
        cases.run(format!("a token with the id {id}"), || {
            let copy = with(|json| drop(vocabulary(json).insert("far".to_owned(), id.clone())));
            refused(&copy, ErrorKind::Tokenizer)
        });
        cases.run(format!("an added token with the id {id}"), || {
            let copy = with(|json| {
                let added = json["added_tokens"].as_array_mut().unwrap();
                added.push(json!({"id": id, "content": "<|far|>", "special": true}));
            });
            refused(&copy, ErrorKind::Tokenizer)
        });
    }
    for (what, value) in [
        ("nothing", json!({})),
        ("a list", json!([])),
        ("a number", json!(3)),
        ("two tokens of one id", json!({"a": 1, "b": 1})),
    ] {
        cases.run(format!("a vocabulary that is {what}"), || {
            let copy = with(|json| {
                json["model"]["vocab"] = value;
                json["model"]["merges"] = json!([]);
                json["added_tokens"] = json!([]);
            });
            refused(&copy, ErrorKind::Tokenizer)
        });
    }
    cases.finish();
}

#[test]
fn models_and_merges() {
    let mut cases = Cases::new("models and merges");
    for kind in ["WordPiece", "WordLevel", "Unheard", ""] {
        cases.run(format!("a {kind:?} model"), || {
            refused(&with(|json| json["model"]["type"] = json!(kind)), ErrorKind::Unsupported)
        });
    }
    for (what, merges) in [
        ("of tokens that are missing", json!([["not", "there"]])),
        ("of a token with itself", json!([["the", "the"]])),
        ("of nothing", json!([["", ""]])),
        ("of one token", json!([["a"]])),
        ("of three tokens", json!([["a", "b", "c"]])),
        ("of numbers", json!([[1, 2]])),
        ("that are a number", json!(7)),
        ("that are missing", Value::Null),
        ("into a token of another order", json!([["e", "h"]])),
    ] {
        cases.run(format!("merges {what}"), || {
            refused(&with(|json| json["model"]["merges"] = merges), ErrorKind::Tokenizer)
        });
    }
    cases.run("the same merge a hundred thousand times", || {
        let copy = with(|json| json["model"]["merges"] = Value::Array(vec![json!(["i", "n"]); 100_000]));
        works(&copy, "door")
    });
    cases.run("merges of a token with nothing", || {
        is_sound(
            &with(|json| {
                vocabulary(json).insert(String::new(), json!(600));
                json["model"]["merges"] = json!([["a", ""], ["", "a"]]);
            }),
            "banana",
        )
    });
    let unigram = |pieces: Value, unk_id: Value| {
        move |json: &mut Value| {
            json["added_tokens"] = json!([]);
            json["model"] = json!({"type": "Unigram", "vocab": pieces, "unk_id": unk_id});
        }
    };
    for (what, pieces, unk_id) in [
        ("no piece", json!([]), Value::Null),
        ("an unknown piece beyond its end", json!([["a", 0.0]]), json!(5)),
        ("a score beyond all floats", json!([["a", "1e999"]]), json!(0)),
        ("a score that is missing", json!([["a"]]), json!(0)),
    ] {
        cases.run(format!("a Unigram model with {what}"), || {
            refused(&with(unigram(pieces, unk_id)), ErrorKind::Tokenizer)
        });
    }
    for (what, pieces, unk_id) in [
        ("an empty piece", json!([["", -1.0], ["a", -1.0]]), json!(0)),
        ("the same piece twice", json!([["a", -1.0], ["a", -2.0]]), json!(0)),
        (
            "scores at the ends of the floats",
            json!([["d", -1e308], ["o", 1e308], ["r", 1e308], ["or", -1e308]]),
            json!(0),
        ),
        ("no unknown piece", json!([["a", -1.0]]), Value::Null),
        // Every place of the text may begin with each of them.
        (
            "pieces of all lengths",
            json!((1..=256).map(|n| json!(["a".repeat(n), -1.0])).collect::<Vec<_>>()),
            json!(0),
        ),
    ] {
        cases
            .run(format!("a Unigram model with {what}"), || is_sound(&with(unigram(pieces, unk_id)), "door"));
    }
    cases.finish();
}

/// Lists longer than any published file has are refused before they are read to their end.
#[test]
fn endless_lists() {
    let limits = Limits { largest: 96 << 20, peak: 160 << 20, ..LIMITS };
    let mut cases = Cases::within("endless lists", limits);
    let repeated = |item: &str, count: usize| format!("{item}{}", format!(",{item}").repeat(count - 1));
    for (what, text) in [
        (
            "tokens",
            format!(
                r#"{{"model": {{"type": "BPE", "vocab": {{{}}}, "merges": []}}}}"#,
                repeated(r#""a":0"#, 1_100_000)
            ),
        ),
        (
            "pieces",
            format!(
                r#"{{"model": {{"type": "Unigram", "vocab": [{}]}}}}"#,
                repeated(r#"["a",0]"#, 1_100_000)
            ),
        ),
        (
            "merges",
            format!(
                r#"{{"model": {{"type": "BPE", "vocab": {{"a": 0}}, "merges": [{}]}}}}"#,
                repeated(r#""a a""#, 1_100_000)
            ),
        ),
        (
            "added tokens",
            format!(
                r#"{{"added_tokens": [{}], "model": {{"type": "BPE", "vocab": {{"a": 0}}, "merges": []}}}}"#,
                repeated(r#"{"id":1,"content":"b"}"#, 140_000)
            ),
        ),
    ] {
        let copy = Copy::of(MODEL);
        copy.write(TOKENIZER, text);
        cases.run(what, || refused(&copy, ErrorKind::Tokenizer));
    }
    cases.run("a file of more than its limit", || {
        let copy = Copy::of(MODEL);
        std::fs::File::create(copy.file(TOKENIZER)).unwrap().set_len(1 << 40).unwrap();
        refused(&copy, ErrorKind::InvalidModel)
    });
    cases.finish();
}
