//! The boundary to C: no panic passes it, and every failure becomes a status and an error object.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Failure, Outcome, slm_error};
use crate::panics::Silence;
use crate::status::{SLM_INVALID_ARGUMENT, SLM_OK, SLM_PANIC, slm_status};

/// Runs the body of a fallible function. On failure the error is handed out through `error`, unless that is NULL.
///
/// A handle that the body holds while it panics poisons itself (`crate::handle`), hence the assertion of unwind safety.
///
/// # Safety
/// `error` is NULL or points to memory for one pointer.
pub(crate) unsafe fn status(error: *mut *mut slm_error, body: impl FnOnce() -> Outcome<()>) -> slm_status {
    let _silence = Silence::new();
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return SLM_OK,
        Ok(Err(failure)) => failure,
        Err(payload) => panicked(payload),
    };
    let code = failure.code();
    // SAFETY: passed on.
    unsafe { failure.write_to(error) };
    code
}

/// Runs the body of a function that cannot fail; a panic gives `fallback`.
pub(crate) fn value<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    let _silence = Silence::new();
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        discard(payload);
        fallback
    })
}

fn panicked(payload: Box<dyn Any + Send>) -> Failure {
    let message = payload
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    discard(payload);
    Failure::new(SLM_PANIC, format!("defect in the library: {message}")).with_hint(
        "please report it with the version from slm_build_info; free the handle and go on with a new one",
    )
}

/// Drops the payload of a panic, which may itself panic in its destructor.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// Reads a pointer parameter that must not be NULL.
///
/// # Safety
/// `pointer` is NULL or valid for reads during `'a`.
pub(crate) unsafe fn required<'a, T>(name: &str, pointer: *const T) -> Outcome<&'a T> {
    // SAFETY: passed on.
    unsafe { optional(pointer) }.ok_or_else(|| Failure::null(name))
}

/// Reads a pointer parameter that may be NULL.
///
/// # Safety
/// `pointer` is NULL or valid for reads during `'a`.
pub(crate) unsafe fn optional<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: passed on.
    unsafe { pointer.as_ref() }
}

/// Reads an array parameter of `count` elements; NULL is an empty array if `count` is 0.
///
/// # Safety
/// `pointer` is NULL or valid for reading `count` elements during `'a`.
pub(crate) unsafe fn slice<'a, T>(name: &str, pointer: *const T, count: usize) -> Outcome<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    if isize::try_from(count).ok().and_then(|count| count.checked_mul(size_of::<T>().cast_signed())).is_none()
    {
        return Err(Failure::new(SLM_INVALID_ARGUMENT, format!("{name} cannot have {count} elements")));
    }
    // SAFETY: the caller says that `count` elements are readable, and they fit the address space.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// A place for a result, checked for NULL before any work is done and written only on success.
pub(crate) struct Output<T>(*mut T);

impl<T> Output<T> {
    /// # Safety
    /// `pointer` is NULL or valid for writing one `T` until [`write`](Self::write).
    pub(crate) unsafe fn new(name: &str, pointer: *mut T) -> Outcome<Self> {
        if pointer.is_null() { Err(Failure::null(name)) } else { Ok(Self(pointer)) }
    }

    pub(crate) fn write(self, value: T) {
        // SAFETY: not NULL, and valid as the caller of `new` says.
        unsafe { self.0.write(value) };
    }
}
