//! How far a model's logits are from a reference.

#![forbid(unsafe_code)]

use ndarray::{Array2, ArrayView1, ArrayView2};

use super::ReferenceCase;
use crate::engine::{Engine, KvCache, LogitsAt, RunControl, SequenceInput};
use crate::error::{Error, ErrorKind, Result};

/// The relative errors of one [`ReferenceCase`]: ‖logits - reference‖ / ‖reference‖, each over a whole tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// Of the prompt's last positions, computed in one prefill.
    pub prompt: f64,
    /// Of the tokens after the prompt, fed one at a time; 0 when there is none.
    pub next: f64,
}

impl Comparison {
    /// The larger of the two; not a number when either is.
    #[must_use]
    pub fn largest(&self) -> f64 {
        if self.prompt.is_nan() || self.next.is_nan() { f64::NAN } else { self.prompt.max(self.next) }
    }

    /// Whether both errors are numbers of at most `bound`.
    #[must_use]
    pub fn is_within(&self, bound: f64) -> bool {
        self.largest() <= bound
    }
}

impl ReferenceCase {
    /// Runs the case: the prompt in one prefill, then the next tokens one at a time.
    ///
    /// ```no_run
    /// use edgeslm::model::Reference;
    /// use edgeslm::{LoadOptions, Model};
    ///
    /// let model = Model::load("models/llama-3.2-1b-int4", &LoadOptions::default())?;
    /// let reference = Reference::open("models/llama-3.2-1b-int4/reference.safetensors".as_ref())?;
    /// for case in &reference.cases {
    ///     assert!(case.compare(model.engine().as_ref())?.is_within(0.016));
    /// }
    /// # Ok::<(), edgeslm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the model has another vocabulary than the reference; those of
    /// [`Engine::prepare`] and [`Engine::forward`].
    pub fn compare(&self, engine: &dyn Engine) -> Result<Comparison> {
        let (expected, found) = (self.prompt_logits.ncols(), engine.vocabulary_size());
        if expected != found {
            let text = format!("the reference has {expected} logits a position, the model {found}");
            return Err(Error::new(ErrorKind::InvalidArgument, text)
                .with_hint("compare with a reference that was made for this model"));
        }
        let mut tokens = self.prompt_tokens.clone();
        let mut cache = engine.new_cache();
        let prompt = last_logits(engine, cache.as_mut(), &tokens, self.prompt_logits.nrows())?;
        let mut next = Array2::zeros((0, found));
        for token in &self.next_tokens {
            tokens.push(*token);
            let logits = last_logits(engine, cache.as_mut(), &tokens, 1)?;
            for row in logits.rows() {
                push(&mut next, row)?;
            }
        }
        Ok(Comparison {
            prompt: relative_error(prompt.view(), self.prompt_logits.view()),
            next: relative_error(next.view(), self.next_logits.view()),
        })
    }
}

/// Feeds what `cache` lacks of `tokens` and returns the logits of the last `count` positions.
fn last_logits(
    engine: &dyn Engine,
    cache: &mut dyn KvCache,
    tokens: &[u32],
    count: usize,
) -> Result<Array2<f32>> {
    let mut logits = Array2::zeros((0, engine.vocabulary_size()));
    let first_wanted = tokens.len().saturating_sub(count);
    let mut start = engine.prepare(cache, tokens.len())?;
    while let Some(rest) = tokens.get(start..).filter(|rest| !rest.is_empty()) {
        let new = rest.get(..engine.maximum_batch_tokens()).unwrap_or(rest);
        let wanted: Vec<usize> = (0..new.len()).filter(|index| start + index >= first_wanted).collect();
        let logits_at = LogitsAt::Positions(&wanted);
        let input = SequenceInput { cache, tokens: new, parents: None, logits: logits_at, vocabulary: None };
        for rows in engine.forward(&mut [input], &RunControl::default())? {
            for row in rows.rows() {
                push(&mut logits, row)?;
            }
        }
        start += new.len();
    }
    Ok(logits)
}

fn push(logits: &mut Array2<f32>, row: ArrayView1<'_, f32>) -> Result<()> {
    logits.push_row(row).map_err(|error| {
        Error::new(ErrorKind::Internal, "the engine's logits have the wrong width").with_source(error)
    })
}

/// ‖found - expected‖ / ‖expected‖ in 64 bits. Tensors of different shape differ infinitely, empty ones not at all.
fn relative_error(found: ArrayView2<'_, f32>, expected: ArrayView2<'_, f32>) -> f64 {
    if found.dim() != expected.dim() {
        return f64::INFINITY;
    }
    if expected.is_empty() {
        return 0.0;
    }
    let square = |value: f64| value * value;
    let difference: f64 =
        found.iter().zip(&expected).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = expected.iter().map(|value| square(f64::from(*value))).sum();
    (difference / norm).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_error_is_relative_to_the_reference() {
        // ‖(0, 3)‖ / ‖(4, 3)‖
        let error = relative_error(array![[4.0, 0.0]].view(), array![[4.0, 3.0]].view());
        assert!((error - 0.6).abs() < 1e-12, "{error}");
        assert_eq!(relative_error(array![[1.0]].view(), array![[1.0, 2.0]].view()), f64::INFINITY);
        assert_eq!(relative_error(Array2::zeros((0, 2)).view(), Array2::zeros((0, 2)).view()), 0.0);
    }

    #[test]
    fn what_is_not_a_number_is_within_no_bound() {
        for (prompt, next, within) in
            [(0.1, 0.2, true), (0.3, 0.1, false), (f64::NAN, 0.1, false), (0.1, f64::NAN, false)]
        {
            assert_eq!(Comparison { prompt, next }.is_within(0.2), within, "{prompt} {next}");
        }
    }
}
