//! Log: what the library tells of its work, where the program asks for it. It tells nothing of a prompt or an answer.

use std::ffi::{CString, c_void};
use std::sync::{Once, PoisonError, RwLock};

use log::{LevelFilter, Log, Metadata, Record};

use crate::boundary;
use crate::error::{Failure, slm_error};
use crate::status::{SLM_INVALID_ARGUMENT, slm_status};
use crate::string::slm_str;

/// As a level: nothing.
pub const SLM_LOG_OFF: i32 = 0;
/// As a level: what failed.
pub const SLM_LOG_ERROR: i32 = 1;
/// As a level: also what should be looked at, such as a refusal for want of memory.
pub const SLM_LOG_WARNING: i32 = 2;
/// As a level: also what models are loaded, and how they run.
pub const SLM_LOG_INFO: i32 = 3;
/// As a level: also counts and times of each answer.
pub const SLM_LOG_DEBUG: i32 = 4;

/// Takes a line of the log, valid during the call. It is called on any thread, by several at once, in the middle of calls
/// of the library; it must not throw and must not call the library.
pub type slm_log_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, level: i32, message: slm_str)>;

/// Takes `user_data` when the library does not need it any more.
pub type slm_log_destructor = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

struct Sink {
    callback: unsafe extern "C" fn(*mut c_void, i32, slm_str),
    destructor: slm_log_destructor,
    user_data: *mut c_void,
}

// SAFETY: the header asks for a callback that any thread may call with its data.
unsafe impl Send for Sink {}
// SAFETY: as above.
unsafe impl Sync for Sink {}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(destructor) = self.destructor {
            // SAFETY: the caller's own function and data, once.
            unsafe { destructor(self.user_data) };
        }
    }
}

static SINK: RwLock<Option<Sink>> = RwLock::new(None);

struct Forwarder;

impl Log for Forwarder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Other crates of the library might quote what they work on.
        metadata.target().starts_with("edgeslm")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if let Some(sink) = &*SINK.read().unwrap_or_else(PoisonError::into_inner) {
            let text = CString::new(record.args().to_string()).unwrap_or_default();
            let message = slm_str { data: text.as_ptr(), len: text.as_bytes().len() };
            // SAFETY: the caller's own function and data; the text outlives the call.
            unsafe { (sink.callback)(sink.user_data, record.level() as i32, message) };
        }
    }

    fn flush(&self) {}
}

/// Has `callback` called with each line of the log up to `level`, one of `SLM_LOG_...`, in place of an earlier callback;
/// NULL for none. One callback serves all models. `destructor` may be NULL; it is called with `user_data` when another
/// callback takes its place.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_log_set(
    level: i32,
    callback: slm_log_callback,
    user_data: *mut c_void,
    destructor: slm_log_destructor,
    error: *mut *mut slm_error,
) -> slm_status {
    let body = || {
        let filter = match level {
            SLM_LOG_OFF => LevelFilter::Off,
            SLM_LOG_ERROR => LevelFilter::Error,
            SLM_LOG_WARNING => LevelFilter::Warn,
            SLM_LOG_INFO => LevelFilter::Info,
            SLM_LOG_DEBUG => LevelFilter::Debug,
            other => {
                return Err(Failure::new(SLM_INVALID_ARGUMENT, format!("there is no log level {other}")));
            }
        };
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            // Fails only where the program has linked the library statically and has a logger of its own.
            let _has_another = log::set_logger(&Forwarder);
        });
        log::set_max_level(if callback.is_some() { filter } else { LevelFilter::Off });
        let sink = callback.map(|callback| Sink { callback, destructor, user_data });
        let old = std::mem::replace(&mut *SINK.write().unwrap_or_else(PoisonError::into_inner), sink);
        // Outside the lock, because the destructor is the caller's.
        drop(old);
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}
