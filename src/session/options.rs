//! What a caller may ask of a session and of an answer.

use std::time::Duration;

use super::CancelToken;
use crate::error::{Error, ErrorKind, Result};
use crate::sampling::SamplingOptions;
use crate::sampling::constraint::Grammar;
use crate::text::RenderOptions;

/// Options of a [`Session`](super::Session).
///
/// ```
/// use edgeslm::session::SessionOptions;
///
/// let options = SessionOptions { context: Some(4096), ..SessionOptions::default() };
/// assert!(options.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SessionOptions {
    /// The most tokens that prompt and answer may have together; `None` for the model's context length, which also
    /// bounds larger values. Nothing is allocated for it in advance. At least 2.
    pub context: Option<usize>,
    /// The most tokens of a prompt that are computed at a time; the engine's own bound holds too
    /// ([`Engine::maximum_batch_tokens`](crate::engine::Engine::maximum_batch_tokens), at most 256 on the CPU). Cancelling takes
    /// effect inside a chunk; progress is reported, and memory for activations is bounded, by the chunk. At least 1.
    /// Default 512.
    pub prefill_chunk: usize,
    /// The system message with which [`chat`](super::Session::chat) begins; `None` for none.
    pub system: Option<String>,
    /// What chat prompts are made with besides the messages: date, tools, variables of the template.
    pub render: RenderOptions,
    /// How tokens are chosen where an answer's own options do not say.
    pub sampling: SamplingOptions,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            context: None,
            prefill_chunk: 512,
            system: None,
            render: RenderOptions::default(),
            sampling: SamplingOptions::default(),
        }
    }
}

impl SessionOptions {
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] that names the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        if self.context.is_some_and(|context| context < 2) {
            return Err(Error::new(ErrorKind::InvalidArgument, "context is below 2")
                .with_hint("a prompt of one token and an answer of one token need 2"));
        }
        if self.prefill_chunk == 0 {
            return Err(
                Error::new(ErrorKind::InvalidArgument, "prefill_chunk is 0").with_hint("the least is 1")
            );
        }
        self.sampling.validate()
    }
}

/// Options of one answer.
///
/// ```
/// use edgeslm::session::GenerateOptions;
/// use std::time::Duration;
///
/// let options = GenerateOptions {
///     max_tokens: 64,
///     stop: vec!["\n\n".to_owned()],
///     deadline: Some(Duration::from_secs(5)),
///     ..GenerateOptions::default()
/// };
/// assert!(options.validate().is_ok());
/// ```
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// The most tokens of the answer; 0 only computes the prompt, and `usize::MAX` leaves it to the context.
    /// Default 1024.
    pub max_tokens: usize,
    /// How tokens are chosen; `None` for the session's choice.
    pub sampling: Option<SamplingOptions>,
    /// Texts that end the answer, wherever token borders fall; they are not part of it. None may be empty.
    pub stop: Vec<String>,
    /// Tokens that end the answer besides the model's own.
    pub stop_tokens: Vec<u32>,
    /// Goes on after the model's stop tokens, as measurements need it.
    pub ignore_stop_tokens: bool,
    /// What the answer's text must look like; made with [`Model::grammar`](crate::Model::grammar).
    pub grammar: Option<Grammar>,
    /// Reports log-probabilities of each chosen token and of this many most probable ones. They are the model's own, whatever
    /// a grammar allows; with a grammar, the tokens that it forces are then fed one by one.
    pub log_probabilities: Option<usize>,
    /// The most tokens of the answer that are guessed at a time, from what followed the last tokens where they stood before in prompt
    /// or answer, and checked in the pass of the token before them (prompt lookup decoding). The answer is the same, token for token
    /// and with the same log-probabilities, whatever is guessed, in every accuracy. It comes sooner where it repeats its
    /// prompt, as extraction and rewriting do, and somewhat later where it does not. 0 for none, the default; 8 to 16 are
    /// useful. [`generate_batch`](super::generate_batch) does not guess where it decodes several answers in one pass.
    pub draft_tokens: usize,
    /// How long prompt and answer may take, counted from the call, waiting for the engine included.
    ///
    /// An answer with a [grammar](Self::grammar) is closed shortly before, so that it still parses; see
    /// [`Completion`](super::Completion). A prompt that would take longer by the speed measured of late is refused at once.
    pub deadline: Option<Duration>,
    /// Stops the answer when signalled, as [`Session::cancel_token`](super::Session::cancel_token) does; it is the
    /// caller's to reset.
    pub cancel: Option<CancelToken>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: 1024,
            sampling: None,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            ignore_stop_tokens: false,
            grammar: None,
            log_probabilities: None,
            draft_tokens: 0,
            deadline: None,
            cancel: None,
        }
    }
}

impl GenerateOptions {
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] that names the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        if self.stop.iter().any(String::is_empty) {
            return Err(Error::new(ErrorKind::InvalidArgument, "stop holds an empty string")
                .with_hint("every text contains the empty string"));
        }
        self.sampling.as_ref().map_or(Ok(()), SamplingOptions::validate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let session = SessionOptions::default;
        let hot = SamplingOptions { temperature: -1.0, ..Default::default() };
        let generate = GenerateOptions::default;
        let cases = [
            ("context", SessionOptions { context: Some(1), ..session() }.validate()),
            ("prefill_chunk", SessionOptions { prefill_chunk: 0, ..session() }.validate()),
            ("temperature", SessionOptions { sampling: hot.clone(), ..session() }.validate()),
            ("stop", GenerateOptions { stop: vec!["a".into(), String::new()], ..generate() }.validate()),
            ("temperature", GenerateOptions { sampling: Some(hot), ..generate() }.validate()),
        ];
        for (name, result) in cases {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().starts_with(name), "{error}");
        }
        session().validate().unwrap();
        generate().validate().unwrap();
    }
}
