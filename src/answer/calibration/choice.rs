//! How much to learn from a few examples, decided by cross-validation.

use serde::{Deserialize, Serialize};

use super::{Calibration, CalibrationMethod, CalibrationOptions, largest};
use crate::answer::classify::invalid;
use crate::answer::measures::log_loss;
use crate::error::Result;

/// The strengths that are tried of methods with a ridge to choose.
const RIDGES: [f64; 6] = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0];

/// Into how many parts examples are cut for cross-validation, or fewer where a class has fewer examples.
const FOLDS: usize = 10;

/// What was chosen, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CalibrationSummary {
    /// What is learnt.
    pub method: CalibrationMethod,
    /// How strongly weights are drawn to 0.
    pub ridge: f64,
    /// Whether the bias that an empty input shows was subtracted.
    pub content_free: bool,
    /// The mean negative log-likelihood of the examples' classes in cross-validation, in nats.
    pub log_loss: f64,
    /// How many examples there were.
    pub examples: usize,
}

/// The calibration that predicts examples best which it was not fitted to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CalibrationChoice {
    /// Fitted to all examples.
    pub calibration: Calibration,
    /// What was chosen.
    pub summary: CalibrationSummary,
    /// For each example the probabilities of the classes, of a calibration that was fitted without it.
    pub out_of_fold: Vec<Vec<f32>>,
}

impl CalibrationChoice {
    /// Tries every method and strength that the number of labels allows, with the log-probabilities after an empty input
    /// where they are given and without, and takes the one with the least log loss in cross-validation; of equals, the one
    /// that learns least. The folds are the same everywhere: the n-th example of a class is in fold n modulo their number,
    /// which is 10 or as many as the rarest class has examples.
    ///
    /// ```
    /// use edgeslm::answer::CalibrationChoice;
    ///
    /// let examples: Vec<(Vec<f64>, usize)> =
    ///     (0..20).map(|i| (vec![-0.1 - 0.02 * f64::from(i), -3.0 + 0.1 * f64::from(i)], usize::from(i > 9))).collect();
    /// let choice = CalibrationChoice::of(&examples, 2, None)?;
    /// assert_eq!(choice.out_of_fold.len(), 20);
    /// # Ok::<(), edgeslm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Calibration::fit`]; [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) also for a class with
    /// one example, which cannot be fitted and judged at once.
    pub fn of(examples: &[(Vec<f64>, usize)], classes: usize, content_free: Option<&[f64]>) -> Result<Self> {
        let labels = examples.first().map_or(0, |(scores, _)| scores.len());
        let mut best: Option<(CalibrationOptions, f64, Vec<Vec<f32>>)> = None;
        for options in candidates(labels, classes, content_free) {
            let out_of_fold = cross_validate(examples, classes, &options)?;
            let loss =
                log_loss(out_of_fold.iter().zip(examples).map(|(found, (_, class))| (&found[..], *class)));
            if best.as_ref().is_none_or(|(_, least, _)| loss < *least) {
                best = Some((options, loss, out_of_fold));
            }
        }
        let (options, loss, out_of_fold) = best.ok_or_else(|| invalid("there are no examples"))?;
        let calibration = Calibration::fit(examples, classes, &options)?;
        let summary = CalibrationSummary {
            method: options.method,
            ridge: options.ridge,
            content_free: options.content_free.is_some(),
            log_loss: loss,
            examples: examples.len(),
        };
        Ok(Self { calibration, summary, out_of_fold })
    }

    /// For each example the probability of the class that [`out_of_fold`](Self::out_of_fold) gives and whether it is
    /// right: what [`Abstention::choose`](super::Abstention::choose) needs.
    ///
    /// # Panics
    /// Never for the examples that the choice was made of.
    #[must_use]
    pub fn judged(&self, examples: &[(Vec<f64>, usize)]) -> Vec<(f32, bool)> {
        let judge = |(found, (_, class)): (&Vec<f32>, &(Vec<f64>, usize))| {
            let best = largest(found);
            (found.get(best).copied().unwrap_or(0.0), best == *class)
        };
        self.out_of_fold.iter().zip(examples).map(judge).collect()
    }
}

/// From what learns least to what learns most.
fn candidates(labels: usize, classes: usize, content_free: Option<&[f64]>) -> Vec<CalibrationOptions> {
    let mut candidates = Vec::new();
    for method in CalibrationMethod::ALL {
        if method != CalibrationMethod::Matrix && labels < classes {
            continue;
        }
        let ridges: &[f64] = match method {
            CalibrationMethod::None => &[1.0],
            CalibrationMethod::Temperature => &[0.003],
            CalibrationMethod::Vector | CalibrationMethod::Matrix => &RIDGES,
        };
        // The others learn the bias from the examples.
        let corrects = matches!(method, CalibrationMethod::None | CalibrationMethod::Temperature);
        for &ridge in ridges.iter().rev() {
            let plain = CalibrationOptions { method, ridge, content_free: None };
            candidates.push(plain.clone());
            if let Some(scores) = content_free.filter(|_| corrects) {
                candidates.push(CalibrationOptions { content_free: Some(scores.to_vec()), ..plain });
            }
        }
    }
    candidates
}

/// The probabilities of each example's classes from a calibration that was fitted to the other folds.
fn cross_validate(
    examples: &[(Vec<f64>, usize)],
    classes: usize,
    options: &CalibrationOptions,
) -> Result<Vec<Vec<f32>>> {
    let mut counts = vec![0_usize; classes];
    let mut ranks = Vec::with_capacity(examples.len());
    for (_, class) in examples {
        let count = counts
            .get_mut(*class)
            .ok_or_else(|| invalid(format!("an example has class {class} of {classes}")))?;
        ranks.push(*count);
        *count += 1;
    }
    let folds = counts.iter().copied().min().unwrap_or(0).min(FOLDS);
    if folds < 2 {
        let class = counts.iter().position(|count| *count == folds).unwrap_or(0);
        return Err(invalid(format!("class {class} has {folds} examples"))
            .with_hint("a calibration needs at least two of each class, better ten"));
    }
    let mut found = vec![Vec::new(); examples.len()];
    for fold in 0..folds {
        let others = examples.iter().zip(&ranks).filter(|(_, rank)| *rank % folds != fold);
        let others: Vec<(Vec<f64>, usize)> = others.map(|(example, _)| example.clone()).collect();
        let calibration = Calibration::fit(&others, classes, options)?;
        for ((found, (scores, _)), rank) in found.iter_mut().zip(examples).zip(&ranks) {
            if rank % folds == fold {
                *found = calibration.probabilities(scores)?;
            }
        }
    }
    Ok(found)
}
