//! Linux and Android.

use std::io;

use super::{ThreadPriority, check_usable, refused};
use crate::error::Result;

/// Bits of a word of a mask.
const WORD: usize = usize::BITS as usize;
/// Processors that a mask has bits for: what the largest configuration of the kernel has.
const MOST_PROCESSORS: usize = 8192;

/// A set of processors as the kernel takes it: an array of C's `unsigned long`.
pub(super) type Mask = [usize; MOST_PROCESSORS / WORD];

const NICE_LOW: libc::c_long = 10;
const NICE_HIGH: libc::c_long = -5;

/// Returns the processors from before. After an error they are the same.
pub(super) fn set_processors(processors: &[usize]) -> Result<Mask> {
    let before = mask().map_err(refuse)?;
    match change(processors) {
        Ok(()) => Ok(before),
        Err(error) => {
            restore(&before);
            Err(error)
        }
    }
}

/// Best effort: there is nobody left to tell.
pub(super) fn restore(before: &Mask) {
    let _ = set_mask(before);
}

fn change(processors: &[usize]) -> Result<()> {
    // The kernel keeps of a mask what the process may use and refuses only one of which nothing is left, so all are asked for first.
    set_mask(&[usize::MAX; MOST_PROCESSORS / WORD]).and_then(|()| mask()).map_err(refuse).and_then(
        |usable| {
            let is_usable = |processor: usize| {
                usable.get(processor / WORD).is_some_and(|word| word >> (processor % WORD) & 1 == 1)
            };
            check_usable(processors, MOST_PROCESSORS, is_usable)
        },
    )?;
    let mut wanted: Mask = [0; MOST_PROCESSORS / WORD];
    for processor in processors {
        wanted[processor / WORD] |= 1 << (processor % WORD);
    }
    set_mask(&wanted).map_err(refuse)
}

fn refuse(error: io::Error) -> crate::error::Error {
    refused("the processors of a thread", "give no list of processors", error)
}

fn set_mask(mask: &Mask) -> io::Result<()> {
    // SAFETY: 0 is the calling thread; the kernel reads as many bytes as the mask has.
    let status = unsafe { libc::sched_setaffinity(0, size_of_val(mask), mask.as_ptr().cast()) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn mask() -> io::Result<Mask> {
    let mut mask: Mask = [0; MOST_PROCESSORS / WORD];
    // SAFETY: 0 is the calling thread; no more bytes are written than the mask has.
    let status = unsafe { libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast()) };
    if status == 0 { Ok(mask) } else { Err(io::Error::last_os_error()) }
}

/// By the system calls themselves, which are about a thread and tell a priority in positive numbers; POSIX's functions are about a
/// process.
pub(super) fn set_priority(priority: ThreadPriority) -> Result<()> {
    let refuse = |error| {
        let hint = match priority {
            ThreadPriority::High => {
                "use normal priority, or give the process CAP_SYS_NICE or a limit RLIMIT_NICE"
            }
            _ => "use normal priority",
        };
        refused(&format!("{} priority", priority.name()), hint, error)
    };
    // SAFETY: takes numbers alone; 0 is the calling thread.
    let present = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    if present < 0 {
        return Err(refuse(io::Error::last_os_error()));
    }
    let nice = 20 - present;
    let wanted = match priority {
        ThreadPriority::Normal => nice,
        ThreadPriority::Low => nice.max(NICE_LOW),
        ThreadPriority::High => nice.min(NICE_HIGH),
    };
    if wanted == nice {
        return Ok(());
    }
    // SAFETY: as above.
    let status = unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, wanted) };
    if status == 0 { Ok(()) } else { Err(refuse(io::Error::last_os_error())) }
}
