//! The functions as C calls them, from Rust.

mod basics;
mod contracts;
mod conversations;
mod defects;
mod functions;
mod nulls;
mod sources;

use std::ffi::CStr;
use std::ptr;

use crate::error::{slm_error, slm_error_code, slm_error_free, slm_error_message};
use crate::model::{slm_model, slm_model_load};
use crate::session::{slm_session, slm_session_new};
use crate::status::{SLM_OK, slm_status};
use crate::string::slm_str;

/// A handle of the smallest golden directory.
pub(crate) fn load() -> *const slm_model {
    load_from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/models/llama-3.2-1b-int4"))
}

/// A handle of the model in a directory.
pub(crate) fn load_from(directory: &str) -> *const slm_model {
    let mut model = ptr::null();
    // SAFETY: valid texts and memory for the handle and the error.
    let (status, message) = call(|error| unsafe {
        slm_model_load(directory.as_ptr().cast(), directory.len(), ptr::null(), &raw mut model, error)
    });
    assert_eq!(status, SLM_OK, "{message}");
    model
}

/// A new session of a model.
pub(crate) fn session(model: *const slm_model) -> *mut slm_session {
    let mut session = ptr::null_mut();
    // SAFETY: a model that is not freed, and memory for the handle and the error.
    let (status, message) =
        call(|error| unsafe { slm_session_new(model, ptr::null(), &raw mut session, error) });
    assert_eq!(status, SLM_OK, "{message}");
    session
}

/// Calls a fallible function and returns its status and its error's message; checks that the two agree.
pub(crate) fn call(function: impl FnOnce(*mut *mut slm_error) -> slm_status) -> (slm_status, String) {
    let mut error = ptr::null_mut();
    let status = function(&raw mut error);
    assert_eq!(status == SLM_OK, error.is_null(), "an error if and only if the call failed");
    // SAFETY: NULL or the error that the call handed out.
    unsafe {
        assert_eq!(slm_error_code(error), status);
        let message = text(slm_error_message(error)).to_owned();
        slm_error_free(error);
        (status, message)
    }
}

/// A text of the library, checked to be NUL-terminated UTF-8.
pub(crate) unsafe fn text<'a>(string: slm_str) -> &'a str {
    // SAFETY: texts of the library end with a NUL byte.
    let text = unsafe { CStr::from_ptr(string.data) }.to_str().expect("UTF-8");
    assert_eq!(text.len(), string.len);
    text
}
