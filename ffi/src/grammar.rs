//! Grammars: what answers may look like.

use std::ffi::c_char;

use edgeslm::sampling::constraint::{Grammar, GrammarSource};

use crate::boundary::{self, Output, required, slice};
use crate::error::{Failure, Outcome, slm_error};
use crate::handle::Counted;
use crate::model::slm_model;
use crate::status::{SLM_INVALID_ARGUMENT, slm_status};
use crate::string::{self, slm_str};

/// A JSON schema, drafts 4 to 2020-12: the answer is a JSON value that it accepts. Keywords that cannot be kept are refused with
/// `SLM_UNSUPPORTED`.
pub const SLM_GRAMMAR_JSON_SCHEMA: i32 = 1;
/// A regular expression that the whole answer matches.
pub const SLM_GRAMMAR_REGEX: i32 = 2;
/// A grammar in llguidance's variant of Lark, whose rule `start` is the answer.
pub const SLM_GRAMMAR_LARK: i32 = 3;

/// What answers of a model's may look like. Immutable; give it to any number of calls in their options. It may outlive the model.
pub struct slm_grammar {
    grammar: Grammar,
}

impl Counted for slm_grammar {}

impl slm_grammar {
    pub(crate) fn grammar(&self) -> Grammar {
        self.grammar.clone()
    }
}

/// Compiles a source for a model and hands the grammar out.
///
/// # Safety
/// The pointers are NULL or valid as the header says; `source` may read the caller's.
unsafe fn run(
    model: *const slm_model,
    source: impl FnOnce() -> Outcome<GrammarSource>,
    grammar: *mut *const slm_grammar,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: passed on.
    let body = || unsafe {
        let model = required("model", model)?;
        let output = Output::new("grammar", grammar)?;
        let source = source()?;
        let grammar = model.shared.with(|model| Ok(model.grammar(&source)?))?;
        output.write(slm_grammar { grammar }.into_handle());
        Ok(())
    };
    // SAFETY: passed on.
    unsafe { boundary::status(error, body) }
}

/// Makes a grammar for answers of `model`. `kind` is one of `SLM_GRAMMAR_...` and says what `source` is. `SLM_GRAMMAR` for a source
/// that is damaged, that no text satisfies or that is beyond the limits: sources may come from strangers, and take some seconds
/// at most.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_grammar_new(
    model: *const slm_model,
    kind: i32,
    source: *const c_char,
    source_length: usize,
    grammar: *mut *const slm_grammar,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    unsafe {
        let source = || {
            let source = string::read("source", source, source_length)?.to_owned();
            Ok(match kind {
                SLM_GRAMMAR_JSON_SCHEMA => GrammarSource::JsonSchema(source),
                SLM_GRAMMAR_REGEX => GrammarSource::Regex(source),
                SLM_GRAMMAR_LARK => GrammarSource::Lark(source),
                other => {
                    return Err(Failure::new(
                        SLM_INVALID_ARGUMENT,
                        format!("there is no grammar of kind {other}"),
                    ));
                }
            })
        };
        run(model, source, grammar, error)
    }
}

/// Makes a grammar of which the answers are `choice_count` texts and no others.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_grammar_choices(
    model: *const slm_model,
    choices: *const slm_str,
    choice_count: usize,
    grammar: *mut *const slm_grammar,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    unsafe {
        let source = || {
            let choices = slice("choices", choices, choice_count)?;
            let choices = choices
                .iter()
                .map(|choice| Ok(string::read("choice", choice.data, choice.len)?.to_owned()))
                .collect::<Outcome<_>>()?;
            Ok(GrammarSource::Choices(choices))
        };
        run(model, source, grammar, error)
    }
}

/// Makes another handle of the same grammar, to be freed like the first.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_grammar_clone(
    grammar: *const slm_grammar,
    clone: *mut *const slm_grammar,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let grammar = required("grammar", grammar)?;
        let output = Output::new("clone", clone)?;
        output.write(slm_grammar::clone_handle(grammar));
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Frees the grammar; NULL is allowed. A call that was given it is not disturbed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_grammar_free(grammar: *const slm_grammar) {
    // SAFETY: NULL, or a handle of `slm_grammar_new` that is not used again.
    unsafe { Counted::free(grammar) };
}
