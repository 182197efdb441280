//! Answers one request after the other, and stops an answer when the next request comes.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use edgeslm::session::CancelToken;
use edgeslm::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::completer::Completer;
use crate::text_file::Lines;
use crate::{MAXIMUM_PROGRAM, language_of, split_file};

/// A line of the input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// Comes back with the answer.
    #[serde(default)]
    id: Value,
    /// Stop what is being answered, and nothing else.
    #[serde(default)]
    cancel: bool,
    /// By default the file's name says it.
    language: Option<String>,
    prefix: Option<String>,
    #[serde(default)]
    suffix: String,
    file: Option<PathBuf>,
    line: Option<usize>,
    column: Option<usize>,
    max_lines: Option<usize>,
}

/// A request and the token that stops its answer. Only the reader cancels it, when the next request comes.
type Cancellable = (Request, CancelToken);

/// Answers the requests of the standard input until it ends.
///
/// # Errors
/// For an input that cannot be read. What is wrong with a request is its answer.
pub(crate) fn serve(completer: &mut Completer) -> Result<()> {
    let (send, receive) = channel();
    let reader = thread::spawn(move || read(&send));
    while let Some((request, cancel)) = newest(&receive) {
        let answer = answer(completer, &request, cancel);
        println!("{}", with_id(&request.id, answer));
    }
    reader
        .join()
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the reader of requests has failed")))
}

/// Hands requests over, each of which stops the one before it.
fn read(send: &Sender<Cancellable>) -> Result<()> {
    let mut last = CancelToken::new();
    for line in Lines::new(std::io::stdin(), 2 * MAXIMUM_PROGRAM) {
        let line = match line {
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            line => line,
        };
        let request = line.and_then(|line| match line.as_str() {
            "" => Ok(None),
            line => serde_json::from_str::<Request>(line).map(Some).map_err(|error| {
                Error::new(ErrorKind::InvalidArgument, format!("the line is no request: {error}"))
            }),
        });
        match request {
            Ok(None) => {}
            Ok(Some(request)) => {
                last.cancel();
                if request.cancel {
                    continue;
                }
                last = CancelToken::new();
                if send.send((request, last.clone())).is_err() {
                    return Ok(());
                }
            }
            Err(error) => println!("{}", json!({ "id": null, "error": error.to_string() })),
        }
    }
    Ok(())
}

/// Waits for a request, and goes on to the last that has come; the others are answered as cancelled.
fn newest(receive: &Receiver<Cancellable>) -> Option<Cancellable> {
    let mut newest = receive.recv().ok()?;
    while let Ok(newer) = receive.try_recv() {
        println!("{}", with_id(&newest.0.id, json!({ "cancelled": true })));
        newest = newer;
    }
    Some(newest)
}

fn answer(completer: &mut Completer, request: &Request, cancel: CancelToken) -> Value {
    let of_file = || request.file.as_deref().and_then(language_of);
    let language = request.language.as_deref().or_else(of_file);
    let completion = texts(request).and_then(|(prefix, suffix)| {
        completer.complete(language, &prefix, &suffix, request.max_lines, cancel)
    });
    match completion {
        Ok(completion) if completion.is_cancelled() => json!({ "cancelled": true }),
        Ok(completion) => completion.to_json(),
        Err(error) if error.kind() == ErrorKind::Cancelled => json!({ "cancelled": true }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// What is before the cursor and after it.
fn texts(request: &Request) -> Result<(String, String)> {
    match (&request.prefix, &request.file) {
        (Some(prefix), None) => Ok((prefix.clone(), request.suffix.clone())),
        (None, Some(file)) => split_file(file, request.line, request.column),
        _ => Err(Error::new(ErrorKind::InvalidArgument, "a request has either \"prefix\" or \"file\"")),
    }
}

fn with_id(id: &Value, answer: Value) -> Value {
    let mut whole = json!({ "id": id });
    if let (Some(whole), Value::Object(answer)) = (whole.as_object_mut(), answer) {
        whole.extend(answer);
    }
    whole
}
