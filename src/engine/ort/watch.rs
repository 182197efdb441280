//! Stops a run of ONNX Runtime when it is cancelled or late: a thread looks at what the run was told and ends it.

#![forbid(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ort::session::RunOptions;

use super::failure::of_run;
use crate::engine::RunControl;
use crate::error::{Error, ErrorKind, Result};

/// How often a run is looked at. A node that has begun ends first.
const INTERVAL: Duration = Duration::from_millis(5);

/// The thread and what it watches.
pub(super) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    watched: Option<(RunControl, Arc<RunOptions>)>,
    /// Whether the thread sleeps until it is woken.
    idle: bool,
    ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing can panic between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    pub(super) fn new() -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("edgeslm-watch".to_owned())
            .spawn(move || watch(&of_thread))
            .map_err(|error| {
                Error::new(ErrorKind::Io, "no thread can be started for the engine").with_source(error)
            })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Runs `work` with options that end it as `control` says.
    ///
    /// # Errors
    /// As [`RunControl::check`] where that is why `work` failed, else its own error.
    pub(super) fn run<T>(
        &self,
        control: &RunControl,
        work: impl FnOnce(&RunOptions) -> ort::Result<T>,
    ) -> Result<T> {
        control.check()?;
        let options = Arc::new(RunOptions::new().map_err(|error| of_run(&error))?);
        let may_end = control.cancel.is_some() || control.deadline.is_some();
        if may_end {
            let mut state = self.shared.state();
            state.watched = Some((control.clone(), Arc::clone(&options)));
            if state.idle {
                self.shared.changed.notify_one();
            }
        }
        let result = work(&options);
        if may_end {
            self.shared.state().watched = None;
        }
        result.map_err(|error| control.check().err().unwrap_or_else(|| of_run(&error)))
    }
}

fn watch(shared: &Shared) {
    let mut state = shared.state();
    // Looks for a while after the last run, so that decoding does not wake it for every token.
    let mut quiet = 0;
    while !state.ended {
        match &state.watched {
            Some((control, options)) => {
                quiet = 0;
                if control.check().is_err()
                    && let Err(error) = options.terminate()
                {
                    log::warn!("a run cannot be stopped: {}", error.message());
                }
            }
            None => quiet += 1,
        }
        state = if quiet > 20 {
            state.idle = true;
            let mut state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle = false;
            quiet = 0;
            state
        } else {
            shared.changed.wait_timeout(state, INTERVAL).unwrap_or_else(PoisonError::into_inner).0
        };
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has nothing to panic with.
            let _ = thread.join();
        }
    }
}
