//! A grammar that is ready for use with one tokenizer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use llguidance::TokenParser;
use llguidance::api::TopLevelGrammar;

use super::closing::{Chart, Lexemes, Reading, Rules};
use super::matcher::Matcher;
use super::source::{Prepared, refused};
use super::{GrammarSource, GrammarVocabulary, limits};
use crate::error::{Error, ErrorKind, Result};
use crate::text::Text;

/// A compiled grammar: what answers may look like. Immutable, cheap to clone, and shared between sessions and threads.
///
/// It is made for one tokenizer, and sessions of models with another refuse it.
///
/// ```no_run
/// # fn example(model: &edgeslm::Model) -> edgeslm::Result<()> {
/// use edgeslm::sampling::constraint::GrammarSource;
/// use edgeslm::session::{GenerateOptions, SessionOptions};
///
/// let grammar = model.grammar(&GrammarSource::choices(["yes", "no"]))?;
/// let options = GenerateOptions { grammar: Some(grammar), ..GenerateOptions::default() };
/// let mut session = model.session(SessionOptions::default())?;
/// let answer = session.chat("Is the door open?", &options)?.into_text()?;
/// assert!(answer == "yes" || answer == "no");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Grammar {
    inner: Arc<Inner>,
}

struct Inner {
    vocabulary: Arc<GrammarVocabulary>,
    /// Never used but to be copied.
    fresh: TokenParser,
    /// Copies of it share what they learn of the lexer's states.
    shared: Mutex<TokenParser>,
    /// How texts end, where that is known.
    closing: Option<Closing>,
}

struct Closing {
    rules: Arc<Rules>,
    /// Learnt by all answers.
    lexemes: Mutex<Arc<Mutex<Lexemes>>>,
}

impl Grammar {
    /// Compiles `source` for the tokenizer of `text`. The first grammar of a tokenizer takes some 100 ms more for a large
    /// vocabulary.
    ///
    /// # Errors
    /// [`ErrorKind::Grammar`] for a source that is damaged, that no text satisfies, or that is beyond the
    /// [limits](super::limits); [`ErrorKind::Unsupported`] for one that asks for what cannot be kept, or a tokenizer that
    /// cannot be constrained; [`ErrorKind::Busy`] when earlier hostile sources are still being compiled.
    pub fn compile(source: &GrammarSource, text: &Text) -> Result<Self> {
        let prepared = source.prepare()?;
        let vocabulary = text.grammar_vocabulary()?;
        let for_thread = Arc::clone(&vocabulary);
        let (fresh, closing) = in_time(move || parser(prepared, &for_thread))?;
        let shared = Mutex::new(fresh.deep_clone());
        let grammar = Self { inner: Arc::new(Inner { vocabulary, fresh, shared, closing }) };
        grammar.check_begins()?;
        Ok(grammar)
    }

    /// Refuses a grammar that allows nothing at all.
    fn check_begins(&self) -> Result<()> {
        let mut matcher = self.matcher();
        if matcher.is_complete()? {
            return Err(refused("the grammar allows the empty text alone"));
        }
        match matcher.mask() {
            Ok((mask, ends)) if mask.count() > 0 || ends => Ok(()),
            Ok(_) => Err(refused("no text satisfies the grammar")),
            Err(error) => Err(error),
        }
    }

    /// At the beginning of a text.
    #[must_use]
    pub fn matcher(&self) -> Matcher {
        let mut shared = self.inner.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let states = shared.parser.lexer_stats();
        if states.error || states.num_states > limits::LEXER_STATES / 2 {
            *shared = self.inner.fresh.deep_clone();
        }
        let parser = shared.clone();
        drop(shared);
        let chart = self.inner.closing.as_ref().and_then(Closing::chart);
        Matcher::new(parser, Arc::clone(&self.inner.vocabulary), chart)
    }

    /// Whether it was compiled for the tokenizer of `text`.
    #[must_use]
    pub fn is_for(&self, text: &Text) -> bool {
        text.grammar_vocabulary().is_ok_and(|vocabulary| Arc::ptr_eq(&vocabulary, &self.inner.vocabulary))
    }
}

impl std::fmt::Debug for Grammar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammar").field("vocabulary", &self.inner.vocabulary).finish_non_exhaustive()
    }
}

impl Closing {
    fn chart(&self) -> Option<Chart> {
        let mut shared = self.lexemes.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.lock().unwrap_or_else(PoisonError::into_inner).is_full() {
            *shared = Arc::new(Mutex::new(self.rules.lexemes()?));
        }
        Some(Chart::new(Arc::clone(&self.rules), Arc::clone(&shared)))
    }
}

fn parser(prepared: Prepared, vocabulary: &GrammarVocabulary) -> Result<(TokenParser, Option<Closing>)> {
    let grammar = match prepared {
        Prepared::JsonSchema(schema) => TopLevelGrammar::from_json_schema(schema),
        Prepared::Regex(pattern) => TopLevelGrammar::from_regex(&pattern),
        Prepared::Lark(grammar) => TopLevelGrammar::from_lark(grammar),
    };
    let mut parser =
        vocabulary.factory.create_parser(grammar).map_err(|error| not_compiled(&format!("{error:#}")))?;
    parser.start_without_prompt();
    let compiled = parser.parser.grammar();
    if compiled.lexer_spec().special_token_rx.is_some() {
        return Err(Error::new(ErrorKind::Unsupported, "the grammar names tokens by their numbers")
            .with_hint("name the text that is wanted"));
    }
    let closing = match Rules::read(compiled, &limits::of_parser()) {
        Reading::Rules(rules) => {
            let lexemes = rules.lexemes().ok_or_else(too_complex)?;
            Some(Closing { rules: Arc::from(rules), lexemes: Mutex::new(Arc::new(Mutex::new(lexemes))) })
        }
        Reading::Endless => return Err(refused("no text of the grammar ends")),
        Reading::TooComplex => return Err(too_complex()),
        Reading::Unknown => None,
    };
    Ok((parser, closing))
}

fn too_complex() -> Error {
    refused("the grammar's regular expressions are too complex").with_hint("use fewer or shorter repetitions")
}

/// Phrases of llguidance's messages about what it does not implement.
const UNSUPPORTED: [&str; 7] = [
    "Unimplemented keys",
    "Unknown format",
    "not supported",
    "no longer supported",
    "Unknown specification",
    "are supported without",
    "special token",
];

fn not_compiled(full: &str) -> Error {
    // A caught panic's message is followed by where it happened.
    let message = full.split("\n<").next().unwrap_or_default();
    let kind = if UNSUPPORTED.iter().any(|phrase| full.contains(phrase)) {
        ErrorKind::Unsupported
    } else {
        ErrorKind::Grammar
    };
    let message: String = message.chars().take(500).collect();
    Error::new(kind, format!("the grammar cannot be used: {}", message.trim()))
}

static LEFT_BEHIND: AtomicUsize = AtomicUsize::new(0);

/// Runs `work` on a thread with a stack of known size, for as long as a grammar may take.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    if LEFT_BEHIND.load(Ordering::SeqCst) >= limits::LEFT_BEHIND {
        return Err(Error::new(ErrorKind::Busy, "earlier grammars are still being compiled")
            .with_hint("they are beyond the time that a grammar may take; try again later"));
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = move || {
        // A panic is a defect of the crate that this grammar has found. Nothing shared is changed while compiling.
        let result = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err(refused("the grammar is one that cannot be compiled")));
        if sender.send(result).is_err() {
            LEFT_BEHIND.fetch_sub(1, Ordering::SeqCst);
        }
    };
    std::thread::Builder::new()
        .name("edgeslm-grammar".to_owned())
        .stack_size(limits::STACK_BYTES)
        .spawn(thread)
        .map_err(|error| {
            Error::new(ErrorKind::MemoryBudget, format!("no thread for compiling a grammar: {error}"))
        })?;
    match receiver.recv_timeout(limits::COMPILE_TIME) {
        Ok(result) => result,
        Err(_) => {
            LEFT_BEHIND.fetch_add(1, Ordering::SeqCst);
            let seconds = limits::COMPILE_TIME.as_secs();
            Err(refused(format!("compiling the grammar takes longer than {seconds} s"))
                .with_hint("make it smaller"))
        }
    }
}
