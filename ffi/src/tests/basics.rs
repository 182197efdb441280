//! Statuses, errors, strings, versions, cancel flags, and the boundary itself.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::ptr;

use edgeslm::{Error, ErrorKind};

use super::{call, text};
use crate::boundary::{self, Output};
use crate::cancel::{slm_cancel_free, slm_cancel_new, slm_cancel_reset, slm_cancel_signal};
use crate::error::*;
use crate::status::*;
use crate::string::{self, SLM_NUL, Text, slm_str, slm_string_free};
use crate::version::*;

#[test]
fn every_kind_of_error_has_its_own_status_and_name() {
    let statuses: BTreeSet<_> = ErrorKind::ALL.into_iter().map(of_kind).collect();
    assert_eq!(statuses.len(), ErrorKind::ALL.len());
    for kind in ErrorKind::ALL {
        // SAFETY: a static C string.
        let name = unsafe { CStr::from_ptr(slm_status_name(of_kind(kind))) };
        assert_eq!(name.to_str(), Ok(kind.name()));
    }
    assert_eq!(name(SLM_OK), c"ok");
    assert_eq!(name(-7), c"unknown");
}

#[test]
fn an_error_tells_all_its_parts() {
    let failing = || {
        Err(Error::new(ErrorKind::InvalidModel, "cut off\0here")
            .with_file("m/model.onnx")
            .with_node("lm_head")
            .with_hint("copy it again")
            .into())
    };
    let mut error = ptr::null_mut();
    // SAFETY: valid memory for the error, which is freed once.
    unsafe {
        assert_eq!(boundary::status(&raw mut error, failing), SLM_INVALID_MODEL);
        assert_eq!(slm_error_code(error), SLM_INVALID_MODEL);
        assert_eq!(text(slm_error_message(error)), "cut off\u{FFFD}here");
        assert_eq!(text(slm_error_file(error)), "m/model.onnx");
        assert_eq!(text(slm_error_place(error)), "lm_head");
        assert_eq!(text(slm_error_hint(error)), "copy it again");
        slm_error_free(error);

        assert_eq!(boundary::status(ptr::null_mut(), failing), SLM_INVALID_MODEL, "the error is optional");
    }
}

#[test]
fn null_is_an_empty_error_and_may_be_freed() {
    // SAFETY: NULL is allowed.
    unsafe {
        assert_eq!(slm_error_code(ptr::null()), SLM_OK);
        for part in [slm_error_message, slm_error_file, slm_error_place, slm_error_hint] {
            assert_eq!(text(part(ptr::null())), "");
        }
        slm_error_free(ptr::null_mut());
        slm_string_free(ptr::null_mut());
        slm_cancel_signal(ptr::null());
        slm_cancel_reset(ptr::null());
        slm_cancel_free(ptr::null());
    }
}

#[test]
fn a_panic_becomes_a_status_with_its_message() {
    let index = std::hint::black_box(3);
    let bodies: [(&dyn Fn() -> Outcome<()>, &str); 3] = [
        (&|| panic!("plain"), "plain"),
        (&|| panic!("formatted {index}"), "formatted 3"),
        (&|| std::panic::panic_any(5_u8), "no message"),
    ];
    for (body, expected) in bodies {
        // SAFETY: `call` gives valid memory for the error.
        let (status, message) = call(|error| unsafe { boundary::status(error, body) });
        assert_eq!((status, message), (SLM_PANIC, format!("defect in the library: {expected}")));
    }
    assert_eq!(boundary::value(1, || panic!("in an infallible function")), 1);
}

#[test]
fn a_panic_payload_that_panics_when_dropped_stays_inside() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    // SAFETY: `call` gives valid memory for the error.
    let (status, _) = call(|error| unsafe { boundary::status(error, || std::panic::panic_any(Bomb)) });
    assert_eq!(status, SLM_PANIC);
}

#[test]
fn texts_are_read_by_length_or_to_the_nul_byte() {
    let cases: [(*const std::ffi::c_char, usize, Result<&str, slm_status>); 8] = [
        (c"h\u{e9}llo".as_ptr(), 6, Ok("h\u{e9}llo")),
        (c"h\u{e9}llo".as_ptr(), 3, Ok("h\u{e9}")),
        (c"h\u{e9}llo".as_ptr(), 2, Err(SLM_INVALID_UTF8)),
        (c"hello".as_ptr(), SLM_NUL, Ok("hello")),
        (c"hello".as_ptr(), 0, Ok("")),
        (ptr::null(), 0, Ok("")),
        (ptr::null(), SLM_NUL, Err(SLM_NULL_POINTER)),
        (c"hello".as_ptr(), usize::MAX - 1, Err(SLM_INVALID_ARGUMENT)),
    ];
    for (data, len, expected) in cases {
        // SAFETY: literals that are long enough, NULL, or a length that is refused.
        let result = unsafe { string::read("prompt", data, len) };
        assert_eq!(result.map_err(|failure| failure.code()), expected, "length {len}");
    }
    // SAFETY: four bytes.
    let failure = unsafe { string::read("prompt", b"ab\xffc".as_ptr().cast(), 4) }.err().map(slm_error::from);
    // SAFETY: borrowed from the error above.
    let message = failure.as_ref().map(|error| unsafe { text(slm_error_message(error)) });
    assert_eq!(message, Some("prompt is not UTF-8 at byte 2"));
}

#[test]
fn owned_strings_are_freed_once_and_emptied() {
    let mut string = Text::new("a\u{20ac}b".to_owned()).into_owned();
    // SAFETY: the string is valid until it is freed, and freeing it again is allowed.
    unsafe {
        assert_eq!(text(slm_str { data: string.data, len: string.len }), "a\u{20ac}b");
        slm_string_free(&raw mut string);
        assert!(string.data.is_null() && string.len == 0);
        slm_string_free(&raw mut string);
    }
}

#[test]
fn outputs_are_checked_before_work() {
    // SAFETY: NULL is refused.
    let failure = unsafe { Output::<u32>::new("count", ptr::null_mut()) }.err();
    assert_eq!(failure.map(|failure| failure.code()), Some(SLM_NULL_POINTER));
}

#[test]
fn versions_agree_with_the_package() {
    // SAFETY: static C strings.
    let (version, info) = unsafe { (CStr::from_ptr(slm_version()), CStr::from_ptr(slm_build_info())) };
    assert_eq!(version.to_str(), Ok(env!("CARGO_PKG_VERSION")));
    assert_eq!(slm_abi_version(), SLM_ABI_VERSION);
    let info: serde_json::Value = serde_json::from_slice(info.to_bytes()).expect("JSON");
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["abi"], "0.1");
    assert!(info["target"].as_str().is_some_and(|target| target.contains(std::env::consts::ARCH)), "{info}");
}

#[test]
fn a_cancel_flag_is_set_and_cleared() {
    let mut cancel = ptr::null();
    // SAFETY: a handle from `slm_cancel_new`, freed once.
    unsafe {
        assert_eq!(call(|error| slm_cancel_new(&raw mut cancel, error)).0, SLM_OK);
        let token = (*cancel).token();
        slm_cancel_signal(cancel);
        assert!(token.is_cancelled());
        slm_cancel_reset(cancel);
        assert!(!token.is_cancelled());
        slm_cancel_signal(cancel);
        slm_cancel_free(cancel);
        assert!(token.is_cancelled(), "a call keeps the flag that it was given");
        assert_eq!(call(|error| slm_cancel_new(ptr::null_mut(), error)).0, SLM_NULL_POINTER);
    }
}
