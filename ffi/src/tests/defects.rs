//! A defect of the engine in the middle of a call: the caller learns of it and goes on.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use edgeslm::engine::{Engine, KvCache, RunControl, SequenceInput};
use edgeslm::session::{Session, SessionOptions};
use ndarray::Array2;

use super::{call, load, session, text};
use crate::classify::{slm_chat_classify, slm_classify};
use crate::conversation::*;
use crate::error::{slm_error_code, slm_error_free, slm_error_hint, slm_error_message};
use crate::event::slm_event;
use crate::generate::*;
use crate::handle::{Exclusive, Owned};
use crate::logits::slm_session_logits;
use crate::model::*;
use crate::options::Options;
use crate::session::*;
use crate::statistics::slm_statistics;
use crate::status::*;
use crate::stream::*;
use crate::string::{SLM_NUL, slm_str, slm_string};

const PROMPT: *const c_char = c"Is the door open?".as_ptr();

/// The model's engine, which panics after some passes.
struct Faulty {
    engine: Arc<dyn Engine>,
    passes: AtomicUsize,
}

impl Engine for Faulty {
    fn describe(&self) -> String {
        self.engine.describe()
    }

    fn vocabulary_size(&self) -> usize {
        self.engine.vocabulary_size()
    }

    fn context_length(&self) -> usize {
        self.engine.context_length()
    }

    fn maximum_batch_tokens(&self) -> usize {
        self.engine.maximum_batch_tokens()
    }

    fn new_cache(&self) -> Box<dyn KvCache> {
        self.engine.new_cache()
    }

    fn cache_bytes(&self, positions: usize) -> u64 {
        self.engine.cache_bytes(positions)
    }

    fn prepare(&self, cache: &mut dyn KvCache, total_length: usize) -> edgeslm::Result<usize> {
        self.engine.prepare(cache, total_length)
    }

    fn forward(
        &self,
        batch: &mut [SequenceInput<'_>],
        control: &RunControl,
    ) -> edgeslm::Result<Vec<Array2<f32>>> {
        let logits = self.engine.forward(batch, control);
        assert!(self.passes.fetch_sub(1, Ordering::Relaxed) > 1, "a pass went wrong");
        logits
    }
}

/// A session of `model` whose engine panics in the given pass.
fn faulty(model: *const slm_model, pass: usize) -> *mut slm_session {
    // SAFETY: a handle that is not freed.
    let shared = unsafe { &(*model).shared };
    let made = shared.with(|model| {
        let engine = Faulty { engine: Arc::clone(model.engine()), passes: AtomicUsize::new(pass) };
        Ok(Session::new(Arc::new(engine), Arc::clone(model.text()), SessionOptions::default())?)
    });
    let session = made.ok().expect("a session");
    slm_session { session: Exclusive::new("session", session) }.into_handle()
}

unsafe extern "C" fn count(user_data: *mut c_void, _: *const slm_event) -> i32 {
    // SAFETY: the test's own counter.
    unsafe { *user_data.cast::<u32>() += 1 };
    SLM_CONTINUE
}

fn options() -> slm_generate_options {
    slm_generate_options { max_tokens: 6, flags: SLM_IGNORE_STOP_TOKENS, ..slm_generate_options::DEFAULTS }
}

/// How many events a whole answer of `session` has.
fn events(session: *mut slm_session) -> u32 {
    let (options, mut events) = (options(), 0_u32);
    // SAFETY: valid pointers.
    let (status, message) = call(|error| unsafe {
        let counter = (&raw mut events).cast();
        slm_generate(session, PROMPT, SLM_NUL, &raw const options, Some(count), counter, error)
    });
    assert_eq!(status, SLM_OK, "{message}");
    events
}

/// Requires that every call on a poisoned session says so.
fn requires_poisoned(session: *mut slm_session) {
    let word = |text: &'static CStr| slm_str { data: text.as_ptr(), len: SLM_NUL };
    let (message, label) = (slm_message { role: word(c"user"), content: word(c"x") }, word(c" yes"));
    let (mut length, mut number, mut stream) = (0, 0.0_f32, null_mut());
    let mut statistics = [0_u8; size_of::<slm_statistics>()];
    let (mut string, token) = (slm_string { data: null(), len: 0 }, 5);
    // SAFETY: valid pointers.
    let outcomes = unsafe {
        [
            call(|error| slm_session_length(session, &raw mut length, error)),
            call(|error| slm_session_reset(session, error)),
            call(|error| slm_session_rewind(session, 0, error)),
            call(|error| {
                slm_session_statistics(session, statistics.as_mut_ptr().cast(), statistics.len(), error)
            }),
            call(|error| slm_session_history(session, &raw mut string, error)),
            call(|error| slm_session_set_history(session, &raw const message, 1, error)),
            call(|error| slm_stream_new(session, PROMPT, SLM_NUL, null(), &raw mut stream, error)),
            call(|error| slm_chat_stream(session, &raw const message, 1, null(), &raw mut stream, error)),
            call(|error| slm_turn_stream(session, PROMPT, SLM_NUL, null(), &raw mut stream, error)),
            call(|error| slm_generate(session, PROMPT, SLM_NUL, null(), Some(count), null_mut(), error)),
            call(|error| slm_chat(session, &raw const message, 1, null(), Some(count), null_mut(), error)),
            call(|error| slm_turn(session, PROMPT, SLM_NUL, null(), Some(count), null_mut(), error)),
            call(|error| {
                slm_session_logits(session, &raw const token, 1, 1, null(), &raw mut number, 512, error)
            }),
            call(|error| {
                slm_classify(
                    session,
                    PROMPT,
                    SLM_NUL,
                    &raw const label,
                    1,
                    null(),
                    &raw mut number,
                    null_mut(),
                    error,
                )
            }),
            call(|error| {
                let (message, label) = (&raw const message, &raw const label);
                slm_chat_classify(session, message, 1, label, 1, null(), &raw mut number, null_mut(), error)
            }),
        ]
    };
    for (status, message) in outcomes {
        assert_eq!(status, SLM_POISONED, "{message}");
        assert_eq!(message, "an earlier call on the session met a defect in the library");
    }
    assert!(stream.is_null() && string.data.is_null());
}

#[test]
fn a_defect_of_the_engine_is_a_status_and_the_program_goes_on() {
    let model = load();
    let other = session(model);
    let expected = events(other);
    let label = [c" yes", c" no"].map(|label| slm_str { data: label.as_ptr(), len: SLM_NUL });
    let (token, options) = ([5_u32, 6, 7], options());
    let mut numbers = [0.0_f32; 1024];
    type Work<'a> = &'a mut dyn FnMut(*mut slm_session, *mut *mut crate::error::slm_error) -> slm_status;
    let (mut told, mut stream, mut event) = (0_u32, null_mut(), null());
    let (output, counter) = (numbers.as_mut_ptr(), (&raw mut told).cast());
    // SAFETY: valid pointers and arrays of the lengths that are told.
    let calls: [(usize, Work<'_>); 5] = unsafe {
        [
            (1, &mut |session, error| {
                slm_generate(session, PROMPT, SLM_NUL, &raw const options, Some(count), counter, error)
            }),
            (3, &mut |session, error| {
                slm_turn(session, PROMPT, SLM_NUL, &raw const options, Some(count), counter, error)
            }),
            (3, &mut |session, error| {
                let opened =
                    slm_stream_new(session, PROMPT, SLM_NUL, &raw const options, &raw mut stream, error);
                assert_eq!(opened, SLM_OK);
                let mut status = SLM_OK;
                while status == SLM_OK {
                    status = slm_stream_next(stream, &raw mut event, error);
                    assert!(status != SLM_OK || !event.is_null(), "the answer does not end");
                }
                let (again, message) = call(|error| slm_stream_next(stream, &raw mut event, error));
                assert_eq!((again, message.contains("on the stream")), (SLM_POISONED, true), "{message}");
                slm_stream_free(stream);
                status
            }),
            (1, &mut |session, error| {
                slm_classify(session, PROMPT, SLM_NUL, label.as_ptr(), 2, null(), output, null_mut(), error)
            }),
            (1, &mut |session, error| {
                slm_session_logits(session, token.as_ptr(), 3, 1, null(), output, 1024, error)
            }),
        ]
    };
    for (pass, work) in calls {
        let session = faulty(model, pass);
        let mut error = null_mut();
        assert_eq!(work(session, &raw mut error), SLM_PANIC);
        // SAFETY: the error of the call, freed once.
        unsafe {
            assert_eq!(slm_error_code(error), SLM_PANIC);
            assert_eq!(text(slm_error_message(error)), "defect in the library: a pass went wrong");
            assert!(text(slm_error_hint(error)).contains("go on with a new one"));
            slm_error_free(error);
        }
        requires_poisoned(session);
        // SAFETY: freed once.
        unsafe { slm_session_free(session) };

        // The model and its other sessions are not concerned.
        assert_eq!(events(other), expected);
        let fresh = self::session(model);
        assert_eq!(events(fresh), expected);
        let mut sizes = [0_u8; size_of::<slm_sizes>()];
        // SAFETY: valid pointers; freed once.
        unsafe {
            let (status, _) =
                call(|error| slm_model_sizes(model, sizes.as_mut_ptr().cast(), sizes.len(), error));
            assert_eq!(status, SLM_OK);
            slm_session_free(fresh);
        }
    }
    assert!(told > 0, "some of an answer arrived before the defect");
    // SAFETY: freed once.
    unsafe {
        slm_session_free(other);
        slm_model_free(model);
    }
}
