//! What a template may use up.

use super::failure::{Failure, Outcome};

/// Steps of work, enough for conversations of ten thousand messages; a desktop CPU does them in a tenth of a second.
const STEPS: u64 = 1_000_000;

/// Bytes that a template may create beyond what it was given.
const BYTES: u64 = 32 << 20;

/// How often a template may copy what it was given.
const COPIES: u64 = 16;

/// Counts the steps and bytes that a template uses. Bytes are not given back when a value is dropped, so the count
/// bounds both the memory at any time and the time spent on copying.
#[derive(Debug)]
pub(super) struct Budget {
    steps: u64,
    bytes: u64,
}

impl Budget {
    /// For a template that is given `input` bytes of messages and variables.
    pub(super) fn for_input(input: usize) -> Self {
        Self { steps: STEPS, bytes: BYTES.saturating_add(COPIES.saturating_mul(input as u64)) }
    }

    /// Counts steps of work; one also stands for reading some hundred bytes.
    pub(super) fn steps(&mut self, count: u64) -> Outcome<()> {
        self.steps =
            self.steps.checked_sub(count).ok_or_else(|| Failure::limit("the template runs for too long"))?;
        Ok(())
    }

    /// Counts bytes of new values.
    pub(super) fn bytes(&mut self, count: usize) -> Outcome<()> {
        self.bytes = self
            .bytes
            .checked_sub(count as u64)
            .ok_or_else(|| Failure::limit("the template creates too much text"))?;
        Ok(())
    }

    /// Counts reading `length` bytes.
    pub(super) fn reads(&mut self, length: usize) -> Outcome<()> {
        self.steps(length as u64 / 128)
    }
}

/// Steps for finding one of `entries` names by comparing each with a name of `length` bytes.
pub(super) fn search_cost(entries: usize, length: usize) -> u64 {
    (entries as u64).saturating_mul(64 + length as u64) / 8192
}
