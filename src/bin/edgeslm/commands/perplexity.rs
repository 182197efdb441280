//! `edgeslm perplexity`: how well a model predicts a text.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use edgeslm::engine::{Engine, LogitsAt, RunControl, SequenceInput};
use edgeslm::text::MAX_TEXT_BYTES;
use edgeslm::{Error, ErrorKind, Model};
use serde_json::json;

use crate::arguments::ModelArguments;
use crate::failure::{Exit, Failure};
use crate::output::{write_facts, write_json};
use crate::{input, progress, units};

/// The largest window that is chosen without being asked for.
const DEFAULT_WINDOW: usize = 1024;

/// The most logits held at a time: 64 MiB of them.
const MAXIMUM_LOGITS: usize = 1 << 24;

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
    let tokens = tokens(arguments, &model)?;
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
    let bar = progress::tokens(tokens.len() as u64 - 1, "predicting");
    let score = Score::of(engine, &tokens, window, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();

    let info = model.info();
    if arguments.json {
        let report = json!({
            "directory": info.directory,
            "engine": info.engine,
            "accuracy": info.accuracy,
            "tokens": tokens.len(),
            "predicted_tokens": score.predicted,
            "window": window,
            "perplexity": score.perplexity(),
            "mean_negative_log_likelihood": score.mean(),
            "seconds": score.time.as_secs_f64(),
            "tokens_per_second": score.rate(),
        });
        write_json(out, &report)?;
    } else {
        let facts = [
            ("model", info.directory.display().to_string()),
            ("engine", format!("{}, {} accuracy", info.engine, info.accuracy)),
            (
                "tokens",
                format!("{}, {} of them predicted in windows of {window}", tokens.len(), score.predicted),
            ),
            ("perplexity", format!("{:.4}", score.perplexity())),
            ("time", format!("{}, {} tok/s", units::duration(score.time), units::three_digits(score.rate()))),
        ];
        write_facts(out, &facts)?;
    }
    Ok(Exit::Success)
}

fn tokens(arguments: &Arguments, model: &Model) -> Result<Vec<u32>, Error> {
    let (path, is_text) = match (&arguments.text, &arguments.tokens) {
        (Some(path), _) => (path, true),
        (None, Some(path)) => (path, false),
        (None, None) => return Err(Error::new(ErrorKind::InvalidArgument, "there is no text")),
    };
    let text = input::read_file(path, if is_text { MAX_TEXT_BYTES } else { MAXIMUM_IDS_BYTES })?;
    let tokens = if is_text {
        model.text().raw_tokens(&text)
    } else {
        parse_ids(&text).map_err(|word| {
            Error::new(ErrorKind::InvalidArgument, format!("{word:?} is not a token id"))
                .with_hint("ids are numbers from 0, between spaces, line breaks or commas")
        })
    };
    let tokens = tokens.map_err(|error| error.with_file(path))?;
    if tokens.len() < 2 {
        let text = format!("{} token is too short to predict anything", tokens.len());
        return Err(Error::new(ErrorKind::InvalidArgument, text).with_file(path));
    }
    Ok(tokens)
}

/// Token ids, or the first word that is none.
fn parse_ids(text: &str) -> Result<Vec<u32>, &str> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let words = inner.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
    words.map(|word| word.parse().map_err(|_| word)).collect()
}

/// The likelihood of a text.
struct Score {
    negative_log_likelihood: f64,
    predicted: usize,
    time: Duration,
}

impl Score {
    /// Runs `tokens` through the engine in windows of `window`; `progress` is told how many were predicted.
    fn of(
        engine: &dyn Engine,
        tokens: &[u32],
        window: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<Self, Error> {
        let started = Instant::now();
        let mut score = Self { negative_log_likelihood: 0.0, predicted: 0, time: Duration::ZERO };
        let chunk =
            engine.maximum_batch_tokens().min(MAXIMUM_LOGITS / engine.vocabulary_size().max(1)).max(1);
        let mut cache = engine.new_cache();
        // The last token predicts nothing that is known.
        let (inputs, targets) = (&tokens[..tokens.len() - 1], &tokens[1..]);
        for (inputs, targets) in inputs.chunks(window).zip(targets.chunks(window)) {
            cache.truncate(0);
            engine.prepare(cache.as_mut(), inputs.len())?;
            for (inputs, targets) in inputs.chunks(chunk).zip(targets.chunks(chunk)) {
                let input = SequenceInput {
                    cache: cache.as_mut(),
                    tokens: inputs,
                    parents: None,
                    logits: LogitsAt::All,
                    vocabulary: None,
                };
                let logits = engine.forward(&mut [input], &RunControl::default())?;
                for (row, target) in logits.iter().flat_map(|logits| logits.rows()).zip(targets) {
                    score.negative_log_likelihood += negative_log_likelihood(row.iter(), *target)?;
                    score.predicted += 1;
                }
                progress(score.predicted);
            }
        }
        score.time = started.elapsed();
        Ok(score)
    }

    fn mean(&self) -> f64 {
        self.negative_log_likelihood / self.predicted as f64
    }

    fn perplexity(&self) -> f64 {
        self.mean().exp()
    }

    fn rate(&self) -> f64 {
        self.predicted as f64 / self.time.as_secs_f64()
    }
}

/// The natural logarithm of 1 / softmax(logits)[target], in 64 bits.
fn negative_log_likelihood<'a>(
    logits: impl Iterator<Item = &'a f32> + Clone,
    target: u32,
) -> Result<f64, Error> {
    let maximum = logits.clone().fold(f32::NEG_INFINITY, |maximum, logit| maximum.max(*logit));
    let total: f64 = logits.clone().map(|logit| f64::from(logit - maximum).exp()).sum();
    let logit = logits.clone().nth(target as usize).ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, format!("token {target} is unknown to the model"))
    })?;
    let result = total.ln() - f64::from(logit - maximum);
    if result.is_finite() {
        return Ok(result);
    }
    Err(Error::new(ErrorKind::InvalidModel, "the model gives logits that are not numbers"))
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

    #[test]
    fn likelihoods() {
        // softmax(0, ln 3) = (1/4, 3/4)
        let logits = [0.0, 3_f32.ln()];
        assert!((negative_log_likelihood(logits.iter(), 0).unwrap() - 4_f64.ln()).abs() < 1e-7);
        assert!((negative_log_likelihood(logits.iter(), 1).unwrap() - (4_f64 / 3.0).ln()).abs() < 1e-7);
        let kind =
            |logits: &[f32], target| negative_log_likelihood(logits.iter(), target).unwrap_err().kind();
        assert_eq!(kind(&logits, 2), ErrorKind::InvalidArgument);
        assert_eq!(kind(&[0.0, f32::NAN], 0), ErrorKind::InvalidModel);
        assert_eq!(kind(&[f32::NEG_INFINITY; 2], 0), ErrorKind::InvalidModel);
    }
}
