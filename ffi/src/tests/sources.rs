//! Models that are loaded through the caller's callbacks.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use super::{call, load, session, text};
use crate::error::{slm_error_file, slm_error_free};
use crate::logits::slm_session_logits;
use crate::model::{slm_model, slm_model_free, slm_model_info, slm_model_options};
use crate::options::Options;
use crate::session::slm_session_free;
use crate::source::*;
use crate::status::*;
use crate::string::{slm_str, slm_string, slm_string_free};

/// What the callbacks are given.
#[derive(Default)]
struct Pack {
    files: BTreeMap<String, Vec<u8>>,
    /// What is returned for this file in place of what is right.
    size_status: Option<(&'static str, slm_status)>,
    read_result: Option<(&'static str, i64)>,
    /// Loads another model in the middle.
    nests: bool,
    reads: usize,
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/models/llama-3.2-1b-int4")
}

impl Pack {
    fn golden() -> Self {
        let mut pack = Self::default();
        for entry in std::fs::read_dir(golden()).expect("the golden directory") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            pack.files.insert(name, std::fs::read(path).expect("a file"));
        }
        pack
    }

    fn source(&mut self) -> slm_source {
        let user_data = std::ptr::from_mut(self).cast();
        slm_source { user_data, size: Some(size), read: Some(read), ..slm_source::DEFAULTS }
    }
}

unsafe extern "C" fn size(user_data: *mut c_void, name: slm_str, size: *mut u64) -> slm_status {
    // SAFETY: the test's own pack, a text of the library and memory for the size.
    let (pack, name) = unsafe { (&mut *user_data.cast::<Pack>(), text(name)) };
    if let Some((_, status)) = pack.size_status.filter(|(wrong, _)| *wrong == name) {
        return status;
    }
    let Some(bytes) = pack.files.get(name) else { return SLM_NOT_FOUND };
    // SAFETY: as above.
    unsafe { size.write(bytes.len() as u64) };
    SLM_OK
}

unsafe extern "C" fn read(
    user_data: *mut c_void,
    name: slm_str,
    offset: u64,
    buffer: *mut c_void,
    length: usize,
) -> i64 {
    // SAFETY: the test's own pack and a text of the library.
    let (pack, name) = unsafe { (&mut *user_data.cast::<Pack>(), text(name)) };
    assert!(length > 0);
    if pack.nests {
        // SAFETY: the handle is freed once.
        unsafe { slm_model_free(load()) };
    }
    pack.reads += 1;
    if let Some((_, result)) = pack.read_result.filter(|(wrong, _)| *wrong == name) {
        return result;
    }
    let rest = &pack.files[name][offset as usize..];
    let count = rest.len().min(length).min(10_000);
    // SAFETY: `length` bytes are writable, and `count` is no more.
    unsafe { std::ptr::copy_nonoverlapping(rest.as_ptr(), buffer.cast(), count) };
    count as i64
}

/// The status, the message and the file of loading from `pack`; a model is freed.
fn outcome(pack: &mut Pack) -> (slm_status, String, String) {
    let (source, mut model, mut file) = (pack.source(), null(), String::new());
    // SAFETY: a source whose pack outlives the call, and memory for the handle and the error.
    let (status, message) = call(|error| unsafe {
        let status = slm_model_load_from(&raw const source, null(), &raw mut model, error);
        file = text(slm_error_file(*error)).to_owned();
        status
    });
    assert_eq!(status == SLM_OK, !model.is_null());
    // SAFETY: freed once.
    unsafe { slm_model_free(model) };
    (status, message, file)
}

fn logits(model: *const slm_model) -> Vec<f32> {
    let (session, tokens) = (session(model), [5_u32, 6, 7, 8]);
    let mut logits = vec![0.0; 2 * 512];
    // SAFETY: arrays of the lengths that are told.
    let (status, message) = call(|error| unsafe {
        slm_session_logits(session, tokens.as_ptr(), 4, 2, null(), logits.as_mut_ptr(), logits.len(), error)
    });
    assert_eq!(status, SLM_OK, "{message}");
    // SAFETY: freed once.
    unsafe { slm_session_free(session) };
    logits
}

#[test]
fn callbacks_give_the_model_that_the_directory_gives() {
    let mut pack = Pack::golden();
    let (source, mut model) = (pack.source(), null());
    // SAFETY: a source whose pack outlives the call, and memory for the handle and the error.
    let (status, message) =
        call(|error| unsafe { slm_model_load_from(&raw const source, null(), &raw mut model, error) });
    assert_eq!(status, SLM_OK, "{message}");
    // The callbacks are not called any more.
    let reads = pack.reads;
    drop(std::mem::take(&mut pack.files));
    let from_directory = load();
    assert_eq!(logits(model), logits(from_directory));
    assert_eq!(pack.reads, reads);
    let mut info = slm_string { data: null(), len: 0 };
    // SAFETY: valid handles and memory; each is freed once.
    unsafe {
        assert_eq!(call(|error| slm_model_info(model, &raw mut info, error)).0, SLM_OK);
        let json = CStr::from_ptr(info.data).to_str().expect("UTF-8");
        assert!(json.contains(r#""directory":"","graph":"model.onnx""#), "{json}");
        slm_string_free(&raw mut info);
        slm_model_free(model);
        slm_model_free(from_directory);
    }
}

#[test]
fn callbacks_may_call_the_library() {
    let (status, message, _) = outcome(&mut Pack { nests: true, ..Pack::golden() });
    assert_eq!(status, SLM_OK, "{message}");
}

#[test]
fn failures_of_callbacks_name_the_file() {
    let missing = |name: &str| {
        let mut pack = Pack::golden();
        pack.files.remove(name);
        pack
    };
    let reading = |result| Pack { read_result: Some(("model.onnx.data", result)), ..Pack::golden() };
    let sizing = |status| Pack { size_status: Some(("tokenizer.json", status)), ..Pack::golden() };
    for (mut pack, status, file, message) in [
        (missing("model.onnx.data"), SLM_NOT_FOUND, "model.onnx.data", "no such file"),
        (Pack::default(), SLM_NOT_FOUND, "", "no graph"),
        (reading(-5), SLM_IO, "model.onnx.data", "reading returned -5 at byte 0"),
        (reading(i64::MIN), SLM_IO, "model.onnx.data", "reading returned -9223372036854775808"),
        (reading(0), SLM_IO, "model.onnx.data", "ends after 0"),
        (reading(i64::MAX), SLM_IO, "model.onnx.data", "read 9223372036854775807 bytes into room for"),
        (sizing(SLM_CANCELLED), SLM_IO, "tokenizer.json", "returned 10 (cancelled)"),
        (sizing(-3), SLM_IO, "tokenizer.json", "returned -3 (unknown)"),
        (sizing(SLM_NOT_FOUND), SLM_NOT_FOUND, "", "there is no tokenizer.json"),
    ] {
        let seen = outcome(&mut pack);
        assert_eq!((seen.0, &*seen.2), (status, file), "{}", seen.1);
        assert!(seen.1.contains(message), "{}", seen.1);
    }
}

#[test]
fn options_of_sources_are_checked() {
    let mut pack = Pack::golden();
    let good = pack.source();
    let flagged = slm_source { flags: 4, ..good };
    let sizeless = slm_source { struct_size: 2, ..good };
    let graph = slm_str { data: c"../model.onnx".as_ptr(), len: 13 };
    let outside = slm_model_options { graph, ..slm_model_options::DEFAULTS };
    let bad: *const c_char = b"a\xff".as_ptr().cast();
    let garbled = slm_model_options { graph: slm_str { data: bad, len: 2 }, ..slm_model_options::DEFAULTS };
    let mut model = null();
    for (source, options, expected) in [
        (&flagged, null(), SLM_INVALID_ARGUMENT),
        (&sizeless, null(), SLM_STRUCT_SIZE),
        (&good, &raw const outside, SLM_INVALID_MODEL),
        (&good, &raw const garbled, SLM_INVALID_UTF8),
    ] {
        // SAFETY: valid structs, and memory for the handle and the error.
        let (status, message) =
            call(|error| unsafe { slm_model_load_from(source, options, &raw mut model, error) });
        assert_eq!(status, expected, "{message}");
        assert!(model.is_null());
    }
    // SAFETY: NULL is allowed.
    unsafe { slm_error_free(null_mut()) };
}
