//! The memory that all caches of a model may hold together.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// A limit on bytes, shared by everything that reserves from it.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    used: AtomicU64,
}

impl MemoryBudget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    /// Sets `bytes` aside.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation> {
        let taken = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.limit)
        });
        match taken {
            Ok(_) => Ok(Reservation { budget: Arc::clone(self), bytes }),
            Err(used) => {
                let message = format!(
                    "{bytes} more bytes of KV cache, with {used} in use, are above the budget of {} bytes",
                    self.limit
                );
                log::warn!("refused {message}");
                Err(Error::new(ErrorKind::MemoryBudget, message)
                    .with_hint("shorten the prompt, close other sessions or raise the memory budget"))
            }
        }
    }
}

/// Bytes set aside; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

impl Reservation {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes over what `other` holds.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_above_the_limit_and_gives_back_on_drop() {
        let budget = MemoryBudget::new(100);
        let mut first = budget.reserve(60).unwrap();
        assert_eq!(budget.reserve(41).unwrap_err().kind(), ErrorKind::MemoryBudget);
        first.merge(budget.reserve(40).unwrap());
        assert_eq!(first.bytes(), 100);
        assert!(budget.reserve(1).is_err());
        drop(first);
        assert!(budget.reserve(100).is_ok());
        assert!(budget.reserve(u64::MAX).is_err());
    }
}
