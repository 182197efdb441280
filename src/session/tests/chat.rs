//! Conversations that the session keeps.

use super::super::fake_text::{ASSISTANT, END, text_without_template};
use super::super::{Control, Event, FinishReason};
use super::*;
use crate::ErrorKind;
use crate::text::Message;

/// Answers every turn with `text`.
fn answering(text: &str) -> FakeEngine {
    FakeEngine::scripted(ASSISTANT, text.bytes().map(u32::from).chain([END]).collect())
}

fn chat(session: &mut Session, message: &str) -> super::super::Answer {
    session.chat(message, &GenerateOptions::default()).unwrap().into_answer().unwrap()
}

#[test]
fn turns_are_kept_and_their_tokens_reused() {
    let options = SessionOptions { system: Some("be kind".to_owned()), ..SessionOptions::default() };
    let (_, mut session) = session_with(answering("hello"), options);
    assert_eq!(session.history(), [Message::system("be kind")]);
    assert_eq!(chat(&mut session, "hi").text, "hello");
    let first = session.len();
    let second = chat(&mut session, "again");
    assert_eq!(
        session.history(),
        [
            Message::system("be kind"),
            Message::user("hi"),
            Message::assistant("hello"),
            Message::user("again"),
            Message::assistant("hello"),
        ]
    );
    let statistics = second.outcome.statistics;
    assert_eq!(statistics.reused_tokens, first, "prompt and answer of the first turn are all in the cache");
    // End token, user mark, 5 letters, end token, assistant mark.
    assert_eq!(statistics.prompt_tokens - statistics.reused_tokens, 9);
}

#[test]
fn a_turn_cut_short_is_kept_as_far_as_it_came() {
    let (_, mut session) = session(answering("hello"));
    let options = GenerateOptions { max_tokens: 2, ..GenerateOptions::default() };
    let answer = session.chat("hi", &options).unwrap().into_answer().unwrap();
    assert_eq!((answer.text.as_str(), answer.outcome.reason), ("he", FinishReason::MaxTokens));
    assert_eq!(session.history(), [Message::user("hi"), Message::assistant("he")]);

    let mut stream = session.chat("dropped", &GenerateOptions::default()).unwrap();
    while stream.text() != "hel" {
        stream.next().unwrap().unwrap();
    }
    drop(stream);
    assert_eq!(session.history()[2..], [Message::user("dropped"), Message::assistant("hel")]);
    assert_eq!(chat(&mut session, "next").text, "hello");
    assert_eq!(session.history().len(), 6);
}

#[test]
fn a_turn_without_any_answer_is_not_kept() {
    let (_, mut session) = session(answering("hello"));
    let token = session.cancel_token();
    let stream = session.chat("hi", &GenerateOptions::default()).unwrap();
    token.cancel();
    assert_eq!(stream.into_answer().unwrap().outcome.reason, FinishReason::Cancelled);
    assert!(session.history().is_empty());

    drop(session.chat("hi", &GenerateOptions::default()).unwrap());
    assert!(session.history().is_empty());

    let generation = session.begin_chat("hi", &GenerateOptions::default()).unwrap();
    drop(generation);
    assert!(session.history().is_empty());
    chat(&mut session, "hi");
    assert_eq!(session.history().len(), 2);
}

#[test]
fn an_empty_answer_is_an_answer() {
    let (_, mut session) = session(answering(""));
    chat(&mut session, "hi");
    assert_eq!(session.history(), [Message::user("hi"), Message::assistant("")]);
}

#[test]
fn an_error_keeps_what_came_before_it() {
    // The prompt is one chunk; the fourth forward would give the fourth letter.
    let (_, mut session) = session(FakeEngine { failing: vec![4], ..answering("hello") });
    let error = session.chat("hi", &GenerateOptions::default()).unwrap().into_answer().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(session.history(), [Message::user("hi"), Message::assistant("hel")]);
    assert_eq!(chat(&mut session, "go on").text, "hello");
}

#[test]
fn callbacks_keep_or_drop_the_turn() {
    let (_, mut session) = session(answering("hello"));
    chat(&mut session, "first");
    let cached = session.tokens().to_vec();
    let until = |verdict: Control| {
        let mut seen = String::new();
        move |event: &Event| {
            if let Event::Text(text) = event {
                seen.push_str(text);
            }
            if seen == "hel" { verdict } else { Control::Continue }
        }
    };
    let stream = session.chat("second", &GenerateOptions::default()).unwrap();
    assert_eq!(stream.run(until(Control::Cancel)).unwrap().reason, FinishReason::Cancelled);
    assert_eq!(session.history().len(), 2);
    assert_eq!(session.tokens(), cached, "as before the prompt");

    let stream = session.chat("second", &GenerateOptions::default()).unwrap();
    assert_eq!(stream.run(until(Control::Stop)).unwrap().reason, FinishReason::Cancelled);
    assert_eq!(session.history()[2..], [Message::user("second"), Message::assistant("hel")]);
}

#[test]
fn a_turn_can_be_dropped_after_its_end() {
    let (_, mut session) = session(answering("hello"));
    chat(&mut session, "first");
    let mut stream = session.chat("second", &GenerateOptions::default()).unwrap();
    assert!(stream.by_ref().all(|event| event.is_ok()));
    stream.discard();
    assert_eq!(session.history(), [Message::user("first"), Message::assistant("hello")]);
}

#[test]
fn refused_turns_leave_the_history() {
    let options = SessionOptions { context: Some(20), ..SessionOptions::default() };
    let (_, mut session) = session_with(answering("hello"), options);
    chat(&mut session, "hi");
    let error = session.chat("much too long for it", &GenerateOptions::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ContextLength);
    assert_eq!(session.history().len(), 2);
}

#[test]
fn the_system_message_and_the_history_can_be_replaced() {
    let (_, mut session) = session(answering("hello"));
    chat(&mut session, "hi");
    session.set_system(Some("short".to_owned()));
    assert_eq!(session.history()[0], Message::system("short"));
    session.set_system(Some("shorter".to_owned()));
    assert_eq!(session.history().len(), 3);
    assert_eq!(session.history()[0], Message::system("shorter"));
    session.reset();
    assert_eq!(session.history(), [Message::system("shorter")]);
    session.set_system(None);
    assert!(session.history().is_empty());
    session.set_history(vec![Message::user("a"), Message::assistant("b")]);
    chat(&mut session, "c");
    assert_eq!(session.history().len(), 4);
    session.reset();
    assert!(session.history().is_empty());
}

#[test]
fn other_prompts_leave_the_history() {
    let (_, mut session) = session(answering("hello"));
    chat(&mut session, "hi");
    session.generate("raw", &greedy(3)).unwrap();
    session.generate(vec![Message::user("x")], &greedy(3)).unwrap();
    assert_eq!(session.history().len(), 2);
}

#[test]
fn a_model_without_template_takes_raw_prompts_only() {
    let (_, engine) = shared(FakeEngine::default());
    let text = Arc::new(text_without_template(&[]));
    let mut session = Session::new(engine, text, SessionOptions::default()).unwrap();
    let error = session.chat("hi", &greedy(1)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Template);
    session.generate("hi", &greedy(1)).unwrap();
}
