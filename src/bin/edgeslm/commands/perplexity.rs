//! `edgeslm perplexity`: how well a model predicts a text.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use edgeslm::model::{Predictions, TextScore};
use edgeslm::text::MAX_TEXT_BYTES;
use edgeslm::{Error, ErrorKind, Model};
use serde_json::json;

use crate::arguments::ModelArguments;
use crate::failure::{Exit, Failure};
use crate::output::{engine_of, write_facts, write_json};
use crate::{input, progress, units};

/// The largest window that is chosen without being asked for.
const DEFAULT_WINDOW: usize = 1024;

/// The longest file of token ids that is read.
const MAXIMUM_IDS_BYTES: usize = 64 << 20;

/// Measure how well a model predicts a text
///
/// The perplexity is e to the mean negative log-likelihood of each token given those before it in its window. Windows follow each
/// other without overlap; every token but the first is predicted once, a window's first by the window before. Lower is better; figures
/// compare only over the same tokens and the same window.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edgeslm perplexity model --text wiki.txt
  edgeslm perplexity model --text wiki.txt --accuracy strict --window 512
  edgeslm perplexity model --tokens ids.txt --json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,

    /// A file of UTF-8 text
    #[arg(long, value_name = "FILE", required_unless_present = "tokens", conflicts_with = "tokens")]
    text: Option<PathBuf>,

    /// A file of token ids: decimal numbers between spaces, line breaks or commas, or a JSON array
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,

    /// Tokens of a window [default: 1024, or the model's context where that is shorter]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let model = arguments.model.load()?;
    let engine = model.engine().as_ref();
    let (path, is_text) = match (&arguments.text, &arguments.tokens) {
        (Some(path), _) => (path, true),
        (None, Some(path)) => (path, false),
        (None, None) => return Err(Error::new(ErrorKind::InvalidArgument, "there is no text").into()),
    };
    let tokens = tokens(path, is_text, &model)?;
    let window = match arguments.window {
        Some(window) if window as usize > engine.context_length() => {
            return Err(Failure::Usage(
                format!(
                    "a window of {window} tokens is longer than the context of {}",
                    engine.context_length()
                ),
                "choose a shorter --window".to_owned(),
            ));
        }
        Some(window) => window as usize,
        None => engine.context_length().min(DEFAULT_WINDOW),
    };
    let predictions = Predictions::new(engine, &tokens, window).map_err(|error| error.with_file(path))?;
    let bar = progress::tokens(tokens.len() as u64 - 1, "predicting");
    let started = Instant::now();
    let mut score = TextScore::default();
    for prediction in predictions {
        score.add(&prediction?)?;
        bar.set_position(score.predicted as u64);
    }
    let time = started.elapsed();
    let rate = score.predicted as f64 / time.as_secs_f64();
    bar.finish_and_clear();

    let info = model.info();
    if arguments.json {
        let report = json!({
            "directory": info.directory,
            "engine": info.engine,
            "accuracy": info.accuracy,
            "cache_format": info.cache_format,
            "tokens": tokens.len(),
            "predicted_tokens": score.predicted,
            "window": window,
            "perplexity": score.perplexity(),
            "mean_negative_log_likelihood": score.mean(),
            "seconds": time.as_secs_f64(),
            "tokens_per_second": rate,
        });
        write_json(out, &report)?;
    } else {
        let facts = [
            ("model", info.directory.display().to_string()),
            ("engine", engine_of(&info)),
            (
                "tokens",
                format!("{}, {} of them predicted in windows of {window}", tokens.len(), score.predicted),
            ),
            ("perplexity", format!("{:.4}", score.perplexity())),
            ("time", format!("{}, {} tok/s", units::duration(time), units::three_digits(rate))),
        ];
        write_facts(out, &facts)?;
    }
    Ok(Exit::Success)
}

/// The tokens in a file of text or of ids.
fn tokens(path: &Path, is_text: bool, model: &Model) -> Result<Vec<u32>, Error> {
    let text = input::read_file(path, if is_text { MAX_TEXT_BYTES } else { MAXIMUM_IDS_BYTES })?;
    let tokens = if is_text {
        model.text().raw_tokens(&text)
    } else {
        parse_ids(&text).map_err(|word| {
            Error::new(ErrorKind::InvalidArgument, format!("{word:?} is not a token id"))
                .with_hint("ids are numbers from 0, between spaces, line breaks or commas")
        })
    };
    tokens.map_err(|error| error.with_file(path))
}

/// Token ids, or the first word that is none.
fn parse_ids(text: &str) -> Result<Vec<u32>, &str> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let words = inner.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
    words.map(|word| word.parse().map_err(|_| word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_files() {
        for text in ["1 2\n3", "[1, 2, 3]", "1,2,3\n", "  [1\n,2,3] "] {
            assert_eq!(parse_ids(text), Ok(vec![1, 2, 3]), "{text:?}");
        }
        assert_eq!(parse_ids("1 -2"), Err("-2"));
        assert_eq!(parse_ids("[1, two]"), Err("two"));
        assert_eq!(parse_ids("[]"), Ok(vec![]));
    }
}
