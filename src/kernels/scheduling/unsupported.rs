//! Systems on which the library does not choose processors and priorities.

use std::io;

use super::{ThreadPriority, refused};
use crate::error::Result;

/// Never made.
pub(super) enum Mask {}

pub(super) fn restore(before: &Mask) {
    match *before {}
}

pub(super) fn set_processors(_: &[usize]) -> Result<Mask> {
    let error = io::ErrorKind::Unsupported.into();
    Err(refused("the processors of a thread", "give no list of processors on this system", error))
}

pub(super) fn set_priority(priority: ThreadPriority) -> Result<()> {
    let error = io::ErrorKind::Unsupported.into();
    Err(refused(&format!("{} priority", priority.name()), "use normal priority on this system", error))
}
