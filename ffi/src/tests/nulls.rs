//! NULL for every pointer of every function.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

use super::{call, load, session};
use crate::calibration::*;
use crate::cancel::*;
use crate::classify::*;
use crate::conversation::*;
use crate::event::slm_event;
use crate::extract::*;
use crate::generate::*;
use crate::grammar::*;
use crate::logits::*;
use crate::model::*;
use crate::options::Options;
use crate::sampling::*;
use crate::session::*;
use crate::source::*;
use crate::status::*;
use crate::stream::*;
use crate::string::{SLM_NUL, slm_str, slm_string};
use crate::tokens::*;

unsafe extern "C" fn go_on(_: *mut c_void, _: *const slm_event) -> i32 {
    SLM_CONTINUE
}

unsafe extern "C" fn no_size(_: *mut c_void, _: slm_str, _: *mut u64) -> slm_status {
    SLM_NOT_FOUND
}

unsafe extern "C" fn no_bytes(_: *mut c_void, _: slm_str, _: u64, _: *mut c_void, _: usize) -> i64 {
    -1
}

/// Calls each function with NULL for the parameter that is named, once with an error wanted and once without.
macro_rules! refuse {
    ($called:ident; $($parameter:literal: $function:ident($($argument:expr),* $(,)?);)*) => {$(
        // SAFETY: what is not NULL is valid.
        unsafe {
            let (status, message) = call(|error| $function($($argument,)* error));
            assert_eq!(status, SLM_NULL_POINTER, "{}: {}", stringify!($function), message);
            assert_eq!(message, concat!($parameter, " is NULL"), "{}", stringify!($function));
            assert_eq!($function($($argument,)* null_mut()), SLM_NULL_POINTER);
        }
        $called.insert(stringify!($function));
    )*};
}

#[test]
fn every_pointer_that_must_not_be_null_is_named() {
    let (model, prompt) = (load(), c"Is the door open?".as_ptr());
    let session = session(model);
    let (mut stream, mut event) = (null_mut(), null());
    let mut options = slm_generate_options::DEFAULTS;
    // SAFETY: valid handles, texts and memory.
    let opened = call(|error| unsafe {
        slm_stream_new(self::session(model), prompt, SLM_NUL, null(), &raw mut stream, error)
    });
    assert_eq!(opened.0, SLM_OK);

    let message =
        slm_message { role: slm_str { data: c"user".as_ptr(), len: SLM_NUL }, content: slm_str::EMPTY };
    let nameless = slm_message { role: slm_str { data: null(), len: SLM_NUL }, ..message };
    let unsaid = slm_message { content: slm_str { data: null(), len: 3 }, ..message };
    let labels = [slm_str::EMPTY, slm_str { data: null(), len: SLM_NUL }];
    let token = 1;
    let (mut number, mut length, mut probability) = (0_usize, 0_u64, 0.0_f32);
    let mut fresh_model = null();
    let mut fresh_session = null_mut();
    let mut fresh_stream = null_mut();
    let (mut text, mut statistics, mut estimate) =
        (slm_string { data: null(), len: 0 }, [0_u8; 256], [0_u8; 256]);
    let text_pointer = &raw mut text;
    let callback: slm_event_callback = Some(go_on);
    let model_options =
        slm_model_options { graph: slm_str { data: null(), len: 4 }, ..slm_model_options::DEFAULTS };
    let kernel_options =
        slm_model_options { kernels: slm_str { data: null(), len: SLM_NUL }, ..slm_model_options::DEFAULTS };
    let pairs = slm_model_options { provider_option_count: 1, ..slm_model_options::DEFAULTS };
    let sampling = slm_sampling_options { logit_bias_count: 1, ..slm_sampling_options::DEFAULTS };
    let session_options =
        slm_session_options { sampling: &raw const sampling, ..slm_session_options::DEFAULTS };
    let stopping = slm_generate_options { stop_count: 1, ..slm_generate_options::DEFAULTS };
    let stop_tokens = slm_generate_options { stop_token_count: 1, ..slm_generate_options::DEFAULTS };
    options.sampling = &raw const sampling;
    let source = slm_source { size: Some(no_size), read: Some(no_bytes), ..slm_source::DEFAULTS };
    let unreadable = [slm_source { size: None, ..source }, slm_source { read: None, ..source }];

    let (mut fresh_grammar, mut fresh_extractor, mut extractor) = (null(), null(), null());
    let schema = c"{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\"}}}".as_ptr();
    // SAFETY: a valid handle, texts and memory.
    let made = call(|error| unsafe {
        slm_extractor_new(model, schema, SLM_NUL, null(), 0, null(), 0, &raw mut extractor, error)
    });
    assert_eq!(made.0, SLM_OK, "{}", made.1);
    let example = slm_example { source: labels[1], value: slm_str::EMPTY };
    let worthless = slm_example { source: slm_str::EMPTY, value: labels[1] };

    let classes = [c"red".as_ptr(), c"green".as_ptr()].map(|data| slm_str { data, len: SLM_NUL });
    let cases =
        [0, 1, 0, 1].map(|class_index| slm_labelled_prompt { prompt: classes[class_index], class_index });
    let unasked = slm_labelled_prompt { prompt: labels[1], ..cases[0] };
    let (mut fresh_calibration, mut calibration) = (null(), null());
    let (mut facts, mut decision) = ([0_u64; 16], [0_u64; 16]);
    let (classes, cases) = (classes.as_ptr(), cases.as_ptr());
    let fitting = slm_calibration_options { risk: 0.0, ..slm_calibration_options::DEFAULTS };
    // SAFETY: valid handles, texts and memory.
    let fitted = call(|error| unsafe {
        let options = &raw const fitting;
        let calibration = &raw mut calibration;
        slm_calibration_fit(
            model,
            session,
            prompt,
            SLM_NUL,
            classes,
            2,
            classes,
            2,
            cases,
            4,
            options,
            calibration,
            error,
        )
    });
    assert_eq!(fitted.0, SLM_OK, "{}", fitted.1);

    let mut called = BTreeSet::new();
    refuse! { called;
        "options": slm_calibration_options_init(null_mut(), 64);
        "model": slm_calibration_load(null(), prompt, SLM_NUL, prompt, SLM_NUL, &raw mut fresh_calibration);
        "path": slm_calibration_load(model, null(), SLM_NUL, prompt, SLM_NUL, &raw mut fresh_calibration);
        "prompt": slm_calibration_load(model, prompt, SLM_NUL, null(), SLM_NUL, &raw mut fresh_calibration);
        "calibration": slm_calibration_load(model, prompt, SLM_NUL, prompt, SLM_NUL, null_mut());
        "model": slm_calibration_parse(null(), prompt, SLM_NUL, prompt, SLM_NUL, &raw mut fresh_calibration);
        "json": slm_calibration_parse(model, null(), SLM_NUL, prompt, SLM_NUL, &raw mut fresh_calibration);
        "prompt": slm_calibration_parse(model, prompt, SLM_NUL, null(), SLM_NUL, &raw mut fresh_calibration);
        "calibration": slm_calibration_parse(model, prompt, SLM_NUL, prompt, SLM_NUL, null_mut());
        "model": slm_calibration_fit(null(), session, prompt, SLM_NUL, classes, 2, classes, 2, cases, 4, null(), &raw mut fresh_calibration);
        "session": slm_calibration_fit(model, null_mut(), prompt, SLM_NUL, classes, 2, classes, 2, cases, 4, null(), &raw mut fresh_calibration);
        "prompt": slm_calibration_fit(model, session, null(), SLM_NUL, classes, 2, classes, 2, cases, 4, null(), &raw mut fresh_calibration);
        "classes": slm_calibration_fit(model, session, prompt, SLM_NUL, null(), 2, classes, 2, cases, 4, null(), &raw mut fresh_calibration);
        "classes": slm_calibration_fit(model, session, prompt, SLM_NUL, &raw const labels[1], 1, classes, 2, cases, 4, null(), &raw mut fresh_calibration);
        "labels": slm_calibration_fit(model, session, prompt, SLM_NUL, classes, 2, null(), 2, cases, 4, null(), &raw mut fresh_calibration);
        "labels": slm_calibration_fit(model, session, prompt, SLM_NUL, classes, 2, &raw const labels[1], 1, cases, 4, null(), &raw mut fresh_calibration);
        "examples": slm_calibration_fit(model, session, prompt, SLM_NUL, classes, 2, classes, 2, null(), 4, null(), &raw mut fresh_calibration);
        "prompt of an example": slm_calibration_fit(model, session, prompt, SLM_NUL, classes, 2, classes, 2, &raw const unasked, 1, null(), &raw mut fresh_calibration);
        "calibration": slm_calibration_fit(model, session, prompt, SLM_NUL, classes, 2, classes, 2, cases, 4, null(), null_mut());
        "calibration": slm_calibration_save(null(), prompt, SLM_NUL);
        "path": slm_calibration_save(calibration, null(), SLM_NUL);
        "calibration": slm_calibration_json(null(), text_pointer);
        "json": slm_calibration_json(calibration, null_mut());
        "calibration": slm_calibration_describe(null(), (&raw mut facts).cast(), 128);
        "facts": slm_calibration_describe(calibration, null_mut(), 128);
        "session": slm_decide(null_mut(), prompt, SLM_NUL, calibration, null(), (&raw mut decision).cast(), 128, null_mut());
        "prompt": slm_decide(session, null(), SLM_NUL, calibration, null(), (&raw mut decision).cast(), 128, null_mut());
        "calibration": slm_decide(session, prompt, SLM_NUL, null(), null(), (&raw mut decision).cast(), 128, null_mut());
        "decision": slm_decide(session, prompt, SLM_NUL, calibration, null(), null_mut(), 128, null_mut());
        "session": slm_chat_decide(null_mut(), &raw const message, 1, calibration, null(), (&raw mut decision).cast(), 128, null_mut());
        "messages": slm_chat_decide(session, null(), 1, calibration, null(), (&raw mut decision).cast(), 128, null_mut());
        "calibration": slm_chat_decide(session, &raw const message, 1, null(), null(), (&raw mut decision).cast(), 128, null_mut());
        "decision": slm_chat_decide(session, &raw const message, 1, calibration, null(), null_mut(), 128, null_mut());

        "options": slm_model_options_init(null_mut(), 64);
        "options": slm_session_options_init(null_mut(), 64);
        "options": slm_sampling_options_init(null_mut(), 64);
        "options": slm_generate_options_init(null_mut(), 64);
        "options": slm_classify_options_init(null_mut(), 64);
        "source": slm_source_init(null_mut(), 64);
        "cancel": slm_cancel_new(null_mut());

        "directory": slm_model_estimate(null(), SLM_NUL, null(), 1, (&raw mut estimate).cast(), 256);
        "estimate": slm_model_estimate(prompt, SLM_NUL, null(), 1, null_mut(), 256);
        "directory": slm_model_load(null(), SLM_NUL, null(), &raw mut fresh_model);
        "model": slm_model_load(prompt, SLM_NUL, null(), null_mut());
        "graph": slm_model_load(prompt, SLM_NUL, &raw const model_options, &raw mut fresh_model);
        "provider_options": slm_model_load(prompt, SLM_NUL, &raw const pairs, &raw mut fresh_model);
        "provider_options": slm_ort_devices(&raw const pairs, text_pointer);
        "devices": slm_ort_devices(null(), null_mut());
        "kernels": slm_model_load(prompt, SLM_NUL, &raw const kernel_options, &raw mut fresh_model);
        "source": slm_model_load_from(null(), null(), &raw mut fresh_model);
        "size": slm_model_load_from(&raw const unreadable[0], null(), &raw mut fresh_model);
        "read": slm_model_load_from(&raw const unreadable[1], null(), &raw mut fresh_model);
        "model": slm_model_load_from(&raw const source, null(), null_mut());
        "graph": slm_model_load_from(&raw const source, &raw const model_options, &raw mut fresh_model);
        "model": slm_model_info(null(), text_pointer);
        "info": slm_model_info(model, null_mut());
        "model": slm_model_sampling(null(), (&raw mut statistics).cast(), 64);
        "options": slm_model_sampling(model, null_mut(), 64);
        "model": slm_model_sizes(null(), (&raw mut statistics).cast(), 64);
        "sizes": slm_model_sizes(model, null_mut(), 64);
        "model": slm_model_clone(null(), &raw mut fresh_model);
        "clone": slm_model_clone(model, null_mut());

        "model": slm_count_tokens(null(), prompt, SLM_NUL, 0, &raw mut number);
        "text": slm_count_tokens(model, null(), SLM_NUL, 0, &raw mut number);
        "count": slm_count_tokens(model, prompt, SLM_NUL, 0, null_mut());
        "model": slm_tokenize(null(), prompt, SLM_NUL, 0, null_mut(), 0, &raw mut number);
        "text": slm_tokenize(model, null(), 1, 0, null_mut(), 0, &raw mut number);
        "tokens": slm_tokenize(model, prompt, SLM_NUL, 0, null_mut(), 9, &raw mut number);
        "count": slm_tokenize(model, prompt, SLM_NUL, 0, null_mut(), 0, null_mut());
        "model": slm_detokenize(null(), null(), 0, 0, text_pointer);
        "tokens": slm_detokenize(model, null(), 1, 0, text_pointer);
        "text": slm_detokenize(model, null(), 0, 0, null_mut());

        "model": slm_session_new(null(), null(), &raw mut fresh_session);
        "session": slm_session_new(model, null(), null_mut());
        "logit_bias": slm_session_new(model, &raw const session_options, &raw mut fresh_session);
        "session": slm_session_reset(null_mut());
        "session": slm_session_rewind(null_mut(), 1);
        "session": slm_session_length(null_mut(), &raw mut length);
        "length": slm_session_length(session, null_mut());
        "session": slm_session_statistics(null_mut(), (&raw mut statistics).cast(), 8);
        "statistics": slm_session_statistics(session, null_mut(), 8);

        "model": slm_render_chat(null(), &raw const message, 1, null(), 0, text_pointer);
        "messages": slm_render_chat(model, null(), 1, null(), 0, text_pointer);
        "template_options": slm_render_chat(model, &raw const message, 1, null(), 1, text_pointer);
        "text": slm_render_chat(model, &raw const message, 1, null(), 0, null_mut());
        "session": slm_session_history(null_mut(), text_pointer);
        "messages": slm_session_history(session, null_mut());
        "session": slm_session_set_history(null_mut(), &raw const message, 1);
        "messages": slm_session_set_history(session, null(), 1);
        "session": slm_session_logits(null_mut(), &raw const token, 1, 1, null(), &raw mut probability, 1);
        "tokens": slm_session_logits(session, null(), 1, 1, null(), &raw mut probability, 1);
        "logits": slm_session_logits(session, &raw const token, 1, 1, null(), null_mut(), 1);

        "session": slm_stream_new(null_mut(), prompt, SLM_NUL, null(), &raw mut fresh_stream);
        "prompt": slm_stream_new(session, null(), SLM_NUL, null(), &raw mut fresh_stream);
        "stream": slm_stream_new(session, prompt, SLM_NUL, null(), null_mut());
        "logit_bias": slm_stream_new(session, prompt, SLM_NUL, &raw const options, &raw mut fresh_stream);
        "stop": slm_stream_new(session, prompt, SLM_NUL, &raw const stopping, &raw mut fresh_stream);
        "stop_tokens": slm_stream_new(session, prompt, SLM_NUL, &raw const stop_tokens, &raw mut fresh_stream);
        "session": slm_chat_stream(null_mut(), &raw const message, 1, null(), &raw mut fresh_stream);
        "messages": slm_chat_stream(session, null(), 1, null(), &raw mut fresh_stream);
        "role": slm_chat_stream(session, &raw const nameless, 1, null(), &raw mut fresh_stream);
        "content": slm_chat_stream(session, &raw const unsaid, 1, null(), &raw mut fresh_stream);
        "stream": slm_chat_stream(session, &raw const message, 1, null(), null_mut());
        "session": slm_turn_stream(null_mut(), prompt, SLM_NUL, null(), &raw mut fresh_stream);
        "message": slm_turn_stream(session, null(), SLM_NUL, null(), &raw mut fresh_stream);
        "stream": slm_turn_stream(session, prompt, SLM_NUL, null(), null_mut());
        "stream": slm_stream_next(null_mut(), &raw mut event);
        "event": slm_stream_next(stream, null_mut());

        "session": slm_generate(null_mut(), prompt, SLM_NUL, null(), callback, null_mut());
        "prompt": slm_generate(session, null(), SLM_NUL, null(), callback, null_mut());
        "callback": slm_generate(session, prompt, SLM_NUL, null(), None, null_mut());
        "session": slm_chat(null_mut(), &raw const message, 1, null(), callback, null_mut());
        "messages": slm_chat(session, null(), 1, null(), callback, null_mut());
        "callback": slm_chat(session, &raw const message, 1, null(), None, null_mut());
        "session": slm_turn(null_mut(), prompt, SLM_NUL, null(), callback, null_mut());
        "message": slm_turn(session, null(), SLM_NUL, null(), callback, null_mut());
        "callback": slm_turn(session, prompt, SLM_NUL, null(), None, null_mut());

        "session": slm_classify(null_mut(), prompt, SLM_NUL, &raw const labels[0], 1, null(), &raw mut probability, null_mut());
        "prompt": slm_classify(session, null(), SLM_NUL, &raw const labels[0], 1, null(), &raw mut probability, null_mut());
        "labels": slm_classify(session, prompt, SLM_NUL, null(), 1, null(), &raw mut probability, null_mut());
        "label": slm_classify(session, prompt, SLM_NUL, &raw const labels[1], 1, null(), &raw mut probability, null_mut());
        "probabilities": slm_classify(session, prompt, SLM_NUL, &raw const labels[0], 1, null(), null_mut(), null_mut());
        "session": slm_chat_classify(null_mut(), &raw const message, 1, &raw const labels[0], 1, null(), &raw mut probability, null_mut());
        "messages": slm_chat_classify(session, null(), 1, &raw const labels[0], 1, null(), &raw mut probability, null_mut());
        "labels": slm_chat_classify(session, &raw const message, 1, null(), 1, null(), &raw mut probability, null_mut());
        "probabilities": slm_chat_classify(session, &raw const message, 1, &raw const labels[0], 1, null(), null_mut(), null_mut());

        "model": slm_grammar_new(null(), 1, schema, SLM_NUL, &raw mut fresh_grammar);
        "source": slm_grammar_new(model, 1, null(), SLM_NUL, &raw mut fresh_grammar);
        "grammar": slm_grammar_new(model, 1, schema, SLM_NUL, null_mut());
        "model": slm_grammar_choices(null(), &raw const labels[0], 1, &raw mut fresh_grammar);
        "choices": slm_grammar_choices(model, null(), 1, &raw mut fresh_grammar);
        "choice": slm_grammar_choices(model, &raw const labels[1], 1, &raw mut fresh_grammar);
        "grammar": slm_grammar_choices(model, &raw const labels[0], 1, null_mut());
        "grammar": slm_grammar_clone(null(), &raw mut fresh_grammar);
        "model": slm_extractor_new(null(), schema, SLM_NUL, null(), 0, null(), 0, &raw mut fresh_extractor);
        "schema": slm_extractor_new(model, null(), SLM_NUL, null(), 0, null(), 0, &raw mut fresh_extractor);
        "instructions": slm_extractor_new(model, schema, SLM_NUL, null(), 1, null(), 0, &raw mut fresh_extractor);
        "examples": slm_extractor_new(model, schema, SLM_NUL, null(), 0, null(), 1, &raw mut fresh_extractor);
        "source": slm_extractor_new(model, schema, SLM_NUL, null(), 0, &raw const example, 1, &raw mut fresh_extractor);
        "value": slm_extractor_new(model, schema, SLM_NUL, null(), 0, &raw const worthless, 1, &raw mut fresh_extractor);
        "extractor": slm_extractor_new(model, schema, SLM_NUL, null(), 0, null(), 0, null_mut());
        "session": slm_extract(null_mut(), extractor, prompt, SLM_NUL, null(), text_pointer, null_mut(), null_mut());
        "extractor": slm_extract(session, null(), prompt, SLM_NUL, null(), text_pointer, null_mut(), null_mut());
        "source": slm_extract(session, extractor, null(), SLM_NUL, null(), text_pointer, null_mut(), null_mut());
        "value": slm_extract(session, extractor, prompt, SLM_NUL, null(), null_mut(), null_mut(), null_mut());
    }
    assert!(fresh_grammar.is_null() && fresh_extractor.is_null() && fresh_calibration.is_null());
    assert_eq!((facts, decision), ([0; 16], [0; 16]), "a failure writes no output");
    assert!(
        fresh_model.is_null() && fresh_session.is_null() && fresh_stream.is_null() && text.data.is_null()
    );
    assert_eq!((number, length, probability), (0, 0, 0.0), "a failure writes no output");

    // SAFETY: handles that are freed once; NULL is allowed.
    unsafe {
        slm_calibration_free(calibration);
        slm_calibration_free(null());
        slm_extractor_free(extractor);
        slm_extractor_free(null());
        slm_grammar_free(null());
        slm_stream_free(stream);
        slm_session_free(session);
        slm_model_free(model);
        slm_stream_free(null_mut());
        slm_session_free(null_mut());
        slm_model_free(null());
    }
    // Its pointers may all be NULL.
    called.insert("slm_log_set");
    let fallible: BTreeSet<_> =
        declarations().filter(|(_, fallible)| *fallible).map(|(name, _)| name).collect();
    assert_eq!(called, fallible, "every fallible function of the header is called with NULL");
}

/// The functions of the header, and whether each returns a status and takes an error.
fn declarations() -> impl Iterator<Item = (&'static str, bool)> {
    let header = include_str!("../../include/edgeslm.h");
    header.split("\nSLM_API ").skip(1).map(|declaration| {
        let declaration = &declaration[..declaration.find(';').expect("a declaration ends")];
        let name = declaration.split('(').next().expect("a name").rsplit([' ', '*']).next().expect("a name");
        (name, declaration.ends_with("slm_error **error)"))
    })
}

#[test]
fn every_exported_function_has_a_boundary() {
    const BOUNDARIES: [&str; 10] = [
        "boundary::status(",
        "boundary::value(",
        "options::init(",
        "Owned::free(",
        "Counted::free(",
        "with_session(",
        "open(",
        "run(",
        "decide(session",
        "text_of(",
    ];
    let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).expect("the sources");
    let mut found = BTreeSet::new();
    for entry in sources {
        let path = entry.expect("an entry").path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for function in text.split("#[unsafe(no_mangle)]").skip(1) {
            let body = &function[..function.find("\n}\n").expect("a function ends")];
            let name = body.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).expect("a name");
            assert!(BOUNDARIES.iter().any(|boundary| body.contains(boundary)), "{name} lets a panic pass");
            found.insert(name.to_owned());
        }
    }
    let declared: BTreeSet<_> = declarations().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(found, declared);
}
