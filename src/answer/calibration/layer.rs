//! Fits the layer from scores to classes.

use crate::sampling::exp;

/// Fitting ends when no slope is steeper than this, or after so many steps.
const FLAT: f64 = 1e-9;
const MAXIMUM_STEPS: usize = 20_000;

/// An example: its scores with a 1 for the bias, and its class.
type Input = (Vec<f64>, usize);

/// The layer of which every weight is free.
pub(super) fn matrix(mut inputs: Vec<Input>, labels: usize, classes: usize, ridge: f64) -> Vec<f64> {
    let scales = standardise(&mut inputs, labels);
    let width = labels + 1;
    let cells = (0..classes * width).map(|cell| vec![cell]).collect();
    let mut layer = minimise(&inputs, &Free { cells, width, classes }, ridge);
    undo(&mut layer, &scales);
    layer
}

/// The layer in which a class depends on its own label alone: by a factor and an offset, or by one factor that all
/// classes share.
pub(super) fn of_own_labels(
    mut inputs: Vec<Input>,
    labels: usize,
    classes: usize,
    ridge: f64,
    is_shared: bool,
) -> Vec<f64> {
    let width = labels + 1;
    let own = |class: usize| class * width + class;
    let (scales, cells) = if is_shared {
        (vec![(0.0, common_scale(&mut inputs, classes)); labels], vec![(0..classes).map(own).collect()])
    } else {
        let scales = standardise(&mut inputs, labels);
        let offsets = (0..classes).map(|class| vec![class * width + labels]);
        (scales, (0..classes).map(|class| vec![own(class)]).chain(offsets).collect())
    };
    let mut layer = minimise(&inputs, &Free { cells, width, classes }, ridge);
    undo(&mut layer, &scales);
    layer
}

/// The parameters that are free: of each, the cells of the layer that hold it.
struct Free {
    cells: Vec<Vec<usize>>,
    width: usize,
    classes: usize,
}

impl Free {
    fn layer(&self, values: &[f64]) -> Vec<f64> {
        let mut layer = vec![0.0; self.width * self.classes];
        for (cells, value) in self.cells.iter().zip(values) {
            for &cell in cells {
                layer[cell] = *value;
            }
        }
        layer
    }

    fn is_bias(&self, parameter: usize) -> bool {
        self.cells[parameter].iter().all(|cell| cell % self.width == self.width - 1)
    }
}

/// Makes a layer for standardised scores one for plain scores.
fn undo(layer: &mut [f64], scales: &[(f64, f64)]) {
    for class in layer.chunks_exact_mut(scales.len() + 1) {
        let (weights, bias) = class.split_at_mut(scales.len());
        for (weight, (mean, deviation)) in weights.iter_mut().zip(scales) {
            *weight /= deviation;
            bias[0] -= *weight * mean;
        }
    }
}

/// Takes from the scores of each example, of which the first `classes` count, their mean, which changes no probability,
/// and divides all by one number, which is returned, so that their squares have the mean 1.
fn common_scale(inputs: &mut [Input], classes: usize) -> f64 {
    let mut squares = 0.0;
    for (input, _) in inputs.iter_mut() {
        let own = &mut input[..classes];
        let mean = own.iter().sum::<f64>() / classes as f64;
        own.iter_mut().for_each(|score| *score -= mean);
        squares += own.iter().map(|score| score * score).sum::<f64>();
    }
    let variance = squares / (inputs.len() * classes) as f64;
    let scale = if variance > 1e-20 { variance.sqrt() } else { 1.0 };
    for (input, _) in inputs.iter_mut() {
        input[..classes].iter_mut().for_each(|score| *score /= scale);
    }
    scale
}

/// Gives each label's scores the mean 0 and the variance 1; returns what their means and standard deviations were. A
/// score that is always the same becomes 0.
fn standardise(inputs: &mut [Input], labels: usize) -> Vec<(f64, f64)> {
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

/// The layer with the least loss on the inputs: accelerated gradient descent (Nesterov, 1983) that starts anew where it
/// would go uphill (O'Donoghue and Candès, 2015).
fn minimise(inputs: &[Input], free: &Free, ridge: f64) -> Vec<f64> {
    // The Hessian of the softmax is at most 1/2 (Böhning, 1992), and standardised values have squares of mean 1.
    let step = 1.0 / (0.5 * free.width as f64 + ridge);
    let mut values = vec![0.0; free.cells.len()];
    let mut ahead = values.clone();
    let mut momentum = 1.0_f64;
    for _ in 0..MAXIMUM_STEPS {
        let slopes = gradient(inputs, free, &ahead, ridge);
        if slopes.iter().all(|slope| slope.abs() < FLAT) {
            break;
        }
        let next: Vec<f64> = ahead.iter().zip(&slopes).map(|(value, slope)| value - step * slope).collect();
        let moves: Vec<f64> = next.iter().zip(&values).map(|(next, value)| next - value).collect();
        let uphill = slopes.iter().zip(&moves).map(|(slope, by)| slope * by).sum::<f64>() > 0.0;
        let next_momentum = if uphill { 1.0 } else { (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt()) / 2.0 };
        let further = if uphill { 0.0 } else { (momentum - 1.0) / next_momentum };
        ahead = next.iter().zip(&moves).map(|(next, by)| next + further * by).collect();
        momentum = next_momentum;
        values = next;
    }
    free.layer(&values)
}

/// Of the mean cross-entropy and the ridge on all but the biases, by parameter.
fn gradient(inputs: &[Input], free: &Free, values: &[f64], ridge: f64) -> Vec<f64> {
    let layer = free.layer(values);
    let mut of_cells = vec![0.0; layer.len()];
    for (input, class) in inputs {
        let probabilities = softmax(&layer, input);
        for (index, (row, probability)) in
            of_cells.chunks_exact_mut(free.width).zip(probabilities).enumerate()
        {
            let error = if index == *class { probability - 1.0 } else { probability };
            for (slope, value) in row.iter_mut().zip(input) {
                *slope += error * value;
            }
        }
    }
    let of_parameter = |(parameter, value): (usize, &f64)| {
        let slope: f64 = free.cells[parameter].iter().map(|cell| of_cells[*cell]).sum();
        let penalty = if free.is_bias(parameter) { 0.0 } else { ridge * value };
        slope / inputs.len() as f64 + penalty
    };
    values.iter().enumerate().map(of_parameter).collect()
}

/// The softmax over the classes of what `layer` makes of `input`, which ends in the bias's 1.
pub(super) fn softmax(layer: &[f64], input: &[f64]) -> Vec<f64> {
    let rows = layer.chunks_exact(input.len());
    let logits: Vec<f64> = rows.map(|row| row.iter().zip(input).map(|(a, b)| a * b).sum()).collect();
    let maximum = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.into_iter().map(|logit| exp(logit - maximum)).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}
