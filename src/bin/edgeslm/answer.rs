//! What `run` and `chat` share: how an answer is asked for and shown.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use edgeslm::CancelToken;
use edgeslm::Model;
use edgeslm::sampling::SamplingOptions;
use edgeslm::session::{Event, GenerateOptions, Outcome, Statistics, Stream};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::write_text;
use crate::{progress, units};

/// How many tokens a prompt must have for a progress bar.
const LONG_PROMPT: usize = 512;

/// How the answer is made.
#[derive(Args, Debug)]
#[command(next_help_heading = "Answer")]
pub(crate) struct AnswerArguments {
    /// The most tokens of an answer
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1024)]
    max_tokens: usize,

    /// A text that ends the answer and is not part of it; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,

    /// How long prompt and answer may take, such as 5s or 800ms; what is there by then is the answer
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    deadline: Option<Duration>,

    /// Guess up to N tokens at a time from what stands before; the same answer, sooner where it repeats its prompt
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    draft_tokens: usize,

    #[command(flatten)]
    sampling: SamplingArguments,
}

/// How tokens are chosen.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sampling (greedy by default)")]
struct SamplingArguments {
    /// Begin with what the model's publisher suggests; the options below change it
    #[arg(long)]
    suggested_sampling: bool,

    /// Divide the logits by this; 0 always takes the most probable token
    #[arg(long, short, value_name = "T")]
    temperature: Option<f32>,

    /// Keep the K most probable tokens; 0 keeps all
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,

    /// Keep the most probable tokens that together have probability P
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,

    /// Keep tokens at least P times as probable as the most probable one
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,

    /// Make tokens that occurred less probable; 1 changes nothing
    #[arg(long, value_name = "X")]
    repetition_penalty: Option<f32>,

    /// Subtract this from a token's logit for each time it occurred
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,

    /// Subtract this from a token's logit if it occurred
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,

    /// The same seed gives the same answer [default: a random one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl SamplingArguments {
    fn options(&self, suggested: SamplingOptions) -> SamplingOptions {
        let base = if self.suggested_sampling { suggested } else { SamplingOptions::default() };
        SamplingOptions {
            temperature: self.temperature.unwrap_or(base.temperature),
            top_k: self.top_k.unwrap_or(base.top_k),
            top_p: self.top_p.unwrap_or(base.top_p),
            min_p: self.min_p.unwrap_or(base.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(base.repetition_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(base.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(base.presence_penalty),
            seed: self.seed.or(base.seed),
            ..base
        }
    }
}

impl AnswerArguments {
    pub(crate) fn options(&self, model: &Model, cancel: CancelToken) -> GenerateOptions {
        self.generate_options(model.config().sampling.options(), cancel)
    }

    fn generate_options(&self, suggested: SamplingOptions, cancel: CancelToken) -> GenerateOptions {
        GenerateOptions {
            max_tokens: self.max_tokens,
            sampling: Some(self.sampling.options(suggested)),
            stop: self.stop.clone(),
            deadline: self.deadline,
            draft_tokens: self.draft_tokens,
            cancel: Some(cancel),
            ..GenerateOptions::default()
        }
    }
}

/// Shows the answer as it is made, with a line break after it.
pub(crate) fn show(stream: &mut Stream<'_>, out: &mut dyn Write) -> Result<Option<Outcome>, Failure> {
    let mut ends_line = true;
    let outcome = pull(stream, |text| {
        ends_line = text.ends_with('\n');
        write_text(out, text)
    });
    if !ends_line {
        writeln!(out)?;
    }
    out.flush()?;
    outcome
}

/// Pulls the answer to its end, with a progress bar for a long prompt.
pub(crate) fn pull(
    stream: &mut Stream<'_>,
    mut on_text: impl FnMut(&str) -> std::io::Result<()>,
) -> Result<Option<Outcome>, Failure> {
    let mut bar = None;
    let mut outcome = None;
    for event in stream {
        match event? {
            Event::Prompt { done, total } if total >= LONG_PROMPT => {
                let bar = bar.get_or_insert_with(|| progress::tokens(total as u64, "reading"));
                bar.set_position(done as u64);
                if done == total {
                    bar.finish_and_clear();
                }
            }
            Event::Text(text) => on_text(&text)?,
            Event::Finished(finished) => outcome = Some(finished),
            _ => {}
        }
    }
    Ok(outcome)
}

/// The statistics on a line.
pub(crate) fn statistics_line(statistics: &Statistics) -> String {
    let Statistics { prompt_tokens, reused_tokens, generated_tokens, cache_bytes, .. } = *statistics;
    let first = statistics.time_to_first_token.map_or("none".to_owned(), units::duration);
    let drafts = if statistics.drafted_tokens > 0 {
        format!(" ({} of {} guesses right)", statistics.accepted_tokens, statistics.drafted_tokens)
    } else {
        String::new()
    };
    format!(
        "prompt {prompt_tokens} tokens ({reused_tokens} cached), first token {first}, prefill {} tok/s; \
         answer {generated_tokens} tokens{drafts}, decode {} tok/s; KV cache {}",
        units::three_digits(statistics.prefill_rate()),
        units::three_digits(statistics.decode_rate()),
        units::bytes(cache_bytes),
    )
}

/// The statistics as JSON, times in seconds.
pub(crate) fn statistics_json(statistics: &Statistics) -> Value {
    json!({
        "prompt_tokens": statistics.prompt_tokens,
        "reused_tokens": statistics.reused_tokens,
        "generated_tokens": statistics.generated_tokens,
        "time_to_first_token": statistics.time_to_first_token.map(|time| time.as_secs_f64()),
        "prefill_time": statistics.prefill_time.as_secs_f64(),
        "prefill_tokens_per_second": statistics.prefill_rate(),
        "decode_time": statistics.decode_time.as_secs_f64(),
        "decode_tokens_per_second": statistics.decode_rate(),
        "drafted_tokens": statistics.drafted_tokens,
        "accepted_tokens": statistics.accepted_tokens,
        "cache_bytes": statistics.cache_bytes,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        answer: AnswerArguments,
    }

    fn options(line: &str) -> GenerateOptions {
        let suggested = SamplingOptions { temperature: 0.6, top_p: 0.9, ..SamplingOptions::default() };
        let line = Line::try_parse_from(["x"].into_iter().chain(line.split_whitespace())).unwrap();
        line.answer.generate_options(suggested, CancelToken::new())
    }

    #[test]
    fn every_option_reaches_the_library() {
        let found = options(
            "-n 7 --stop a --stop b --deadline 2s --draft-tokens 8 -t 0.5 --top-k 3 --top-p 0.8 --min-p 0.1 \
             --repetition-penalty 1.1 --frequency-penalty -0.2 --presence-penalty 0.3 --seed 9",
        );
        assert_eq!((found.max_tokens, &found.stop[..]), (7, &["a".to_owned(), "b".to_owned()][..]));
        assert_eq!((found.deadline, found.draft_tokens), (Some(Duration::from_secs(2)), 8));
        let expected = SamplingOptions {
            temperature: 0.5,
            top_k: 3,
            top_p: 0.8,
            min_p: 0.1,
            repetition_penalty: 1.1,
            frequency_penalty: -0.2,
            presence_penalty: 0.3,
            seed: Some(9),
            ..SamplingOptions::default()
        };
        assert_eq!(found.sampling, Some(expected));
        found.validate().unwrap();
    }

    #[test]
    fn the_publishers_sampling_is_taken_only_when_asked_for() {
        assert_eq!(options("").sampling, Some(SamplingOptions::default()));
        let suggested = options("--suggested-sampling --top-p 0.5").sampling.unwrap();
        assert_eq!((suggested.temperature, suggested.top_p), (0.6, 0.5));
    }
}
