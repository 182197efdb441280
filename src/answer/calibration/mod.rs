//! From the scores of labels to the probabilities of classes, as labelled examples show them.

mod abstention;
mod choice;
mod layer;
mod saved;

#[cfg(test)]
mod tests;

pub use self::abstention::Abstention;
pub use self::choice::{CalibrationChoice, CalibrationSummary};
pub use self::saved::{CalibrationIdentity, Decision, LabelCalibration};

use serde::{Deserialize, Serialize};

use super::classify::invalid;
use crate::error::Result;

/// What of the layer from scores to classes is learnt from examples. In "On Calibration of Modern Neural Networks"
/// (Guo et al., 2017) the last three are temperature, vector and matrix scaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CalibrationMethod {
    /// Nothing: the probabilities are those of the labels, after the bias that
    /// [`content_free`](CalibrationOptions::content_free) shows has been taken away.
    None,
    /// One factor for all scores. It changes no decision, and few examples suffice.
    Temperature,
    /// A factor and an offset for each class: Platt scaling for several classes.
    Vector,
    /// A weight from each label to each class. Labels and classes need not be the same.
    #[default]
    Matrix,
}

impl CalibrationMethod {
    /// Every method, in the order of how much it learns.
    pub const ALL: [Self; 4] = [Self::None, Self::Temperature, Self::Vector, Self::Matrix];

    /// The method's name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Temperature => "temperature",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

/// Options of [`Calibration::fit`].
///
/// ```
/// let options = edgeslm::answer::CalibrationOptions { ridge: 0.3, ..Default::default() };
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationOptions {
    /// What is learnt.
    pub method: CalibrationMethod,
    /// How strongly weights are drawn to 0: the factor of half the sum of their squares beside the mean cross-entropy
    /// of an example. More is for fewer examples or more labels. Above 0. Default 0.1.
    pub ridge: f64,
    /// The log-probabilities of the labels after a prompt whose input says nothing. They are subtracted from all
    /// scores: what a model says of nothing is its habit ("contextual calibration", Zhao et al., "Calibrate Before
    /// Use", 2021). [`Vector`](CalibrationMethod::Vector) and [`Matrix`](CalibrationMethod::Matrix) learn habits from
    /// the examples and gain nothing by it.
    pub content_free: Option<Vec<f64>>,
}

impl Default for CalibrationOptions {
    fn default() -> Self {
        Self { method: CalibrationMethod::Matrix, ridge: 0.1, content_free: None }
    }
}

/// What the scores of labels mean, learnt from labelled examples.
///
/// A model has its habits: it writes some labels more readily than others whatever the prompt says, and its
/// probabilities are not the frequencies with which it is right. A calibration corrects both. It is a linear layer
/// from [`Classification::log_probabilities`](super::Classification::log_probabilities) to classes, that is a
/// multinomial logistic regression, of which [`CalibrationMethod`] says how much is learnt.
///
/// With [`CalibrationMethod::Matrix`] labels and classes need not be the same: the labels can be many words with which
/// the model may go on, and the calibration finds out which of them speak for which class. That helps small models
/// most. With the other methods the first labels are those of the classes, in their order, and further ones do not
/// count. Calibrate with prompts of the form that will be used, and measure on examples that the calibration has not
/// seen.
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
    /// or is infinitely large, for fewer labels than classes where the method needs as many, and for a ridge that is
    /// not positive.
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
        if options.method == CalibrationMethod::None {
            return Self::unfitted(labels, classes, options.content_free.as_deref());
        }
        let bias = content_free(options, labels)?;
        let mut inputs = Vec::with_capacity(examples.len());
        for (scores, class) in examples {
            inputs.push((checked(scores, labels)?, *class));
        }
        for (input, _) in &mut inputs {
            for (score, bias) in input.iter_mut().zip(&bias) {
                *score -= bias;
            }
        }
        let mut layer = match options.method {
            CalibrationMethod::Matrix => layer::matrix(inputs, labels, classes, options.ridge),
            method => {
                check_one_label_a_class(labels, classes)?;
                layer::of_own_labels(
                    inputs,
                    labels,
                    classes,
                    options.ridge,
                    method == CalibrationMethod::Temperature,
                )
            }
        };
        subtract(&mut layer, &bias);
        Ok(Self { labels, layer })
    }

    /// The calibration that nothing is learnt for: the probabilities of the classes are those of the first labels, one
    /// a class, without the bias that the log-probabilities after an empty input show. `labels` is the number of all
    /// labels.
    ///
    /// ```
    /// use edgeslm::answer::Calibration;
    ///
    /// // Asked nothing at all, the model says the first label four times in five.
    /// let habit = [0.8_f64.ln(), 0.2_f64.ln()];
    /// let calibration = Calibration::unfitted(2, 2, Some(&habit))?;
    /// assert_eq!(calibration.probabilities(&habit)?, [0.5, 0.5]);
    /// # Ok::<(), edgeslm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) with fewer than two classes or fewer labels
    /// than classes, and for scores of an empty input that are of another number, not a number or infinitely large.
    pub fn unfitted(labels: usize, classes: usize, content_free: Option<&[f64]>) -> Result<Self> {
        if classes < 2 {
            return Err(invalid(format!("there is nothing to tell apart in {classes} classes")));
        }
        check_one_label_a_class(labels, classes)?;
        let options =
            CalibrationOptions { content_free: content_free.map(<[f64]>::to_vec), ..Default::default() };
        let bias = self::content_free(&options, labels)?;
        let width = labels + 1;
        let mut layer = vec![0.0; classes * width];
        for (class, row) in layer.chunks_exact_mut(width).enumerate() {
            row[class] = 1.0;
        }
        subtract(&mut layer, &bias);
        Ok(Self { labels, layer })
    }

    /// One probability a class for the log-probabilities of one prompt's labels; they sum to 1.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for another number of scores than the
    /// examples had, and for a score that is not a number or is infinitely large.
    pub fn probabilities(&self, log_probabilities: &[f64]) -> Result<Vec<f32>> {
        let input = checked(log_probabilities, self.labels)?;
        let probabilities = layer::softmax(&self.layer, &input);
        Ok(probabilities.into_iter().map(|probability| probability as f32).collect())
    }

    /// How many scores it takes.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.labels
    }

    /// How many classes it tells apart.
    #[must_use]
    pub fn class_count(&self) -> usize {
        self.layer.len() / (self.labels + 1)
    }
}

fn check_one_label_a_class(labels: usize, classes: usize) -> Result<()> {
    if labels < classes {
        let message = format!("{labels} labels cannot be those of {classes} classes");
        return Err(invalid(message).with_hint("give one label a class, or fit a matrix"));
    }
    Ok(())
}

/// What is subtracted from each score.
fn content_free(options: &CalibrationOptions, labels: usize) -> Result<Vec<f64>> {
    match &options.content_free {
        Some(scores) => {
            let mut bias = checked(scores, labels)?;
            bias.truncate(labels);
            Ok(bias)
        }
        None => Ok(vec![0.0; labels]),
    }
}

/// Makes a layer for scores without `bias` one for scores with it.
fn subtract(layer: &mut [f64], bias: &[f64]) {
    for row in layer.chunks_exact_mut(bias.len() + 1) {
        let (weights, offset) = row.split_at_mut(bias.len());
        offset[0] -= weights.iter().zip(bias).map(|(weight, bias)| weight * bias).sum::<f64>();
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

/// The index of the largest; of equals, the first.
fn largest(probabilities: &[f32]) -> usize {
    let mut best = 0;
    for (index, probability) in probabilities.iter().enumerate() {
        if *probability > probabilities[best] {
            best = index;
        }
    }
    best
}
