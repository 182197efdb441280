//! From which probability on an answer may be taken, so that of those taken few are wrong.

use serde::{Deserialize, Serialize};

use crate::answer::classify::invalid;
use crate::error::Result;
use crate::sampling::{exp, ln};

/// A threshold below which a person should be asked, chosen so that the risk, the share of wrong answers among those that
/// are taken, stays below a bound.
///
/// The method is "selection with guaranteed risk" of Geifman and El-Yaniv, "Selective Classification for Deep Neural
/// Networks", 2017: a binary search over the confidences of labelled examples, in which each threshold that is looked at
/// is judged by the exact binomial bound (Clopper and Pearson, 1934) on its risk at a level that counts all looks. With
/// probability [`confidence`](Self::confidence), over the examples, the risk of future answers to prompts of the same kind
/// is at most [`bound`](Self::bound). This holds for examples that the calibration was not fitted to. Over probabilities
/// from cross-validation, as [`CalibrationChoice`](super::CalibrationChoice) gives them, it holds approximately, since
/// those come from calibrations on fewer examples than the final one.
///
/// Few examples bound little: with n of them taken and none wrong, the risk is known to be below
/// 1 − (δ / log₂ m)^(1/n) for δ = 1 − confidence and m examples in all. For a risk of 10 % at a confidence of 90 % that
/// takes 41 of 120 examples without an error, for 1 % over 400.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Abstention {
    /// The risk that was asked for.
    pub risk: f64,
    /// The probability with which the bound holds.
    pub confidence: f64,
    /// A top probability below this is not to be relied on. Above 1 where no threshold keeps to the risk: then every
    /// answer is for a person.
    pub threshold: f32,
    /// The bound on the risk that holds at the threshold; at most `risk`, or 1 where no threshold keeps to it.
    pub bound: f64,
    /// How many of the examples are at least as probable as the threshold.
    pub accepted: usize,
    /// How many of those were wrong.
    pub wrong: usize,
    /// How many examples there were.
    pub examples: usize,
}

/// A threshold that no probability reaches.
const NEVER: f32 = 2.0;

impl Abstention {
    /// Chooses the threshold from the top probability of each example and whether the class was right.
    ///
    /// ```
    /// use edgeslm::answer::Abstention;
    ///
    /// // A hundred examples: sure ones are right, doubtful ones half the time.
    /// let examples: Vec<(f32, bool)> = (0..100).map(|i| if i < 70 { (0.95, true) } else { (0.5, i % 2 == 0) }).collect();
    /// let abstention = Abstention::choose(&examples, 0.1, 0.9)?;
    /// assert!(abstention.accepts(0.95) && !abstention.accepts(0.5));
    /// # Ok::<(), edgeslm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) without examples, for a probability that is not
    /// a number, and for a risk or confidence that is not between 0 and 1.
    pub fn choose(examples: &[(f32, bool)], risk: f64, confidence: f64) -> Result<Self> {
        for (name, value) in [("risk", risk), ("confidence", confidence)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(invalid(format!("the {name} is {value}")).with_hint("it is between 0 and 1"));
            }
        }
        if examples.is_empty() {
            return Err(invalid("there are no examples to choose a threshold from"));
        }
        if examples.iter().any(|(probability, _)| probability.is_nan()) {
            return Err(invalid("a probability is not a number"));
        }
        let mut sorted = examples.to_vec();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let none = Self {
            risk,
            confidence,
            threshold: NEVER,
            bound: 1.0,
            accepted: 0,
            wrong: 0,
            examples: examples.len(),
        };
        let looks = usize::BITS - (examples.len() - 1).leading_zeros();
        let level = (1.0 - confidence) / f64::from(looks.max(1));
        let mut best = none;
        // The threshold is one of sorted[low..high]; lower ones take more answers.
        let (mut low, mut high) = (0, sorted.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let threshold = sorted[middle].0;
            // Answers of the same probability are taken or left together.
            let first = sorted.partition_point(|(probability, _)| *probability < threshold);
            let taken = &sorted[first..];
            let wrong = taken.iter().filter(|(_, is_right)| !is_right).count();
            let bound = risk_bound(wrong, taken.len(), level);
            if bound <= risk {
                best = Self { threshold, bound, accepted: taken.len(), wrong, ..none };
                high = first;
            } else {
                low = middle + 1;
            }
        }
        Ok(best)
    }

    /// Whether an answer whose class has this probability may be taken.
    #[must_use]
    pub fn accepts(&self, probability: f32) -> bool {
        probability >= self.threshold
    }
}

/// The largest risk under which at most `wrong` errors among `count` have the probability `level`.
fn risk_bound(wrong: usize, count: usize, level: f64) -> f64 {
    if wrong >= count {
        return 1.0;
    }
    let (mut low, mut high) = (wrong as f64 / count as f64, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if binomial_tail(wrong, count, middle) > level { low = middle } else { high = middle }
    }
    high
}

/// The probability of at most `most` events among `count`, each of probability `chance` between 0 and 1.
fn binomial_tail(most: usize, count: usize, chance: f64) -> f64 {
    let (log_chance, log_other) = (ln(chance.max(1e-300)), ln((1.0 - chance).max(1e-300)));
    let mut log_choose = 0.0;
    let mut sum = 0.0;
    for events in 0..=most {
        if events > 0 {
            log_choose += ln((count - events + 1) as f64) - ln(events as f64);
        }
        sum += exp(log_choose + events as f64 * log_chance + (count - events) as f64 * log_other);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn the_bound_is_clopper_and_pearsons() {
        // scipy.stats.beta.ppf(1 - level, wrong + 1, count - wrong)
        for (wrong, count, level, expected) in [
            (0, 22, 0.1, 0.099_374_7),
            (0, 1, 0.5, 0.5),
            (3, 60, 0.05, 0.124_187_2),
            (10, 120, 0.1 / 7.0, 0.155_94),
            (5, 5, 0.1, 1.0),
        ] {
            let found = risk_bound(wrong, count, level);
            assert!((found - expected).abs() < 1e-4, "{wrong} of {count}: {found} is not {expected}");
            assert!(
                (binomial_tail(wrong.min(count - 1), count, 0.3) - tail_by_hand(wrong.min(count - 1), count))
                    .abs()
                    < 1e-12
            );
        }
    }

    /// With a chance of 0.3, by multiplication.
    fn tail_by_hand(most: usize, count: usize) -> f64 {
        let mut term = 0.7_f64.powi(count as i32);
        let mut sum = term;
        for events in 1..=most {
            term *= (count - events + 1) as f64 / events as f64 * 0.3 / 0.7;
            sum += term;
        }
        sum
    }

    #[test]
    fn the_lowest_threshold_that_keeps_to_the_risk_is_chosen() {
        // 64 examples, so 6 looks. All right from 0.5 on, all wrong below.
        let examples: Vec<(f32, bool)> = (0..64).map(|i| (i as f32 / 64.0, i >= 32)).collect();
        let found = Abstention::choose(&examples, 0.2, 0.9).unwrap();
        // With k wrong below the 32 right ones the bound at 0.1 / 6 first exceeds 0.2 at some k; every k below holds.
        let bound = |wrong: usize| risk_bound(wrong, 32 + wrong, 0.1 / 6.0);
        let most = (0..32).take_while(|wrong| bound(*wrong) <= 0.2).last().unwrap();
        assert_eq!((found.wrong, found.accepted), (most, 32 + most));
        assert_eq!(found.threshold, (32 - most) as f32 / 64.0);
        assert_eq!(found.bound, bound(most));
        assert!(found.accepts(found.threshold) && !found.accepts(found.threshold - 0.01));
    }

    #[test]
    fn without_evidence_everything_is_for_a_person() {
        for examples in [vec![(0.99, true); 20], vec![(0.9, false); 500]] {
            let found = Abstention::choose(&examples, 0.1, 0.9).unwrap();
            assert_eq!((found.accepted, found.bound), (0, 1.0));
            assert!(!found.accepts(1.0));
        }
        // 41 of 120 without an error suffice, 40 do not.
        let with = |right: usize| {
            let sure = (0..120).map(|i| if i < right { (0.9, true) } else { (0.1, false) });
            Abstention::choose(&sure.collect::<Vec<_>>(), 0.1, 0.9).unwrap().accepted
        };
        assert_eq!((with(40), with(41)), (0, 41));
    }

    #[test]
    fn equal_probabilities_stand_or_fall_together() {
        let mut examples = vec![(0.8, true); 90];
        examples.extend(vec![(0.8, false); 10]);
        let found = Abstention::choose(&examples, 0.25, 0.9).unwrap();
        assert_eq!((found.accepted, found.wrong, found.threshold), (100, 10, 0.8));
        assert_eq!(Abstention::choose(&examples, 0.12, 0.9).unwrap().accepted, 0);
    }

    #[test]
    fn bad_arguments_are_refused() {
        for (examples, risk, confidence) in [
            (vec![], 0.1, 0.9),
            (vec![(f32::NAN, true)], 0.1, 0.9),
            (vec![(0.5, true)], 0.0, 0.9),
            (vec![(0.5, true)], 1.0, 0.9),
            (vec![(0.5, true)], f64::NAN, 0.9),
            (vec![(0.5, true)], 0.1, 1.0),
        ] {
            let error = Abstention::choose(&examples, risk, confidence).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }
}
