//! Stopping an answer from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that stops an answer, from any thread or a signal handler; clones share it.
///
/// ```
/// let cancel = edgeslm::CancelToken::new();
/// let from_elsewhere = cancel.clone();
/// from_elsewhere.cancel();
/// assert!(cancel.is_cancelled());
/// ```
#[derive(Debug, Clone, Default)]
pub struct CancelToken {
    flag: Arc<AtomicBool>,
    /// A second flag that is only read.
    also: Option<Arc<AtomicBool>>,
}

impl CancelToken {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Release);
    }

    /// Clears the flag, for the next answer.
    pub fn reset(&self) {
        self.flag.store(false, Ordering::Release);
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::Acquire)
            || self.also.as_ref().is_some_and(|flag| flag.load(Ordering::Acquire))
    }

    /// This flag, which also counts as set while `other` is.
    pub(super) fn or(&self, other: &Self) -> Self {
        Self { flag: Arc::clone(&self.flag), also: Some(Arc::clone(&other.flag)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_flag() {
        let token = CancelToken::new();
        let clone = token.clone();
        clone.cancel();
        assert!(token.is_cancelled());
        token.reset();
        assert!(!clone.is_cancelled());
    }

    #[test]
    fn either_flag_counts() {
        let (first, second) = (CancelToken::new(), CancelToken::new());
        let either = first.or(&second);
        assert!(!either.is_cancelled());
        second.cancel();
        assert!(either.is_cancelled() && !first.is_cancelled());
        second.reset();
        first.cancel();
        assert!(either.is_cancelled() && !second.is_cancelled());
    }
}
