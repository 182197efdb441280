//! Generating: options of an answer, and answers pushed to a callback.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::time::Duration;

use edgeslm::session::{Control, GenerateOptions};

use crate::boundary::{self, optional, required, slice};
use crate::cancel::slm_cancel;
use crate::error::{Failure, Outcome, slm_error};
use crate::event::{EventBuffer, slm_event};
use crate::grammar::slm_grammar;
use crate::options::{self, Options, Plain};
use crate::sampling::{self, slm_sampling_options};
use crate::session::slm_session;
use crate::status::{SLM_INVALID_ARGUMENT, slm_status};
use crate::stream::{Request, slm_message};
use crate::string::{self, slm_str};

/// As a flag of `slm_generate_options`: goes on after the model's stop tokens, as measurements need it.
pub const SLM_IGNORE_STOP_TOKENS: u32 = 1;

/// As the result of a callback: go on.
pub const SLM_CONTINUE: i32 = 0;
/// As the result of a callback: end the answer here and keep what is in the KV cache.
pub const SLM_STOP: i32 = 1;
/// As the result of a callback: end the answer and forget what it added to the KV cache.
pub const SLM_CANCEL: i32 = 2;

/// Takes an event and says how to go on: `SLM_CONTINUE`, `SLM_STOP` or `SLM_CANCEL`. It is called on the thread that
/// called `slm_generate`, `slm_chat` or `slm_turn`; the event is valid during the call. It must not throw; calls on the same session
/// return `SLM_BUSY`.
pub type slm_event_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const slm_event) -> i32>;

/// Options of one answer; fill them with `slm_generate_options_init` first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_generate_options {
    /// The size of this struct, as `slm_generate_options_init` set it.
    pub struct_size: u32,
    /// `SLM_IGNORE_STOP_TOKENS` or 0.
    pub flags: u32,
    /// The most tokens of the answer; 0 only computes the prompt, `UINT32_MAX` leaves it to the context.
    pub max_tokens: u32,
    /// Reports log-probabilities of each chosen token and of this many most probable ones; negative for none.
    pub log_probabilities: i32,
    /// How long prompt and answer may take, in milliseconds from the call, waiting for the model included; 0 for no limit. An
    /// answer with a grammar is closed shortly before, so that it still follows it (`SLM_COMPLETION_SHORTENED`); a prompt
    /// that is likely to take longer is refused at once with `SLM_DEADLINE_EXCEEDED`.
    pub deadline_ms: u64,
    /// Ends the answer when it is signalled; NULL for none. A flag that is already set ends it at once.
    pub cancel: *const slm_cancel,
    /// How tokens are chosen; NULL for the session's choice.
    pub sampling: *const slm_sampling_options,
    /// Texts that end the answer and are not part of it; none may be empty.
    pub stop: *const slm_str,
    /// How many.
    pub stop_count: usize,
    /// Tokens that end the answer besides the model's own.
    pub stop_tokens: *const u32,
    /// How many.
    pub stop_token_count: usize,
    /// What the answer has to look like; NULL for anything. It may be freed once the call has returned.
    pub grammar: *const slm_grammar,
    /// The most tokens of the answer that are guessed at a time, from what followed the last tokens where they stood before in
    /// prompt or answer, and checked in the pass of the token before them. The answer is the same; it comes sooner where it repeats
    /// its prompt, as extraction does, and somewhat later where it does not. 0 for none; 8 to 16 are useful.
    pub draft_tokens: u64,
}

// SAFETY: integers and raw pointers, without padding in front of a field.
unsafe impl Plain for slm_generate_options {}

impl Options for slm_generate_options {
    const DEFAULTS: Self = Self {
        struct_size: size_of::<Self>() as u32,
        flags: 0,
        max_tokens: 1024,
        log_probabilities: -1,
        deadline_ms: 0,
        cancel: ptr::null(),
        sampling: ptr::null(),
        stop: ptr::null(),
        stop_count: 0,
        stop_tokens: ptr::null(),
        stop_token_count: 0,
        grammar: ptr::null(),
        draft_tokens: 0,
    };
}

/// Reads the caller's options of an answer.
///
/// # Safety
/// `options` is NULL or points to options whose pointers are NULL or valid.
pub(crate) unsafe fn read_options(options: *const slm_generate_options) -> Outcome<GenerateOptions> {
    // SAFETY: passed on.
    unsafe {
        let options = options::read(options)?;
        let unknown = options.flags & !SLM_IGNORE_STOP_TOKENS;
        if unknown != 0 {
            return Err(Failure::new(SLM_INVALID_ARGUMENT, format!("there are no flags {unknown:#x}")));
        }
        let stop = slice("stop", options.stop, options.stop_count)?;
        Ok(GenerateOptions {
            max_tokens: match options.max_tokens {
                u32::MAX => usize::MAX,
                tokens => tokens as usize,
            },
            sampling: sampling::read(options.sampling)?,
            stop: stop
                .iter()
                .map(|text| Ok(string::read("stop", text.data, text.len)?.to_owned()))
                .collect::<Outcome<_>>()?,
            stop_tokens: slice("stop_tokens", options.stop_tokens, options.stop_token_count)?.to_vec(),
            ignore_stop_tokens: options.flags & SLM_IGNORE_STOP_TOKENS != 0,
            grammar: optional(options.grammar).map(slm_grammar::grammar),
            log_probabilities: usize::try_from(options.log_probabilities).ok(),
            draft_tokens: usize::try_from(options.draft_tokens).unwrap_or(usize::MAX),
            deadline: (options.deadline_ms > 0).then(|| Duration::from_millis(options.deadline_ms)),
            cancel: optional(options.cancel).map(slm_cancel::token),
        })
    }
}

/// Fills `options`, a struct of `size` bytes, with the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_generate_options_init(
    options: *mut slm_generate_options,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the caller's struct of `size` bytes and memory for the error.
    unsafe { options::init("options", options, size, error) }
}

/// Runs an answer through a callback.
///
/// # Safety
/// The pointers are NULL or valid as the header says; `request` may read the caller's.
unsafe fn run(
    session: *mut slm_session,
    request: impl FnOnce() -> Outcome<Request>,
    options: *const slm_generate_options,
    callback: slm_event_callback,
    user_data: *mut c_void,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: passed on; the callback is given the caller's own data and a valid event.
    let body = || unsafe {
        let session = required("session", session)?;
        let callback = callback.ok_or_else(|| Failure::null("callback"))?;
        let (request, options) = (request()?, read_options(options)?);
        session.session.with(|session| {
            let mut buffer = EventBuffer::new();
            let mut unknown = None;
            request.stream(session, &options)?.run(|event| {
                match callback(user_data, buffer.show(event.clone())) {
                    SLM_CONTINUE => Control::Continue,
                    SLM_STOP => Control::Stop,
                    SLM_CANCEL => Control::Cancel,
                    other => {
                        unknown = Some(other);
                        Control::Cancel
                    }
                }
            })?;
            match unknown {
                None => Ok(()),
                Some(other) => Err(Failure::new(
                    SLM_INVALID_ARGUMENT,
                    format!("the callback returned {other}, which is none of its results"),
                )),
            }
        })
    };
    // SAFETY: passed on.
    unsafe { boundary::status(error, body) }
}

/// Answers a prompt that is taken as it is, as `slm_stream_new` does, and calls `callback` with each event and with
/// `user_data`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_generate(
    session: *mut slm_session,
    prompt: *const c_char,
    prompt_length: usize,
    options: *const slm_generate_options,
    callback: slm_event_callback,
    user_data: *mut c_void,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    unsafe { run(session, || Request::raw(prompt, prompt_length), options, callback, user_data, error) }
}

/// Answers a conversation, as `slm_chat_stream` does, and calls `callback` with each event and with `user_data`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_chat(
    session: *mut slm_session,
    messages: *const slm_message,
    message_count: usize,
    options: *const slm_generate_options,
    callback: slm_event_callback,
    user_data: *mut c_void,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    unsafe { run(session, || Request::chat(messages, message_count), options, callback, user_data, error) }
}

/// Answers the user's next message in the conversation that the session keeps, as `slm_turn_stream` does, and calls
/// `callback` with each event and with `user_data`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_turn(
    session: *mut slm_session,
    message: *const c_char,
    message_length: usize,
    options: *const slm_generate_options,
    callback: slm_event_callback,
    user_data: *mut c_void,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    unsafe { run(session, || Request::turn(message, message_length), options, callback, user_data, error) }
}
