//! `edgeslm run`: one prompt, one answer.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use edgeslm::session::{Completion, FinishReason, GenerateOptions, Outcome, Prompt, Session, SessionOptions};
use edgeslm::text::{MAX_TEXT_BYTES, Message};
use edgeslm::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::answer::{self, AnswerArguments};
use crate::arguments::ModelArguments;
use crate::failure::{Exit, Failure};
use crate::form::FormArguments;
use crate::output::{note, write_json};
use crate::{input, interrupt};

/// Answer one prompt
///
/// The prompt is an argument, a file, or what comes on standard input. It is put into the model's chat template, or taken as it is
/// with --raw. The answer is printed while it is made; Ctrl-C ends it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edgeslm run model 'Name three primary colours.'
  edgeslm run model --system 'Answer in one sentence.' 'What is a KV cache?'
  edgeslm run model --raw -n 40 'Once upon a time'
  edgeslm run model --file report.txt --deadline 10s --stats
  git diff | edgeslm run model --system 'Summarise this change.'
  edgeslm run model --json-schema ticket.json --deadline 2s 'The pump in hall 3 leaks.'
  edgeslm run model --temperature 0.8 --top-p 0.95 --seed 7 --json 'Tell a joke.'")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// The prompt [default: standard input]
    #[arg(value_name = "PROMPT", conflicts_with = "file")]
    prompt: Option<String>,

    /// Read the prompt from a file; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Continue the prompt as plain text, without the chat template
    #[arg(long, conflicts_with = "system")]
    raw: bool,

    /// Instructions to the model before the prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    #[command(flatten)]
    answer: AnswerArguments,

    #[command(flatten)]
    form: FormArguments,

    /// Print an object with text, tokens and statistics
    #[arg(long)]
    json: bool,

    /// With --json: log-probabilities of the answer's tokens and of this many most probable ones
    #[arg(long, value_name = "N", requires = "json")]
    log_probabilities: Option<usize>,

    /// Print times and rates to standard error
    #[arg(long)]
    stats: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let text = prompt_text(arguments)?;
    let model = arguments.model.load()?;
    let mut session = model.session(SessionOptions::default())?;
    let prompt = match (arguments.raw, &arguments.system) {
        (true, _) => Prompt::Raw(text),
        (false, None) => Prompt::Chat(vec![Message::user(text)]),
        (false, Some(system)) => Prompt::Chat(vec![Message::system(system), Message::user(text)]),
    };
    if !arguments.raw && model.text().chat_template().is_none() {
        return Err(Error::new(ErrorKind::Template, "the model has no chat template")
            .with_file(&arguments.model.directory)
            .with_hint("give a plain prompt with --raw")
            .into());
    }
    let grammar = arguments.form.grammar(&model)?;
    let outcome = interrupt::cancelled_by_ctrl_c(|cancel| {
        let options = GenerateOptions {
            log_probabilities: arguments.log_probabilities,
            grammar,
            ..arguments.answer.options(&model, cancel)
        };
        if arguments.json {
            answer_json(&mut session, prompt, &options, out)
        } else {
            answer::show(&mut session.stream(prompt, &options)?, out)
        }
    })?;
    let Some(outcome) = outcome else {
        return Err(Error::new(ErrorKind::Internal, "the answer ended without an outcome").into());
    };
    if !arguments.json && outcome.completion == Completion::Shortened {
        note("the answer was shortened, so that it has its form: values near its end may not be the model's");
    }
    if arguments.stats {
        note(&format!("{}; {}", outcome.reason.name(), answer::statistics_line(&outcome.statistics)));
    }
    Ok(if outcome.reason == FinishReason::Cancelled { Exit::Interrupted } else { Exit::Success })
}

fn answer_json(
    session: &mut Session,
    prompt: Prompt,
    options: &GenerateOptions,
    out: &mut dyn Write,
) -> Result<Option<Outcome>, Failure> {
    let answer = session.generate(prompt, options)?;
    let mut object = json!({
        "text": answer.text,
        "tokens": answer.tokens,
        "finish_reason": answer.outcome.reason.name(),
        "completion": answer.outcome.completion.name(),
        "seed": answer.outcome.seed,
        "statistics": answer::statistics_json(&answer.outcome.statistics),
    });
    if options.log_probabilities.is_some() {
        let tokens = answer.tokens.iter().zip(&answer.log_probabilities);
        let entries: Vec<Value> = tokens
            .map(|(token, of_token)| {
                let top = of_token.top.iter();
                let top: Vec<Value> =
                    top.map(|(id, value)| json!({"token": id, "log_probability": value})).collect();
                json!({"token": token, "log_probability": of_token.chosen, "top": top})
            })
            .collect();
        object["log_probabilities"] = entries.into();
    }
    write_json(out, &object)?;
    Ok(Some(answer.outcome))
}

fn prompt_text(arguments: &Arguments) -> Result<String, Failure> {
    if let Some(prompt) = &arguments.prompt {
        return Ok(prompt.clone());
    }
    let text = match &arguments.file {
        Some(path) if path != Path::new("-") => input::read_file(path, MAX_TEXT_BYTES)?,
        None if io::stdin().is_terminal() => {
            return Err(Failure::Usage(
                "there is no prompt".to_owned(),
                "give it as an argument, with --file FILE, or on standard input; `edgeslm chat` talks"
                    .to_owned(),
            ));
        }
        _ => input::read(io::stdin().lock(), Path::new("standard input"), MAX_TEXT_BYTES)?,
    };
    Ok(input::without_last_line_break(&text).to_owned())
}
