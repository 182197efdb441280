//! What holds for the handles and options of all functions.

use std::mem::{offset_of, size_of};
use std::ptr;

use super::call;
use crate::error::Outcome;
use crate::handle::{Exclusive, Shared};
use crate::options::{self, Options, Plain};
use crate::status::*;

fn panics() -> Outcome<()> {
    panic!("a defect")
}

#[test]
fn a_handle_in_use_is_busy_until_it_is_given_back() {
    let handle = Exclusive::new("session", 5);
    let lease = handle.take().ok().expect("idle");
    let busy = handle.with(|_| Ok(())).expect_err("in use");
    assert_eq!(busy.code(), SLM_BUSY);
    lease.give_back();
    assert!(handle.with(|value| Ok(*value)).is_ok_and(|value| value == 5));
}

#[test]
fn a_failure_gives_the_value_back() {
    let handle = Exclusive::new("session", ());
    let failed: Outcome<()> = handle.with(|()| Err(crate::error::Failure::null("x")));
    assert_eq!(failed.err().map(|failure| failure.code()), Some(SLM_NULL_POINTER));
    assert!(handle.with(|()| Ok(())).is_ok());
}

#[test]
fn a_panic_poisons_the_handle() {
    let exclusive = Exclusive::new("session", ());
    let shared = Shared::new("model", ());
    // SAFETY: `call` gives valid memory for the error.
    unsafe {
        let status = |body: &dyn Fn() -> Outcome<()>| call(|error| crate::boundary::status(error, body)).0;
        assert_eq!(status(&|| exclusive.with(|()| panics())), SLM_PANIC);
        assert_eq!(status(&|| exclusive.with(|()| Ok(()))), SLM_POISONED);
        assert_eq!(status(&|| exclusive.take().map(drop)), SLM_POISONED, "for ever");
        assert_eq!(status(&|| shared.with(|()| Ok(()))), SLM_OK);
        assert_eq!(status(&|| shared.with(|()| panics())), SLM_PANIC);
        assert_eq!(status(&|| shared.with(|()| Ok(()))), SLM_POISONED);
    }
}

/// Options with one field more than an older version had.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    struct_size: u32,
    old: u32,
    new: u64,
}

// SAFETY: integers without padding.
unsafe impl Plain for Sample {}

impl Options for Sample {
    const DEFAULTS: Self = Self { struct_size: size_of::<Self>() as u32, old: 7, new: 9 };
}

/// A struct of a newer caller: the sample and a field that this version does not know.
#[repr(C)]
#[derive(Clone, Copy)]
struct Newer {
    sample: Sample,
    newest: u64,
}

#[test]
fn options_of_every_size_are_understood() {
    let old_size = offset_of!(Sample, new) as u32;
    let cases = [
        (Newer { sample: Sample { struct_size: 16, old: 1, new: 2 }, newest: 3 }, Ok((1, 2)), "same version"),
        (
            Newer { sample: Sample { struct_size: old_size, old: 1, new: 2 }, newest: 3 },
            Ok((1, 9)),
            "older caller",
        ),
        (Newer { sample: Sample { struct_size: 24, old: 1, new: 2 }, newest: 0 }, Ok((1, 2)), "newer caller"),
        (
            Newer { sample: Sample { struct_size: 24, old: 1, new: 2 }, newest: 3 },
            Err(SLM_STRUCT_SIZE),
            "newer caller that uses the new field",
        ),
        (
            Newer { sample: Sample { struct_size: 0, old: 1, new: 2 }, newest: 0 },
            Err(SLM_STRUCT_SIZE),
            "no init",
        ),
        (
            Newer { sample: Sample { struct_size: 3, old: 1, new: 2 }, newest: 0 },
            Err(SLM_STRUCT_SIZE),
            "3 bytes",
        ),
        (
            Newer { sample: Sample { struct_size: 5000, old: 1, new: 2 }, newest: 0 },
            Err(SLM_STRUCT_SIZE),
            "absurd",
        ),
    ];
    for (value, expected, case) in cases {
        // SAFETY: as many bytes as struct_size says, or a size that is refused.
        let result = unsafe { options::read((&raw const value).cast::<Sample>()) };
        assert_eq!(
            result.map(|options| (options.old, options.new)).map_err(|e| e.code()),
            expected,
            "{case}"
        );
    }
    // SAFETY: NULL is allowed.
    assert_eq!(unsafe { options::read::<Sample>(ptr::null()) }.ok(), Some(Sample::DEFAULTS));
}

#[test]
fn init_writes_no_more_than_the_callers_size() {
    let blank = Newer { sample: Sample { struct_size: 99, old: 99, new: 99 }, newest: 99 };
    let cases = [(8, (8, 7, 99, 99)), (16, (16, 7, 9, 99)), (24, (24, 7, 9, 0))];
    for (size, expected) in cases {
        let mut value = blank;
        // SAFETY: at most the size of the struct.
        let (status, _) =
            call(|error| unsafe { options::init("options", (&raw mut value).cast::<Sample>(), size, error) });
        assert_eq!(status, SLM_OK);
        assert_eq!((value.sample.struct_size, value.sample.old, value.sample.new, value.newest), expected);
    }
    let mut value = blank;
    let pointer = (&raw mut value).cast::<Sample>();
    for (size, pointer, expected) in [
        (16, ptr::null_mut(), SLM_NULL_POINTER),
        (3, pointer, SLM_STRUCT_SIZE),
        (1 << 40, pointer, SLM_STRUCT_SIZE),
    ] {
        // SAFETY: refused before anything is written.
        assert_eq!(call(|error| unsafe { options::init("options", pointer, size, error) }).0, expected);
    }
}
