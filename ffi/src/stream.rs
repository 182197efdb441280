//! Streams: answers, pulled event by event.

use std::ffi::c_char;

use edgeslm::session::{GenerateOptions, Generation, Prompt, Session};
use edgeslm::text::{Message, Role};

use crate::boundary::{self, Output, required, slice};
use crate::error::{Failure, Outcome, slm_error};
use crate::event::{EventBuffer, slm_event};
use crate::generate::{self, slm_generate_options};
use crate::handle::{Exclusive, Lease, Owned};
use crate::session::slm_session;
use crate::status::{SLM_INVALID_ARGUMENT, slm_status};
use crate::string::{self, slm_str};

/// An answer in the making, on a session that is in use until the stream is freed.
pub struct slm_stream {
    pub(crate) answer: Exclusive<OpenAnswer>,
}

/// An answer and the session that it is made in. Dropped without `close`, as a panic does, it poisons the session.
pub(crate) struct OpenAnswer {
    session: Lease<Session>,
    generation: Generation,
    event: EventBuffer,
}

impl Owned for slm_stream {
    fn close(self) {
        if let Ok(lease) = self.answer.take() {
            let OpenAnswer { mut session, mut generation, .. } = *lease.value;
            generation.end(&mut session.value);
            session.give_back();
        }
    }
}

/// One message of a conversation.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_message {
    /// Who speaks: `system`, `user`, `assistant` or `tool`.
    pub role: slm_str,
    /// What is said.
    pub content: slm_str,
}

/// What a session is to answer.
pub(crate) enum Request {
    /// A prompt, whatever the session's history.
    Prompt(Prompt),
    /// The user's next message in the conversation that the session keeps.
    Turn(String),
}

impl Request {
    /// A text that is taken as it is.
    ///
    /// # Safety
    /// `prompt` is NULL or points to `length` readable bytes, or to a NUL-terminated string.
    pub(crate) unsafe fn raw(prompt: *const c_char, length: usize) -> Outcome<Self> {
        // SAFETY: passed on.
        Ok(Self::Prompt(Prompt::Raw(unsafe { string::read("prompt", prompt, length) }?.to_owned())))
    }

    /// A whole conversation.
    ///
    /// # Safety
    /// `messages` is NULL or points to `count` messages whose texts are NULL or valid.
    pub(crate) unsafe fn chat(messages: *const slm_message, count: usize) -> Outcome<Self> {
        // SAFETY: passed on.
        Ok(Self::Prompt(Prompt::Chat(unsafe { read_messages(messages, count) }?)))
    }

    /// The next message.
    ///
    /// # Safety
    /// `message` is NULL or points to `length` readable bytes, or to a NUL-terminated string.
    pub(crate) unsafe fn turn(message: *const c_char, length: usize) -> Outcome<Self> {
        // SAFETY: passed on.
        Ok(Self::Turn(unsafe { string::read("message", message, length) }?.to_owned()))
    }

    /// Opens the answer.
    pub(crate) fn stream<'s>(
        self,
        session: &'s mut Session,
        options: &GenerateOptions,
    ) -> Result<edgeslm::session::Stream<'s>, edgeslm::Error> {
        match self {
            Self::Prompt(prompt) => session.stream(prompt, options),
            Self::Turn(message) => session.chat(message, options),
        }
    }

    fn begin(self, session: &mut Session, options: &GenerateOptions) -> Result<Generation, edgeslm::Error> {
        match self {
            Self::Prompt(prompt) => session.begin(prompt, options),
            Self::Turn(message) => session.begin_chat(message, options),
        }
    }
}

/// The caller's messages.
///
/// # Safety
/// `messages` is NULL or points to `count` messages whose texts are NULL or valid.
pub(crate) unsafe fn read_messages(messages: *const slm_message, count: usize) -> Outcome<Vec<Message>> {
    // SAFETY: passed on.
    let messages = unsafe { slice("messages", messages, count) }?;
    let messages = messages.iter().map(|message| {
        // SAFETY: passed on.
        let (role, content) = unsafe {
            (
                string::read("role", message.role.data, message.role.len)?,
                string::read("content", message.content.data, message.content.len)?,
            )
        };
        let role = Role::from_name(role).ok_or_else(|| {
            Failure::new(SLM_INVALID_ARGUMENT, format!("there is no role {role:?}"))
                .with_hint("the roles are system, user, assistant and tool")
        })?;
        Ok(Message::new(role, content))
    });
    messages.collect()
}

/// Opens a stream on a session.
///
/// # Safety
/// The pointers are NULL or valid as the header says; `request` may read the caller's.
unsafe fn open(
    session: *mut slm_session,
    request: impl FnOnce() -> Outcome<Request>,
    options: *const slm_generate_options,
    stream: *mut *mut slm_stream,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: passed on.
    let body = || unsafe {
        let session = required("session", session)?;
        let output = Output::new("stream", stream)?;
        let (request, options) = (request()?, generate::read_options(options)?);
        let answer = begin(session.session.take()?, request, &options)?;
        output.write(slm_stream { answer: Exclusive::new("stream", answer) }.into_handle());
        Ok(())
    };
    // SAFETY: passed on.
    unsafe { boundary::status(error, body) }
}

fn begin(mut session: Lease<Session>, request: Request, options: &GenerateOptions) -> Outcome<OpenAnswer> {
    match request.begin(&mut session.value, options) {
        Ok(generation) => Ok(OpenAnswer { session, generation, event: EventBuffer::new() }),
        Err(error) => {
            session.give_back();
            Err(error.into())
        }
    }
}

/// Opens the answer to a prompt that is taken as it is: special tokens that it spells out are recognised, so it must not
/// hold what a stranger wrote. Nothing is computed before the first `slm_stream_next`. NULL for `options` means the
/// defaults. The session is in use until the stream is freed.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_stream_new(
    session: *mut slm_session,
    prompt: *const c_char,
    prompt_length: usize,
    options: *const slm_generate_options,
    stream: *mut *mut slm_stream,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    unsafe { open(session, || Request::raw(prompt, prompt_length), options, stream, error) }
}

/// Opens the answer to a conversation, which the model's chat template turns into a prompt; what the messages spell out
/// stays text. Give the whole conversation each time: what it shares with the last one is not computed again. Otherwise
/// as `slm_stream_new`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_chat_stream(
    session: *mut slm_session,
    messages: *const slm_message,
    message_count: usize,
    options: *const slm_generate_options,
    stream: *mut *mut slm_stream,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    unsafe { open(session, || Request::chat(messages, message_count), options, stream, error) }
}

/// Opens the answer to the user's next message in the conversation that the session keeps. When the answer has ended,
/// message and answer are part of `slm_session_history`; an answer that was cut short is kept as far as it came, and
/// one without any token is not kept. Otherwise as `slm_chat_stream`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_turn_stream(
    session: *mut slm_session,
    message: *const c_char,
    message_length: usize,
    options: *const slm_generate_options,
    stream: *mut *mut slm_stream,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    unsafe { open(session, || Request::turn(message, message_length), options, stream, error) }
}

/// Computes until there is an event and stores a pointer to it, valid until the next call on the stream; NULL after
/// `SLM_EVENT_FINISHED` and after an error. A cancelled answer and one whose deadline passed end with
/// `SLM_EVENT_FINISHED`, not with an error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_stream_next(
    stream: *mut slm_stream,
    event: *mut *const slm_event,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let stream = required("stream", stream)?;
        let output = Output::new("event", event)?;
        stream.answer.with(|answer| {
            let next = answer.generation.next(&mut answer.session.value).transpose()?;
            output.write(next.map_or(std::ptr::null(), |event| std::ptr::from_ref(answer.event.show(event))));
            Ok(())
        })
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Ends the answer where it is and frees the stream; NULL is allowed. The session can be used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_stream_free(stream: *mut slm_stream) {
    // SAFETY: NULL, or a stream that the caller gives up.
    unsafe { Owned::free(stream) };
}
