//! Sources: models whose files the program reads itself, from an encrypted store, an asset pack or an image in ROM.

use std::ffi::{CString, c_void};
use std::{io, ptr};

use edgeslm::Model;
use edgeslm::model::Source;

use crate::boundary::{self, Output, required};
use crate::error::{Failure, Outcome, slm_error};
use crate::handle::{Counted, Shared};
use crate::model::{self, slm_model, slm_model_options};
use crate::options::{self, Options, Plain};
use crate::status::{self, SLM_INVALID_ARGUMENT, SLM_NOT_FOUND, SLM_OK, slm_status};
use crate::string::slm_str;

/// Stores how many bytes the file `name` has in `size` and returns `SLM_OK`, or `SLM_NOT_FOUND` where there is no such
/// file; the library asks for files that a model may lack. Any other result ends the loading with `SLM_IO`.
pub type slm_source_size =
    Option<unsafe extern "C" fn(user_data: *mut c_void, name: slm_str, size: *mut u64) -> slm_status>;

/// Reads at most `length` bytes of the file `name` from `offset` on into `buffer` and returns how many, which may be
/// fewer; `length` is at least 1, and reaches no further than the size that was stored. 0 says that the file ends here,
/// and a negative number that reading failed: both end the loading with `SLM_IO`.
pub type slm_source_read = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        name: slm_str,
        offset: u64,
        buffer: *mut c_void,
        length: usize,
    ) -> i64,
>;

/// The callbacks of a source; fill it with `slm_source_init` first.
///
/// A source holds the files of a model directory under their names in it: `genai_config.json`, `model.onnx`,
/// `model.onnx.data`, `tokenizer.json`, `onnx/model_q4.onnx`. Names are relative, with forward slashes on every platform,
/// and never have `.` or `..` as a part; they are valid during the call. The callbacks are called on the thread that called
/// `slm_model_load_from`, and not after it has returned. They must not throw; they may call the library, also to load
/// another model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_source {
    /// The size of this struct, as `slm_source_init` set it.
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// What the callbacks are given.
    pub user_data: *mut c_void,
    /// Tells the size of a file.
    pub size: slm_source_size,
    /// Reads a part of a file.
    pub read: slm_source_read,
}

// SAFETY: integers, a raw pointer and functions that may be NULL, without padding in front of a field.
unsafe impl Plain for slm_source {}

impl Options for slm_source {
    const DEFAULTS: Self = Self {
        struct_size: size_of::<Self>() as u32,
        flags: 0,
        user_data: ptr::null_mut(),
        size: None,
        read: None,
    };
}

/// The caller's functions, both there.
struct Callbacks {
    user_data: *mut c_void,
    size: unsafe extern "C" fn(*mut c_void, slm_str, *mut u64) -> slm_status,
    read: unsafe extern "C" fn(*mut c_void, slm_str, u64, *mut c_void, usize) -> i64,
}

impl Callbacks {
    fn new(source: &slm_source) -> Outcome<Self> {
        if source.flags != 0 {
            let text = format!("there are no flags {:#x} of a source", source.flags);
            return Err(Failure::new(SLM_INVALID_ARGUMENT, text));
        }
        Ok(Self {
            user_data: source.user_data,
            size: source.size.ok_or_else(|| Failure::null("size"))?,
            read: source.read.ok_or_else(|| Failure::null("read"))?,
        })
    }
}

/// A name with the NUL byte behind it that texts of the library have.
fn terminated(name: &str) -> io::Result<CString> {
    CString::new(name).map_err(io::Error::other)
}

fn borrowed(name: &CString) -> slm_str {
    slm_str { data: name.as_ptr(), len: name.as_bytes().len() }
}

impl Source for Callbacks {
    fn size(&self, name: &str) -> io::Result<u64> {
        let name = terminated(name)?;
        let mut size = 0;
        // SAFETY: the caller's own function and data; name and size outlive the call.
        match unsafe { (self.size)(self.user_data, borrowed(&name), &raw mut size) } {
            SLM_OK => Ok(size),
            SLM_NOT_FOUND => Err(io::ErrorKind::NotFound.into()),
            other => {
                let name = status::name(other).to_string_lossy();
                Err(io::Error::other(format!("the callback for sizes returned {other} ({name})")))
            }
        }
    }

    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let name = terminated(name)?;
        let room = buffer.as_mut_ptr().cast();
        // SAFETY: the caller's own function and data; name and buffer outlive the call.
        let given = unsafe { (self.read)(self.user_data, borrowed(&name), offset, room, buffer.len()) };
        usize::try_from(given).map_err(|_| {
            io::Error::other(format!("the callback for reading returned {given} at byte {offset}"))
        })
    }
}

/// Fills `source`, a struct of `size` bytes, with zeros and its size.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_source_init(
    source: *mut slm_source,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the caller's struct of `size` bytes and memory for the error.
    unsafe { options::init("source", source, size, error) }
}

/// Loads a model whose files `source` reads; all of them are read into memory. NULL for `options` means the defaults;
/// `load` and `flags` in them mean nothing here. Errors name a file as the callbacks know it; there being no memory for one
/// is `SLM_MEMORY_BUDGET`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_model_load_from(
    source: *const slm_source,
    options: *const slm_model_options,
    model: *mut *const slm_model,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        required("source", source)?;
        let callbacks = Callbacks::new(&options::read(source)?)?;
        let output = Output::new("model", model)?;
        let options = model::read_options(options)?;
        let model = Model::load_from(&callbacks, &options)?;
        output.write(slm_model { shared: Shared::new("model", model) }.into_handle());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}
