//! Options, texts and handles through the functions.

use std::ffi::c_void;
use std::path::Path;
use std::ptr::{null, null_mut};

use edgeslm::session::{GenerateOptions, SessionOptions};
use edgeslm::{LoadOptions, sampling::SamplingOptions};
use serde_json::{Value, json};

use super::{call, load, load_from, session, text};
use crate::classify::*;
use crate::conversation::slm_session_set_history;
use crate::event::*;
use crate::generate::*;
use crate::model::*;
use crate::options::Options;
use crate::sampling::*;
use crate::session::*;
use crate::status::*;
use crate::stream::*;
use crate::string::{SLM_NUL, slm_str};
use crate::tokens::*;

/// Checks that a struct has no padding: its size is the sum of its fields', all of which are listed.
macro_rules! assert_no_padding {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        let $name { $($field),* } = $name::DEFAULTS;
        let fields = 0 $(+ size_of_val(&$field))*;
        assert_eq!(size_of::<$name>(), fields, stringify!($name));
    )*};
}

#[test]
fn options_have_no_padding() {
    assert_no_padding! {
        slm_model_options {
            struct_size, flags, load, accuracy, threads, context_length, memory_budget, graph, kernels, engine, provider,
            ort_library, provider_library, provider_options, provider_option_count, processors, processor_count, priority,
            kv_precision, reserved,
        }
        slm_session_options { struct_size, prefill_chunk, context, sampling, system, template_options }
        slm_sampling_options {
            struct_size, temperature, top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty, top_k,
            penalty_window, seed, logit_bias, logit_bias_count,
        }
        slm_generate_options {
            struct_size, flags, max_tokens, log_probabilities, deadline_ms, cancel, sampling, stop, stop_count,
            stop_tokens, stop_token_count, grammar, draft_tokens,
        }
        slm_classify_options { struct_size, score, deadline_ms, cancel }
    }
}

#[test]
fn defaults_are_those_of_the_library() {
    let sampling = slm_sampling_options::DEFAULTS;
    // SAFETY: NULL, or options without pointers.
    unsafe {
        let generate = crate::generate::read_options(null()).ok().expect("defaults");
        assert_eq!(format!("{generate:?}"), format!("{:?}", GenerateOptions::default()));
        let read = crate::sampling::read(&raw const sampling).ok().flatten();
        assert_eq!(read, Some(SamplingOptions::default()));
        let session = slm_session_options::DEFAULTS.to_rust().ok();
        assert_eq!(session, Some(SessionOptions::default()));
        let load = crate::model::read_options(null()).ok().expect("defaults");
        assert_eq!(format!("{load:?}"), format!("{:?}", LoadOptions::default()));
    }
}

#[test]
fn options_arrive() {
    let biases = [slm_logit_bias { token: 3, bias: -1.5 }, slm_logit_bias { token: 9, bias: 2.0 }];
    let sampling = slm_sampling_options {
        temperature: 0.5,
        top_k: 7,
        top_p: 0.75,
        min_p: 0.125,
        repetition_penalty: 1.25,
        frequency_penalty: 0.25,
        presence_penalty: -0.25,
        penalty_window: u64::MAX,
        seed: 99,
        logit_bias: biases.as_ptr(),
        logit_bias_count: 2,
        ..slm_sampling_options::DEFAULTS
    };
    let stop = [slm_str { data: c"\n\n".as_ptr(), len: SLM_NUL }, slm_str { data: c"END!".as_ptr(), len: 3 }];
    let stop_tokens = [4, 5];
    let generate = slm_generate_options {
        flags: SLM_IGNORE_STOP_TOKENS,
        max_tokens: u32::MAX,
        log_probabilities: 0,
        deadline_ms: 1500,
        sampling: &raw const sampling,
        stop: stop.as_ptr(),
        stop_count: 2,
        stop_tokens: stop_tokens.as_ptr(),
        stop_token_count: 2,
        draft_tokens: 8,
        ..slm_generate_options::DEFAULTS
    };
    let expected_sampling = SamplingOptions {
        temperature: 0.5,
        top_k: 7,
        top_p: 0.75,
        min_p: 0.125,
        repetition_penalty: 1.25,
        frequency_penalty: 0.25,
        presence_penalty: -0.25,
        penalty_window: usize::MAX,
        logit_bias: vec![(3, -1.5), (9, 2.0)],
        seed: Some(99),
    };
    let expected = GenerateOptions {
        max_tokens: usize::MAX,
        sampling: Some(expected_sampling.clone()),
        stop: vec!["\n\n".to_owned(), "END".to_owned()],
        stop_tokens: vec![4, 5],
        ignore_stop_tokens: true,
        grammar: None,
        log_probabilities: Some(0),
        draft_tokens: 8,
        deadline: Some(std::time::Duration::from_millis(1500)),
        cancel: None,
    };
    let session = slm_session_options {
        prefill_chunk: 3,
        context: 77,
        sampling: &raw const sampling,
        ..slm_session_options::DEFAULTS
    };
    let option = slm_option {
        key: slm_str { data: c"device_id".as_ptr(), len: SLM_NUL },
        value: slm_str { data: c"1".as_ptr(), len: 1 },
    };
    let model = slm_model_options {
        engine: SLM_ENGINE_ORT,
        provider: SLM_PROVIDER_XNNPACK,
        ort_library: slm_str { data: c"/l/libonnxruntime.so".as_ptr(), len: SLM_NUL },
        provider_library: slm_str { data: c"/p.so".as_ptr(), len: SLM_NUL },
        provider_options: &raw const option,
        provider_option_count: 1,
        processors: [5, 0].as_ptr(),
        processor_count: 2,
        priority: SLM_PRIORITY_LOW,
        kv_precision: SLM_KV_INT8,
        flags: SLM_FOLLOW_LINKS,
        load: SLM_LOAD_COPY,
        accuracy: SLM_ACCURACY_STRICT,
        threads: 2,
        context_length: 88,
        memory_budget: 1 << 40,
        graph: slm_str { data: c"q4f16".as_ptr(), len: SLM_NUL },
        kernels: slm_str { data: c"scalar".as_ptr(), len: 6 },
        ..slm_model_options::DEFAULTS
    };
    let expected_load = LoadOptions {
        engine: edgeslm::engine::EngineChoice::Ort(edgeslm::engine::OrtOptions {
            library: Some("/l/libonnxruntime.so".into()),
            provider: edgeslm::engine::Provider::Xnnpack,
            provider_library: Some("/p.so".into()),
            provider_options: vec![("device_id".to_owned(), "1".to_owned())],
        }),
        graph: Some("q4f16".to_owned()),
        accuracy: edgeslm::Accuracy::Strict,
        kv_precision: edgeslm::KvPrecision::Int8,
        threads: Some(2),
        processors: Some(vec![5, 0]),
        priority: edgeslm::engine::ThreadPriority::Low,
        kernels: Some("scalar".to_owned()),
        memory_budget: Some(1 << 40),
        context_length: Some(88),
        load: edgeslm::model::Load::Copy,
        follow_links: true,
    };
    // SAFETY: options whose pointers are valid.
    unsafe {
        let read = crate::generate::read_options(&raw const generate).ok().expect("options");
        assert_eq!(format!("{read:?}"), format!("{expected:?}"));
        let read = session.to_rust().ok().expect("options");
        assert_eq!((read.context, read.prefill_chunk, read.sampling), (Some(77), 3, expected_sampling));
        let read = crate::model::read_options(&raw const model).ok().expect("options");
        assert_eq!(format!("{read:?}"), format!("{expected_load:?}"));
    }
}

#[test]
fn wrong_options_are_refused_by_every_function() {
    let model = load();
    let session = session(model);
    let prompt = c"Is the door open?".as_ptr();
    let label = slm_str { data: c"yes".as_ptr(), len: SLM_NUL };
    let message = slm_message { role: slm_str { data: c"user".as_ptr(), len: SLM_NUL }, content: label };
    let nobody = slm_message { role: slm_str { data: c"nobody".as_ptr(), len: SLM_NUL }, content: label };
    let (mut stream, mut fresh_session, mut fresh_model) = (null_mut(), null_mut(), null());
    let mut probability = 0.0;
    for size in [0, 2, 5000] {
        let sampling = slm_sampling_options { struct_size: size, ..slm_sampling_options::DEFAULTS };
        let inner = slm_generate_options { sampling: &raw const sampling, ..slm_generate_options::DEFAULTS };
        let generate = slm_generate_options { struct_size: size, ..slm_generate_options::DEFAULTS };
        let classify = slm_classify_options { struct_size: size, ..slm_classify_options::DEFAULTS };
        let new = slm_session_options { struct_size: size, ..slm_session_options::DEFAULTS };
        let loading = slm_model_options { struct_size: size, ..slm_model_options::DEFAULTS };
        // SAFETY: valid pointers; the sizes are refused.
        let statuses = unsafe {
            [
                call(|error| {
                    slm_model_load(prompt, SLM_NUL, &raw const loading, &raw mut fresh_model, error)
                })
                .0,
                call(|error| slm_session_new(model, &raw const new, &raw mut fresh_session, error)).0,
                call(|error| {
                    slm_stream_new(session, prompt, SLM_NUL, &raw const generate, &raw mut stream, error)
                })
                .0,
                call(|error| {
                    slm_stream_new(session, prompt, SLM_NUL, &raw const inner, &raw mut stream, error)
                })
                .0,
                call(|error| {
                    slm_chat_stream(
                        session,
                        &raw const message,
                        1,
                        &raw const generate,
                        &raw mut stream,
                        error,
                    )
                })
                .0,
                call(|error| {
                    slm_generate(
                        session,
                        prompt,
                        SLM_NUL,
                        &raw const generate,
                        Some(count),
                        null_mut(),
                        error,
                    )
                })
                .0,
                call(|error| {
                    let options = &raw const classify;
                    let probability = &raw mut probability;
                    slm_classify(
                        session,
                        prompt,
                        SLM_NUL,
                        &raw const label,
                        1,
                        options,
                        probability,
                        null_mut(),
                        error,
                    )
                })
                .0,
            ]
        };
        assert_eq!(statuses, [SLM_STRUCT_SIZE; 7], "struct_size {size}");
    }
    let flags = slm_generate_options { flags: 6, ..slm_generate_options::DEFAULTS };
    let score = slm_classify_options { score: 2, ..slm_classify_options::DEFAULTS };
    let loading = slm_model_options { load: 2, ..slm_model_options::DEFAULTS };
    let accuracy = slm_model_options { accuracy: -1, ..slm_model_options::DEFAULTS };
    let precision = slm_model_options { kv_precision: 2, ..slm_model_options::DEFAULTS };
    let reserved = slm_model_options { reserved: 1, ..slm_model_options::DEFAULTS };
    let unknown = slm_model_options { flags: 2, ..slm_model_options::DEFAULTS };
    let engine = slm_model_options { engine: 2, ..slm_model_options::DEFAULTS };
    let provider = slm_model_options { engine: SLM_ENGINE_ORT, provider: 11, ..slm_model_options::DEFAULTS };
    let contradicting = slm_model_options { provider: SLM_PROVIDER_CUDA, ..slm_model_options::DEFAULTS };
    let chunk = slm_session_options { prefill_chunk: 0, ..slm_session_options::DEFAULTS };
    // SAFETY: valid pointers.
    let statuses = unsafe {
        [
            call(|error| slm_model_load(prompt, SLM_NUL, &raw const loading, &raw mut fresh_model, error)).0,
            call(|error| slm_model_load(prompt, SLM_NUL, &raw const accuracy, &raw mut fresh_model, error)).0,
            call(|error| slm_model_load(prompt, SLM_NUL, &raw const precision, &raw mut fresh_model, error))
                .0,
            call(|error| slm_model_load(prompt, SLM_NUL, &raw const reserved, &raw mut fresh_model, error)).0,
            call(|error| slm_model_load(prompt, SLM_NUL, &raw const unknown, &raw mut fresh_model, error)).0,
            call(|error| slm_model_load(prompt, SLM_NUL, &raw const engine, &raw mut fresh_model, error)).0,
            call(|error| slm_model_load(prompt, SLM_NUL, &raw const provider, &raw mut fresh_model, error)).0,
            call(|error| {
                slm_model_load(prompt, SLM_NUL, &raw const contradicting, &raw mut fresh_model, error)
            })
            .0,
            call(|error| slm_session_new(model, &raw const chunk, &raw mut fresh_session, error)).0,
            call(|error| slm_stream_new(session, prompt, SLM_NUL, &raw const flags, &raw mut stream, error))
                .0,
            call(|error| slm_stream_new(session, prompt, 0, null(), &raw mut stream, error)).0,
            call(|error| slm_chat_stream(session, &raw const nobody, 1, null(), &raw mut stream, error)).0,
            call(|error| {
                slm_chat_stream(session, &raw const message, usize::MAX, null(), &raw mut stream, error)
            })
            .0,
            call(|error| {
                let (score, probability) = (&raw const score, &raw mut probability);
                slm_classify(
                    session,
                    prompt,
                    SLM_NUL,
                    &raw const label,
                    1,
                    score,
                    probability,
                    null_mut(),
                    error,
                )
            })
            .0,
        ]
    };
    assert_eq!(statuses, [SLM_INVALID_ARGUMENT; 14]);
    assert!(stream.is_null() && fresh_session.is_null() && fresh_model.is_null());
    // SAFETY: handles that are freed once.
    unsafe {
        slm_session_free(session);
        slm_model_free(model);
    }
}

#[test]
fn a_wrong_schedule_of_the_threads_is_refused() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/models/llama-3.2-1b-int4");
    let number = 0;
    let priority = slm_model_options { priority: 3, ..slm_model_options::DEFAULTS };
    let no_list = slm_model_options { processor_count: 1, ..slm_model_options::DEFAULTS };
    let empty_list = slm_model_options { processors: &raw const number, ..slm_model_options::DEFAULTS };
    for (options, expected, what) in [
        (priority, SLM_INVALID_ARGUMENT, "no priority 3"),
        (no_list, SLM_NULL_POINTER, "processors is NULL"),
        (empty_list, SLM_INVALID_ARGUMENT, "processors is an empty list"),
    ] {
        let (path, length, options) = (directory.as_ptr().cast(), directory.len(), &raw const options);
        let mut model = null();
        // SAFETY: a valid text, options whose pointers are valid, and memory for the handle and the error.
        let (status, message) =
            call(|error| unsafe { slm_model_load(path, length, options, &raw mut model, error) });
        assert!(status == expected && message.contains(what) && model.is_null(), "{status} {message}");
        let mut bytes = std::mem::MaybeUninit::<slm_estimate>::uninit();
        let size = size_of::<slm_estimate>();
        // SAFETY: as above.
        let estimated = call(|error| unsafe {
            slm_model_estimate(path, length, options, 64, bytes.as_mut_ptr(), size, error)
        });
        assert_eq!(estimated, (status, message), "an estimate");
    }
}

#[test]
fn texts_that_are_not_utf8_are_refused_by_every_function() {
    let model = load();
    let session = session(model);
    let (bad, bad_length, prompt) = (b"ab\xff".as_ptr().cast(), 3, c"Is the door open?".as_ptr());
    let bad_text = slm_str { data: bad, len: bad_length };
    let good = slm_str { data: c"user".as_ptr(), len: SLM_NUL };
    let messages =
        [slm_message { role: bad_text, content: good }, slm_message { role: good, content: bad_text }];
    let stop =
        slm_generate_options { stop: &raw const bad_text, stop_count: 1, ..slm_generate_options::DEFAULTS };
    let graph = slm_model_options { graph: bad_text, ..slm_model_options::DEFAULTS };
    let (mut stream, mut fresh_model, mut probability) = (null_mut(), null(), 0.0);
    // SAFETY: valid pointers.
    let results = unsafe {
        [
            call(|error| slm_model_load(bad, bad_length, null(), &raw mut fresh_model, error)),
            call(|error| slm_model_load(prompt, SLM_NUL, &raw const graph, &raw mut fresh_model, error)),
            call(|error| slm_stream_new(session, bad, bad_length, null(), &raw mut stream, error)),
            call(|error| slm_stream_new(session, prompt, SLM_NUL, &raw const stop, &raw mut stream, error)),
            call(|error| slm_chat_stream(session, &raw const messages[0], 1, null(), &raw mut stream, error)),
            call(|error| slm_chat_stream(session, &raw const messages[1], 1, null(), &raw mut stream, error)),
            call(|error| slm_generate(session, bad, bad_length, null(), Some(count), null_mut(), error)),
            call(|error| slm_turn(session, bad, bad_length, null(), Some(count), null_mut(), error)),
            call(|error| slm_turn_stream(session, bad, bad_length, null(), &raw mut stream, error)),
            call(|error| slm_session_set_history(session, &raw const messages[1], 1, error)),
            call(|error| {
                let (label, probability) = (&raw const bad_text, &raw mut probability);
                slm_classify(session, prompt, SLM_NUL, label, 1, null(), probability, null_mut(), error)
            }),
        ]
    };
    for (status, message) in results {
        assert_eq!(status, SLM_INVALID_UTF8, "{message}");
        assert!(message.ends_with("is not UTF-8 at byte 2"), "{message}");
    }
    // SAFETY: handles that are freed once.
    unsafe {
        slm_session_free(session);
        slm_model_free(model);
    }
}

unsafe extern "C" fn count(user_data: *mut c_void, event: *const slm_event) -> i32 {
    // SAFETY: the test's own counter, and an event of the library.
    unsafe {
        if (*event).kind == SLM_EVENT_TOKEN {
            *user_data.cast::<u32>() += 1;
        }
    }
    SLM_CONTINUE
}

#[test]
fn log_probabilities_arrive_with_their_tokens() {
    let model = load();
    let session = session(model);
    let options = slm_generate_options {
        max_tokens: 3,
        log_probabilities: 4,
        flags: SLM_IGNORE_STOP_TOKENS,
        ..slm_generate_options::DEFAULTS
    };
    let (mut stream, mut event, mut tokens) = (null_mut(), null::<slm_event>(), 0);
    // SAFETY: valid pointers; events are read before the next call.
    unsafe {
        let opened = call(|error| {
            slm_stream_new(session, c"Hello".as_ptr(), SLM_NUL, &raw const options, &raw mut stream, error)
        });
        assert_eq!(opened, (SLM_OK, String::new()));
        loop {
            assert_eq!(call(|error| slm_stream_next(stream, &raw mut event, error)).0, SLM_OK);
            let Some(event) = event.as_ref() else { break };
            if event.kind == SLM_EVENT_TOKEN {
                tokens += 1;
                let top = std::slice::from_raw_parts(event.top, event.top_count);
                assert_eq!(top.len(), 4);
                assert!(top.windows(2).all(|pair| pair[0].log_probability >= pair[1].log_probability));
                // The greedy choice is the most probable token.
                assert_eq!((top[0].token, top[0].log_probability), (event.token, event.log_probability));
                assert!(event.log_probability < 0.0);
            } else {
                assert!(event.top.is_null() && event.top_count == 0);
                assert_eq!(event.kind == SLM_EVENT_TEXT, !text(event.text).is_empty());
            }
        }
        slm_stream_free(stream);
        slm_session_free(session);
        slm_model_free(model);
    }
    assert_eq!(tokens, 3);
}

#[test]
fn a_defect_in_a_stream_poisons_it_and_its_session() {
    let model = load();
    let session = session(model);
    let (mut stream, mut event, mut length) = (null_mut(), null(), 0);
    // SAFETY: valid pointers; handles are freed once.
    unsafe {
        let opened =
            call(|error| slm_stream_new(session, c"Hello".as_ptr(), SLM_NUL, null(), &raw mut stream, error));
        assert_eq!(opened.0, SLM_OK);
        let (status, _) = call(|error| {
            crate::boundary::status(error, || {
                (*stream).answer.with(|_| -> crate::error::Outcome<()> { panic!("a defect") })
            })
        });
        assert_eq!(status, SLM_PANIC);
        assert_eq!(call(|error| slm_stream_next(stream, &raw mut event, error)).0, SLM_POISONED);
        assert_eq!(call(|error| slm_session_length(session, &raw mut length, error)).0, SLM_POISONED);
        slm_stream_free(stream);
        assert_eq!(call(|error| slm_session_length(session, &raw mut length, error)).0, SLM_POISONED);
        slm_session_free(session);
        // The model is not affected.
        slm_session_free(self::session(model));
        slm_model_free(model);
    }
}

#[test]
fn one_model_serves_many_threads() {
    struct Shared(*const slm_model);
    // SAFETY: the header allows any number of threads to use a model.
    unsafe impl Sync for Shared {}
    let shared = Shared(load());
    let counts: Vec<u32> = std::thread::scope(|scope| {
        let work = || {
            let shared = &shared;
            let session = session(shared.0);
            let mut tokens = 0_u32;
            let options = slm_generate_options {
                max_tokens: 5,
                flags: SLM_IGNORE_STOP_TOKENS,
                ..slm_generate_options::DEFAULTS
            };
            // SAFETY: valid pointers; the session is this thread's own.
            let (status, message) = unsafe {
                call(|error| {
                    let counter = (&raw mut tokens).cast();
                    slm_generate(
                        session,
                        c"Hello".as_ptr(),
                        SLM_NUL,
                        &raw const options,
                        Some(count),
                        counter,
                        error,
                    )
                })
            };
            assert_eq!(status, SLM_OK, "{message}");
            // SAFETY: freed once.
            unsafe { slm_session_free(session) };
            tokens
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(counts, [5; 4]);
    // SAFETY: freed once.
    unsafe { slm_model_free(shared.0) };
}

#[test]
fn a_prompt_that_spells_out_the_beginning_of_text_has_it_once() {
    // The golden tokenizers add nothing; this one begins every text with its token 1.
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/models/llama-3.2-1b-int4");
    let directory = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(&golden).expect("the golden directory") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, directory.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    let tokenizer = directory.path().join("tokenizer.json");
    let mut json: Value =
        serde_json::from_slice(&std::fs::read(&tokenizer).expect("the tokenizer")).expect("JSON");
    json["post_processor"] = json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}});
    std::fs::write(&tokenizer, json.to_string()).expect("the tokenizer");
    let model = load_from(directory.path().to_str().expect("UTF-8"));
    let count = |text: &str, mode| {
        let mut count = 0;
        // SAFETY: a model that is not freed, a text and memory for the number and the error.
        let (status, message) = call(|error| unsafe {
            slm_count_tokens(model, text.as_ptr().cast(), text.len(), mode, &raw mut count, error)
        });
        assert_eq!(status, SLM_OK, "{message}");
        count
    };
    assert_eq!(count("x", SLM_TOKENIZE_PROMPT), 1 + count("x", SLM_TOKENIZE_CONTINUATION));
    assert_eq!(count("<s>x", SLM_TOKENIZE_PROMPT), count("x", SLM_TOKENIZE_PROMPT));
    // SAFETY: the handle is given back once.
    unsafe { slm_model_free(model) };
}
