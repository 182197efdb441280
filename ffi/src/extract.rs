//! Extracting: fields of a schema out of a text, each looked up in it.

use std::ffi::c_char;

use edgeslm::answer::{Extraction, Extractor};
use serde_json::{Value, json};

use crate::boundary::{self, Output, required, slice};
use crate::error::{Failure, Outcome, slm_error};
use crate::event;
use crate::generate::{self, slm_generate_options};
use crate::handle::Counted;
use crate::model::slm_model;
use crate::session::slm_session;
use crate::status::{SLM_INVALID_ARGUMENT, slm_status};
use crate::string::{self, Text, slm_str, slm_string};

/// Which fields are wanted, for answers of one model. Immutable; it may outlive the model.
pub struct slm_extractor {
    extractor: Extractor,
}

impl Counted for slm_extractor {}

/// A text, and the JSON that an extraction from it should give.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_example {
    /// The text.
    pub source: slm_str,
    /// A JSON object.
    pub value: slm_str,
}

/// Makes an extractor of the fields that `schema`, the JSON schema of an object, names under `properties`. The model may answer
/// null for each of them. `instructions` are what the model is asked, a text of length 0 for the usual words; `examples` show
/// it texts and what is wanted of them.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_extractor_new(
    model: *const slm_model,
    schema: *const c_char,
    schema_length: usize,
    instructions: *const c_char,
    instructions_length: usize,
    examples: *const slm_example,
    example_count: usize,
    extractor: *mut *const slm_extractor,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let model = required("model", model)?;
        let output = Output::new("extractor", extractor)?;
        let schema = string::read("schema", schema, schema_length)?;
        let instructions = string::read("instructions", instructions, instructions_length)?;
        let mut made = model.shared.with(|model| Ok(Extractor::new(schema, model.text())?))?;
        if !instructions.is_empty() {
            made = made.with_instructions(instructions);
        }
        for example in slice("examples", examples, example_count)? {
            let source = string::read("source", example.source.data, example.source.len)?;
            let value = string::read("value", example.value.data, example.value.len)?;
            made = made.with_example(source, &read_example(value)?);
        }
        output.write(slm_extractor { extractor: made }.into_handle());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

fn read_example(value: &str) -> Outcome<Value> {
    serde_json::from_str(value).map_err(|error| {
        Failure::new(SLM_INVALID_ARGUMENT, format!("an example's value is not valid JSON: {error}"))
    })
}

/// Frees the extractor; NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_extractor_free(extractor: *const slm_extractor) {
    // SAFETY: NULL, or a handle of `slm_extractor_new` that is not used again.
    unsafe { Counted::free(extractor) };
}

/// Takes the extractor's fields out of `source`. Stores in `value` a JSON object in which every field that the text does not
/// contain is null, and in `fields`, unless it is NULL, a JSON array with an object for each single value: `path` (a JSON
/// pointer), `value` as the model gave it, and `support`: `found` in the text, with the bytes `start` to `end`; `missing`;
/// `unsupported`, a value that is not in the text and not in `value` either; or `chosen`, one that the schema names.
/// `completion`, unless it is NULL, is one of `SLM_COMPLETION_...`. Free both texts with `slm_string_free`. The options' grammar must
/// be NULL. `SLM_DEADLINE_EXCEEDED` and `SLM_CANCELLED` where there was no whole answer.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_extract(
    session: *mut slm_session,
    extractor: *const slm_extractor,
    source: *const c_char,
    source_length: usize,
    options: *const slm_generate_options,
    value: *mut slm_string,
    fields: *mut slm_string,
    completion: *mut i32,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let session = required("session", session)?;
        let extractor = required("extractor", extractor)?;
        let output = Output::new("value", value)?;
        let source = string::read("source", source, source_length)?;
        let options = generate::read_options(options)?;
        let found =
            session.session.with(|session| Ok(session.extract(&extractor.extractor, source, &options)?))?;
        if !fields.is_null() {
            fields.write(Text::new(described(&found).to_string()).into_owned());
        }
        if !completion.is_null() {
            completion.write(event::completion(found.outcome.completion));
        }
        output.write(Text::new(found.value.to_string()).into_owned());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

fn described(found: &Extraction) -> Value {
    let fields = found.fields.iter().map(|field| {
        let mut described = json!({
            "path": field.path, "value": field.value, "support": field.support.name(),
        });
        if let Some(place) = &field.place {
            described["start"] = place.start.into();
            described["end"] = place.end.into();
        }
        described
    });
    Value::Array(fields.collect())
}
