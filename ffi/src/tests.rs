//! The functions as C calls them, from Rust.

mod basics;
mod contracts;

use std::ffi::CStr;
use std::ptr;

use crate::error::{slm_error, slm_error_code, slm_error_free, slm_error_message};
use crate::status::{SLM_OK, slm_status};
use crate::string::slm_str;

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
