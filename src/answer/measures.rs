//! How good probabilities and decisions are, by the field's measures.

use serde::Serialize;

use crate::sampling::ln;

/// A probability below this counts as this in [`log_loss`], so that one impossible answer does not outweigh all others.
const LEAST: f64 = 1e-9;

/// The mean negative log-likelihood of the right classes, in nats; NaN without examples. Each example is its classes'
/// probabilities and the right class.
///
/// ```
/// use edgeslm::answer::measures::log_loss;
///
/// let loss = log_loss([(&[0.5, 0.5][..], 0), (&[0.25, 0.75][..], 0)]);
/// assert!((loss - (2.0_f64.ln() + 4.0_f64.ln()) / 2.0).abs() < 1e-12);
/// ```
pub fn log_loss<'a>(examples: impl IntoIterator<Item = (&'a [f32], usize)>) -> f64 {
    mean(
        examples
            .into_iter()
            .map(|(probabilities, class)| -ln(probability_of(probabilities, class).max(LEAST))),
    )
}

/// The mean Brier score (Brier, 1950): the sum over the classes of the squared differences between probability and truth,
/// from 0 to 2; NaN without examples.
///
/// ```
/// let score = edgeslm::answer::measures::brier_score([(&[0.8, 0.2][..], 0)]);
/// assert!((score - 0.08).abs() < 1e-6);
/// ```
pub fn brier_score<'a>(examples: impl IntoIterator<Item = (&'a [f32], usize)>) -> f64 {
    mean(examples.into_iter().map(|(probabilities, class)| {
        let squares = probabilities.iter().enumerate().map(|(index, probability)| {
            let truth = if index == class { 1.0 } else { 0.0 };
            (f64::from(*probability) - truth).powi(2)
        });
        squares.sum::<f64>()
    }))
}

fn probability_of(probabilities: &[f32], class: usize) -> f64 {
    f64::from(probabilities.get(class).copied().unwrap_or(0.0))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    sum / count as f64
}

/// A bin of decisions of similar confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ConfidenceBin {
    /// How many decisions it holds.
    pub count: usize,
    /// The mean of their confidences.
    pub confidence: f64,
    /// The share of them that are right.
    pub accuracy: f64,
}

/// Decisions, as confidence and whether they are right, in `bins` bins of as equal a number as can be, from the least
/// confident on. Fewer decisions than bins have a bin each.
///
/// ```
/// let bins = edgeslm::answer::measures::confidence_bins(&[(0.9, true), (0.6, false), (0.7, true)], 2);
/// assert_eq!(bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [1, 2]);
/// assert_eq!(bins[1].accuracy, 1.0);
/// ```
#[must_use]
pub fn confidence_bins(decisions: &[(f32, bool)], bins: usize) -> Vec<ConfidenceBin> {
    let mut sorted = decisions.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let bins = bins.min(sorted.len());
    let cut = |index: usize| index * sorted.len() / bins;
    let bin = |index: usize| {
        let part = &sorted[cut(index)..cut(index + 1)];
        ConfidenceBin {
            count: part.len(),
            confidence: mean(part.iter().map(|(confidence, _)| f64::from(*confidence))),
            accuracy: mean(part.iter().map(|(_, is_right)| f64::from(u8::from(*is_right)))),
        }
    };
    (0..bins).map(bin).collect()
}

/// The expected calibration error over bins: how far confidence and accuracy of a decision's bin are apart, in the mean
/// over decisions (Naeini et al., 2015; with bins of equal number as in Nixon et al., 2019). Of few decisions it is too
/// large, since the accuracy of a small bin is uncertain: bins of n decisions are off by about 0.4 / √n by chance.
#[must_use]
pub fn expected_calibration_error(bins: &[ConfidenceBin]) -> f64 {
    let count: usize = bins.iter().map(|bin| bin.count).sum();
    let weighted = bins.iter().map(|bin| bin.count as f64 * (bin.confidence - bin.accuracy).abs());
    weighted.sum::<f64>() / count as f64
}

/// A point of the coverage-risk curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CoverageRisk {
    /// Decisions of at least this confidence are taken.
    pub threshold: f32,
    /// The share of decisions that are taken.
    pub coverage: f64,
    /// The share of those that are wrong.
    pub risk: f64,
}

/// What share is wrong when only the most confident decisions are taken, for each share that can be: one point a
/// confidence that occurs, from the highest on (El-Yaniv and Wiener, 2010).
///
/// ```
/// let curve = edgeslm::answer::measures::coverage_risk(&[(0.9, true), (0.6, false)]);
/// assert_eq!((curve[0].coverage, curve[0].risk), (0.5, 0.0));
/// assert_eq!((curve[1].coverage, curve[1].risk), (1.0, 0.5));
/// ```
#[must_use]
pub fn coverage_risk(decisions: &[(f32, bool)]) -> Vec<CoverageRisk> {
    let mut sorted = decisions.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut curve = Vec::new();
    let mut wrong = 0;
    for (index, (confidence, is_right)) in sorted.iter().enumerate() {
        wrong += usize::from(!is_right);
        let taken = index + 1;
        if sorted.get(taken).is_none_or(|(next, _)| next != confidence) {
            curve.push(CoverageRisk {
                threshold: *confidence,
                coverage: taken as f64 / sorted.len() as f64,
                risk: wrong as f64 / taken as f64,
            });
        }
    }
    curve
}

/// The area under the coverage-risk curve: the mean risk over all coverages that occur, where decisions of one confidence
/// come together. Lower is better; NaN without decisions.
#[must_use]
pub fn area_under_risk(curve: &[CoverageRisk]) -> f64 {
    let mut before = 0.0;
    let mut area = 0.0;
    for point in curve {
        area += (point.coverage - before) * point.risk;
        before = point.coverage;
    }
    if curve.is_empty() { f64::NAN } else { area }
}

/// How often each class was decided for where each class was right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ConfusionMatrix {
    /// `[right][decided]`.
    counts: Vec<Vec<usize>>,
}

/// What a confusion matrix says of a class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClassScores {
    /// How often it was right.
    pub support: usize,
    /// The share of decisions for it that were right; 0 where there were none.
    pub precision: f64,
    /// The share of its examples that were decided so; 0 where there were none.
    pub recall: f64,
    /// The harmonic mean of both; 0 where both are.
    pub f1: f64,
}

impl ConfusionMatrix {
    /// Of pairs of right and decided class, both below `classes`; a pair that is not is left out.
    ///
    /// ```
    /// use edgeslm::answer::measures::ConfusionMatrix;
    ///
    /// let matrix = ConfusionMatrix::of([(0, 0), (0, 1), (1, 1)], 2);
    /// assert_eq!(matrix.count(0, 1), 1);
    /// assert_eq!(matrix.accuracy(), 2.0 / 3.0);
    /// ```
    #[must_use]
    pub fn of(pairs: impl IntoIterator<Item = (usize, usize)>, classes: usize) -> Self {
        let mut counts = vec![vec![0; classes]; classes];
        for (right, decided) in pairs {
            if let Some(count) = counts.get_mut(right).and_then(|row: &mut Vec<usize>| row.get_mut(decided)) {
                *count += 1;
            }
        }
        Self { counts }
    }

    /// How often `decided` was decided for where `right` was right; 0 for classes that there are not.
    #[must_use]
    pub fn count(&self, right: usize, decided: usize) -> usize {
        self.counts.get(right).and_then(|row| row.get(decided)).copied().unwrap_or(0)
    }

    /// The number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.counts.len()
    }

    /// The share of decisions that are right; NaN without any.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        let right: usize = (0..self.classes()).map(|class| self.count(class, class)).sum();
        right as f64 / self.total() as f64
    }

    /// The share of examples of the most frequent class: what is right for who always says the same.
    #[must_use]
    pub fn majority(&self) -> f64 {
        let most = self.counts.iter().map(|row| row.iter().sum::<usize>()).max().unwrap_or(0);
        most as f64 / self.total() as f64
    }

    /// The scores of each class.
    #[must_use]
    pub fn scores(&self) -> Vec<ClassScores> {
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let of_class = |class: usize| {
            let support: usize = self.counts[class].iter().sum();
            let decided: usize = self.counts.iter().map(|row| row[class]).sum();
            let right = self.count(class, class) as f64;
            ClassScores {
                support,
                precision: ratio(right, decided as f64),
                recall: ratio(right, support as f64),
                f1: ratio(2.0 * right, (support + decided) as f64),
            }
        };
        (0..self.classes()).map(of_class).collect()
    }

    /// The mean of F1 over the classes that were right or decided for at least once, as scikit-learn's `macro`; NaN
    /// without any.
    #[must_use]
    pub fn macro_f1(&self) -> f64 {
        let occurs = |class: usize| {
            (0..self.classes()).any(|other| self.count(class, other) + self.count(other, class) > 0)
        };
        let scores = self.scores().into_iter().enumerate().filter(|(class, _)| occurs(*class));
        mean(scores.map(|(_, scores)| scores.f1))
    }

    fn total(&self) -> usize {
        self.counts.iter().flatten().sum()
    }
}

/// The value that a share of the values, from 0 to 1, does not exceed, by the nearest rank: the least value that at least
/// so many are not above. `None` without values.
///
/// ```
/// use edgeslm::answer::measures::percentile;
///
/// assert_eq!(percentile(&[4.0, 1.0, 3.0, 2.0], 0.5), Some(2.0));
/// assert_eq!(percentile(&[4.0, 1.0, 3.0, 2.0], 0.95), Some(4.0));
/// ```
#[must_use]
pub fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn log_loss_and_brier_score_by_hand() {
        let examples: [(&[f32], usize); 3] =
            [(&[0.5, 0.25, 0.25], 0), (&[0.0, 1.0, 0.0], 1), (&[0.0, 0.5, 0.5], 0)];
        close(log_loss(examples), (2.0_f64.ln() + 0.0 + 1e9_f64.ln()) / 3.0);
        close(brier_score(examples), (0.25 + 0.125 + 0.0 + 1.5) / 3.0);
        assert!(log_loss([]).is_nan() && brier_score([]).is_nan());
    }

    #[test]
    fn calibration_error_by_hand() {
        let decisions = [(0.5, false), (0.75, true), (0.5, true), (1.0, true), (0.75, false)];
        let bins = confidence_bins(&decisions, 2);
        // Bins [0.5, 0.5] and [0.75, 0.75, 1.0].
        assert_eq!(bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), [2, 3]);
        close(bins[0].confidence, 0.5);
        close(bins[0].accuracy, 0.5);
        close(bins[1].confidence, 2.5 / 3.0);
        close(bins[1].accuracy, 2.0 / 3.0);
        close(expected_calibration_error(&bins), (3.0 / 5.0) * (2.5 / 3.0 - 2.0 / 3.0));
        assert_eq!(confidence_bins(&decisions, 100).len(), 5);
        assert_eq!(confidence_bins(&[], 10), []);
    }

    #[test]
    fn the_coverage_risk_curve_by_hand() {
        let curve = coverage_risk(&[(0.9, true), (0.8, false), (0.8, true), (0.5, false)]);
        let expected = [(0.9, 0.25, 0.0), (0.8, 0.75, 1.0 / 3.0), (0.5, 1.0, 0.5)];
        assert_eq!(curve.len(), 3);
        for (point, (threshold, coverage, risk)) in curve.iter().zip(expected) {
            assert_eq!((point.threshold, point.coverage), (threshold, coverage));
            close(point.risk, risk);
        }
        close(area_under_risk(&curve), 0.0 + 0.5 / 3.0 + 0.25 * 0.5);
        assert!(area_under_risk(&[]).is_nan());
    }

    #[test]
    fn scores_of_classes_by_hand() {
        // Right class 0: decided 0, 0, 1. Class 1: 1, 0. Class 2 occurs only as a decision, class 3 never.
        let matrix = ConfusionMatrix::of([(0, 0), (0, 0), (0, 1), (1, 1), (1, 0), (1, 2), (9, 0)], 4);
        close(matrix.accuracy(), 3.0 / 6.0);
        close(matrix.majority(), 3.0 / 6.0);
        let scores = matrix.scores();
        assert_eq!(scores[0].support, 3);
        close(scores[0].precision, 2.0 / 3.0);
        close(scores[0].recall, 2.0 / 3.0);
        close(scores[0].f1, 2.0 / 3.0);
        close(scores[1].precision, 1.0 / 2.0);
        close(scores[1].recall, 1.0 / 3.0);
        close(scores[1].f1, 0.4);
        assert_eq!((scores[2].precision, scores[2].recall, scores[2].f1), (0.0, 0.0, 0.0));
        close(matrix.macro_f1(), (2.0 / 3.0 + 0.4 + 0.0) / 3.0);
        assert!(ConfusionMatrix::of([], 2).accuracy().is_nan());
    }

    #[test]
    fn percentiles_by_hand() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.95), Some(19.0));
        assert_eq!(percentile(&values, 0.96), Some(20.0));
        assert_eq!((percentile(&values, 0.0), percentile(&values, 1.0)), (Some(1.0), Some(20.0)));
        assert_eq!(percentile(&[7.0], 0.5), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
