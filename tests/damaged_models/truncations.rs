//! Every golden directory with one of its files cut short at fifty places.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use edgeslm::ErrorKind;
use edgeslm::session::{GenerateOptions, SessionOptions};

use super::cases::Cases;
use super::fixtures::{
    CONFIG, Copy, GRAPH, Outcome, TOKENIZER, WEIGHTS, answer, answered, failure, golden, load, name, outcome,
    refused, refused_at,
};

const PLACES: usize = 50;

/// Cuts `file` of every golden directory at fifty places and checks what comes of each.
fn cut_everywhere(
    group: &'static str,
    file: &str,
    check: impl Fn(&Path, &Copy, usize) -> Result<(), String>,
) {
    let mut cases = Cases::new(group);
    for directory in golden() {
        let copy = Copy::of_path(&directory);
        // Without the white space at the end of some JSON files, which may be missing.
        let whole = copy.read(file);
        let whole = if file == WEIGHTS { &whole[..] } else { whole.trim_ascii_end() };
        for place in 0..PLACES {
            let length = whole.len() * place / PLACES;
            copy.write(file, &whole[..length]);
            cases.run(format!("{} cut to {length} bytes", name(&directory)), || {
                check(&directory, &copy, length)
            });
        }
    }
    cases.finish();
}

#[test]
fn graphs() {
    cut_everywhere("cut graphs", GRAPH, |_, copy, _| {
        refused(outcome(copy.path())?, &[ErrorKind::InvalidModel], GRAPH, "").map(drop)
    });
}

#[test]
fn weights() {
    let right: BTreeMap<PathBuf, Vec<u32>> = golden()
        .into_iter()
        .map(|path| {
            let tokens = answer(&load(&path).unwrap()).unwrap().tokens;
            (path, tokens)
        })
        .collect();
    cut_everywhere("cut weights", WEIGHTS, |directory, copy, length| {
        let outcome = outcome(copy.path())?;
        // What the head does not depend on is not looked at.
        if let Outcome::Answered(_) = outcome {
            return answered(outcome, &right[directory]);
        }
        if length == 0 {
            return refused(outcome, &[ErrorKind::InvalidModel], WEIGHTS, "the file is empty").map(drop);
        }
        refused_at(outcome, &[ErrorKind::InvalidModel], WEIGHTS, "tensor ")
    });
}

#[test]
fn configurations() {
    cut_everywhere("cut configurations", CONFIG, |_, copy, _| {
        refused(outcome(copy.path())?, &[ErrorKind::InvalidModel], CONFIG, "").map(drop)
    });
}

#[test]
fn tokenizers() {
    cut_everywhere("cut tokenizers", TOKENIZER, |_, copy, _| {
        refused(outcome(copy.path())?, &[ErrorKind::Tokenizer], TOKENIZER, "").map(drop)
    });
}

#[test]
fn tokenizer_configurations() {
    let file = "tokenizer_config.json";
    cut_everywhere("cut tokenizer configurations", file, |_, copy, _| {
        refused(outcome(copy.path())?, &[ErrorKind::Tokenizer], file, "").map(drop)
    });
}

/// A part of a template may be a template; it then gives a prompt or refuses the conversation.
#[test]
fn chat_templates() {
    let file = "chat_template.jinja";
    cut_everywhere("cut chat templates", file, |_, copy, _| {
        let outcome = outcome(copy.path())?;
        if let Outcome::Refused(_) = outcome {
            return refused(outcome, &[ErrorKind::Template], file, "").map(drop);
        }
        let model = load(copy.path()).map_err(|error| error.to_string())?;
        let mut session = model.session(SessionOptions::default()).map_err(|error| error.to_string())?;
        let options = GenerateOptions { max_tokens: 2, ..GenerateOptions::default() };
        match session.chat("Is the door open?", &options).and_then(|stream| stream.into_answer()) {
            Ok(_) => Ok(()),
            Err(error) => failure(&error),
        }
    });
}
