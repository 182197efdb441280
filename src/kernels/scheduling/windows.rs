//! Windows.

use std::io;

use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, GetProcessAffinityMask, SetThreadAffinityMask, SetThreadPriority,
    THREAD_PRIORITY_ABOVE_NORMAL, THREAD_PRIORITY_BELOW_NORMAL, THREAD_PRIORITY_NORMAL,
};

use super::{ThreadPriority, check_usable, refused};
use crate::error::{Error, ErrorKind, Result};

/// Of a processor group: Windows numbers the processors of each group anew, and a process runs in one unless it asks for more.
const MOST_PROCESSORS: usize = usize::BITS as usize;

/// A set of processors of a group.
pub(super) type Mask = usize;

/// Returns the processors from before. After an error they are the same.
pub(super) fn set_processors(processors: &[usize]) -> Result<Mask> {
    let (mut usable, mut of_system) = (0, 0);
    // SAFETY: the pseudo handle of this process; the masks are written.
    let is_told = unsafe { GetProcessAffinityMask(GetCurrentProcess(), &raw mut usable, &raw mut of_system) };
    if is_told == 0 {
        return Err(refuse(io::Error::last_os_error()));
    }
    if usable == 0 {
        let text = "the process runs in several groups of processors, of which no list can be told";
        return Err(Error::new(ErrorKind::Unsupported, text).with_hint("give no list of processors"));
    }
    let is_usable = |processor: usize| processor < MOST_PROCESSORS && usable >> processor & 1 == 1;
    check_usable(processors, MOST_PROCESSORS, is_usable)?;
    let wanted = processors.iter().fold(0, |mask: usize, processor| mask | 1 << processor);
    // SAFETY: the pseudo handle of this thread, and a number.
    let before = unsafe { SetThreadAffinityMask(GetCurrentThread(), wanted) };
    if before == 0 { Err(refuse(io::Error::last_os_error())) } else { Ok(before) }
}

/// Best effort: there is nobody left to tell.
pub(super) fn restore(before: &Mask) {
    // SAFETY: the pseudo handle of this thread, and a number.
    let _ = unsafe { SetThreadAffinityMask(GetCurrentThread(), *before) };
}

fn refuse(error: io::Error) -> Error {
    refused("the processors of a thread", "give no list of processors", error)
}

pub(super) fn set_priority(priority: ThreadPriority) -> Result<()> {
    let level = match priority {
        ThreadPriority::Normal => THREAD_PRIORITY_NORMAL,
        ThreadPriority::Low => THREAD_PRIORITY_BELOW_NORMAL,
        ThreadPriority::High => THREAD_PRIORITY_ABOVE_NORMAL,
    };
    // SAFETY: the pseudo handle of this thread, and a number.
    let is_set = unsafe { SetThreadPriority(GetCurrentThread(), level) };
    if is_set == 0 {
        let error = io::Error::last_os_error();
        return Err(refused(&format!("{} priority", priority.name()), "use normal priority", error));
    }
    Ok(())
}
