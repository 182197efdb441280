//! The C ABI of edgeslm: the functions of `include/edgeslm.h`, which `cargo xtask header` writes from this crate.
//!
//! Every exported function is one call of [`boundary::status`] or [`boundary::value`] around its body, or of a `free` in
//! [`handle`], so that no panic reaches C. What the pointers must satisfy is stated once, in the header's opening
//! comment (`cbindgen.toml`); below it, a pointer is checked for NULL and otherwise trusted.

#![allow(non_camel_case_types, reason = "the C names of the types")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the header's opening comment states the contract of all pointers"
)]

mod allocator;
mod boundary;
mod handle;
mod hidden;
mod options;
mod panics;

// The order of these modules is the order of the header's sections.
pub mod version;

pub mod status;

pub mod error;

pub mod string;

pub mod model;

pub mod source;

pub mod tokens;

pub mod session;

pub mod conversation;

pub mod sampling;

pub mod generate;

pub mod stream;

pub mod event;

pub mod statistics;

pub mod classify;

pub mod calibration;

pub mod grammar;

pub mod extract;

pub mod logits;

pub mod cancel;

pub mod log;

#[global_allocator]
static ALLOCATOR: allocator::WipingAllocator = allocator::WipingAllocator::system();

#[cfg(test)]
mod tests;
