//! Status codes: one for each kind of error of the library, and those of the C ABI itself.

use std::ffi::{CStr, c_char};

use edgeslm::ErrorKind;

use crate::boundary;

/// What a call ended with: `SLM_OK`, or the code of an error. Numbers are never used again for something else; treat
/// one that you do not know as a general failure.
pub type slm_status = i32;

/// The call did what it says.
pub const SLM_OK: slm_status = 0;
/// A file or directory that was asked for does not exist.
pub const SLM_NOT_FOUND: slm_status = 1;
/// Reading or writing a file failed.
pub const SLM_IO: slm_status = 2;
/// A model file is damaged or contradicts itself.
pub const SLM_INVALID_MODEL: slm_status = 3;
/// The model is well formed but uses something that this library does not implement.
pub const SLM_UNSUPPORTED: slm_status = 4;
/// An argument is outside its documented range.
pub const SLM_INVALID_ARGUMENT: slm_status = 5;
/// The work would need more memory than the stated budget.
pub const SLM_MEMORY_BUDGET: slm_status = 6;
/// The prompt and the answer do not fit the model's context.
pub const SLM_CONTEXT_LENGTH: slm_status = 7;
/// The tokenizer file is damaged, or a text cannot be tokenised.
pub const SLM_TOKENIZER: slm_status = 8;
/// The chat template is damaged, raised an error, or ran for too long.
pub const SLM_TEMPLATE: slm_status = 9;
/// The caller cancelled the work.
pub const SLM_CANCELLED: slm_status = 10;
/// The deadline passed.
pub const SLM_DEADLINE_EXCEEDED: slm_status = 11;
/// The session or stream is in use: by another thread, or the session by an open stream.
pub const SLM_BUSY: slm_status = 12;
/// A defect in the library, found by the library.
pub const SLM_INTERNAL: slm_status = 13;
/// A grammar or JSON schema is damaged, cannot be satisfied, or is beyond the limits; or a text does not follow it.
pub const SLM_GRAMMAR: slm_status = 14;
/// The engine or execution provider that was asked for is missing, too old or cannot run here.
pub const SLM_ENGINE_UNAVAILABLE: slm_status = 15;

/// A pointer that must not be NULL is NULL.
pub const SLM_NULL_POINTER: slm_status = 100;
/// A text is not UTF-8.
pub const SLM_INVALID_UTF8: slm_status = 101;
/// An options struct has an impossible struct_size, or sets fields that this version of the library does not know.
pub const SLM_STRUCT_SIZE: slm_status = 102;
/// The caller's array is too small for the result.
pub const SLM_BUFFER_TOO_SMALL: slm_status = 103;
/// A defect in the library, caught at its boundary. The handle of the call is poisoned.
pub const SLM_PANIC: slm_status = 104;
/// An earlier call on the handle ended with `SLM_PANIC`. Only freeing it is still possible.
pub const SLM_POISONED: slm_status = 105;

/// The status of each kind of error.
pub(crate) fn of_kind(kind: ErrorKind) -> slm_status {
    match kind {
        ErrorKind::NotFound => SLM_NOT_FOUND,
        ErrorKind::Io => SLM_IO,
        ErrorKind::InvalidModel => SLM_INVALID_MODEL,
        ErrorKind::Unsupported => SLM_UNSUPPORTED,
        ErrorKind::InvalidArgument => SLM_INVALID_ARGUMENT,
        ErrorKind::MemoryBudget => SLM_MEMORY_BUDGET,
        ErrorKind::ContextLength => SLM_CONTEXT_LENGTH,
        ErrorKind::Tokenizer => SLM_TOKENIZER,
        ErrorKind::Template => SLM_TEMPLATE,
        ErrorKind::Grammar => SLM_GRAMMAR,
        ErrorKind::Cancelled => SLM_CANCELLED,
        ErrorKind::DeadlineExceeded => SLM_DEADLINE_EXCEEDED,
        ErrorKind::Busy => SLM_BUSY,
        ErrorKind::EngineUnavailable => SLM_ENGINE_UNAVAILABLE,
        _ => SLM_INTERNAL,
    }
}

pub(crate) fn name(status: slm_status) -> &'static CStr {
    match status {
        SLM_OK => c"ok",
        SLM_NOT_FOUND => c"not_found",
        SLM_IO => c"io",
        SLM_INVALID_MODEL => c"invalid_model",
        SLM_UNSUPPORTED => c"unsupported",
        SLM_INVALID_ARGUMENT => c"invalid_argument",
        SLM_MEMORY_BUDGET => c"memory_budget",
        SLM_CONTEXT_LENGTH => c"context_length",
        SLM_TOKENIZER => c"tokenizer",
        SLM_TEMPLATE => c"template",
        SLM_CANCELLED => c"cancelled",
        SLM_DEADLINE_EXCEEDED => c"deadline_exceeded",
        SLM_BUSY => c"busy",
        SLM_INTERNAL => c"internal",
        SLM_GRAMMAR => c"grammar",
        SLM_ENGINE_UNAVAILABLE => c"engine_unavailable",
        SLM_NULL_POINTER => c"null_pointer",
        SLM_INVALID_UTF8 => c"invalid_utf8",
        SLM_STRUCT_SIZE => c"struct_size",
        SLM_BUFFER_TOO_SMALL => c"buffer_too_small",
        SLM_PANIC => c"panic",
        SLM_POISONED => c"poisoned",
        _ => c"unknown",
    }
}

/// The name of a status in lower case, such as `not_found`; `unknown` for a number that is none. Never NULL, valid for
/// ever.
#[unsafe(no_mangle)]
pub extern "C" fn slm_status_name(status: slm_status) -> *const c_char {
    boundary::value(c"unknown".as_ptr(), || name(status).as_ptr())
}
