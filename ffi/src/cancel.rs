//! Cancelling an answer.

use edgeslm::CancelToken;

use crate::boundary::{self, Output};
use crate::error::slm_error;
use crate::handle::Counted;
use crate::status::slm_status;

/// A flag that stops answers from another thread or from a signal handler. Give it to a call in its options; one flag
/// may serve any number of calls.
pub struct slm_cancel {
    token: CancelToken,
}

impl Counted for slm_cancel {}

impl slm_cancel {
    pub(crate) fn token(&self) -> CancelToken {
        self.token.clone()
    }
}

/// Makes a flag that is not set.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_cancel_new(
    cancel: *mut *const slm_cancel,
    error: *mut *mut slm_error,
) -> slm_status {
    let body = || {
        // SAFETY: the caller's memory for the handle.
        let output = unsafe { Output::new("cancel", cancel) }?;
        output.write(slm_cancel { token: CancelToken::new() }.into_handle());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Sets the flag. Soon after, an answer that was given it ends with `SLM_EVENT_FINISHED` and `SLM_FINISH_CANCELLED`, and
/// `slm_classify` with `SLM_CANCELLED`. May be called from a signal handler.
/// No effect on NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_cancel_signal(cancel: *const slm_cancel) {
    // SAFETY: NULL, or a handle of `slm_cancel_new` that is not freed.
    let cancel = unsafe { boundary::optional(cancel) };
    boundary::value((), || cancel.map_or((), |cancel| cancel.token.cancel()));
}

/// Clears the flag, for the next answer. No effect on NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_cancel_reset(cancel: *const slm_cancel) {
    // SAFETY: NULL, or a handle of `slm_cancel_new` that is not freed.
    let cancel = unsafe { boundary::optional(cancel) };
    boundary::value((), || cancel.map_or((), |cancel| cancel.token.reset()));
}

/// Frees the flag; NULL is allowed. A call that was given it is not disturbed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_cancel_free(cancel: *const slm_cancel) {
    // SAFETY: NULL, or a handle of `slm_cancel_new` that the caller gives up.
    unsafe { Counted::free(cancel) };
}
