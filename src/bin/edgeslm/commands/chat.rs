//! `edgeslm chat`: a conversation in the terminal.

mod line;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use edgeslm::session::{FinishReason, Session, SessionOptions};
use edgeslm::text::Role;
use edgeslm::{Error, ErrorKind, Model};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use self::line::{Command, HELP, Line};
use crate::answer::{self, AnswerArguments};
use crate::arguments::ModelArguments;
use crate::failure::{Exit, Failure};
use crate::interrupt;
use crate::output::{note, printable};

/// Talk to a model
///
/// Ctrl-C stops an answer, Ctrl-D leaves. What is said stays in memory and is gone afterwards.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// Instructions to the model at the beginning
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    #[command(flatten)]
    answer: AnswerArguments,

    /// Keep the lines typed in this file, so that the arrow keys find them next time
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,

    /// Print times and rates after each answer
    #[arg(long)]
    stats: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let model = arguments.model.load()?;
    if model.text().chat_template().is_none() {
        return Err(Error::new(ErrorKind::Template, "the model has no chat template")
            .with_file(&arguments.model.directory)
            .with_hint("`edgeslm run --raw` continues plain text")
            .into());
    }
    let system = arguments.system.clone();
    let session = model.session(SessionOptions { system, ..SessionOptions::default() })?;
    let mut editor = DefaultEditor::new().map_err(terminal_error)?;
    if let Some(path) = &arguments.history
        && path.exists()
    {
        editor.load_history(path).map_err(|error| terminal_error(error).with_file(path))?;
    }
    if io::stdin().is_terminal() {
        note(&format!(
            "{} on {}. /help lists the commands.",
            printable(&arguments.model.directory.display().to_string()),
            model.info().engine
        ));
    }
    Chat { arguments, model, session, editor }.talk(out)?;
    Ok(Exit::Success)
}

fn terminal_error(error: ReadlineError) -> Error {
    Error::new(ErrorKind::Io, error.to_string()).with_source(error)
}

struct Chat<'a> {
    arguments: &'a Arguments,
    model: Model,
    session: Session,
    editor: DefaultEditor,
}

impl Chat<'_> {
    fn talk(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        while let Some(text) = self.read()? {
            match Line::parse(&text) {
                Line::Empty => {}
                Line::Message(message) => self.answer(message, out)?,
                Line::Command(Command::Quit) => break,
                Line::Command(command) => self.obey(command),
                Line::Unknown(name) => {
                    note(&format!("There is no command {}. /help lists them.", printable(name)));
                }
            }
        }
        Ok(())
    }

    /// Reads a message of one or more lines; `None` at the end of the input.
    fn read(&mut self) -> Result<Option<String>, Failure> {
        let mut text = String::new();
        loop {
            match self.editor.readline(if text.is_empty() { "> " } else { ". " }) {
                Ok(line) => match line.strip_suffix('\\') {
                    Some(beginning) => {
                        text.push_str(beginning);
                        text.push('\n');
                    }
                    None => {
                        text.push_str(&line);
                        break;
                    }
                },
                Err(ReadlineError::Interrupted) => {
                    note("Ctrl-D leaves.");
                    text.clear();
                }
                Err(ReadlineError::Eof) if text.is_empty() => return Ok(None),
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(terminal_error(error).into()),
            }
        }
        if !text.trim().is_empty() {
            self.editor.add_history_entry(text.as_str()).map_err(terminal_error)?;
            if let Some(path) = &self.arguments.history {
                self.editor.save_history(path).map_err(|error| terminal_error(error).with_file(path))?;
            }
        }
        Ok(Some(text))
    }

    fn answer(&mut self, message: &str, out: &mut dyn Write) -> Result<(), Failure> {
        let Self { arguments, model, session, .. } = self;
        let result = interrupt::cancelled_by_ctrl_c(|cancel| {
            let options = arguments.answer.options(model, cancel);
            answer::show(&mut session.chat(message, &options)?, out)
        });
        match result {
            Ok(Some(outcome)) => {
                if let Some(text) = remark(outcome.reason) {
                    note(text);
                }
                if arguments.stats {
                    note(&answer::statistics_line(&outcome.statistics));
                }
                Ok(())
            }
            Ok(None) => Ok(()),
            // The conversation goes on after what only this message could not do.
            Err(Failure::Library(error)) => {
                note(&format!("error: {}", printable(&error.to_string())));
                if error.kind() == ErrorKind::ContextLength {
                    note("/rewind takes back the last turn, /reset begins again.");
                }
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    fn obey(&mut self, command: Command<'_>) {
        match command {
            Command::Help => note(HELP),
            Command::Quit => {}
            Command::Reset => {
                self.session.reset();
                note("The conversation begins again.");
            }
            Command::System(text) => {
                self.session.set_system((!text.is_empty()).then(|| text.to_owned()));
                note(if text.is_empty() { "No system message." } else { "System message set." });
            }
            Command::Statistics => {
                note(&answer::statistics_line(&self.session.statistics()));
                note(&format!("{} of {} positions used", self.session.len(), self.session.context()));
            }
            Command::Rewind(count) => {
                let taken = self.rewind(count);
                note(&format!("Took back {taken} turn{}.", if taken == 1 { "" } else { "s" }));
            }
        }
    }

    /// Takes back the last `count` messages of the user with their answers; returns how many there were.
    fn rewind(&mut self, count: usize) -> usize {
        let mut messages = self.session.history().to_vec();
        let mut taken = 0;
        while taken < count {
            let Some(last) = messages.iter().rposition(|message| message.role == Role::User) else { break };
            messages.truncate(last);
            taken += 1;
        }
        self.session.set_history(messages);
        taken
    }
}

/// What the user should know of how an answer ended.
fn remark(reason: FinishReason) -> Option<&'static str> {
    match reason {
        FinishReason::MaxTokens => Some("(cut at --max-tokens)"),
        FinishReason::ContextLength => {
            Some("(the context is full: /rewind takes back turns, /reset begins again)")
        }
        FinishReason::Cancelled => Some("(stopped)"),
        FinishReason::Deadline => Some("(cut at --deadline)"),
        _ => None,
    }
}
