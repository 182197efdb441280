//! Calibrations: what the scores of labels mean, learnt from labelled examples, and when to ask a person.

use std::ffi::c_char;

use edgeslm::answer::{
    Abstention, CalibrationChoice, CalibrationIdentity, ClassifyOptions, Decision, LabelCalibration,
};
use edgeslm::session::{Prompt, Session};

use crate::boundary::{self, Output, optional, required, slice};
use crate::cancel::slm_cancel;
use crate::classify::{self, slm_classify_options};
use crate::error::{Failure, Outcome, slm_error};
use crate::handle::Counted;
use crate::model::slm_model;
use crate::options::{self, Options, Plain};
use crate::session::slm_session;
use crate::status::{SLM_INVALID_ARGUMENT, slm_status};
use crate::stream::{self, slm_message};
use crate::string::{self, Text, slm_str, slm_string};

/// What the scores of a closed set of labels mean for one model and one prompt: calibrated probabilities of classes, and
/// the probability below which a person should decide. Immutable and shared: any number of threads may use it.
pub struct slm_calibration {
    calibration: LabelCalibration,
    classes: Vec<Text>,
}

impl Counted for slm_calibration {}

impl slm_calibration {
    fn new(calibration: LabelCalibration) -> Self {
        let classes = calibration.identity().classes.iter().cloned().map(Text::new).collect();
        Self { calibration, classes }
    }
}

/// Options of fitting a calibration; fill them with `slm_calibration_options_init` first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_calibration_options {
    /// The size of this struct, as `slm_calibration_options_init` set it.
    pub struct_size: u32,
    /// How labels are scored: `SLM_SCORE_...`.
    pub score: i32,
    /// The share of wrong decisions that is accepted among those that do not abstain; 0 never abstains.
    pub risk: f64,
    /// The probability, over the examples, with which that share is kept to.
    pub confidence: f64,
    /// Ends the fitting with `SLM_CANCELLED` when it is signalled; NULL for none.
    pub cancel: *const slm_cancel,
}

// SAFETY: integers, floats and a raw pointer, without padding in front of a field.
unsafe impl Plain for slm_calibration_options {}

impl Options for slm_calibration_options {
    const DEFAULTS: Self = Self {
        struct_size: size_of::<Self>() as u32,
        score: classify::SLM_SCORE_JOINT,
        risk: 0.1,
        confidence: 0.9,
        cancel: std::ptr::null(),
    };
}

/// An example to learn from.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_labelled_prompt {
    /// The prompt, taken as it is.
    pub prompt: slm_str,
    /// The index of the right class.
    pub class_index: usize,
}

/// What a calibration tells of itself.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_calibration_facts {
    /// How many classes it tells apart: as many probabilities `slm_decide` stores.
    pub class_count: u64,
    /// How many labels it scores.
    pub label_count: u64,
    /// How many examples it was fitted to.
    pub examples: u64,
    /// A decision with a lower probability abstains; above 1 all do, 0 none.
    pub threshold: f64,
    /// The share of wrong decisions that was accepted; 0 where none was named.
    pub risk: f64,
    /// The probability with which that is kept to; 0 where no share was named.
    pub confidence: f64,
    /// The mean negative log-likelihood of the examples' classes in cross-validation, in nats.
    pub log_loss: f64,
}

// SAFETY: integers and floats of 8 bytes each.
unsafe impl Plain for slm_calibration_facts {}

/// A decision for a class.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_decision {
    /// The index of the most probable class.
    pub class_index: u64,
    /// Its calibrated probability.
    pub probability: f32,
    /// Not 0 where that is too low for the risk that was accepted: then a person or a larger model should decide.
    pub abstain: u32,
}

// SAFETY: integers and a float, without padding.
unsafe impl Plain for slm_decision {}

/// Hands out a calibration that is for this model and, if a text is given, for this prompt.
fn check(model: &slm_model, prompt: &str, calibration: LabelCalibration) -> Outcome<*const slm_calibration> {
    let fingerprint = model.shared.with(|model| Ok(model.fingerprint()))?;
    let prompt = if prompt.is_empty() { calibration.identity().prompt.clone() } else { prompt.to_owned() };
    calibration.check(&fingerprint, &prompt)?;
    Ok(slm_calibration::new(calibration).into_handle())
}

/// Reads a calibration from a file, such as `edgeslm calibrate` or `slm_calibration_save` writes. One that was made for
/// another model is `SLM_INVALID_ARGUMENT`, and so is one for another prompt, unless `prompt` is empty; what identifies a
/// prompt is the text that `slm_calibration_fit` was given, or the digest that `edgeslm calibrate --json` prints.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_calibration_load(
    model: *const slm_model,
    path: *const c_char,
    path_length: usize,
    prompt: *const c_char,
    prompt_length: usize,
    calibration: *mut *const slm_calibration,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let output = Output::new("calibration", calibration)?;
        let model = required("model", model)?;
        let path = string::read("path", path, path_length)?;
        let prompt = string::read("prompt", prompt, prompt_length)?;
        output.write(check(model, prompt, LabelCalibration::load(path)?)?);
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Reads a calibration from the text of a file. Otherwise as `slm_calibration_load`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_calibration_parse(
    model: *const slm_model,
    json: *const c_char,
    json_length: usize,
    prompt: *const c_char,
    prompt_length: usize,
    calibration: *mut *const slm_calibration,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let output = Output::new("calibration", calibration)?;
        let model = required("model", model)?;
        let json = string::read("json", json, json_length)?;
        let prompt = string::read("prompt", prompt, prompt_length)?;
        output.write(check(model, prompt, LabelCalibration::from_json(json)?)?);
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Fills `options`, a struct of `size` bytes, with the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_calibration_options_init(
    options: *mut slm_calibration_options,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the caller's struct of `size` bytes and memory for the error.
    unsafe { options::init("options", options, size, error) }
}

/// Learns a calibration from labelled examples, at least two of each class and better ten or more: scores `labels` after
/// the prompt of each, chooses by cross-validation how much to learn, and the probability below which a decision abstains.
/// The first `class_count` labels are those of the classes, in their order; further ones are words that the model may go
/// on with, which only help the calibration. `session` is one of `model`. `prompt` is any text that identifies the form of the
/// prompts, so that a calibration is not used for another; it is saved with it. NULL for `options` means the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_calibration_fit(
    model: *const slm_model,
    session: *mut slm_session,
    prompt: *const c_char,
    prompt_length: usize,
    classes: *const slm_str,
    class_count: usize,
    labels: *const slm_str,
    label_count: usize,
    examples: *const slm_labelled_prompt,
    example_count: usize,
    options: *const slm_calibration_options,
    calibration: *mut *const slm_calibration,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let output = Output::new("calibration", calibration)?;
        let model = required("model", model)?;
        let session = required("session", session)?;
        let options = options::read(options)?;
        let texts = |name: &str, list: *const slm_str, count: usize| -> Outcome<Vec<String>> {
            slice(name, list, count)?
                .iter()
                .map(|text| Ok(string::read(name, text.data, text.len)?.to_owned()))
                .collect()
        };
        let identity = CalibrationIdentity {
            model: model.shared.with(|model| Ok(model.fingerprint()))?,
            prompt: string::read("prompt", prompt, prompt_length)?.to_owned(),
            classes: texts("classes", classes, class_count)?,
            labels: texts("labels", labels, label_count)?,
            score: classify::score(options.score)?,
        };
        let examples: Vec<(String, usize)> = slice("examples", examples, example_count)?
            .iter()
            .map(|example| {
                let prompt = string::read("prompt of an example", example.prompt.data, example.prompt.len)?;
                Ok((prompt.to_owned(), example.class_index))
            })
            .collect::<Outcome<_>>()?;
        let cancel = optional(options.cancel).map(slm_cancel::token);
        let fitted = session.session.with(|session| fit(session, identity, &examples, &options, cancel))?;
        output.write(slm_calibration::new(fitted).into_handle());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

fn fit(
    session: &mut Session,
    identity: CalibrationIdentity,
    examples: &[(String, usize)],
    options: &slm_calibration_options,
    cancel: Option<edgeslm::CancelToken>,
) -> Outcome<LabelCalibration> {
    if identity.labels.len() < identity.classes.len() {
        let message = format!("{} labels for {} classes", identity.labels.len(), identity.classes.len());
        return Err(Failure::new(SLM_INVALID_ARGUMENT, message)
            .with_hint("the first labels are those of the classes, one each"));
    }
    let labels: Vec<&str> = identity.labels.iter().map(String::as_str).collect();
    let classify = ClassifyOptions { score: identity.score, deadline: None, cancel };
    let mut scored = Vec::with_capacity(examples.len());
    for (prompt, class) in examples {
        let found = session.classify_with(prompt.as_str(), &labels, &classify)?;
        scored.push((found.log_probabilities, *class));
    }
    let choice = CalibrationChoice::of(&scored, identity.classes.len(), None)?;
    let abstention = if options.risk == 0.0 {
        None
    } else {
        Some(Abstention::choose(&choice.judged(&scored), options.risk, options.confidence)?)
    };
    Ok(LabelCalibration::new(identity, &choice, abstention)?)
}

/// Writes a calibration to a file, which is complete or as it was before.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_calibration_save(
    calibration: *const slm_calibration,
    path: *const c_char,
    path_length: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let calibration = required("calibration", calibration)?;
        calibration.calibration.save(string::read("path", path, path_length)?)?;
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Stores what the file of a calibration holds in `json`, to be freed with `slm_string_free`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_calibration_json(
    calibration: *const slm_calibration,
    json: *mut slm_string,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let output = Output::new("json", json)?;
        let calibration = required("calibration", calibration)?;
        output.write(Text::new(calibration.calibration.to_json()?).into_owned());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Stores in `facts`, a struct of `size` bytes, what a calibration tells of itself.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_calibration_describe(
    calibration: *const slm_calibration,
    facts: *mut slm_calibration_facts,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let calibration = &required("calibration", calibration)?.calibration;
        let abstention = calibration.abstention();
        let found = slm_calibration_facts {
            class_count: calibration.identity().classes.len() as u64,
            label_count: calibration.identity().labels.len() as u64,
            examples: calibration.summary().examples as u64,
            threshold: abstention.map_or(0.0, |abstention| f64::from(abstention.threshold)),
            risk: abstention.map_or(0.0, |abstention| abstention.risk),
            confidence: abstention.map_or(0.0, |abstention| abstention.confidence),
            log_loss: calibration.summary().log_loss,
        };
        options::write("facts", &found, facts, size)
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// The name of a class, valid as long as the calibration; empty for an index that no class has, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_calibration_class(calibration: *const slm_calibration, index: usize) -> slm_str {
    // SAFETY: NULL, or a handle that is not freed.
    let calibration = unsafe { optional(calibration) };
    boundary::value(slm_str::EMPTY, || {
        calibration
            .and_then(|calibration| calibration.classes.get(index))
            .map_or(slm_str::EMPTY, Text::borrowed)
    })
}

/// Gives up an ownership of a calibration; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_calibration_free(calibration: *const slm_calibration) {
    // SAFETY: NULL, or a handle that the caller gives up.
    unsafe { Counted::free(calibration) };
}

/// Where a decision goes.
struct Place {
    decision: *mut slm_decision,
    size: usize,
    probabilities: *mut f32,
}

/// # Safety
/// The pointers are NULL or valid as the header says; `prompt` may read the caller's.
unsafe fn decide(
    session: *mut slm_session,
    prompt: impl FnOnce() -> Outcome<Prompt>,
    calibration: *const slm_calibration,
    options: *const slm_classify_options,
    place: Place,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: passed on.
    let body = || unsafe {
        let session = required("session", session)?;
        let calibration = &required("calibration", calibration)?.calibration;
        if place.decision.is_null() {
            return Err(Failure::null("decision"));
        }
        let (prompt, options) = (prompt()?, classify::read_options(options)?);
        let found: Decision =
            session.session.with(|session| Ok(session.decide(prompt, calibration, &options)?))?;
        let decision = slm_decision {
            class_index: found.index as u64,
            probability: found.probability(),
            abstain: u32::from(found.abstain),
        };
        options::write("decision", &decision, place.decision, place.size)?;
        if !place.probabilities.is_null() {
            let count = found.probabilities.len();
            std::ptr::copy_nonoverlapping(found.probabilities.as_ptr(), place.probabilities, count);
        }
        Ok(())
    };
    // SAFETY: passed on.
    unsafe { boundary::status(error, body) }
}

/// Decides for the class of a prompt that is taken as it is, by a calibration for this form of prompt. Stores the decision in
/// `decision`, a struct of `size` bytes, and one probability a class in `probabilities`, which may be NULL; they sum to 1.
/// NULL for `options` means the defaults; how labels are scored is the calibration's to say. Special tokens that the
/// prompt spells out are recognised.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_decide(
    session: *mut slm_session,
    prompt: *const c_char,
    prompt_length: usize,
    calibration: *const slm_calibration,
    options: *const slm_classify_options,
    decision: *mut slm_decision,
    size: usize,
    probabilities: *mut f32,
    error: *mut *mut slm_error,
) -> slm_status {
    let place = Place { decision, size, probabilities };
    // SAFETY: the pointers are NULL or valid as the header says.
    unsafe {
        let prompt = || Ok(Prompt::Raw(string::read("prompt", prompt, prompt_length)?.to_owned()));
        decide(session, prompt, calibration, options, place, error)
    }
}

/// Decides for the class of a conversation, which the model's chat template turns into a prompt. Otherwise as
/// `slm_decide`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_chat_decide(
    session: *mut slm_session,
    messages: *const slm_message,
    message_count: usize,
    calibration: *const slm_calibration,
    options: *const slm_classify_options,
    decision: *mut slm_decision,
    size: usize,
    probabilities: *mut f32,
    error: *mut *mut slm_error,
) -> slm_status {
    let place = Place { decision, size, probabilities };
    // SAFETY: the pointers are NULL or valid as the header says.
    unsafe {
        let prompt = || Ok(Prompt::Chat(stream::read_messages(messages, message_count)?));
        decide(session, prompt, calibration, options, place, error)
    }
}
