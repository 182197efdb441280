//! Logits: the model's own numbers, for programs that score or sample by themselves.

use edgeslm::session::{LogitsOptions, Session};

use crate::boundary::{optional, slice};
use crate::cancel::slm_cancel;
use crate::error::{Failure, slm_error};
use crate::session::{slm_session, with_session};
use crate::status::{SLM_BUFFER_TOO_SMALL, slm_status};

/// Stores the logits after each of the last `last` of `token_count` tokens in `logits`, an array of `capacity` numbers:
/// `last` rows of as many numbers as `slm_model_sizes` tells in `vocabulary_size`. `SLM_BUFFER_TOO_SMALL` if they do not
/// fit. What the tokens share with the KV cache before those is not computed again; afterwards the cache holds the tokens.
/// `cancel` may be NULL; once it is signalled, the call ends with `SLM_CANCELLED`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_session_logits(
    session: *mut slm_session,
    tokens: *const u32,
    token_count: usize,
    last: usize,
    cancel: *const slm_cancel,
    logits: *mut f32,
    capacity: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    let body = |session: &mut Session| {
        // SAFETY: the caller's tokens, and NULL or a flag that is not freed.
        let (tokens, cancel) = unsafe { (slice("tokens", tokens, token_count)?, optional(cancel)) };
        if logits.is_null() {
            return Err(Failure::null("logits"));
        }
        // The session itself refuses an impossible `last`.
        let needed = last.min(tokens.len()).saturating_mul(session.vocabulary_size());
        if needed > capacity && last <= tokens.len() {
            let message = format!("there are {needed} logits and the array holds {capacity}");
            return Err(Failure::new(SLM_BUFFER_TOO_SMALL, message));
        }
        let options =
            LogitsOptions { last, cancel: cancel.map(slm_cancel::token), ..LogitsOptions::default() };
        let rows = session.logits(tokens, &options)?;
        for (index, value) in rows.iter().enumerate().take(capacity) {
            // SAFETY: the array holds `capacity` numbers.
            unsafe { logits.add(index).write(*value) };
        }
        Ok(())
    };
    // SAFETY: passed on.
    unsafe { with_session(session, error, body) }
}
