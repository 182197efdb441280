//! Sessions: conversations with their KV cache.

use edgeslm::session::{Session, SessionOptions};

use crate::boundary::{self, Output, required};
use crate::conversation;
use crate::error::{Outcome, slm_error};
use crate::handle::{Exclusive, Owned};
use crate::model::slm_model;
use crate::options::{self, Options, Plain};
use crate::sampling::{self, slm_sampling_options};
use crate::statistics::slm_statistics;
use crate::status::slm_status;
use crate::string::{self, slm_str};

/// A conversation with a model: its KV cache. A prompt that begins as an earlier one did costs only what is new.
pub struct slm_session {
    pub(crate) session: Exclusive<Session>,
}

impl Owned for slm_session {}

/// Options of a session; fill them with `slm_session_options_init` first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_session_options {
    /// The size of this struct, as `slm_session_options_init` set it.
    pub struct_size: u32,
    /// The most tokens of a prompt that are computed at a time, which bounds the memory for activations; the CPU engine
    /// never takes more than 128. At least 1.
    pub prefill_chunk: u32,
    /// The most tokens that prompt and answer may have together; 0 for the model's context length, which also bounds
    /// larger values. Nothing is allocated for it in advance.
    pub context: u64,
    /// How tokens are chosen where the options of an answer do not say; NULL for greedily.
    /// `slm_model_sampling` tells what the model's publisher recommends.
    pub sampling: *const slm_sampling_options,
    /// The system message with which the conversation that the session keeps begins; empty for none.
    pub system: slm_str,
    /// What chat templates are given besides the messages: empty, or a JSON object with any of `date` (such as
    /// "2025-03-09"; set it where prompts are to be the same every day), `tools` and `documents` (arrays as the template
    /// expects them), `variables` (an object, for example `{"enable_thinking": false}`) and `add_generation_prompt`.
    pub template_options: slm_str,
}

// SAFETY: integers and a raw pointer, without padding in front of a field.
unsafe impl Plain for slm_session_options {}

impl Options for slm_session_options {
    const DEFAULTS: Self = Self {
        struct_size: size_of::<Self>() as u32,
        prefill_chunk: 512,
        context: 0,
        sampling: std::ptr::null(),
        system: slm_str::EMPTY,
        template_options: slm_str::EMPTY,
    };
}

impl slm_session_options {
    /// The options in Rust.
    ///
    /// # Safety
    /// The pointers inside are NULL or valid.
    pub(crate) unsafe fn to_rust(self) -> Outcome<SessionOptions> {
        // SAFETY: passed on.
        let (system, template_options) = unsafe {
            (
                string::read("system", self.system.data, self.system.len)?,
                string::read("template_options", self.template_options.data, self.template_options.len)?,
            )
        };
        Ok(SessionOptions {
            context: (self.context > 0).then(|| usize::try_from(self.context).unwrap_or(usize::MAX)),
            prefill_chunk: self.prefill_chunk as usize,
            // SAFETY: passed on.
            sampling: unsafe { sampling::read(self.sampling) }?.unwrap_or_default(),
            system: (!system.is_empty()).then(|| system.to_owned()),
            render: conversation::template_options(template_options)?,
        })
    }
}

/// Fills `options`, a struct of `size` bytes, with the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_session_options_init(
    options: *mut slm_session_options,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the caller's struct of `size` bytes and memory for the error.
    unsafe { options::init("options", options, size, error) }
}

/// Makes a session with an empty KV cache. It keeps the model loaded. NULL for `options` means the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_session_new(
    model: *const slm_model,
    options: *const slm_session_options,
    session: *mut *mut slm_session,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let model = required("model", model)?;
        let output = Output::new("session", session)?;
        let options = options::read(options)?.to_rust()?;
        let session = model.shared.with(|model| Ok(model.session(options)?))?;
        output.write(slm_session { session: Exclusive::new("session", session) }.into_handle());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Runs `body` on the session behind a handle.
///
/// # Safety
/// `session` is NULL or a handle that is not freed, `error` is NULL or points to memory for one pointer.
pub(crate) unsafe fn with_session(
    session: *mut slm_session,
    error: *mut *mut slm_error,
    body: impl FnOnce(&mut Session) -> Outcome<()>,
) -> slm_status {
    // SAFETY: passed on.
    unsafe { boundary::status(error, || required("session", session)?.session.with(body)) }
}

/// Begins a new conversation: empties the KV cache, gives its memory back, and forgets the history but for the system
/// message of the options, and the statistics. What is forgotten is overwritten.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_session_reset(
    session: *mut slm_session,
    error: *mut *mut slm_error,
) -> slm_status {
    let body = |session: &mut Session| {
        session.reset();
        Ok(())
    };
    // SAFETY: passed on.
    unsafe { with_session(session, error, body) }
}

/// Forgets the cached tokens from position `length` on; no effect when fewer are cached. A cache that cannot stop
/// exactly there forgets more, which only costs time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_session_rewind(
    session: *mut slm_session,
    length: u64,
    error: *mut *mut slm_error,
) -> slm_status {
    let body = |session: &mut Session| {
        session.rewind(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    };
    // SAFETY: passed on.
    unsafe { with_session(session, error, body) }
}

/// Stores how many tokens are in the KV cache.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_session_length(
    session: *mut slm_session,
    length: *mut u64,
    error: *mut *mut slm_error,
) -> slm_status {
    let body = |session: &mut Session| {
        // SAFETY: the caller's memory for the number.
        let output = unsafe { Output::new("length", length) }?;
        output.write(session.len() as u64);
        Ok(())
    };
    // SAFETY: passed on.
    unsafe { with_session(session, error, body) }
}

/// Stores counts and times of the last answer in `statistics`, a struct of `size` bytes: what an older library does not
/// know becomes zero.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_session_statistics(
    session: *mut slm_session,
    statistics: *mut slm_statistics,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the caller's struct of `size` bytes.
    let body = |session: &mut Session| unsafe {
        options::write("statistics", &slm_statistics::from(&session.statistics()), statistics, size)
    };
    // SAFETY: passed on.
    unsafe { with_session(session, error, body) }
}

/// Frees the session; NULL is allowed. A stream on it goes on and keeps what it needs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_session_free(session: *mut slm_session) {
    // SAFETY: NULL, or a session that the caller gives up.
    unsafe { Owned::free(session) };
}
