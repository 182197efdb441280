//! The client for remote endpoints against a server on this device that misbehaves in every way.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_types, reason = "the other side of the connection")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use edgeslm::ErrorKind;
use edgeslm::answer::cloud::{CloudClient, CloudOptions, KeyHeader};
use edgeslm::answer::route::{Attempt, Router, StepResult, Usage, Worker};
use edgeslm::text::Message;
use serde_json::{Value, json};

/// What is done with a connection after its request has been read.
type Serving = Box<dyn FnOnce(&mut TcpStream) + Send>;

/// Serves each connection with the next of `answers`; returns the base address and the requests as they came.
fn serve(answers: Vec<Serving>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let (send, requests) = channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = send.send(read_request(&mut stream));
            answer(&mut stream);
        }
    });
    (address, requests)
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0_usize) {
                return text;
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return text,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

fn reply(status: &str, headers: &str, body: &str) -> Serving {
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
        body.len()
    );
    Box::new(move |stream| drop(stream.write_all(text.as_bytes())))
}

fn completion(text: &str, reason: &str) -> String {
    json!({
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": reason}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3}
    })
    .to_string()
}

fn client(address: &str, edit: impl FnOnce(&mut CloudOptions)) -> CloudClient {
    let mut options = CloudOptions { timeout: Duration::from_secs(5), ..CloudOptions::new(address, "big") };
    edit(&mut options);
    CloudClient::new(options).unwrap()
}

fn question() -> Vec<Message> {
    vec![Message::system("Be brief."), Message::user("a private question")]
}

#[test]
fn a_good_reply_is_an_answer() {
    for (header, expected) in
        [(KeyHeader::Bearer, "authorization: Bearer k-1"), (KeyHeader::ApiKey, "api-key: k-1")]
    {
        let (address, requests) = serve(vec![reply("200 OK", "", &completion("yes", "stop"))]);
        let client = client(&address, |options| {
            options.key = Some("k-1".to_owned().into());
            options.key_header = header;
        });
        let found = client.chat(&question(), None).unwrap();
        let usage = Usage { prompt_tokens: 12, generated_tokens: 3 };
        assert_eq!(found, Attempt { usage, ..Attempt::new("yes".to_owned()) });
        let request = requests.recv().unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{head}");
        assert!(head.lines().any(|line| line.eq_ignore_ascii_case(expected)), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["model"], "big");
        assert_eq!(body["messages"][1], json!({"role": "user", "content": "a private question"}));
        assert_eq!((&body["max_tokens"], &body["stream"]), (&json!(512), &json!(false)));
    }
    let (address, _requests) = serve(vec![reply("200 OK", "", &completion("ye", "length"))]);
    assert!(client(&address, |_| {}).chat(&question(), None).unwrap().abstain, "it was cut off");
}

#[test]
fn refusals_are_told_apart() {
    let error = r#"{"error": {"message": "no\u001b such model"}}"#;
    for (status, kind, expected) in [
        ("400 Bad Request", ErrorKind::InvalidArgument, "status 400: no such model"),
        ("401 Unauthorized", ErrorKind::InvalidArgument, "check the key"),
        ("404 Not Found", ErrorKind::InvalidArgument, "the model's name"),
        ("429 Too Many Requests", ErrorKind::Io, "fewer requests"),
        ("500 Internal Server Error", ErrorKind::Io, "out of order"),
        ("503 Service Unavailable", ErrorKind::Io, "out of order"),
        ("302 Found", ErrorKind::Io, "redirections are not followed"),
    ] {
        let headers = if status.starts_with("302") { "location: http://127.0.0.1:1/\r\n" } else { "" };
        let (address, _requests) = serve(vec![reply(status, headers, error)]);
        let client = client(&address, |options| options.retries = 0);
        let error = client.chat(&question(), None).unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains(&address), "{status}: {text}");
        assert!(!text.contains("private") && !text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn an_overloaded_endpoint_is_asked_again_after_the_time_it_names() {
    let busy = || reply("429 Too Many Requests", "retry-after: 1\r\n", "");
    let (address, _requests) = serve(vec![busy(), reply("200 OK", "", &completion("yes", "stop"))]);
    let started = Instant::now();
    assert_eq!(client(&address, |_| {}).chat(&question(), None).unwrap().answer, "yes");
    assert!(started.elapsed() >= Duration::from_secs(1));

    let (address, _requests) = serve(vec![busy(), busy()]);
    let error = client(&address, |_| {}).chat(&question(), None).unwrap_err();
    assert!(error.message().contains("429"), "{error}");

    // The time it names is longer than what is left.
    let (address, _requests) = serve(vec![reply("503 Service Unavailable", "retry-after: 3600\r\n", "")]);
    let started = Instant::now();
    let error = client(&address, |_| {}).chat(&question(), None).unwrap_err();
    assert!(error.message().contains("503"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn malformed_replies_are_refused() {
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, expected) in [
        ("", "not JSON"),
        ("<html>", "not JSON"),
        (&nested[..], "not JSON"),
        ("[]", "no choices"),
        (r#"{"choices": []}"#, "no choices"),
        (r#"{"choices": {"0": 1}}"#, "no choices"),
        (r#"{"choices": [{"message": {"content": null}}]}"#, "no text"),
        (r#"{"choices": [{"message": {"content": 7}}]}"#, "no text"),
    ] {
        let (address, _requests) = serve(vec![reply("200 OK", "", body)]);
        let error = client(&address, |_| {}).chat(&question(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.message().contains(expected), "{expected}: {error}");
    }
    let garbage: [Serving; 4] = [
        Box::new(|stream| drop(stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n"))),
        Box::new(|_| {}),
        Box::new(|stream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"))),
        Box::new(|stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            // Headers without end.
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        }),
    ];
    for answer in garbage {
        let (address, _requests) = serve(vec![answer]);
        let error = client(&address, |_| {}).chat(&question(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    }
}

#[test]
fn huge_replies_are_not_read() {
    let endless = |headers: &'static str| -> Serving {
        Box::new(move |stream| {
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes());
            while stream.write_all(&[b' '; 65536]).is_ok() {}
        })
    };
    for headers in ["connection: close\r\n", "content-length: 999999999999\r\n"] {
        let (address, _requests) = serve(vec![endless(headers)]);
        let client = client(&address, |options| options.maximum_reply = 1 << 20);
        let error = client.chat(&question(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.message().contains("more than 1048576 bytes"), "{error}");
    }
}

#[test]
fn silence_and_slow_drips_end_in_time() {
    let silent: Serving = Box::new(|_| thread::sleep(Duration::from_secs(20)));
    let drip: Serving = Box::new(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let slow_head: Serving = Box::new(|stream| {
        for byte in b"HTTP/1.1 200 OK\r\n".iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    for answer in [silent, drip, slow_head] {
        let (address, _requests) = serve(vec![answer]);
        let started = Instant::now();
        let error = client(&address, |_| {}).chat(&question(), Some(Duration::from_millis(400))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    }
}

#[test]
fn an_endpoint_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let client = client(&address, |_| {});
    assert_eq!(client.chat(&question(), None).unwrap_err().kind(), ErrorKind::Io);

    // The router goes on with what the device said.
    let edge = Worker::new("edge", |_: &Vec<Message>, _| {
        Ok(Attempt { confidence: Some(0.4), ..Attempt::new("maybe".to_owned()) })
    });
    let mut router = Router::new(vec![edge.sure_from(0.8).or_else("cloud"), client.worker("cloud")]).unwrap();
    let routed = router.route(&question()).unwrap();
    assert_eq!((routed.answer.as_str(), routed.is_sure), ("maybe", false));
    assert!(matches!(routed.steps[1].result, StepResult::Failed { .. }), "{:?}", routed.steps);
}
