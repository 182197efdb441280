//! Conversations: what a session keeps, and the prompts that chat templates make.

use std::ffi::c_char;

use edgeslm::session::Session;
use edgeslm::text::{DateTime, RenderOptions};
use serde_json::{Map, Value};

use crate::boundary::{self, Output, required};
use crate::error::{Failure, Outcome, slm_error};
use crate::model::slm_model;
use crate::session::{slm_session, with_session};
use crate::status::{SLM_INTERNAL, SLM_INVALID_ARGUMENT, slm_status};
use crate::stream::{self, slm_message};
use crate::string::{self, Text, slm_string};

/// The caller's options for chat templates: a JSON object, or nothing.
pub(crate) fn template_options(json: &str) -> Outcome<RenderOptions> {
    let mut options = RenderOptions::default();
    if json.is_empty() {
        return Ok(options);
    }
    let wrong = |what: &str| Failure::new(SLM_INVALID_ARGUMENT, format!("template_options: {what}"));
    let fields: Map<String, Value> =
        serde_json::from_str(json).map_err(|error| wrong(&format!("not a JSON object: {error}")))?;
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("date", Value::String(date)) => {
                let day = day(&date).ok_or_else(|| wrong("date is no day written as 2025-03-09"))?;
                options.date = Some(day);
            }
            ("tools", tools @ Value::Array(_)) => options.tools = Some(tools),
            ("documents", documents @ Value::Array(_)) => options.documents = Some(documents),
            ("variables", Value::Object(variables)) => options.variables = variables,
            ("add_generation_prompt", Value::Bool(add)) => options.add_generation_prompt = add,
            ("date" | "tools" | "documents" | "variables" | "add_generation_prompt", _) => {
                return Err(wrong(&format!("{name} has the wrong type")));
            }
            _ => {
                return Err(wrong(&format!("there is no {name:?}"))
                    .with_hint("the names are date, tools, documents, variables and add_generation_prompt"));
            }
        }
    }
    Ok(options)
}

/// A day as ISO 8601 writes it.
fn day(text: &str) -> Option<DateTime> {
    let [year, month, day] = text.split('-').collect::<Vec<_>>().try_into().ok()?;
    let has_widths = [(year, 4), (month, 2), (day, 2)].iter().all(|(part, width)| part.len() == *width);
    has_widths.then_some(())?;
    DateTime::from_ymd(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
}

/// Stores the prompt that the model's chat template makes of a conversation. `template_options` is a JSON object as in
/// `slm_session_options`, or empty.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_render_chat(
    model: *const slm_model,
    messages: *const slm_message,
    message_count: usize,
    template_options: *const c_char,
    template_options_length: usize,
    text: *mut slm_string,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let model = required("model", model)?;
        let output = Output::new("text", text)?;
        let messages = stream::read_messages(messages, message_count)?;
        let json = string::read("template_options", template_options, template_options_length)?;
        let options = self::template_options(json)?;
        let text = model.shared.with(|model| Ok(model.text().render(&messages, &options)?))?;
        output.write(Text::new(text).into_owned());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Stores the conversation that the session keeps, as a JSON array of objects with `role` and `content`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_session_history(
    session: *mut slm_session,
    messages: *mut slm_string,
    error: *mut *mut slm_error,
) -> slm_status {
    let body = |session: &mut Session| {
        // SAFETY: the caller's memory for the text.
        let output = unsafe { Output::new("messages", messages) }?;
        let json = serde_json::to_string(session.history())
            .map_err(|error| Failure::new(SLM_INTERNAL, error.to_string()))?;
        output.write(Text::new(json).into_owned());
        Ok(())
    };
    // SAFETY: passed on.
    unsafe { with_session(session, error, body) }
}

/// Replaces the conversation that the session keeps, as for one that was stored or is to be corrected. What the next
/// prompt shares with the KV cache is still not computed again.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_session_set_history(
    session: *mut slm_session,
    messages: *const slm_message,
    message_count: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    let body = |session: &mut Session| {
        // SAFETY: the caller's messages.
        session.set_history(unsafe { stream::read_messages(messages, message_count) }?);
        Ok(())
    };
    // SAFETY: passed on.
    unsafe { with_session(session, error, body) }
}
