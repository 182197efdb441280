//! How well a model predicts a text.

#![forbid(unsafe_code)]

use ndarray::{Array2, ArrayView1};

use crate::engine::{Engine, KvCache, LogitsAt, RunControl, SequenceInput};
use crate::error::{Error, ErrorKind, Result};

/// The most logits of one pass: 64 MiB of them.
const MAXIMUM_LOGITS: usize = 1 << 24;

/// Runs a text through an engine, pass by pass: an iterator of [`Prediction`]s.
///
/// Windows follow each other without overlap, each with an empty cache at its start. Every token but the first is predicted once, a
/// window's first by the window before. The same text, window and vocabulary give passes of the same sizes with every engine of the
/// same [`maximum_batch_tokens`](Engine::maximum_batch_tokens). After an error there is nothing.
///
/// ```no_run
/// use edgeslm::model::{Predictions, TextScore};
/// use edgeslm::{LoadOptions, Model};
///
/// let model = Model::load("models/llama-3.2-1b-int4", &LoadOptions::default())?;
/// let tokens = model.text().raw_tokens("It was the quietest evening of the year.")?;
/// let mut score = TextScore::default();
/// for prediction in Predictions::new(model.engine().as_ref(), &tokens, 1024)? {
///     score.add(&prediction?)?;
/// }
/// println!("perplexity {:.2}", score.perplexity());
/// # Ok::<(), edgeslm::Error>(())
/// ```
pub struct Predictions<'a> {
    engine: &'a dyn Engine,
    cache: Box<dyn KvCache>,
    /// All tokens but the last, which predicts nothing that is known.
    inputs: &'a [u32],
    targets: &'a [u32],
    window: usize,
    /// The most tokens of a pass.
    pass: usize,
    /// How many inputs have been fed.
    fed: usize,
}

impl<'a> Predictions<'a> {
    /// Predicts each of `tokens` but the first from those before it in its window of `window` tokens.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for fewer than two tokens, and for a window of none or of more than the context holds.
    pub fn new(engine: &'a dyn Engine, tokens: &'a [u32], window: usize) -> Result<Self> {
        let ([_, targets @ ..], [inputs @ .., _], 2..) = (tokens, tokens, tokens.len()) else {
            let text = format!("{} token is too short to predict anything", tokens.len());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        };
        let context = engine.context_length();
        if window == 0 || window > context {
            let text = format!("a window of {window} tokens, where the context holds {context}");
            return Err(Error::new(ErrorKind::InvalidArgument, text)
                .with_hint(format!("choose a window of 1 to {context} tokens")));
        }
        let pass = engine.maximum_batch_tokens().min(MAXIMUM_LOGITS / engine.vocabulary_size().max(1)).max(1);
        Ok(Self { engine, cache: engine.new_cache(), inputs, targets, window, pass, fed: 0 })
    }

    fn next_pass(&mut self) -> Result<Prediction<'a>> {
        let in_window = self.fed % self.window;
        let left = self.inputs.len() - self.fed;
        if in_window == 0 {
            self.cache.truncate(0);
            self.engine.prepare(self.cache.as_mut(), self.window.min(left))?;
        }
        let range = self.fed..self.fed + self.pass.min(self.window - in_window).min(left);
        let input = SequenceInput {
            cache: self.cache.as_mut(),
            tokens: &self.inputs[range.clone()],
            parents: None,
            logits: LogitsAt::All,
            vocabulary: None,
        };
        let logits = self
            .engine
            .forward(&mut [input], &RunControl::default())?
            .pop()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the engine returned no logits"))?;
        self.fed = range.end;
        Ok(Prediction { logits, targets: &self.targets[range] })
    }
}

impl<'a> Iterator for Predictions<'a> {
    type Item = Result<Prediction<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.fed == self.inputs.len() {
            return None;
        }
        let prediction = self.next_pass();
        if prediction.is_err() {
            self.fed = self.inputs.len();
        }
        Some(prediction)
    }
}

/// What a model expects at positions that follow each other, and what comes.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction<'a> {
    /// One row a position, one column a vocabulary entry.
    pub logits: Array2<f32>,
    /// The token that comes after each position.
    pub targets: &'a [u32],
}

/// How likely a model found a text.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct TextScore {
    /// How many tokens were predicted.
    pub predicted: usize,
    /// Sum over these tokens of the natural logarithm of 1 / probability.
    pub negative_log_likelihood: f64,
}

impl TextScore {
    /// Adds what one pass predicted.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a token that the model does not know; [`ErrorKind::InvalidModel`] for logits that are
    /// not numbers.
    pub fn add(&mut self, prediction: &Prediction<'_>) -> Result<()> {
        for (logits, target) in prediction.logits.rows().into_iter().zip(prediction.targets) {
            self.negative_log_likelihood += negative_log_likelihood(logits, *target)?;
            self.predicted += 1;
        }
        Ok(())
    }

    /// The negative log-likelihood of a token in the mean; not a number where none was predicted.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.negative_log_likelihood / self.predicted as f64
    }

    /// e to the [mean](Self::mean): 1 for a model that always knew, and the size of the vocabulary for one that knew nothing.
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        self.mean().exp()
    }
}

/// The natural logarithm of 1 / softmax(logits)[target], in 64 bits.
fn negative_log_likelihood(logits: ArrayView1<'_, f32>, target: u32) -> Result<f64> {
    let logit = logits.get(target as usize).ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, format!("token {target} is unknown to the model"))
    })?;
    let maximum = logits.iter().fold(f32::NEG_INFINITY, |maximum, logit| maximum.max(*logit));
    let total: f64 = logits.iter().map(|logit| f64::from(logit - maximum).exp()).sum();
    let result = total.ln() - f64::from(logit - maximum);
    if result.is_finite() {
        return Ok(result);
    }
    Err(Error::new(ErrorKind::InvalidModel, "the model gives logits that are not numbers"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::fake::FakeEngine;

    #[test]
    fn each_token_is_predicted_from_those_before_it_in_its_window() {
        let tokens: Vec<u32> = (0..19).map(|index| index * 7 % 40).collect();
        let engine = FakeEngine { maximum_batch: 3, ..FakeEngine::default() };
        let predictions = Predictions::new(&engine, &tokens, 7).unwrap().map(Result::unwrap);
        let (mut fed, mut sizes) = (0, Vec::new());
        for prediction in predictions {
            assert_eq!(prediction.logits.nrows(), prediction.targets.len());
            sizes.push(prediction.targets.len());
            for (row, target) in prediction.logits.rows().into_iter().zip(prediction.targets) {
                let window = &tokens[fed / 7 * 7..=fed];
                assert_eq!(row.to_vec(), engine.logits_after(window), "after {window:?}");
                assert_eq!(*target, tokens[fed + 1]);
                fed += 1;
            }
        }
        assert_eq!((fed, sizes), (18, vec![3, 3, 1, 3, 3, 1, 3, 1]));
    }

    #[test]
    fn nothing_comes_after_an_error() {
        let engine = FakeEngine { maximum_batch: 2, failing: vec![2], ..FakeEngine::default() };
        let kinds: Vec<_> = Predictions::new(&engine, &[1, 2, 3, 4, 5, 6, 7], 10)
            .unwrap()
            .map(|prediction| prediction.map_err(|error| error.kind()).map(|prediction| prediction.targets))
            .collect();
        assert_eq!(kinds, [Ok(&[2, 3][..]), Err(ErrorKind::Io)]);
    }

    #[test]
    fn what_cannot_be_predicted_is_refused() {
        let engine = FakeEngine { context: 8, ..FakeEngine::default() };
        for (tokens, window, text) in [
            (&[][..], 4, "0 token is too short"),
            (&[5], 4, "1 token is too short"),
            (&[5, 6], 0, "a window of 0"),
            (&[5, 6], 9, "holds 8"),
        ] {
            let error = Predictions::new(&engine, tokens, window).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(text), "{error}");
        }
    }

    #[test]
    fn likelihoods() {
        // softmax(0, ln 3) = (1/4, 3/4)
        let logits = [0.0, 3_f32.ln()];
        let of = |target| negative_log_likelihood(ArrayView1::from(&logits), target).unwrap();
        assert!((of(0) - 4_f64.ln()).abs() < 1e-7);
        assert!((of(1) - (4_f64 / 3.0).ln()).abs() < 1e-7);
        let kind = |logits: &[f32], target| {
            negative_log_likelihood(ArrayView1::from(logits), target).unwrap_err().kind()
        };
        assert_eq!(kind(&logits, 2), ErrorKind::InvalidArgument);
        assert_eq!(kind(&[0.0, f32::NAN], 0), ErrorKind::InvalidModel);
        assert_eq!(kind(&[f32::NEG_INFINITY; 2], 0), ErrorKind::InvalidModel);
    }
}
