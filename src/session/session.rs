//! A conversation with a model.

use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroize;

use super::answer_text::AnswerText;
use super::constrained::Constrained;
use super::generate::Setup;
use super::sequence::Sequence;
use super::{
    Answer, CancelToken, Control, Event, GenerateOptions, Generation, Outcome, Prompt, SessionOptions, Speed,
    Statistics, Stream,
};
use crate::engine::{Engine, RunControl};
use crate::error::{Error, ErrorKind, Result};
use crate::sampling::Sampler;
use crate::text::{Message, Role, StopMatcher, Text};

/// A conversation with a model: its KV cache and its history.
///
/// A session answers one prompt after another and computes only what a prompt does not share with what is in the
/// cache. It is [`Send`]: any thread may use it, one at a time.
///
/// ```no_run
/// use edgeslm::session::{Event, GenerateOptions, Session, SessionOptions};
/// # use std::sync::Arc;
/// # fn example(engine: Arc<dyn edgeslm::engine::Engine>, text: Arc<edgeslm::text::Text>) -> edgeslm::Result<()> {
/// let mut session = Session::new(engine, text, SessionOptions::default())?;
/// for event in session.chat("Is the door open?", &GenerateOptions::default())? {
///     if let Event::Text(text) = event? {
///         print!("{text}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Session {
    pub(crate) sequence: Sequence,
    pub(crate) text: Arc<Text>,
    options: SessionOptions,
    pub(super) history: Vec<Message>,
    cancel: CancelToken,
    pub(super) statistics: Statistics,
    pub(super) speed: Arc<Speed>,
}

impl Session {
    /// A session with an empty cache. Allocates nothing in proportion to the context.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an option out of its range.
    pub fn new(engine: Arc<dyn Engine>, text: Arc<Text>, options: SessionOptions) -> Result<Self> {
        options.validate()?;
        let mut session = Self {
            sequence: Sequence::new(engine),
            text,
            options,
            history: Vec::new(),
            cancel: CancelToken::new(),
            statistics: Statistics::default(),
            speed: Arc::default(),
        };
        session.reset();
        Ok(session)
    }

    /// Learns how fast the model is together with its other sessions.
    pub(crate) fn sharing(mut self, speed: &Arc<Speed>) -> Self {
        self.speed = Arc::clone(speed);
        self
    }

    /// Answers the user's message within the conversation that the session keeps.
    ///
    /// When the answer has ended, the message and the answer are in the [history](Self::history). An answer that
    /// was cut short, by cancelling, the deadline, an error or dropping the stream, is kept as far as it came; if
    /// it came to no token at all, the turn is not kept and the message can be asked again, which reuses what was
    /// computed.
    ///
    /// # Errors
    /// As [`stream`](Self::stream); the history is then unchanged.
    pub fn chat(&mut self, message: impl Into<String>, options: &GenerateOptions) -> Result<Stream<'_>> {
        let generation = self.begin_chat(message, options)?;
        Ok(Stream { session: self, generation })
    }

    /// Answers a prompt. The history is neither read nor changed; the KV cache is.
    ///
    /// # Errors
    /// With the session unchanged: [`ErrorKind::InvalidArgument`] for an empty prompt, an unknown token or an
    /// option out of its range; [`ErrorKind::ContextLength`] for a prompt longer than the context;
    /// [`ErrorKind::DeadlineExceeded`] where the prompt alone is likely to take longer than there is time;
    /// [`ErrorKind::MemoryBudget`] as the engine says; [`ErrorKind::Template`] and [`ErrorKind::Tokenizer`] for a
    /// text that cannot be turned into tokens.
    pub fn stream(&mut self, prompt: impl Into<Prompt>, options: &GenerateOptions) -> Result<Stream<'_>> {
        let generation = self.begin(prompt, options)?;
        Ok(Stream { session: self, generation })
    }

    /// Answers a prompt and returns the whole answer.
    ///
    /// # Errors
    /// As [`stream`](Self::stream), and [`ErrorKind::InvalidModel`] where logits are damaged.
    pub fn generate(&mut self, prompt: impl Into<Prompt>, options: &GenerateOptions) -> Result<Answer> {
        self.stream(prompt, options)?.into_answer()
    }

    /// Answers a prompt and calls `callback` with each event.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn generate_with(
        &mut self,
        prompt: impl Into<Prompt>,
        options: &GenerateOptions,
        callback: impl FnMut(&Event) -> Control,
    ) -> Result<Outcome> {
        self.stream(prompt, options)?.run(callback)
    }

    /// Like [`stream`](Self::stream), without holding the session's borrow.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub fn begin(&mut self, prompt: impl Into<Prompt>, options: &GenerateOptions) -> Result<Generation> {
        self.start(&prompt.into(), options, None)
    }

    /// Like [`chat`](Self::chat), without holding the session's borrow.
    ///
    /// # Errors
    /// As [`chat`](Self::chat).
    pub fn begin_chat(
        &mut self,
        message: impl Into<String>,
        options: &GenerateOptions,
    ) -> Result<Generation> {
        let user = Message::user(message);
        let mut messages = self.history.clone();
        messages.push(user.clone());
        self.start(&Prompt::Chat(messages), options, Some(user))
    }

    fn start(
        &mut self,
        prompt: &Prompt,
        options: &GenerateOptions,
        turn: Option<Message>,
    ) -> Result<Generation> {
        let started = Instant::now();
        options.validate()?;
        let target = self.prompt_tokens(prompt)?;
        let limit = self.context();
        self.check_length(target.len())?;
        let vocabulary = self.vocabulary();
        let mut stop_tokens = options.stop_tokens.clone();
        if !options.ignore_stop_tokens {
            stop_tokens.extend_from_slice(self.text.stop_ids());
        }
        let constrained = match &options.grammar {
            Some(grammar) => Some(Constrained::new(grammar, &self.text, vocabulary, &stop_tokens, options)?),
            None => None,
        };
        let sampling = options.sampling.as_ref().unwrap_or(&self.options.sampling);
        let setup = Setup {
            target,
            limit,
            chunk: self.chunk(),
            stop_tokens,
            sampler: Sampler::new(sampling.clone(), vocabulary)?,
            vocabulary,
            constrained,
            text: AnswerText::new(
                self.text.tokenizer().stream_decoder(true),
                StopMatcher::new(options.stop.clone())?,
            ),
            control: self.control(options.cancel.as_ref(), options.deadline, started),
            started,
            turn,
            options: options.clone(),
        };
        Generation::new(setup, &mut self.sequence, &self.speed)
    }

    /// What may stop work that begins now. Clears the session's own token.
    pub(crate) fn control(
        &self,
        cancel: Option<&CancelToken>,
        deadline: Option<std::time::Duration>,
        started: Instant,
    ) -> RunControl {
        self.cancel.reset();
        RunControl {
            cancel: Some(cancel.map_or_else(|| self.cancel.clone(), |cancel| self.cancel.or(cancel))),
            // A deadline beyond what the clock can express never comes.
            deadline: deadline.and_then(|deadline| started.checked_add(deadline)),
        }
    }

    /// The tokens of a prompt.
    pub(crate) fn prompt_tokens(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let tokens = match prompt {
            Prompt::Raw(text) if text.is_empty() => Vec::new(),
            Prompt::Raw(text) => self.text.raw_tokens(text)?,
            Prompt::Chat(messages) if messages.is_empty() => Vec::new(),
            Prompt::Chat(messages) => self.text.chat_tokens(messages, &self.options.render)?,
            Prompt::Tokens(tokens) => tokens.clone(),
        };
        if tokens.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the prompt is empty")
                .with_hint("an answer needs at least one token to follow"));
        }
        self.check_known(&tokens)?;
        Ok(tokens)
    }

    /// Refuses tokens that the model has no row for.
    pub(crate) fn check_known(&self, tokens: &[u32]) -> Result<()> {
        let rows = self.sequence.engine().vocabulary_size();
        match tokens.iter().find(|token| **token as usize >= rows) {
            Some(token) => Err(Error::new(ErrorKind::InvalidArgument, format!("token {token} is unknown"))
                .with_hint(format!("the model's vocabulary has {rows} entries"))),
            None => Ok(()),
        }
    }

    /// Refuses more tokens than the context holds.
    pub(crate) fn check_length(&self, length: usize) -> Result<()> {
        let limit = self.context();
        if length > limit {
            let message = format!("the prompt has {length} tokens and the context holds {limit}");
            return Err(Error::new(ErrorKind::ContextLength, message).with_hint(
                "shorten the prompt, reset the conversation, or allow the session a longer context",
            ));
        }
        Ok(())
    }

    /// How many ids can be chosen: those that both the tokenizer and the model have.
    pub(crate) fn vocabulary(&self) -> usize {
        self.sequence.engine().vocabulary_size().min(self.text.tokenizer().vocabulary_size())
    }

    /// How many tokens are fed at a time.
    pub(crate) fn chunk(&self) -> usize {
        self.options.prefill_chunk.min(self.sequence.engine().maximum_batch_tokens()).max(1)
    }

    /// The most tokens that prompt and answer may have together.
    #[must_use]
    pub fn context(&self) -> usize {
        let model = self.sequence.engine().context_length();
        self.options.context.map_or(model, |context| context.min(model))
    }

    /// The messages that [`chat`](Self::chat) goes on from.
    #[must_use]
    pub fn history(&self) -> &[Message] {
        &self.history
    }

    /// Replaces the history, as for a conversation that was stored or is to be corrected. What it shares with the
    /// KV cache is still reused.
    pub fn set_history(&mut self, messages: Vec<Message>) {
        self.wipe_history();
        self.history = messages;
    }

    /// Sets or replaces the system message, at the beginning of the history and for conversations after a
    /// [`reset`](Self::reset); `None` removes it.
    pub fn set_system(&mut self, message: Option<String>) {
        if self.history.first().is_some_and(|first| first.role == Role::System) {
            self.history.remove(0);
        }
        if let Some(content) = &message {
            self.history.insert(0, Message::system(content.clone()));
        }
        self.options.system = message;
    }

    /// Begins a new conversation: the history is the system message alone, and the KV cache is emptied
    /// and its memory given back. Both are overwritten with zeros, so that memory holds nothing of what was said.
    pub fn reset(&mut self) {
        self.sequence.clear();
        self.wipe_history();
        self.history = self.options.system.iter().map(|content| Message::system(content.clone())).collect();
        self.statistics = Statistics::default();
    }

    fn wipe_history(&mut self) {
        for message in &mut self.history {
            message.content.zeroize();
        }
    }

    /// Forgets the cached positions from `length` on; no effect when fewer are cached. The history stays, and what
    /// the next prompt needs of the forgotten is computed again. A cache that cannot stop exactly there forgets
    /// more.
    pub fn rewind(&mut self, length: usize) {
        self.sequence.truncate(length);
    }

    /// How many logits a position has.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.sequence.engine().vocabulary_size()
    }

    /// How many tokens are in the KV cache.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sequence.len()
    }

    /// Whether the KV cache is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens in the KV cache.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        self.sequence.tokens()
    }

    /// Bytes of memory that the KV cache holds.
    #[must_use]
    pub fn cache_bytes(&self) -> u64 {
        self.sequence.bytes()
    }

    /// Counts and times of the last answer, or of the one in progress.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// A token that stops the answer in progress, from any thread. It is cleared when an answer begins, so that
    /// cancelling between answers has no effect; see [`GenerateOptions::cancel`] for one that is not.
    #[must_use]
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// The tokenizer, chat template and stop tokens in use.
    #[must_use]
    pub fn text(&self) -> &Arc<Text> {
        &self.text
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.wipe_history();
    }
}
