//! Strings: UTF-8 as pointer and length.

use std::ffi::c_char;
use std::ptr;

use crate::boundary;
use crate::error::{Failure, Outcome};
use crate::status::{SLM_INVALID_ARGUMENT, SLM_INVALID_UTF8};

/// As a length: the text ends at its first NUL byte. In the header it stands among the macros.
pub const SLM_NUL: usize = usize::MAX;

/// A text that belongs to someone else.
///
/// From the library: UTF-8 followed by a NUL byte that `len` does not count, so that `data` can be printed as a C
/// string; never NULL; valid as long as the function that gave it says.
/// To the library: UTF-8 of `len` bytes, or `SLM_NUL` as the length; copied before the call returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_str {
    /// The first byte.
    pub data: *const c_char,
    /// How many bytes.
    pub len: usize,
}

impl slm_str {
    pub(crate) const EMPTY: Self = Self { data: c"".as_ptr(), len: 0 };
}

/// A text that belongs to the caller, who frees it with `slm_string_free`: UTF-8 followed by a NUL byte that `len` does
/// not count.
#[repr(C)]
pub struct slm_string {
    /// The first byte.
    pub data: *const c_char,
    /// How many bytes.
    pub len: usize,
}

/// A text of the library, kept with a NUL byte behind it. NUL bytes inside become U+FFFD, so that a reader of the C
/// string sees all of it.
#[derive(Default)]
pub(crate) struct Text(Box<str>);

impl Text {
    pub(crate) fn new(mut text: String) -> Self {
        if text.contains('\0') {
            text = text.replace('\0', "\u{FFFD}");
        }
        text.push('\0');
        Self(text.into_boxed_str())
    }

    /// The text, valid as long as `self`.
    pub(crate) fn borrowed(&self) -> slm_str {
        match self.0.len() {
            0 => slm_str::EMPTY,
            bytes => slm_str { data: self.0.as_ptr().cast(), len: bytes - 1 },
        }
    }

    /// Hands the text out to be freed by the caller.
    pub(crate) fn into_owned(self) -> slm_string {
        let len = self.0.len() - 1;
        slm_string { data: Box::into_raw(self.0).cast_const().cast(), len }
    }
}

/// Reads the UTF-8 text `name` of a caller. NULL is an empty text if its length is 0.
///
/// # Safety
/// `data` is NULL or points to `len` readable bytes, or to a NUL-terminated string if `len` is `SLM_NUL`; they do not
/// change during `'a`.
pub(crate) unsafe fn read<'a>(name: &str, data: *const c_char, len: usize) -> Outcome<&'a str> {
    if data.is_null() {
        return if len == 0 { Ok("") } else { Err(Failure::null(name)) };
    }
    let bytes = if len == SLM_NUL {
        // SAFETY: the caller says that a NUL byte ends the text.
        unsafe { std::ffi::CStr::from_ptr(data) }.to_bytes()
    } else if isize::try_from(len).is_err() {
        return Err(Failure::new(
            SLM_INVALID_ARGUMENT,
            format!("{name} has an impossible length of {len} bytes"),
        ));
    } else {
        // SAFETY: the caller says that `len` bytes are readable; `len` is at most isize::MAX.
        unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) }
    };
    std::str::from_utf8(bytes).map_err(|error| {
        Failure::new(SLM_INVALID_UTF8, format!("{name} is not UTF-8 at byte {}", error.valid_up_to()))
    })
}

/// Frees the text and sets it to NULL and 0; NULL and a text that was freed already are allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_string_free(string: *mut slm_string) {
    boundary::value((), || {
        // SAFETY: NULL, or a struct of the caller that `Text::into_owned` filled or this function emptied.
        let Some(string) = (unsafe { string.as_mut() }) else { return };
        let (data, len) = (std::mem::replace(&mut string.data, ptr::null()), std::mem::take(&mut string.len));
        if !data.is_null() {
            let bytes = ptr::slice_from_raw_parts_mut(data.cast_mut().cast::<u8>(), len + 1);
            // SAFETY: `data` and `len` are those of the boxed bytes that `into_owned` released, NUL included.
            drop(unsafe { Box::from_raw(bytes) });
        }
    });
}
