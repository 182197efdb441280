//! Ctrl-C: stops the answer in progress; the program only when there is none, or when it is pressed again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use edgeslm::{CancelToken, Error, ErrorKind};

use crate::failure::Failure;

/// 128 plus the number of SIGINT, as shells report it.
pub(crate) const EXIT_STATUS: u8 = 130;

/// What the signal handler and the answering thread share.
#[derive(Debug, Default)]
struct Interrupt {
    cancel: CancelToken,
    is_answering: AtomicBool,
}

static INTERRUPT: OnceLock<Interrupt> = OnceLock::new();

/// Runs `answer` with a token that Ctrl-C sets.
pub(crate) fn cancelled_by_ctrl_c<T>(
    answer: impl FnOnce(CancelToken) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let interrupt = installed()?;
    interrupt.cancel.reset();
    interrupt.is_answering.store(true, Ordering::SeqCst);
    let result = answer(interrupt.cancel.clone());
    interrupt.is_answering.store(false, Ordering::SeqCst);
    result
}

fn installed() -> Result<&'static Interrupt, Failure> {
    if let Some(interrupt) = INTERRUPT.get() {
        return Ok(interrupt);
    }
    let interrupt = INTERRUPT.get_or_init(Interrupt::default);
    ctrlc::set_handler(|| {
        let interrupt = INTERRUPT.get_or_init(Interrupt::default);
        if interrupt.is_answering.load(Ordering::SeqCst) && !interrupt.cancel.is_cancelled() {
            interrupt.cancel.cancel();
        } else {
            std::process::exit(EXIT_STATUS.into());
        }
    })
    .map_err(|error| {
        Error::new(ErrorKind::Io, format!("Ctrl-C cannot be caught: {error}")).with_source(error)
    })?;
    Ok(interrupt)
}
