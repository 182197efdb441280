//! Classifying: which of a closed set of labels the model would answer.

use std::ffi::c_char;
use std::ptr;
use std::time::Duration;

use edgeslm::answer::{ClassifyOptions, LabelScore};
use edgeslm::session::Prompt;

use crate::boundary::{self, optional, required, slice};
use crate::cancel::slm_cancel;
use crate::error::{Failure, Outcome, slm_error};
use crate::options::{self, Options, Plain};
use crate::session::slm_session;
use crate::status::{SLM_INVALID_ARGUMENT, slm_status};
use crate::stream::{self, slm_message};
use crate::string::{self, slm_str};

/// The probability that the model goes on with the label, normalised over the labels.
pub const SLM_SCORE_JOINT: i32 = 0;
/// The probability of the label when only the labels can be generated. Cheaper; what the model would say beside the
/// labels does not count.
pub const SLM_SCORE_TRIE_NORMALISED: i32 = 1;

/// Options of a classification; fill them with `slm_classify_options_init` first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_classify_options {
    /// The size of this struct, as `slm_classify_options_init` set it.
    pub struct_size: u32,
    /// `SLM_SCORE_...`.
    pub score: i32,
    /// How long it may take, in milliseconds from the call; 0 for no limit.
    pub deadline_ms: u64,
    /// Ends it with `SLM_CANCELLED` when it is signalled; NULL for none.
    pub cancel: *const slm_cancel,
}

// SAFETY: integers and a raw pointer, without padding in front of a field.
unsafe impl Plain for slm_classify_options {}

impl Options for slm_classify_options {
    const DEFAULTS: Self = Self {
        struct_size: size_of::<Self>() as u32,
        score: SLM_SCORE_JOINT,
        deadline_ms: 0,
        cancel: ptr::null(),
    };
}

/// Reads the caller's options.
///
/// # Safety
/// `options` is NULL or points to options whose pointers are NULL or valid.
pub(crate) unsafe fn read_options(options: *const slm_classify_options) -> Outcome<ClassifyOptions> {
    // SAFETY: passed on.
    let (options, cancel) = unsafe {
        let options = options::read(options)?;
        (options, optional(options.cancel))
    };
    let deadline = (options.deadline_ms > 0).then(|| Duration::from_millis(options.deadline_ms));
    Ok(ClassifyOptions { score: score(options.score)?, deadline, cancel: cancel.map(slm_cancel::token) })
}

/// The score that a number stands for.
pub(crate) fn score(score: i32) -> Outcome<LabelScore> {
    match score {
        SLM_SCORE_JOINT => Ok(LabelScore::Joint),
        SLM_SCORE_TRIE_NORMALISED => Ok(LabelScore::TrieNormalised),
        other => Err(Failure::new(SLM_INVALID_ARGUMENT, format!("there is no score {other}"))),
    }
}

/// Fills `options`, a struct of `size` bytes, with the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_classify_options_init(
    options: *mut slm_classify_options,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the caller's struct of `size` bytes and memory for the error.
    unsafe { options::init("options", options, size, error) }
}

/// The labels and the results of a call.
struct Labels {
    labels: *const slm_str,
    count: usize,
    probabilities: *mut f32,
    best: *mut usize,
}

/// Classifies a prompt.
///
/// # Safety
/// The pointers are NULL or valid as the header says; `prompt` may read the caller's.
unsafe fn run(
    session: *mut slm_session,
    prompt: impl FnOnce() -> Outcome<Prompt>,
    labels: Labels,
    options: *const slm_classify_options,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: passed on.
    let body = || unsafe {
        let session = required("session", session)?;
        let Labels { labels, count, probabilities, best } = labels;
        if probabilities.is_null() {
            return Err(Failure::null("probabilities"));
        }
        let (prompt, options) = (prompt()?, read_options(options)?);
        let labels: Vec<&str> = slice("labels", labels, count)?
            .iter()
            .map(|label| string::read("label", label.data, label.len))
            .collect::<Outcome<_>>()?;
        let result = session.session.with(|session| Ok(session.classify_with(prompt, &labels, &options)?))?;
        ptr::copy_nonoverlapping(result.probabilities.as_ptr(), probabilities, result.probabilities.len());
        if !best.is_null() {
            best.write(result.index);
        }
        Ok(())
    };
    // SAFETY: passed on.
    unsafe { boundary::status(error, body) }
}

/// Scores `label_count` labels as continuations of a prompt that is taken as it is, and stores one probability a label
/// in `probabilities`; they sum to 1. Stores the index of the most probable label in `best`, which may be NULL. NULL for
/// `options` means the defaults. Special tokens that the prompt spells out are recognised.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_classify(
    session: *mut slm_session,
    prompt: *const c_char,
    prompt_length: usize,
    labels: *const slm_str,
    label_count: usize,
    options: *const slm_classify_options,
    probabilities: *mut f32,
    best: *mut usize,
    error: *mut *mut slm_error,
) -> slm_status {
    let labels = Labels { labels, count: label_count, probabilities, best };
    // SAFETY: the pointers are NULL or valid as the header says.
    unsafe {
        let prompt = || Ok(Prompt::Raw(string::read("prompt", prompt, prompt_length)?.to_owned()));
        run(session, prompt, labels, options, error)
    }
}

/// Scores labels as answers to a conversation, which the model's chat template turns into a prompt. Otherwise as
/// `slm_classify`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_chat_classify(
    session: *mut slm_session,
    messages: *const slm_message,
    message_count: usize,
    labels: *const slm_str,
    label_count: usize,
    options: *const slm_classify_options,
    probabilities: *mut f32,
    best: *mut usize,
    error: *mut *mut slm_error,
) -> slm_status {
    let labels = Labels { labels, count: label_count, probabilities, best };
    // SAFETY: the pointers are NULL or valid as the header says.
    unsafe {
        run(
            session,
            || Ok(Prompt::Chat(stream::read_messages(messages, message_count)?)),
            labels,
            options,
            error,
        )
    }
}
