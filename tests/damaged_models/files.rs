//! Directories with files that are missing, are something else, or lead elsewhere, and configurations with absurd values.

use std::path::Path;
use std::process::Command;

use edgeslm::{ErrorKind, LoadOptions, Model};
use serde_json::{Value, json};

use super::cases::Cases;
use super::fixtures::{
    CONFIG, Copy, GRAPH, Outcome, TOKENIZER, WEIGHTS, answered, load_options, outcome, refused, right_answer,
};

const MODEL: &str = "models/llama-3.2-1b-int4";

/// Files of a golden directory, and the ones without which it does not load.
const FILES: [(&str, bool); 6] = [
    (CONFIG, true),
    (GRAPH, true),
    (WEIGHTS, true),
    (TOKENIZER, true),
    ("tokenizer_config.json", false),
    ("chat_template.jinja", false),
];

/// What an empty file is to its reader.
fn kinds_of_damage(file: &str) -> Vec<ErrorKind> {
    let kind = match file {
        TOKENIZER | "tokenizer_config.json" => ErrorKind::Tokenizer,
        _ => ErrorKind::InvalidModel,
    };
    vec![kind, ErrorKind::InvalidModel]
}

#[test]
fn missing_files() {
    let right = right_answer(MODEL);
    let mut cases = Cases::new("missing files");
    for (file, needed) in FILES {
        cases.run(file, || {
            let copy = Copy::of(MODEL);
            std::fs::remove_file(copy.file(file)).unwrap();
            let outcome = outcome(copy.path())?;
            if needed {
                refused(outcome, &[ErrorKind::NotFound], "", "").map(drop)
            } else {
                answered(outcome, &right)
            }
        });
    }
    cases.run("all", || {
        let empty = tempfile::tempdir().unwrap();
        refused(outcome(empty.path())?, &[ErrorKind::NotFound], "", "").map(drop)
    });
    cases.run("the directory itself", || {
        refused(outcome(Path::new("/no/such/directory"))?, &[ErrorKind::NotFound], "", "").map(drop)
    });
    cases.finish();
}

#[test]
fn empty_files_and_directories_in_their_place() {
    let mut cases = Cases::new("empty files");
    for (file, _) in FILES {
        if file == "chat_template.jinja" {
            continue; // An empty template is one.
        }
        cases.run(format!("{file} is empty"), || {
            let copy = Copy::of(MODEL);
            copy.write(file, []);
            refused(outcome(copy.path())?, &kinds_of_damage(file), file, "").map(drop)
        });
    }
    for (file, _) in FILES {
        cases.run(format!("{file} is a directory"), || {
            let copy = Copy::of(MODEL);
            std::fs::remove_file(copy.file(file)).unwrap();
            std::fs::create_dir(copy.file(file)).unwrap();
            let mut kinds = kinds_of_damage(file);
            kinds.push(ErrorKind::Io);
            refused(outcome(copy.path())?, &kinds, file, "").map(drop)
        });
    }
    cases.finish();
}

/// To open a pipe is to wait for its writer, who never comes.
#[cfg(unix)]
#[test]
fn pipes_and_devices() {
    let mut cases = Cases::new("pipes and devices");
    for (file, _) in FILES {
        cases.run(format!("{file} is a pipe"), || {
            let copy = Copy::of(MODEL);
            std::fs::remove_file(copy.file(file)).unwrap();
            let made =
                Command::new("mkfifo").arg(copy.file(file)).status().map_err(|error| error.to_string())?;
            assert!(made.success());
            refused(outcome(copy.path())?, &[ErrorKind::InvalidModel], file, "not a regular file").map(drop)
        });
        cases.run(format!("{file} is an endless device"), || {
            let copy = Copy::of(MODEL);
            std::fs::remove_file(copy.file(file)).unwrap();
            std::os::unix::fs::symlink("/dev/zero", copy.file(file)).unwrap();
            let options = LoadOptions { follow_links: true, ..load_options() };
            match Model::load(copy.path(), &options) {
                Err(error) if error.kind() == ErrorKind::InvalidModel && error.file().is_some() => Ok(()),
                other => Err(format!("{:?}", other.err())),
            }
        });
    }
    cases.finish();
}

#[cfg(unix)]
#[test]
fn links() {
    use std::os::unix::fs::symlink;
    let right = right_answer(MODEL);
    let mut cases = Cases::new("links");
    for (file, _) in FILES {
        cases.run(format!("{file} leads nowhere"), || {
            let copy = Copy::of(MODEL);
            std::fs::remove_file(copy.file(file)).unwrap();
            symlink("nowhere", copy.file(file)).unwrap();
            refused(outcome(copy.path())?, &[ErrorKind::NotFound], file, "").map(drop)
        });
        cases.run(format!("{file} leads to itself"), || {
            let copy = Copy::of(MODEL);
            std::fs::remove_file(copy.file(file)).unwrap();
            symlink(file, copy.file(file)).unwrap();
            refused(outcome(copy.path())?, &[ErrorKind::Io, ErrorKind::NotFound], file, "").map(drop)
        });
        cases.run(format!("{file} leads out of the directory"), || {
            let (copy, elsewhere) = (Copy::of(MODEL), tempfile::tempdir().unwrap());
            let moved = elsewhere.path().join("moved");
            std::fs::copy(copy.file(file), &moved).unwrap();
            std::fs::remove_file(copy.file(file)).unwrap();
            symlink(&moved, copy.file(file)).unwrap();
            refused(
                outcome(copy.path())?,
                &[ErrorKind::InvalidModel],
                file,
                "outside the model's directory",
            )?;
            let options = LoadOptions { follow_links: true, ..load_options() };
            Model::load(copy.path(), &options).map(drop).map_err(|error| error.to_string())
        });
        cases.run(format!("{file} is a link within the directory"), || {
            let copy = Copy::of(MODEL);
            std::fs::create_dir(copy.file("inner")).unwrap();
            std::fs::rename(copy.file(file), copy.file("inner").join("moved")).unwrap();
            symlink("inner/moved", copy.file(file)).unwrap();
            answered(outcome(copy.path())?, &right)
        });
    }
    cases.finish();
}

#[cfg(unix)]
#[test]
fn files_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let mut cases = Cases::new("files without permission");
    for (file, _) in FILES {
        cases.run(file, || {
            let copy = Copy::of(MODEL);
            std::fs::set_permissions(copy.file(file), std::fs::Permissions::from_mode(0o0)).unwrap();
            // The superuser may read it all the same.
            if std::fs::read(copy.file(file)).is_ok() {
                return Ok(());
            }
            refused(outcome(copy.path())?, &[ErrorKind::Io], file, "").map(drop)
        });
    }
    cases.finish();
}

/// A value that a configuration must not have is an error that names it; others change nothing or bound the answer.
#[test]
fn absurd_configurations() {
    let right = right_answer(MODEL);
    let huge = json!(1_000_000_000_000_000_000_i64);
    let deep = (0..120).fold(json!(1), |inner, _| json!([inner]));
    let mut cases = Cases::new("absurd configurations");
    let refusals: Vec<(&str, Value)> = vec![
        ("/model/context_length", json!(0)),
        ("/model/context_length", json!(-1)),
        ("/model/context_length", json!(1.5)),
        ("/model/context_length", json!("1024")),
        ("/model/context_length", huge.clone()),
        ("/model/context_length", json!(u64::MAX)),
        ("/model/vocab_size", json!(0)),
        ("/model/vocab_size", huge.clone()),
        ("/model/eos_token_id", json!(-2)),
        ("/model/eos_token_id", json!(1_u64 << 32)),
        ("/model/eos_token_id", huge.clone()),
        ("/model/eos_token_id", json!([2, huge])),
        ("/model/eos_token_id", json!([[2]])),
        ("/model/eos_token_id", json!((0..2_000).collect::<Vec<u32>>())),
        ("/model/eos_token_id", deep.clone()),
        ("/model/bos_token_id", json!({})),
        ("/model/decoder/head_size", json!(0)),
        ("/model/decoder/head_size", json!(1_000_000)),
        ("/model/decoder/num_hidden_layers", json!(100_000)),
        ("/model/decoder/num_attention_heads", json!(0)),
        ("/model/decoder/num_key_value_heads", json!(-8)),
        ("/model/decoder/filename", json!("")),
        ("/model/decoder/filename", json!("../model.onnx")),
        ("/model/decoder/filename", json!("/etc/passwd")),
        ("/model/decoder/filename", json!("model\u{0}.onnx")),
        ("/model/decoder/filename", json!("x".repeat(100_000))),
        ("/model/decoder/filename", json!(["model.onnx"])),
        ("/model/decoder/inputs/past_key_names", json!("past")),
        ("/model/decoder/inputs/past_key_names", json!("%d%d")),
        ("/model/decoder/outputs/logits", json!(3)),
        ("/model/decoder", json!([])),
        ("/model/decoder", Value::Null),
        ("/model/type", json!(7)),
        ("/model", json!("llama")),
        ("/search/temperature", json!(-1)),
        ("/search/temperature", json!("hot")),
        ("/search/top_k", json!(-5)),
        ("/search/top_p", json!(2)),
        ("/search/max_length", json!(0)),
        ("/search", deep),
    ];
    for (place, value) in refusals {
        let shown: String = value.to_string().chars().take(60).collect();
        cases.run(format!("{place} = {shown}"), || {
            let copy = Copy::of(MODEL);
            copy.edit_json(CONFIG, |json| *json.pointer_mut(place).unwrap() = value);
            let kinds = [ErrorKind::InvalidModel, ErrorKind::NotFound, ErrorKind::Io];
            refused(outcome(copy.path())?, &kinds, CONFIG, "").map(drop)
        });
    }
    let harmless = [
        ("/model/eos_token_id", json!([2, 1_000_000, u32::MAX])),
        ("/model/eos_token_id", json!([])),
        ("/model/pad_token_id", json!(-1)),
        ("/model/bos_token_id", json!(u32::MAX)),
        ("/model/vocab_size", json!(7)),
        ("/model/type", json!("unheard-of")),
        ("/model/context_length", json!(1 << 30)),
        ("/model/decoder/head_size", json!(7)),
        ("/model/decoder/num_key_value_heads", json!(3)),
        ("/search/top_k", json!(4_000_000_000_u32)),
    ];
    for (place, value) in harmless {
        cases.run(format!("{place} = {value}"), || {
            let copy = Copy::of(MODEL);
            copy.edit_json(CONFIG, |json| *json.pointer_mut(place).unwrap() = value);
            answered(outcome(copy.path())?, &right)
        });
    }
    cases.run("a context of two positions", || {
        let copy = Copy::of(MODEL);
        copy.edit_json(CONFIG, |json| json["model"]["context_length"] = json!(2));
        match outcome(copy.path())? {
            Outcome::Failed(error) if error.kind() == ErrorKind::ContextLength => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    for (place, value) in [
        ("/model/decoder/outputs/logits", json!("present.0.key")),
        ("/model/decoder/outputs/logits", json!("nothing")),
        ("/model/decoder/inputs/input_ids", json!("attention_mask")),
        ("/model/decoder/inputs/attention_mask", json!("input_ids")),
    ] {
        cases.run(format!("{place} = {value}"), || {
            let copy = Copy::of(MODEL);
            copy.edit_json(CONFIG, |json| *json.pointer_mut(place).unwrap() = value);
            refused(outcome(copy.path())?, &[ErrorKind::Unsupported], GRAPH, "").map(drop)
        });
    }
    for (what, text) in [
        ("deep nesting", "[".repeat(500_000)),
        ("white space of more than its limit", " ".repeat((1 << 20) + 1)),
        ("half of a surrogate pair", r#"{"model": {"type": "\ud800"}}"#.to_owned()),
        ("a number beyond all floats", r#"{"model": {"context_length": 1e999}}"#.to_owned()),
    ] {
        cases.run(what, || {
            let copy = Copy::of(MODEL);
            copy.write(CONFIG, text);
            refused(outcome(copy.path())?, &[ErrorKind::InvalidModel], CONFIG, "").map(drop)
        });
    }
    cases.finish();
}

/// Where positions are computed from the mask, a context is tried by masks of its length.
#[test]
fn the_longest_context_of_models_that_compute_positions() {
    let mut cases = Cases::new("the longest context");
    for model in ["models/phi-4-mini-int4", "variants/longrope-concat", "variants/rotary-nodes"] {
        cases.run(model, || {
            let copy = Copy::of(model);
            copy.edit_json(CONFIG, |json| json["model"]["context_length"] = json!(1 << 30));
            match outcome(copy.path())? {
                Outcome::Refused(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
                Outcome::Answered(tokens) if tokens == right_answer(model) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
    cases.finish();
}
