//! Prints the nanoseconds from loading a model to the first token of an answer, and the token. As first_token.c.

#![allow(clippy::print_stdout, reason = "the figures")]

use std::time::Instant;

use edgeslm::session::{Event, GenerateOptions, SessionOptions};
use edgeslm::{LoadOptions, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, threads, question] = &arguments[..] else {
        return Err("usage: first_token MODEL_DIRECTORY THREADS QUESTION".into());
    };
    let started = Instant::now();
    let load = LoadOptions { threads: Some(threads.parse()?), ..LoadOptions::default() };
    let generate = GenerateOptions { max_tokens: 1, ..GenerateOptions::default() };
    let model = Model::load(directory, &load)?;
    let mut session = model.session(SessionOptions::default())?;
    for event in session.chat(question.as_str(), &generate)? {
        if let Event::Token { id, .. } = event? {
            println!("{} {id}", started.elapsed().as_nanos());
            return Ok(());
        }
    }
    Err("the answer has no token".into())
}
