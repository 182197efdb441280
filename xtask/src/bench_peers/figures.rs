//! What is measured, and the middle of several rounds.

use anyhow::Context;
use serde_json::Value;

/// What is measured of every runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// Tokens of the prompt a second.
    Prefill,
    /// Tokens of the answer a second.
    Decode,
    /// Seconds from the start of loading until a prompt may come.
    Load,
    /// The most memory that the process held, mapped files counted.
    PeakResident,
    /// Memory at the end that belongs to the process alone.
    Private,
}

impl Quantity {
    pub(super) const ALL: [Self; 5] =
        [Self::Prefill, Self::Decode, Self::Load, Self::PeakResident, Self::Private];

    /// The name with the unit that is shown.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill tok/s",
            Self::Decode => "decode tok/s",
            Self::Load => "load s",
            Self::PeakResident => "peak RSS MB",
            Self::Private => "private MB",
        }
    }

    /// By what a figure is multiplied for the unit that is shown.
    pub(super) fn factor(self) -> f64 {
        match self {
            Self::Prefill | Self::Decode | Self::Load => 1.0,
            Self::PeakResident | Self::Private => 1e-6,
        }
    }

    /// The key in records, with the unit there.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Prefill => "prefill_tokens_per_second",
            Self::Decode => "decode_tokens_per_second",
            Self::Load => "load_seconds",
            Self::PeakResident => "peak_resident_bytes",
            Self::Private => "private_bytes",
        }
    }

    /// Where it stands in the JSON of `edgeslm bench`.
    fn in_edgeslm(self) -> &'static str {
        match self {
            Self::Prefill => "/prefill_tokens_per_second/median",
            Self::Decode => "/decode_tokens_per_second/median",
            Self::Load => "/load_seconds/median",
            Self::PeakResident => "/peak_resident_bytes",
            Self::Private => "/anonymous_bytes",
        }
    }

    /// Where it stands in the JSON of the programs in `benches/peers`.
    fn in_peers(self) -> &'static str {
        match self {
            Self::Prefill => "/prefill_tokens_per_s",
            Self::Decode => "/decode_tokens_per_s",
            Self::Load => "/load_s",
            Self::PeakResident => "/peak_rss_bytes",
            Self::Private => "/anonymous_bytes",
        }
    }
}

/// What one process has measured, in the order of [`Quantity::ALL`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures([f64; 5]);

impl Figures {
    /// From the JSON of `edgeslm bench`.
    pub(super) fn of_edgeslm(output: &Value) -> anyhow::Result<Self> {
        Self::of(output, Quantity::in_edgeslm)
    }

    /// From the JSON of a program in `benches/peers`.
    pub(super) fn of_peer(output: &Value) -> anyhow::Result<Self> {
        Self::of(output, Quantity::in_peers)
    }

    fn of(output: &Value, place: fn(Quantity) -> &'static str) -> anyhow::Result<Self> {
        let mut figures = [0.0; 5];
        for (figure, quantity) in figures.iter_mut().zip(Quantity::ALL) {
            let path = place(quantity);
            let found = output.pointer(path).and_then(Value::as_f64).filter(|value| *value > 0.0);
            *figure = found.with_context(|| format!("no {} at {path} in {output}", quantity.name()))?;
        }
        Ok(Self(figures))
    }

    fn get(&self, quantity: Quantity) -> f64 {
        let [prefill, decode, load, peak_resident, private] = self.0;
        match quantity {
            Quantity::Prefill => prefill,
            Quantity::Decode => decode,
            Quantity::Load => load,
            Quantity::PeakResident => peak_resident,
            Quantity::Private => private,
        }
    }
}

/// The figures of several rounds.
#[derive(Debug, Clone, Default)]
pub(super) struct Rounds(Vec<Figures>);

impl Rounds {
    pub(super) fn push(&mut self, figures: Figures) {
        self.0.push(figures);
    }

    /// One quantity of every round.
    pub(super) fn all(&self, quantity: Quantity) -> Vec<f64> {
        self.0.iter().map(|figures| figures.get(quantity)).collect()
    }

    pub(super) fn median(&self, quantity: Quantity) -> f64 {
        median(&self.all(quantity))
    }
}

/// The middle of `figures`; not a number where there are none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let (lower, upper) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    (at(lower) + at(upper)) / 2.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn figures_are_read_or_missed_by_name() {
        let mut output = json!({"prefill_tokens_per_s": 50.0, "decode_tokens_per_s": 20.5, "load_s": 0.25,
            "peak_rss_bytes": 2_000_000, "anonymous_bytes": 1_000_000});
        let mut rounds = Rounds::default();
        rounds.push(Figures::of_peer(&output).unwrap());
        let medians = Quantity::ALL.map(|quantity| rounds.median(quantity));
        assert_eq!(medians, [50.0, 20.5, 0.25, 2e6, 1e6]);
        assert_eq!(Quantity::Private.factor() * medians[4], 1.0);
        output["decode_tokens_per_s"] = Value::Null;
        let error = Figures::of_peer(&output).unwrap_err().to_string();
        assert!(error.starts_with("no decode tok/s at /decode_tokens_per_s in "), "{error}");
        let ours = json!({"prefill_tokens_per_second": {"median": 1.0}});
        let error = Figures::of_edgeslm(&ours).unwrap_err().to_string();
        assert!(error.contains("/decode_tokens_per_second/median"), "{error}");
    }
}
