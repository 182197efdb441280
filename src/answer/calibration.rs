//! From the scores of labels to the probabilities of classes, as labelled examples show them.

use super::classify::invalid;
use crate::error::Result;
use crate::sampling::exp;

/// Options of [`Calibration::fit`].
///
/// ```
/// let options = edgeslm::answer::CalibrationOptions { ridge: 0.3, ..Default::default() };
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationOptions {
    /// How strongly weights are drawn to 0: the factor of half the sum of their squares beside the mean cross-entropy
    /// of an example. More is for fewer examples or more labels. Above 0. Default 0.1.
    pub ridge: f64,
}

impl Default for CalibrationOptions {
    fn default() -> Self {
        Self { ridge: 0.1 }
    }
}

/// What the scores of labels mean, learnt from labelled examples.
///
/// A model has its habits: it writes some labels more readily than others whatever the prompt says, and its
/// probabilities are not the frequencies with which it is right. A calibration corrects both. It is a linear layer
/// from [`Classification::log_probabilities`](super::Classification::log_probabilities) to classes, that is a
/// multinomial logistic regression, "matrix scaling" in Guo et al., "On Calibration of Modern Neural Networks", 2017.
///
/// Labels and classes need not be the same: the labels can be many words with which the model may go on, and the
/// calibration finds out which of them speak for which class. That helps small models most. Calibrate with prompts of
/// the form that will be used, and measure on examples that the calibration has not seen.
///
/// ```
/// use edgeslm::answer::{Calibration, CalibrationOptions};
///
/// // The model prefers the first label, also where the second is right.
/// let examples = vec![(vec![-0.1, -3.0], 0), (vec![-0.2, -2.8], 0), (vec![-0.4, -1.5], 1), (vec![-0.5, -1.2], 1)];
/// let calibration = Calibration::fit(&examples, 2, &CalibrationOptions::default())?;
/// let probabilities = calibration.probabilities(&[-0.45, -1.3])?;
/// assert!(probabilities[1] > 0.5);
/// # Ok::<(), edgeslm::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// How many scores it takes.
    labels: usize,
    /// For each class the weights of the labels and then the bias, one class after the other.
    layer: Vec<f64>,
}

/// Log-probabilities below this count as this, so that a label that the model rules out has a finite score.
const LEAST: f64 = -100.0;

/// Fitting ends when no slope is steeper than this, or after so many steps.
const FLAT: f64 = 1e-9;
const MAXIMUM_STEPS: usize = 20_000;

impl Calibration {
    /// Fits the layer to `examples`: the log-probabilities of the labels, in the order in which they will be given,
    /// and the right class, which is below `classes`. Every class needs an example.
    ///
    /// Deterministic: the same examples give the same calibration everywhere. The time grows with examples × labels ×
    /// classes; a hundred examples of forty labels and three classes take some milliseconds.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) with fewer than two classes, for a class
    /// without an example or out of range, for examples of different or no length, for a score that is not a number
    /// or is infinitely large, and for a ridge that is not positive.
    pub fn fit(examples: &[(Vec<f64>, usize)], classes: usize, options: &CalibrationOptions) -> Result<Self> {
        if !(options.ridge > 0.0 && options.ridge.is_finite()) {
            return Err(invalid(format!("ridge is {}", options.ridge)).with_hint("it is above 0"));
        }
        if classes < 2 {
            return Err(invalid(format!("there is nothing to tell apart in {classes} classes")));
        }
        let labels = examples.first().map_or(0, |(scores, _)| scores.len());
        if labels == 0 {
            return Err(invalid("there are no examples, or they have no scores"));
        }
        if let Some((_, class)) = examples.iter().find(|(_, class)| *class >= classes) {
            return Err(invalid(format!("an example has class {class} of {classes}")));
        }
        if let Some(missing) = (0..classes).find(|class| examples.iter().all(|(_, other)| other != class)) {
            return Err(invalid(format!("class {missing} has no example")));
        }
        let mut inputs = Vec::with_capacity(examples.len());
        for (scores, class) in examples {
            inputs.push((checked(scores, labels)?, *class));
        }
        let scales = standardise(&mut inputs, labels);
        let mut layer = minimise(&inputs, labels + 1, classes, options.ridge);
        for class in layer.chunks_exact_mut(labels + 1) {
            let (weights, bias) = class.split_at_mut(labels);
            for (weight, (mean, deviation)) in weights.iter_mut().zip(&scales) {
                *weight /= deviation;
                bias[0] -= *weight * mean;
            }
        }
        Ok(Self { labels, layer })
    }

    /// One probability a class for the log-probabilities of one prompt's labels; they sum to 1.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for another number of scores than the
    /// examples had, and for a score that is not a number or is infinitely large.
    pub fn probabilities(&self, log_probabilities: &[f64]) -> Result<Vec<f32>> {
        let input = checked(log_probabilities, self.labels)?;
        Ok(softmax_layer(&self.layer, &input).into_iter().map(|probability| probability as f32).collect())
    }
}

/// The scores of one example and a 1 for the bias.
fn checked(scores: &[f64], labels: usize) -> Result<Vec<f64>> {
    if scores.len() != labels {
        return Err(invalid(format!("{} scores where {labels} were expected", scores.len())));
    }
    if let Some(score) = scores.iter().find(|score| score.is_nan() || **score == f64::INFINITY) {
        return Err(invalid(format!("a score is {score}")));
    }
    Ok(scores.iter().map(|score| score.max(LEAST)).chain([1.0]).collect())
}

/// Gives each label's scores the mean 0 and the variance 1; returns what their means and standard deviations were. A
/// score that is always the same becomes 0.
fn standardise(inputs: &mut [(Vec<f64>, usize)], labels: usize) -> Vec<(f64, f64)> {
    let count = inputs.len() as f64;
    let mut scales = Vec::with_capacity(labels);
    for label in 0..labels {
        let mean = inputs.iter().map(|(input, _)| input[label]).sum::<f64>() / count;
        let variance = inputs.iter().map(|(input, _)| (input[label] - mean).powi(2)).sum::<f64>() / count;
        let deviation = if variance > 1e-20 { variance.sqrt() } else { 1.0 };
        for (input, _) in inputs.iter_mut() {
            input[label] = if variance > 1e-20 { (input[label] - mean) / deviation } else { 0.0 };
        }
        scales.push((mean, deviation));
    }
    scales
}

/// The layer with the least loss on the inputs, each of `width` values: accelerated gradient descent (Nesterov, 1983)
/// that starts anew where it would go uphill (O'Donoghue and Candès, 2015).
fn minimise(inputs: &[(Vec<f64>, usize)], width: usize, classes: usize, ridge: f64) -> Vec<f64> {
    // The Hessian of the softmax is at most 1/2 (Böhning, 1992), and standardised values have squares of mean 1.
    let step = 1.0 / (0.5 * width as f64 + ridge);
    let mut layer = vec![0.0; classes * width];
    let mut ahead = layer.clone();
    let mut momentum = 1.0_f64;
    for _ in 0..MAXIMUM_STEPS {
        let slopes = gradient(inputs, &ahead, width, ridge);
        if slopes.iter().all(|slope| slope.abs() < FLAT) {
            break;
        }
        let next: Vec<f64> = ahead.iter().zip(&slopes).map(|(value, slope)| value - step * slope).collect();
        let moves: Vec<f64> = next.iter().zip(&layer).map(|(next, value)| next - value).collect();
        let uphill = slopes.iter().zip(&moves).map(|(slope, by)| slope * by).sum::<f64>() > 0.0;
        let next_momentum = if uphill { 1.0 } else { (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt()) / 2.0 };
        let further = if uphill { 0.0 } else { (momentum - 1.0) / next_momentum };
        ahead = next.iter().zip(&moves).map(|(next, by)| next + further * by).collect();
        momentum = next_momentum;
        layer = next;
    }
    layer
}

/// Of the mean cross-entropy and the ridge on all but the biases.
fn gradient(inputs: &[(Vec<f64>, usize)], layer: &[f64], width: usize, ridge: f64) -> Vec<f64> {
    let mut slopes = vec![0.0; layer.len()];
    for (input, class) in inputs {
        let probabilities = softmax_layer(layer, input);
        for (index, (row, probability)) in slopes.chunks_exact_mut(width).zip(probabilities).enumerate() {
            let error = if index == *class { probability - 1.0 } else { probability };
            for (slope, value) in row.iter_mut().zip(input) {
                *slope += error * value;
            }
        }
    }
    for (index, (slope, weight)) in slopes.iter_mut().zip(layer).enumerate() {
        let penalty = if index % width == width - 1 { 0.0 } else { ridge * weight };
        *slope = *slope / inputs.len() as f64 + penalty;
    }
    slopes
}

/// The softmax over the classes of what `layer` makes of `input`, which ends in the bias's 1.
fn softmax_layer(layer: &[f64], input: &[f64]) -> Vec<f64> {
    let rows = layer.chunks_exact(input.len());
    let logits: Vec<f64> = rows.map(|row| row.iter().zip(input).map(|(a, b)| a * b).sum()).collect();
    let maximum = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.into_iter().map(|logit| exp(logit - maximum)).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn fit(examples: &[(Vec<f64>, usize)], classes: usize) -> Calibration {
        Calibration::fit(examples, classes, &CalibrationOptions::default()).unwrap()
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
    }

    fn seven() -> Vec<(Vec<f64>, usize)> {
        vec![
            (vec![-1.0, -2.5, -0.4], 0),
            (vec![-0.5, -3.0, -1.2], 0),
            (vec![-2.0, -1.0, -0.9], 1),
            (vec![-2.2, -0.7, -2.0], 1),
            (vec![-1.1, -1.4, -3.0], 2),
            (vec![-0.9, -2.0, -2.5], 2),
            (vec![-3.0, -1.5, -0.2], 1),
        ]
    }

    #[test]
    fn it_finds_what_scikit_learn_finds() {
        // Z = (X - X.mean(0)) / X.std(0); LogisticRegression(C=1 / (7 * 0.1), tol=1e-14, max_iter=100000).fit(Z, Y)
        // .predict_proba((q - X.mean(0)) / X.std(0)) of scikit-learn.
        let calibration = fit(&seven(), 3);
        for (scores, expected) in [
            ([-1.0, -2.0, -1.0], [0.549_064, 0.234_256_92, 0.216_679]),
            ([-2.5, -0.5, -1.5], [0.010_311_79, 0.939_897_3, 0.049_790_93]),
            ([-1.0, -1.0, -3.5], [0.015_939_72, 0.093_619_67, 0.890_440_6]),
        ] {
            let probabilities = calibration.probabilities(&scores).unwrap();
            assert_close(&probabilities, &expected);
            assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn scores_that_tell_nothing_give_the_frequencies() {
        let examples: Vec<_> = [0, 0, 1, 0].map(|class| (vec![-0.7, -0.7], class)).into();
        assert_close(&fit(&examples, 2).probabilities(&[-0.7, -0.7]).unwrap(), &[0.75, 0.25]);
    }

    #[test]
    fn what_a_model_adds_to_a_label_whatever_is_said_does_not_count() {
        let (plain, habits) = (seven(), [-0.2, -7.0, 0.1]);
        let add = |scores: &[f64]| scores.iter().zip(habits).map(|(score, habit)| score + habit).collect();
        let shifted: Vec<(Vec<f64>, usize)> = plain.iter().map(|(s, class)| (add(s), *class)).collect();
        let query = [-1.5, -1.5, -1.5];
        let of_shifted = fit(&shifted, 3).probabilities(&add(&query)).unwrap();
        assert_close(&of_shifted, &fit(&plain, 3).probabilities(&query).unwrap());
    }

    #[test]
    fn a_label_that_is_ruled_out_has_a_finite_score() {
        let examples = [(vec![f64::NEG_INFINITY, -0.1], 0), (vec![-0.1, f64::NEG_INFINITY], 1)];
        let probabilities = fit(&examples, 2).probabilities(&[f64::NEG_INFINITY, -0.1]).unwrap();
        assert!(probabilities[0] > 0.5 && probabilities[0] < 1.0, "{probabilities:?}");
        let calibration = fit(&seven(), 3);
        let far = calibration.probabilities(&[f64::MIN, -0.1, f64::MIN]).unwrap();
        assert!((far.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{far:?}");
    }

    #[test]
    fn bad_examples_and_scores_are_refused() {
        let good = seven();
        let with = |index: usize, example: (Vec<f64>, usize)| {
            let mut examples = seven();
            examples[index] = example;
            examples
        };
        let ridge = |ridge: f64| CalibrationOptions { ridge };
        let three = vec![-1.0, -1.0, -1.0];
        let cases = [
            (vec![], 3, ridge(0.1), "no examples"),
            (vec![(vec![], 0), (vec![], 1)], 2, ridge(0.1), "no scores"),
            (good.clone(), 1, ridge(0.1), "1 classes"),
            (good.clone(), 4, ridge(0.1), "class 3 has no example"),
            (with(2, (three, 3)), 3, ridge(0.1), "class 3 of 3"),
            (with(2, (vec![-1.0], 1)), 3, ridge(0.1), "1 scores where 3"),
            (with(2, (vec![-1.0, f64::NAN, -1.0], 1)), 3, ridge(0.1), "NaN"),
            (with(2, (vec![-1.0, f64::INFINITY, -1.0], 1)), 3, ridge(0.1), "inf"),
            (good.clone(), 3, ridge(0.0), "ridge"),
            (good.clone(), 3, ridge(f64::NAN), "ridge"),
        ];
        for (examples, classes, options, message) in cases {
            let error = Calibration::fit(&examples, classes, &options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(message), "{error}");
        }
        let calibration = fit(&good, 3);
        for scores in [&[-1.0, -1.0][..], &[-1.0, f64::NAN, -1.0]] {
            let error = calibration.probabilities(scores).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }
}
