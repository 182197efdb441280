//! The chain of logits processors and the draw.

use super::candidates::{Candidate, possible};
use super::min_p::MinP;
use super::temperature::Temperature;
use super::{Random, SamplingOptions, bias, greedy, penalties, top_k, top_p};
use crate::error::{Error, ErrorKind, Result};

/// Chooses the tokens of one answer.
///
/// ```
/// use edgeslm::sampling::{Sampler, SamplingOptions};
///
/// let mut sampler = Sampler::new(SamplingOptions::default(), 3)?;
/// assert_eq!(sampler.sample(&[0.1, 2.0, -1.0], &[])?, 1);
/// # Ok::<(), edgeslm::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplingOptions,
    vocabulary: usize,
    seed: u64,
    random: Random,
    // Kept from token to token so that none allocates.
    adjusted: Vec<f32>,
    recent: Vec<u32>,
    candidates: Vec<Candidate>,
    blocks: Vec<f64>,
}

/// How many neighbouring tokens share one sum of weights when the draw is from all of the vocabulary.
const BLOCK: usize = 1024;

impl Sampler {
    /// A sampler over the ids from 0 up to `vocabulary`; logits beyond are padding and never chosen.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an option out of its range, a biased token outside the vocabulary, or an
    /// empty vocabulary.
    pub fn new(options: SamplingOptions, vocabulary: usize) -> Result<Self> {
        options.validate()?;
        if vocabulary == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "the vocabulary is empty"));
        }
        if let Some((token, _)) = options.logit_bias.iter().find(|(token, _)| *token as usize >= vocabulary) {
            return Err(Error::new(ErrorKind::InvalidArgument, format!("logit_bias names token {token}"))
                .with_hint(format!("the vocabulary has {vocabulary} tokens")));
        }
        let seed = options.seed.unwrap_or_else(Random::fresh_seed);
        Ok(Self {
            options,
            vocabulary,
            seed,
            random: Random::from_seed(seed),
            adjusted: Vec::new(),
            recent: Vec::new(),
            candidates: Vec::new(),
            blocks: Vec::new(),
        })
    }

    /// The seed in use: the one asked for, or the one that was drawn.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The token that follows `previous` (the sequence so far, which the penalties look at), given the raw logits
    /// of its last position.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] when a logit is not a number or positive infinity, or none is finite;
    /// [`ErrorKind::InvalidArgument`] when the bias bans every possible token; [`ErrorKind::Internal`] when there
    /// are fewer logits than tokens.
    pub fn sample(&mut self, logits: &[f32], previous: &[u32]) -> Result<u32> {
        let raw = logits.get(..self.vocabulary).ok_or_else(|| {
            let message = format!("{} logits for {} tokens", logits.len(), self.vocabulary);
            Error::new(ErrorKind::Internal, message)
        })?;
        let logits = if self.options.logit_bias.is_empty() && !penalties::wanted(&self.options) {
            raw
        } else {
            self.adjust(raw, previous);
            &self.adjusted
        };
        let (best, maximum) = greedy::best(logits).ok_or_else(|| self.nothing_to_choose(raw))?;
        if self.options.is_greedy() {
            return Ok(best);
        }

        let SamplingOptions { temperature, top_k, top_p, min_p, .. } = self.options;
        let temperature = Temperature::new(maximum, temperature);
        let rule = MinP::new(min_p, temperature);
        let candidates = &mut self.candidates;
        if (1..logits.len()).contains(&top_k) {
            top_k::select(logits, top_k, candidates);
            if top_p < 1.0 {
                let total: f64 = candidates.iter().map(|c| temperature.weight(c.logit)).sum();
                top_p::truncate(candidates, f64::from(top_p) * total, temperature);
            }
            rule.truncate(candidates);
        } else if top_p < 1.0 {
            top_p::select(logits, top_p, temperature, candidates);
            rule.truncate(candidates);
        } else if min_p > 0.0 {
            rule.select(logits, candidates);
        } else {
            let random = self.random.next_f64();
            return Ok(draw_from_all(logits, random, temperature, &mut self.blocks).unwrap_or(best));
        }
        let total: f64 = candidates.iter().map(|c| temperature.weight(c.logit)).sum();
        let target = self.random.next_f64() * total;
        Ok(draw(candidates.iter().copied(), target, temperature).unwrap_or(best))
    }

    /// Copies the logits and applies bias and penalties to the copy.
    fn adjust(&mut self, raw: &[f32], previous: &[u32]) {
        self.adjusted.clear();
        self.adjusted.extend_from_slice(raw);
        bias::apply(&mut self.adjusted, &self.options.logit_bias);
        if penalties::wanted(&self.options) {
            let start = previous.len().saturating_sub(self.options.penalty_window);
            self.recent.clear();
            self.recent.extend_from_slice(&previous[start..]);
            penalties::apply(&mut self.adjusted, &mut self.recent, &self.options);
        }
    }

    fn nothing_to_choose(&self, raw: &[f32]) -> Error {
        if greedy::maximum(raw).is_none() {
            return damaged(raw);
        }
        Error::new(ErrorKind::InvalidArgument, "logit_bias bans every token that the model allows here")
    }
}

/// The first candidate at which the running sum of weights passes `target`; the last possible one where rounding
/// keeps the sum below.
fn draw(candidates: impl Iterator<Item = Candidate>, target: f64, temperature: Temperature) -> Option<u32> {
    let mut sum = 0.0;
    let mut last = None;
    for candidate in candidates {
        let weight = temperature.weight(candidate.logit);
        if weight > 0.0 {
            sum += weight;
            last = Some(candidate.token);
            if sum > target {
                break;
            }
        }
    }
    last
}

/// A draw from all tokens, `random` being in [0, 1): first of a block, by the blocks' sums, then within it, so that
/// the weights of most tokens are computed once and not twice.
fn draw_from_all(
    logits: &[f32],
    random: f64,
    temperature: Temperature,
    blocks: &mut Vec<f64>,
) -> Option<u32> {
    blocks.clear();
    blocks.extend(logits.chunks(BLOCK).map(|block| temperature.total(block)));
    let mut target = random * blocks.iter().sum::<f64>();
    let last = blocks.iter().rposition(|&sum| sum > 0.0)?;
    let mut chosen = last;
    for (block, &sum) in blocks.iter().enumerate() {
        if target < sum || block == last {
            chosen = block;
            break;
        }
        target -= sum;
    }
    let start = chosen * BLOCK;
    let block = logits.get(start..logits.len().min(start + BLOCK))?;
    let token = draw(possible(block), target, temperature)?;
    Some(token + u32::try_from(start).ok()?)
}

/// What is wrong with logits that [`greedy::maximum`] refuses.
pub(super) fn damaged(logits: &[f32]) -> Error {
    let message = match logits.iter().position(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        Some(token) => format!("the model gave token {token} the logit {}", logits[token]),
        None => "the model gave no token a logit above negative infinity".to_owned(),
    };
    Error::new(ErrorKind::InvalidModel, message)
        .with_hint("the weights are damaged, or an activation overflowed 16-bit floats")
}
