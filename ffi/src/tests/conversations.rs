//! Turns, histories, rendered prompts, logits and the log.

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Mutex;

use serde_json::{Value, json};

use super::{call, load, session, text};
use crate::conversation::*;
use crate::event::*;
use crate::generate::*;
use crate::log::*;
use crate::logits::*;
use crate::model::*;
use crate::options::Options;
use crate::session::*;
use crate::status::*;
use crate::stream::*;
use crate::string::{SLM_NUL, slm_str, slm_string, slm_string_free};
use crate::tokens::*;

fn string(text: &str) -> slm_str {
    slm_str { data: text.as_ptr().cast(), len: text.len() }
}

/// Calls a function that gives a text, and takes the text.
fn taken(function: impl FnOnce(*mut slm_string, *mut *mut crate::error::slm_error) -> slm_status) -> String {
    let mut owned = slm_string { data: null(), len: 0 };
    let (status, message) = call(|error| function(&raw mut owned, error));
    assert_eq!(status, SLM_OK, "{message}");
    // SAFETY: the text that the call handed out, freed once.
    unsafe {
        let copy = text(slm_str { data: owned.data, len: owned.len }).to_owned();
        slm_string_free(&raw mut owned);
        copy
    }
}

fn history(session: *mut slm_session) -> Value {
    // SAFETY: a session that is not freed, and memory for the text.
    let json = taken(|text, error| unsafe { slm_session_history(session, text, error) });
    serde_json::from_str(&json).expect("JSON")
}

unsafe extern "C" fn collect(user_data: *mut c_void, event: *const slm_event) -> i32 {
    // SAFETY: the test's own text, and an event of the library.
    unsafe {
        if (*event).kind == SLM_EVENT_TEXT {
            (*user_data.cast::<String>()).push_str(text((*event).text));
        }
    }
    SLM_CONTINUE
}

#[test]
fn a_session_keeps_its_conversation() {
    let model = load();
    let options = slm_session_options { system: string("Be brief."), ..slm_session_options::DEFAULTS };
    let answer_options = slm_generate_options { max_tokens: 5, ..slm_generate_options::DEFAULTS };
    let (mut kept, mut answer) = (null_mut(), String::new());
    // SAFETY: valid pointers; handles are freed once.
    unsafe {
        let made = call(|error| slm_session_new(model, &raw const options, &raw mut kept, error));
        assert_eq!(made, (SLM_OK, String::new()));
        let system = json!({"role": "system", "content": "Be brief."});
        assert_eq!(history(kept), json!([system]));
        let question = "Is the door open?";
        let (data, length) = (question.as_ptr().cast::<c_char>(), question.len());
        let answered = call(|error| {
            let user_data = (&raw mut answer).cast();
            slm_turn(kept, data, length, &raw const answer_options, Some(collect), user_data, error)
        });
        assert_eq!(answered, (SLM_OK, String::new()));
        let user = json!({"role": "user", "content": question});
        let assistant = json!({"role": "assistant", "content": answer});
        assert_eq!(history(kept), json!([system, user, assistant]));

        // The same as a whole conversation that the caller keeps.
        let messages = [
            slm_message { role: string("system"), content: string("Be brief.") },
            slm_message { role: string("user"), content: string(question) },
        ];
        let (other, mut same) = (session(model), String::new());
        let answered = call(|error| {
            let user_data = (&raw mut same).cast();
            slm_chat(other, messages.as_ptr(), 2, &raw const answer_options, Some(collect), user_data, error)
        });
        assert_eq!((answered.0, &same), (SLM_OK, &answer));
        assert_eq!(history(other), json!([]), "a whole conversation leaves the history alone");

        let set = call(|error| slm_session_set_history(other, messages.as_ptr(), 2, error));
        assert_eq!(set.0, SLM_OK);
        assert_eq!(history(other), json!([system, user]));
        let mut stream = null_mut();
        let opened = call(|error| {
            slm_turn_stream(other, data, length, &raw const answer_options, &raw mut stream, error)
        });
        assert_eq!(opened.0, SLM_OK);
        slm_stream_free(stream);
        assert_eq!(history(other), json!([system, user]), "a turn without any token is not kept");
        assert_eq!(call(|error| slm_session_reset(kept, error)).0, SLM_OK);
        assert_eq!(history(kept), json!([system]));
        slm_session_free(kept);
        slm_session_free(other);
        slm_model_free(model);
    }
}

#[test]
fn a_conversation_is_rendered_as_the_template_writes_it() {
    let model = load();
    let message = slm_message { role: string("user"), content: string("Hello") };
    let render = |options: &'static str| {
        // SAFETY: valid pointers.
        taken(|text, error| unsafe {
            slm_render_chat(model, &raw const message, 1, options.as_ptr().cast(), options.len(), text, error)
        })
    };
    assert_eq!(render(""), "<s>[user]Hello</s>[assistant]");
    assert_eq!(render(r#"{"add_generation_prompt": false, "date": "2025-03-09"}"#), "<s>[user]Hello</s>");
    for (wrong, part) in [
        ("[]", "not a JSON object"),
        (r#"{"date": "9 March"}"#, "date is no day"),
        (r#"{"date": "2025-02-29"}"#, "date is no day"),
        (r#"{"tools": {}}"#, "tools has the wrong type"),
        (r#"{"colour": 1}"#, "there is no \"colour\""),
    ] {
        let mut owned = slm_string { data: null(), len: 0 };
        // SAFETY: valid pointers.
        let (status, message) = call(|error| unsafe {
            let (json, text) = (wrong.as_ptr().cast(), &raw mut owned);
            slm_render_chat(model, &raw const message, 1, json, wrong.len(), text, error)
        });
        assert_eq!(status, SLM_INVALID_ARGUMENT);
        assert!(message.contains(part), "{message}");
        assert!(owned.data.is_null());
    }
    // SAFETY: the handle is given back once.
    unsafe { slm_model_free(model) };
}

#[test]
fn the_highest_logit_is_the_greedy_token() {
    let model = load();
    let session = session(model);
    let mut sizes =
        slm_sizes { vocabulary_size: 0, context_length: 0, layers: 0, cache_bytes_per_position: 0 };
    let options = slm_generate_options {
        max_tokens: 1,
        flags: SLM_IGNORE_STOP_TOKENS,
        ..slm_generate_options::DEFAULTS
    };
    let (mut tokens, mut count) = ([0; 64], 0);
    // SAFETY: valid pointers; handles are freed once.
    unsafe {
        let sized = call(|error| slm_model_sizes(model, &raw mut sizes, size_of::<slm_sizes>(), error));
        assert_eq!(sized.0, SLM_OK);
        assert!(sizes.layers > 0 && sizes.context_length > 0 && sizes.cache_bytes_per_position > 0);
        let width = sizes.vocabulary_size as usize;
        let tokenized = call(|error| {
            let text = c"Is the door open?".as_ptr();
            slm_tokenize(
                model,
                text,
                SLM_NUL,
                SLM_TOKENIZE_PROMPT,
                tokens.as_mut_ptr(),
                64,
                &raw mut count,
                error,
            )
        });
        assert_eq!(tokenized.0, SLM_OK);
        let mut logits = vec![f32::NAN; 3 * width + 1];
        let run = |last: usize, capacity: usize, logits: &mut Vec<f32>| {
            call(|error| {
                slm_session_logits(
                    session,
                    tokens.as_ptr(),
                    count,
                    last,
                    null(),
                    logits.as_mut_ptr(),
                    capacity,
                    error,
                )
            })
        };
        let (status, message) = run(3, 3 * width - 1, &mut logits);
        assert_eq!(status, SLM_BUFFER_TOO_SMALL, "{message}");
        assert_eq!(run(0, 9, &mut logits).0, SLM_INVALID_ARGUMENT);
        assert_eq!(run(usize::MAX, usize::MAX, &mut logits).0, SLM_INVALID_ARGUMENT);
        assert!(logits.iter().all(|logit| logit.is_nan()), "a failure writes nothing");
        assert_eq!(run(3, logits.len(), &mut logits), (SLM_OK, String::new()));
        assert!(logits[..3 * width].iter().all(|logit| logit.is_finite()) && logits[3 * width].is_nan());
        let last = &logits[2 * width..3 * width];
        let highest = (0..width).max_by(|a, b| last[*a].total_cmp(&last[*b])).expect("a token");

        let (mut stream, mut event, mut chosen) = (null_mut(), null::<slm_event>(), None);
        let opened = call(|error| {
            let text = c"Is the door open?".as_ptr();
            slm_stream_new(session, text, SLM_NUL, &raw const options, &raw mut stream, error)
        });
        assert_eq!(opened.0, SLM_OK);
        while call(|error| slm_stream_next(stream, &raw mut event, error)).0 == SLM_OK {
            let Some(event) = event.as_ref() else { break };
            chosen = chosen.or((event.kind == SLM_EVENT_TOKEN).then_some(event.token));
        }
        assert_eq!(chosen, Some(highest as u32));
        slm_stream_free(stream);
        slm_session_free(session);
        slm_model_free(model);
    }
}

/// What the log's callback was given, and how often its destructor was called.
#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<(i32, String)>>,
    destroyed: Mutex<usize>,
}

unsafe extern "C" fn keep_line(user_data: *mut c_void, level: i32, message: slm_str) {
    // SAFETY: the test's own lines, and a text of the library.
    unsafe {
        let lines = &*user_data.cast_const().cast::<Lines>();
        lines.lines.lock().expect("lines").push((level, text(message).to_owned()));
    }
}

unsafe extern "C" fn destroy(user_data: *mut c_void) {
    // SAFETY: the test's own lines.
    let lines = unsafe { &*user_data.cast_const().cast::<Lines>() };
    *lines.destroyed.lock().expect("the count") += 1;
}

#[test]
fn the_log_tells_of_loading_and_nothing_of_what_was_said() {
    let lines = Lines::default();
    let user_data = (&raw const lines).cast_mut().cast();
    let secret = "Zanzibar";
    let options = slm_generate_options { max_tokens: 2, ..slm_generate_options::DEFAULTS };
    // SAFETY: valid pointers; the lines outlive the callback, which is taken away at the end.
    unsafe {
        let refused = call(|error| slm_log_set(9, Some(keep_line), user_data, Some(destroy), error));
        assert_eq!(refused.0, SLM_INVALID_ARGUMENT);
        let set = call(|error| slm_log_set(SLM_LOG_DEBUG, Some(keep_line), user_data, Some(destroy), error));
        assert_eq!(set.0, SLM_OK);
        let model = load();
        let session = session(model);
        let mut answer = String::new();
        let answered = call(|error| {
            let (text, user_data) = (secret.as_ptr().cast(), (&raw mut answer).cast());
            slm_turn(session, text, secret.len(), &raw const options, Some(collect), user_data, error)
        });
        assert_eq!(answered.0, SLM_OK);
        assert_eq!(*lines.destroyed.lock().expect("the count"), 0);
        assert_eq!(call(|error| slm_log_set(SLM_LOG_OFF, None, null_mut(), None, error)).0, SLM_OK);
        assert_eq!(*lines.destroyed.lock().expect("the count"), 1);
        slm_session_free(session);
        slm_model_free(model);
    }
    let lines = lines.lines.into_inner().expect("lines");
    assert!(lines.iter().any(|(level, line)| *level == SLM_LOG_INFO && line.contains("llama-3.2-1b-int4")));
    assert!(
        lines.iter().any(|(level, line)| *level == SLM_LOG_DEBUG && line.contains("answered with 2 tokens"))
    );
    assert!(lines.iter().all(|(_, line)| !line.contains(secret)), "{lines:?}");
}
