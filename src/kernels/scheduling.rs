//! On which processors a thread runs and how urgent it is: what a system's scheduler can be told of it.

#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "scheduling/linux.rs")]
#[cfg_attr(windows, path = "scheduling/windows.rs")]
#[cfg_attr(not(any(target_os = "linux", target_os = "android", windows)), path = "scheduling/unsupported.rs")]
mod system;

use std::io;

use super::error::{Error, ErrorKind, Result};
use super::team::Team;

/// How urgent a thread is, beside the other threads of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ThreadPriority {
    /// What the thread has anyway: on Linux that of the thread which started it, on Windows `THREAD_PRIORITY_NORMAL`.
    #[default]
    Normal,
    /// Gives way to threads of normal priority: nice level 10 on Linux, or a lower priority where the thread has one already;
    /// `THREAD_PRIORITY_BELOW_NORMAL` on Windows.
    Low,
    /// Before threads of normal priority: nice level -5 on Linux, which needs the capability `CAP_SYS_NICE` or a limit
    /// `RLIMIT_NICE` that allows it; `THREAD_PRIORITY_ABOVE_NORMAL` on Windows.
    High,
}

impl ThreadPriority {
    /// Every value, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Normal, Self::Low, Self::High];

    /// The name that commands and bindings use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Low => "low",
            Self::High => "high",
        }
    }
}

/// Lets the calling thread run on `processors` alone, numbered from 0 as the system numbers them, and with `priority`. `None` leaves
/// the processors as they are. For threads of the host that compute with the library, which itself never changes them. After an error all is as before.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for an empty list and for a processor that the machine lacks or the process may not use;
/// [`ErrorKind::Unsupported`] for a priority that the system refuses, and on systems other than Linux, Android and Windows.
pub fn schedule_this_thread(processors: Option<&[usize]>, priority: ThreadPriority) -> Result<()> {
    let mut before = None;
    if let Some(processors) = processors {
        if processors.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "processors is an empty list")
                .with_hint("name at least one, or give no list for all that the process may use"));
        }
        before = Some(system::set_processors(processors)?);
    }
    let set = match priority {
        ThreadPriority::Normal => Ok(()),
        _ => system::set_priority(priority),
    };
    if let (Err(_), Some(before)) = (&set, &before) {
        system::restore(before);
    }
    set
}

/// Tries [`schedule_this_thread`] on a thread of its own. Returns how many threads can run at once with these settings: the
/// processors, or fewer where the process has a CPU quota.
pub(super) fn rehearse(processors: Option<&[usize]>, priority: ThreadPriority) -> Result<usize> {
    let rehearsal = || -> Result<usize> {
        schedule_this_thread(processors, priority)?;
        let mut distinct = processors.unwrap_or_default().to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let available = Team::available_threads();
        Ok(if distinct.is_empty() { available } else { available.min(distinct.len()) })
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("edgeslm-rehearsal".to_owned());
        let thread = thread.spawn_scoped(scope, rehearsal).map_err(|error| {
            Error::new(ErrorKind::Threads, "cannot start a thread to try its processors and priority on")
                .with_source(error)
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Refuses `wanted` where one of them is not among those that `is_usable`.
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android", windows)),
    expect(dead_code, reason = "nothing can be told there")
)]
fn check_usable(wanted: &[usize], most: usize, is_usable: impl Fn(usize) -> bool) -> Result<()> {
    let missing: Vec<usize> = wanted.iter().copied().filter(|processor| !is_usable(*processor)).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let text = match missing.len() {
        1 => format!("processor {first} is not there, or not for this process"),
        _ => format!("processors {} are not there, or not for this process", ranges(&missing)),
    };
    let usable: Vec<usize> = (0..most).filter(|processor| is_usable(*processor)).collect();
    Err(Error::new(ErrorKind::InvalidArgument, text)
        .with_hint(format!("the process may use {}", ranges(&usable))))
}

/// The error for what the system does not do.
fn refused(what: &str, hint: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the system refuses to set {what}: {error}"))
        .with_hint(hint)
        .with_source(error)
}

/// Numbers as people write them: `0-3,6`.
fn ranges(numbers: &[usize]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let runs = sorted.chunk_by(|left, right| left + 1 == *right);
    let texts: Vec<String> = runs
        .map(|run| match run {
            [one] => one.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        })
        .collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_numbers_are_ranges() {
        assert_eq!(ranges(&[6, 0, 1, 2, 3, 3]), "0-3,6");
        assert_eq!(ranges(&[5]), "5");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn what_cannot_be_used_is_named_beside_what_can() {
        let usable = |processor: usize| processor < 4 || processor == 8;
        assert!(check_usable(&[8, 0, 0], 64, usable).is_ok());
        let error = check_usable(&[2, 9], 64, usable).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("processor 9"), "{error}");
        assert!(error.hint().unwrap().contains("0-3,8"), "{error}");
        assert!(check_usable(&[7, 6, 5], 64, usable).unwrap_err().message().contains("5-7"));
    }
}
