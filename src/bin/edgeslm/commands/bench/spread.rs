//! The middle and the ends of repeated measurements.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// Zeros where there are no values.
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let (lower, upper) = (values.len().saturating_sub(1) / 2, values.len() / 2);
        Self { median: (at(lower) + at(upper)) / 2.0, least: at(0), most: at(values.len().saturating_sub(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        for (values, median, least, most) in [
            (vec![], 0.0, 0.0, 0.0),
            (vec![3.0], 3.0, 3.0, 3.0),
            (vec![4.0, 1.0], 2.5, 1.0, 4.0),
            (vec![9.0, 1.0, 2.0], 2.0, 1.0, 9.0),
        ] {
            assert_eq!(Spread::of(values), Spread { median, least, most });
        }
    }
}
