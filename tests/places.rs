//! Where a model directory lies, how its text files end their lines, and what happens to its files while it is loaded.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use edgeslm::session::{GenerateOptions, SessionOptions};
use edgeslm::text::{Message, RenderOptions};
use edgeslm::{LoadOptions, Model};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/llama-3.2-1b-int4")
}

/// A copy of a golden directory, the bytes of each file as `change` makes them.
fn copy(to: &Path, change: impl Fn(&str, Vec<u8>) -> Vec<u8>) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(golden()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        fs::write(to.join(&name), change(&name, fs::read(entry.path()).unwrap())).unwrap();
    }
}

fn load(directory: &Path) -> Model {
    Model::load(directory, &LoadOptions::default()).unwrap()
}

/// What the model answers to a chat message, token by token.
fn answer(model: &Model) -> Vec<u32> {
    let mut session = model.session(SessionOptions::default()).unwrap();
    let options = GenerateOptions { max_tokens: 8, ignore_stop_tokens: true, ..GenerateOptions::default() };
    let answer = session.chat("Is the door open?", &options).unwrap().into_answer().unwrap();
    assert_eq!(answer.tokens.len(), 8);
    answer.tokens
}

#[test]
fn paths_with_spaces_and_letters_of_any_language() {
    let parent = tempfile::tempdir().unwrap();
    let expected = answer(&load(&golden()));
    for name in ["two words", "Größe 1", "モデル", "мо́дель", "a'b&c;d$e%f"] {
        let directory = parent.path().join(name).join("model");
        copy(&directory, |_, bytes| bytes);
        assert_eq!(answer(&load(&directory)), expected, "{name}");
    }
}

#[test]
fn lines_of_text_files_may_end_in_carriage_returns() {
    let parent = tempfile::tempdir().unwrap();
    let rendered = ["\n", "\r\n"].map(|ending| {
        let directory = parent.path().join(ending.len().to_string());
        copy(&directory, |name, bytes| {
            // The golden template is one line.
            let bytes = if name.ends_with(".jinja") { [b"Hello,\n", &*bytes].concat() } else { bytes };
            if name.ends_with(".json") || name.ends_with(".jinja") {
                String::from_utf8(bytes).unwrap().replace('\n', ending).into_bytes()
            } else {
                bytes
            }
        });
        let model = load(&directory);
        model.text().render(&[Message::user("Is it open?")], &RenderOptions::default()).unwrap()
    });
    assert_eq!(rendered[0], rendered[1]);
    assert!(rendered[0].starts_with("Hello,\n") && rendered[0].contains("Is it open?"), "{rendered:?}");
}

#[test]
fn files_that_vanish_while_the_model_is_loaded_do_no_harm() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("model");
    copy(&directory, |_, bytes| bytes);
    let model = load(&directory);
    let expected = answer(&model);
    // Windows may refuse, since the file is mapped; elsewhere it lives on without a name.
    let removed = fs::remove_file(directory.join("model.onnx.data"));
    assert!(removed.is_ok() || cfg!(windows), "{removed:?}");
    assert_eq!(answer(&model), expected);
    drop(model);
    fs::remove_dir_all(&directory).unwrap();
}
