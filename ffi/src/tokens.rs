//! Tokens: text to tokens and back.

use std::ffi::c_char;
use std::ptr;

use edgeslm::Model;
use edgeslm::text::SpecialTokens;

use crate::boundary::{self, Output, required, slice};
use crate::error::{Failure, Outcome, slm_error};
use crate::model::slm_model;
use crate::status::{SLM_BUFFER_TOO_SMALL, SLM_INVALID_ARGUMENT, slm_status};
use crate::string::{self, Text, slm_string};

/// As a raw prompt is tokenised: with the token that begins a text, where the model has one; special tokens that the text
/// spells out are recognised.
pub const SLM_TOKENIZE_PROMPT: i32 = 0;
/// Nothing is added; special tokens that the text spells out are recognised.
pub const SLM_TOKENIZE_CONTINUATION: i32 = 1;
/// Nothing is added, and special tokens that the text spells out stay text: for what a stranger wrote.
pub const SLM_TOKENIZE_PLAIN: i32 = 2;

/// As a flag of `slm_detokenize`: special tokens give no text.
pub const SLM_SKIP_SPECIAL_TOKENS: u32 = 1;

fn tokenize(model: &Model, text: &str, mode: i32) -> Outcome<Vec<u32>> {
    let tokenizer = model.text().tokenizer();
    Ok(match mode {
        SLM_TOKENIZE_PROMPT => model.text().raw_tokens(text)?,
        SLM_TOKENIZE_CONTINUATION => tokenizer.encode(text, SpecialTokens::None)?,
        SLM_TOKENIZE_PLAIN => tokenizer.encode_plain(text)?,
        other => {
            return Err(Failure::new(SLM_INVALID_ARGUMENT, format!("there is no way {other} to tokenise")));
        }
    })
}

/// Stores how many tokens `text` has. `mode` is one of `SLM_TOKENIZE_...`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_count_tokens(
    model: *const slm_model,
    text: *const c_char,
    text_length: usize,
    mode: i32,
    count: *mut usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let model = required("model", model)?;
        let output = Output::new("count", count)?;
        let text = string::read("text", text, text_length)?;
        let tokens = model.shared.with(|model| tokenize(model, text, mode))?;
        output.write(tokens.len());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Stores the tokens of `text` in `tokens`, an array of `capacity`, and their number in `count`.
/// `SLM_BUFFER_TOO_SMALL` if there are more; `slm_count_tokens` tells how many. `mode` is one of `SLM_TOKENIZE_...`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_tokenize(
    model: *const slm_model,
    text: *const c_char,
    text_length: usize,
    mode: i32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let model = required("model", model)?;
        if tokens.is_null() && capacity > 0 {
            return Err(Failure::null("tokens"));
        }
        let output = Output::new("count", count)?;
        let text = string::read("text", text, text_length)?;
        let result = model.shared.with(|model| tokenize(model, text, mode))?;
        if result.len() > capacity {
            let message = format!("the text has {} tokens and the array holds {capacity}", result.len());
            return Err(Failure::new(SLM_BUFFER_TOO_SMALL, message));
        }
        if !result.is_empty() {
            ptr::copy_nonoverlapping(result.as_ptr(), tokens, result.len());
        }
        output.write(result.len());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Stores the text of `count` tokens. `flags` is `SLM_SKIP_SPECIAL_TOKENS` or 0. Tokens that the model does not have give
/// no text; bytes that are no character become U+FFFD.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_detokenize(
    model: *const slm_model,
    tokens: *const u32,
    count: usize,
    flags: u32,
    text: *mut slm_string,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let model = required("model", model)?;
        let output = Output::new("text", text)?;
        let tokens = slice("tokens", tokens, count)?;
        if flags & !SLM_SKIP_SPECIAL_TOKENS != 0 {
            return Err(Failure::new(SLM_INVALID_ARGUMENT, format!("there are no flags {flags:#x}")));
        }
        let text = model.shared.with(|model| {
            Ok(model.text().tokenizer().decode(tokens, flags & SLM_SKIP_SPECIAL_TOKENS != 0))
        })?;
        output.write(Text::new(text).into_owned());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}
