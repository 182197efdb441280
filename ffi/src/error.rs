//! Errors: what a failing call hands out.

use edgeslm::Error;

use crate::boundary;
use crate::handle::Owned;
use crate::status::{self, SLM_NULL_POINTER, SLM_OK, slm_status};
use crate::string::{Text, slm_str};

/// Why a call did not succeed, before it is handed out as an [`slm_error`].
pub(crate) struct Failure {
    code: slm_status,
    message: String,
    file: String,
    place: String,
    hint: String,
}

/// The result of the body of an exported function.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: slm_status, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), file: String::new(), place: String::new(), hint: String::new() }
    }

    /// The parameter or field `name` is NULL.
    pub(crate) fn null(name: &str) -> Self {
        Self::new(SLM_NULL_POINTER, format!("{name} is NULL"))
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn code(&self) -> slm_status {
        self.code
    }

    /// Hands the failure out as an owned error, where the caller wants one.
    ///
    /// # Safety
    /// `error` is NULL or points to memory for one pointer.
    pub(crate) unsafe fn write_to(self, error: *mut *mut slm_error) {
        if !error.is_null() {
            // SAFETY: not NULL, and the caller of the exported function keeps the rest of the contract.
            unsafe { error.write(slm_error::from(self).into_handle()) };
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            code: status::of_kind(error.kind()),
            message: error.message().to_owned(),
            file: error.file().map(|file| file.display().to_string()).unwrap_or_default(),
            place: error.node().unwrap_or_default().to_owned(),
            hint: error.hint().unwrap_or_default().to_owned(),
        }
    }
}

/// Why a call failed. Owned by the caller, who frees it with `slm_error_free`.
pub struct slm_error {
    code: slm_status,
    message: Text,
    file: Text,
    place: Text,
    hint: Text,
}

impl Owned for slm_error {}

impl From<Failure> for slm_error {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code,
            message: Text::new(failure.message),
            file: Text::new(failure.file),
            place: Text::new(failure.place),
            hint: Text::new(failure.hint),
        }
    }
}

/// A text of `error`, or an empty one for NULL.
///
/// # Safety
/// `error` is NULL or an error that this library handed out and that is not freed.
unsafe fn text_of(error: *const slm_error, text: impl FnOnce(&slm_error) -> &Text) -> slm_str {
    // SAFETY: passed on.
    let error = unsafe { boundary::optional(error) };
    boundary::value(slm_str::EMPTY, || error.map_or(slm_str::EMPTY, |error| text(error).borrowed()))
}

/// The status that the failed call returned; `SLM_OK` for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_error_code(error: *const slm_error) -> slm_status {
    // SAFETY: NULL, or an error that is not freed.
    let error = unsafe { boundary::optional(error) };
    boundary::value(SLM_OK, || error.map_or(SLM_OK, |error| error.code))
}

/// What happened. Valid until the error is freed; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_error_message(error: *const slm_error) -> slm_str {
    // SAFETY: NULL, or an error that is not freed.
    unsafe { text_of(error, |error| &error.message) }
}

/// The file in which the error is; empty when there is none. Valid until the error is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_error_file(error: *const slm_error) -> slm_str {
    // SAFETY: NULL, or an error that is not freed.
    unsafe { text_of(error, |error| &error.file) }
}

/// The graph node, tensor or other place inside the file; empty when there is none. Valid until the error is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_error_place(error: *const slm_error) -> slm_str {
    // SAFETY: NULL, or an error that is not freed.
    unsafe { text_of(error, |error| &error.place) }
}

/// What can be done about it; empty when nothing is known. Valid until the error is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_error_hint(error: *const slm_error) -> slm_str {
    // SAFETY: NULL, or an error that is not freed.
    unsafe { text_of(error, |error| &error.hint) }
}

/// Frees an error; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_error_free(error: *mut slm_error) {
    // SAFETY: NULL, or an error that the caller gives up.
    unsafe { Owned::free(error) };
}
