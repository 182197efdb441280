//! Forward passes of one engine, one after another in the order of the calls.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::RunControl;
use crate::error::Result;

/// How long a waiting call can go without noticing that it was cancelled or is late.
const PATIENCE: Duration = Duration::from_millis(2);

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    busy: bool,
    waiting: VecDeque<u64>,
    next: u64,
}

/// A turn, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for all calls that came before.
    ///
    /// # Errors
    /// As [`RunControl::check`], also while waiting.
    pub(crate) fn wait(&self, control: &RunControl) -> Result<Turn<'_>> {
        control.check()?;
        let mut state = self.state();
        let ticket = state.next;
        state.next += 1;
        state.waiting.push_back(ticket);
        while state.busy || state.waiting.front() != Some(&ticket) {
            if let Err(error) = control.check() {
                state.waiting.retain(|other| *other != ticket);
                self.changed.notify_all();
                return Err(error);
            }
            let waited = self.changed.wait_timeout(state, PATIENCE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting.pop_front();
        state.busy = true;
        Ok(Turn(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing can panic between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().busy = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;
    use crate::error::ErrorKind;
    use crate::session::CancelToken;

    /// Returns once `count` calls are waiting.
    fn until_waiting(turns: &Turns, count: usize) {
        while turns.state().waiting.len() < count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn turns_come_in_the_order_of_the_calls() {
        let turns = Turns::default();
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            let first = turns.wait(&RunControl::default()).unwrap();
            for index in 0..8 {
                let (turns, sender) = (&turns, sender.clone());
                scope.spawn(move || {
                    let _turn = turns.wait(&RunControl::default()).unwrap();
                    sender.send(index).unwrap();
                });
                until_waiting(turns, index + 1);
            }
            drop(first);
        });
        drop(sender);
        assert_eq!(receiver.into_iter().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn who_is_cancelled_or_late_stops_waiting_and_holds_up_nobody() {
        let turns = Turns::default();
        let token = CancelToken::new();
        let cancelled = RunControl { cancel: Some(token.clone()), deadline: None };
        let late = RunControl { cancel: None, deadline: Some(Instant::now() + Duration::from_millis(30)) };
        let kind = |control: &RunControl| turns.wait(control).map(drop).unwrap_err().kind();
        std::thread::scope(|scope| {
            let first = turns.wait(&RunControl::default()).unwrap();
            let cancelled = scope.spawn(|| kind(&cancelled));
            until_waiting(&turns, 1);
            let patient = scope.spawn(|| turns.wait(&RunControl::default()).map(drop).is_ok());
            until_waiting(&turns, 2);
            assert_eq!(scope.spawn(|| kind(&late)).join().unwrap(), ErrorKind::DeadlineExceeded);
            token.cancel();
            assert_eq!(cancelled.join().unwrap(), ErrorKind::Cancelled);
            drop(first);
            assert!(patient.join().unwrap());
        });
        assert!(turns.state().waiting.is_empty());
    }

    #[test]
    fn a_turn_ends_with_a_panic() {
        let turns = Turns::default();
        let result = std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let _turn = turns.wait(&RunControl::default()).unwrap();
                std::panic::resume_unwind(Box::new(()));
            });
            holder.join()
        });
        assert!(result.is_err());
        assert!(turns.wait(&RunControl::default()).is_ok());
    }
}
