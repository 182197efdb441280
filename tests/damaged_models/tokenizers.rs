//! Tokenizers whose sections contradict themselves, never come to an end, or take a text's length to a power.

use edgeslm::ErrorKind;
use edgeslm::session::{GenerateOptions, SessionOptions};
use serde_json::{Value, json};

use super::cases::{Cases, LIMITS, Limits};
use super::fixtures::{Copy, TOKENIZER, load, refusal};

pub(super) const MODEL: &str = "models/llama-3.2-1b-int4";

fn generate(copy: &Copy, text: &str) -> edgeslm::Result<Vec<u32>> {
    let model = load(copy.path())?;
    let mut session = model.session(SessionOptions::default())?;
    let options = GenerateOptions { max_tokens: 2, ignore_stop_tokens: true, ..GenerateOptions::default() };
    Ok(session.generate(text, &options)?.tokens)
}

pub(super) fn with(edit: impl FnOnce(&mut Value)) -> Copy {
    let copy = Copy::of(MODEL);
    copy.edit_json(TOKENIZER, edit);
    copy
}

/// Requires an error of `kind` at loading, which names the tokenizer's file.
pub(super) fn refused(copy: &Copy, kind: ErrorKind) -> Result<(), String> {
    match load(copy.path()).map(drop) {
        Err(error) if error.kind() == kind && error.file().is_some_and(|file| file.ends_with(TOKENIZER)) => {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    }
}

/// Requires an error of `kind` when the text is tokenised.
pub(super) fn fails(copy: &Copy, text: &str, kind: ErrorKind) -> Result<(), String> {
    load(copy.path()).map_err(|error| format!("does not load: {error:?}"))?;
    match generate(copy, text) {
        Err(error) if error.kind() == kind => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

pub(super) fn works(copy: &Copy, text: &str) -> Result<(), String> {
    let tokens = generate(copy, text).map_err(|error| format!("{error:?}"))?;
    if tokens.len() == 2 { Ok(()) } else { Err(format!("{tokens:?}")) }
}

/// An error of a right kind, or an answer.
pub(super) fn is_sound(copy: &Copy, text: &str) -> Result<(), String> {
    match load(copy.path()) {
        Err(error) => refusal(&error),
        Ok(_) => match generate(copy, text) {
            Ok(_) => Ok(()),
            Err(error) => super::fixtures::failure(&error),
        },
    }
}

/// Every character of the text has two ways to match, of which no combination fits: as many steps as two to the power of the text.
const EXPONENTIAL: &str = "(?:a(?=a|$)|a(?=a|$))*b";

/// The same over twenty characters at a time: half a million steps for each character, and then a match.
const SLOW: &str = "(?:a(?=a|$)|a(?=a|$)){1,18}b|a";

#[test]
fn patterns_that_backtrack() {
    let limits = Limits { seconds: 40.0, ..LIMITS };
    let mut cases = Cases::within("patterns that backtrack", limits);
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let replace = |pattern: &str| json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": "x"});
    let text = "a".repeat(5_000);
    for (name, pattern) in [("exponential", EXPONENTIAL), ("slow", SLOW)] {
        cases.run(format!("{name}, in the pre-tokenizer"), || {
            let copy = with(|json| json["pre_tokenizer"] = split(pattern));
            works(&copy, "door")?;
            fails(&copy, &text, ErrorKind::Tokenizer)
        });
        cases.run(format!("{name}, within a sequence"), || {
            let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
            let sequence = json!({"type": "Sequence", "pretokenizers": [{"type": "Sequence", "pretokenizers": [split(pattern)]}, byte_level]});
            let copy = with(|json| json["pre_tokenizer"] = sequence);
            works(&copy, "door")?;
            fails(&copy, &text, ErrorKind::Tokenizer)
        });
        cases.run(format!("{name}, in many pieces"), || {
            let copy = with(|json| json["pre_tokenizer"] = split(pattern));
            fails(&copy, &format!("{}</s>", "a".repeat(40)).repeat(500), ErrorKind::Tokenizer)
        });
        cases.run(format!("{name}, in the normalizer"), || {
            refused(&with(|json| json["normalizer"] = replace(pattern)), ErrorKind::Unsupported)
        });
        cases.run(format!("{name}, in the decoder"), || {
            refused(
                &with(|json| json["decoder"] = json!({"type": "Sequence", "decoders": [replace(pattern)]})),
                ErrorKind::Unsupported,
            )
        });
    }
    cases.run("a pattern that needs no backtracking", || {
        let copy = with(|json| {
            json["normalizer"] = replace("(?:a|a)*b");
            json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [split(r"\s+(?!\S)|\s+|\S+"),
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]});
        });
        works(&copy, &"a".repeat(700))
    });
    for pattern in ["(", "[", "(?<name", "a{99999999}", &"(".repeat(10_000), r"\p{Nonsense}"] {
        cases.run(format!("the pattern {pattern:.30}"), || {
            refused(&with(|json| json["pre_tokenizer"] = split(pattern)), ErrorKind::Tokenizer)
        });
    }
    // Large to compile: an error or a pattern that works.
    for pattern in [
        "(?:(?:(?:a(?=a)){1000}){1000}){1000}|.",
        "(?:(?:a{1000}){1000}){1000}|.",
        r"(?:\w{500}|\pL{500}){50}|.",
    ] {
        cases.run(format!("the pattern {pattern}"), || {
            is_sound(&with(|json| json["pre_tokenizer"] = split(pattern)), &text)
        });
    }
    cases.finish();
}

#[test]
fn texts_that_grow() {
    let mut cases = Cases::new("texts that grow");
    let replace = |pattern: &str, content: &str| json!({"type": "Replace", "pattern": {"String": pattern}, "content": content});
    let sequence = |kind: &str, steps: Vec<Value>| json!({"type": "Sequence", kind: steps});
    let grow = || vec![replace("a", &"a".repeat(1_000)); 10];
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    for (what, section, value) in [
        ("a thousandfold, ten times", "normalizer", sequence("normalizers", grow())),
        ("to a megabyte for each letter", "normalizer", replace("a", &"b".repeat(1 << 20))),
        (
            "a megabyte before each piece",
            "normalizer",
            json!({"type": "Prepend", "prepend": "a".repeat(1 << 20)}),
        ),
        (
            "twofold, forty times",
            "normalizer",
            sequence("normalizers", vec![json!({"type": "ByteLevel"}); 40]),
        ),
        ("twofold, forty times", "pre_tokenizer", sequence("pretokenizers", vec![byte_level; 40])),
        ("a thousandfold, ten times", "decoder", sequence("decoders", grow())),
        ("to a megabyte for each letter", "decoder", replace("a", &"b".repeat(1 << 20))),
    ] {
        cases.run(format!("{what}, in the {section}"), || {
            refused(&with(|json| json[section] = value), ErrorKind::Tokenizer)
        });
    }
    // What SentencePiece models do: within the bounds, however long the text.
    cases.run("threefold", || {
        let copy = with(|json| {
            json["normalizer"] =
                sequence("normalizers", vec![json!({"type": "Prepend", "prepend": "▁"}), replace(" ", "▁")]);
        });
        works(&copy, "Is the door open?")?;
        fails(&copy, &"a b ".repeat(2_000), ErrorKind::ContextLength)
    });
    cases.finish();
}

#[test]
fn sections() {
    let mut cases = Cases::new("sections of tokenizers");
    let nest = |inner: Value, list: &str, typed: bool| {
        (0..50).fold(inner, |inner, _| {
            let mut outer = json!({list: [inner]});
            if typed {
                outer["type"] = json!("Sequence");
            }
            outer
        })
    };
    for (section, list) in [
        ("normalizer", "normalizers"),
        ("pre_tokenizer", "pretokenizers"),
        ("post_processor", "processors"),
        ("decoder", "decoders"),
    ] {
        for typed in [true, false] {
            cases.run(format!("{section} nested fifty times around nonsense, typed: {typed}"), || {
                let copy = with(|json| json[section] = nest(json!({"type": "Nonsense"}), list, typed));
                match load(copy.path()).map(drop) {
                    Err(error) => refusal(&error),
                    Ok(()) => Err("loads".to_owned()),
                }
            });
        }
        for value in [
            json!(5),
            json!("x"),
            json!([]),
            json!({}),
            json!({"type": 5}),
            json!({"type": "Sequence"}),
            json!({"type": "Sequence", list: 3}),
        ] {
            cases.run(format!("{section} = {value}"), || {
                match load(with(|json| json[section] = value).path()).map(drop) {
                    Err(error) => refusal(&error),
                    Ok(()) => Err("loads".to_owned()),
                }
            });
        }
        let copy = with(|json| json[section] = json!({"type": "Sequence", list: vec![0; 1_000_000]}));
        cases.run(format!("{section} of a million numbers"), || refused(&copy, ErrorKind::Tokenizer));
    }
    let template = |single: Value, special: Value| json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special});
    for (what, value) in [
        (
            "a token that is not defined",
            template(json!([{"SpecialToken": {"id": "<s>", "type_id": 0}}]), json!({})),
        ),
        (
            "an id without token",
            template(
                json!([{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]),
                json!({"<s>": {"id": "<s>", "ids": [u32::MAX], "tokens": ["<s>"]}}),
            ),
        ),
        (
            "ids and tokens that differ in number",
            template(
                json!([{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]),
                json!({"<s>": {"id": "<s>", "ids": [1, 2, 0], "tokens": ["<s>"]}}),
            ),
        ),
    ] {
        cases.run(format!("a post-processor with {what}"), || {
            refused(&with(|json| json["post_processor"] = value), ErrorKind::Tokenizer)
        });
    }
    let special = json!({"<s>": {"id": "<s>", "ids": vec![1; 10_000], "tokens": vec!["<s>"; 10_000]}});
    for (what, piece) in [
        ("the text ten thousand times", json!({"Sequence": {"id": "A", "type_id": 0}})),
        ("ten thousand tokens ten thousand times", json!({"SpecialToken": {"id": "<s>", "type_id": 0}})),
        ("a second text", json!({"Sequence": {"id": "B", "type_id": 0}})),
    ] {
        let copy = with(|json| {
            json["post_processor"] = template(Value::Array(vec![piece; 10_000]), special.clone());
        });
        cases.run(format!("a post-processor with {what}"), || refused(&copy, ErrorKind::Tokenizer));
    }
    // The length of a trie of four gigabytes, a trie that is cut short, and one whose only entry leads outside.
    for map in ["/////w==", "AgAAAAE=", "", "A", "not base 64", "BAAAAP////8="] {
        cases.run(format!("the character map {map:?}"), || {
            let map = json!({"type": "Precompiled", "precompiled_charsmap": map});
            is_sound(&with(|json| json["normalizer"] = map), "door")
        });
    }
    cases.run("a decoder that strips without end", || {
        let strip = json!({"type": "Strip", "content": "x", "start": u64::MAX, "stop": u64::MAX});
        let copy = with(|json| json["decoder"] = json!({"type": "Sequence", "decoders": vec![strip; 10]}));
        works(&copy, "door")
    });
    cases.run("a decoder of ten thousand steps", || {
        let strip = json!({"type": "Strip", "content": "x", "start": 1, "stop": 1});
        let copy =
            with(|json| json["decoder"] = json!({"type": "Sequence", "decoders": vec![strip; 10_000]}));
        refused(&copy, ErrorKind::Tokenizer)
    });
    cases.run("a post-processor without the text", || {
        is_sound(&with(|json| json["post_processor"] = template(json!([]), json!({}))), "door")
    });
    cases.run("a post-processor that adds ten thousand tokens", || {
        let piece = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
        let special = json!({"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}});
        let copy = with(|json| json["post_processor"] = template(Value::Array(vec![piece; 10_000]), special));
        fails(&copy, "door", ErrorKind::ContextLength)
    });
    for (what, text) in [
        (
            "a surrogate without its other half",
            r#"{"model": {"type": "BPE", "vocab": {"\ud83e": 0}, "merges": []}}"#.to_owned(),
        ),
        ("deep nesting", format!(r#"{{"normalizer": {}}}"#, "[".repeat(100_000))),
    ] {
        cases.run(what, || {
            let copy = Copy::of(MODEL);
            copy.write(TOKENIZER, text);
            refused(&copy, ErrorKind::Tokenizer)
        });
    }
    for value in [json!(5), json!([]), json!({"content": 5}), json!({"content": {}}), json!(true)] {
        cases.run(format!("tokenizer_config.json with the eos_token {value}"), || {
            let copy = Copy::of(MODEL);
            copy.edit_json("tokenizer_config.json", |json| json["eos_token"] = value.clone());
            works(&copy, "door")
        });
    }
    cases.finish();
}

/// A text of beginnings of special tokens, and as many special tokens as begin so.
#[test]
fn many_special_tokens() {
    // A text without a pre-tokenizer is one long word, of which every character waits for its merges.
    let limits = Limits { largest: 256 << 20, peak: 640 << 20, ..LIMITS };
    let mut cases = Cases::within("many special tokens", limits);
    let copy = with(|json| {
        let added = json["added_tokens"].as_array_mut().unwrap();
        added.extend((0..20_000).map(
            |index| json!({"id": 512 + index, "content": format!("<|special {index}|>"), "special": true}),
        ));
    });
    cases.run("a megabyte through a normalizer", || {
        let copy = with(|json| {
            json["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]});
        });
        fails(&copy, &"a b ".repeat(1 << 18), ErrorKind::ContextLength)
    });
    cases.run("a megabyte of their first character in a message", || {
        let model = load(copy.path()).map_err(|error| error.to_string())?;
        let mut session = model.session(SessionOptions::default()).unwrap();
        match session.chat("<|special ".repeat(100_000), &GenerateOptions::default()).map(drop) {
            Err(error) if error.kind() == ErrorKind::ContextLength => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    cases.finish();
}
