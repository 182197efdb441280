//! Keeps panics silent: what the boundary turns into a status is not printed as well.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

/// While it lives, panics of this thread print nothing.
pub(crate) struct Silence(());

impl Silence {
    pub(crate) fn new() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let hook = panic::take_hook();
            panic::set_hook(Box::new(move |information| {
                let is_worker = std::thread::current().name().is_some_and(|name| name.starts_with("edgeslm"));
                // A thread that ends has no counter any more, and no call of the library on its stack.
                if !is_worker && CALLS.try_with(Cell::get).unwrap_or(0) == 0 {
                    hook(information);
                }
            }));
        });
        CALLS.with(|calls| calls.set(calls.get() + 1));
        Self(())
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        CALLS.with(|calls| calls.set(calls.get() - 1));
    }
}
