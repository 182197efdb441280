//! What stands behind the handles: who owns them, shared use, exclusive use with a busy answer, and poisoning after a
//! panic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::boundary;
use crate::error::{Failure, Outcome};
use crate::status::{SLM_BUSY, SLM_POISONED};

/// A handle with one owner, a `T *` in C. Which functions make and free a handle follows from this trait and
/// [`Counted`], so that a handle cannot be freed in the other's way.
pub(crate) trait Owned: Send + Sized {
    /// Hands the value out as a handle.
    fn into_handle(self) -> *mut Self {
        Box::into_raw(Box::new(self))
    }

    /// What freeing does besides dropping.
    fn close(self) {}

    /// Frees a handle; nothing happens for NULL.
    ///
    /// # Safety
    /// `handle` is NULL or comes from [`into_handle`](Self::into_handle) and is not used again.
    unsafe fn free(handle: *mut Self) {
        if !handle.is_null() {
            // SAFETY: from `into_handle`, and the caller gives it up.
            boundary::value((), || unsafe { Box::from_raw(handle) }.close());
        }
    }
}

/// A handle that counts its owners, a `const T *` in C.
pub(crate) trait Counted: Send + Sync + Sized {
    /// Hands the value out as a handle.
    fn into_handle(self) -> *const Self {
        Arc::into_raw(Arc::new(self))
    }

    /// One more ownership of the same value.
    ///
    /// # Safety
    /// `handle` is an ownership from [`into_handle`](Self::into_handle) that is not given up.
    unsafe fn clone_handle(handle: *const Self) -> *const Self {
        // SAFETY: as the caller says, `handle` points into an Arc that is alive.
        unsafe { Arc::increment_strong_count(handle) };
        handle
    }

    /// Gives one ownership up; nothing happens for NULL.
    ///
    /// # Safety
    /// `handle` is NULL or an ownership from [`into_handle`](Self::into_handle) that is not used again.
    unsafe fn free(handle: *const Self) {
        if !handle.is_null() {
            // SAFETY: an ownership from `into_handle`, and the caller gives it up.
            boundary::value((), || drop(unsafe { Arc::from_raw(handle) }));
        }
    }
}

fn poisoned(name: &str) -> Failure {
    Failure::new(SLM_POISONED, format!("an earlier call on the {name} met a defect in the library"))
        .with_hint("free it and make a new one")
}

/// An immutable value that any number of calls may use at once.
pub(crate) struct Shared<T> {
    name: &'static str,
    value: T,
    poisoned: AtomicBool,
}

impl<T> Shared<T> {
    /// `name` is what messages call the value.
    pub(crate) fn new(name: &'static str, value: T) -> Self {
        Self { name, value, poisoned: AtomicBool::new(false) }
    }

    /// Runs `body` on the value; a panic in it poisons the value.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&T) -> Outcome<R>) -> Outcome<R> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(poisoned(self.name));
        }
        let on_panic = PoisonShared(&self.poisoned);
        let result = body(&self.value);
        std::mem::forget(on_panic);
        result
    }
}

struct PoisonShared<'a>(&'a AtomicBool);

impl Drop for PoisonShared<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A value that one call at a time may use. A second call gets `SLM_BUSY` and does not wait.
///
/// The value leaves its slot while it is in use, so whoever took it owns it: a stream owns the session that it runs on,
/// and freeing the session's handle meanwhile frees only the handle.
pub(crate) struct Exclusive<T> {
    name: &'static str,
    slot: Arc<Mutex<Slot<T>>>,
}

enum Slot<T> {
    Idle(Box<T>),
    InUse,
    Poisoned,
}

impl<T> Exclusive<T> {
    /// `name` is what messages call the value.
    pub(crate) fn new(name: &'static str, value: T) -> Self {
        Self { name, slot: Arc::new(Mutex::new(Slot::Idle(Box::new(value)))) }
    }

    /// Takes the value until it is given back.
    pub(crate) fn take(&self) -> Outcome<Lease<T>> {
        let mut slot = lock(&self.slot);
        match std::mem::replace(&mut *slot, Slot::InUse) {
            Slot::Idle(value) => Ok(Lease { value, duty: Duty { slot: Arc::clone(&self.slot) } }),
            Slot::InUse => Err(Failure::new(SLM_BUSY, format!("the {} is in use", self.name))
                .with_hint("another thread is in a call on it, or a stream on it is not freed")),
            Slot::Poisoned => {
                *slot = Slot::Poisoned;
                Err(poisoned(self.name))
            }
        }
    }

    /// Runs `body` on the value; a panic in it poisons the handle.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&mut T) -> Outcome<R>) -> Outcome<R> {
        let mut lease = self.take()?;
        let result = body(&mut lease.value);
        lease.give_back();
        result
    }
}

/// The value of an [`Exclusive`], taken out of it. Dropped without being given back, as a panic does, it poisons the
/// handle.
pub(crate) struct Lease<T> {
    pub(crate) value: Box<T>,
    duty: Duty<T>,
}

impl<T> Lease<T> {
    pub(crate) fn give_back(self) {
        let Self { value, duty } = self;
        *lock(&duty.slot) = Slot::Idle(value);
    }
}

struct Duty<T> {
    slot: Arc<Mutex<Slot<T>>>,
}

impl<T> Drop for Duty<T> {
    fn drop(&mut self) {
        let mut slot = lock(&self.slot);
        if matches!(*slot, Slot::InUse) {
            *slot = Slot::Poisoned;
        }
    }
}

/// Nothing panics while the lock is held, so it is never poisoned itself.
fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
