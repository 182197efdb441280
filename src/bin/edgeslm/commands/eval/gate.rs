//! Conditions that a model has to meet: `accuracy>=0.8,p95<=500ms`.

use std::fmt;

use crate::units;

/// A condition on a figure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    pub(super) figure: Figure,
    comparison: Comparison,
    value: f64,
    /// As it was written.
    text: String,
}

/// All conditions of a gate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gate(pub(super) Vec<Condition>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// What is measured of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    Accuracy,
    MacroF1,
    CalibrationError,
    Brier,
    LogLoss,
    Coverage,
    SelectiveAccuracy,
    ExactMatch,
    FieldAccuracy,
    Parsed,
    PrefixMatch,
    P50,
    P95,
    PrefillRate,
    DecodeRate,
    PeakMemory,
    LoadTime,
}

/// What a figure is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// A share from 0 to 1, or a score.
    Number,
    Seconds,
    Bytes,
}

impl Figure {
    pub(super) const ALL: [(&'static str, Self); 17] = [
        ("accuracy", Self::Accuracy),
        ("macro_f1", Self::MacroF1),
        ("ece", Self::CalibrationError),
        ("brier", Self::Brier),
        ("log_loss", Self::LogLoss),
        ("coverage", Self::Coverage),
        ("selective_accuracy", Self::SelectiveAccuracy),
        ("exact", Self::ExactMatch),
        ("field_accuracy", Self::FieldAccuracy),
        ("parsed", Self::Parsed),
        ("prefix", Self::PrefixMatch),
        ("p50", Self::P50),
        ("p95", Self::P95),
        ("prefill_rate", Self::PrefillRate),
        ("decode_rate", Self::DecodeRate),
        ("memory", Self::PeakMemory),
        ("load", Self::LoadTime),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, figure)| *figure == self).map_or("", |(name, _)| name)
    }

    fn unit(self) -> Unit {
        match self {
            Self::P50 | Self::P95 | Self::LoadTime => Unit::Seconds,
            Self::PeakMemory => Unit::Bytes,
            _ => Unit::Number,
        }
    }
}

/// What became of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    Missed,
    /// The figure does not exist for this task or this system, so that nobody can say that the condition is met.
    Unknown,
}

impl Condition {
    pub(super) fn judge(&self, found: Option<f64>) -> Verdict {
        let Some(found) = found.filter(|found| !found.is_nan()) else { return Verdict::Unknown };
        let is_met = match self.comparison {
            Comparison::AtLeast => found >= self.value,
            Comparison::AtMost => found <= self.value,
            Comparison::Above => found > self.value,
            Comparison::Below => found < self.value,
        };
        if is_met { Verdict::Met } else { Verdict::Missed }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads a gate: conditions with commas between.
pub(super) fn parse(text: &str) -> Result<Gate, String> {
    let conditions = text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(condition);
    let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
    if conditions.is_empty() {
        return Err("there is no condition".to_owned());
    }
    Ok(Gate(conditions))
}

fn condition(text: &str) -> Result<Condition, String> {
    const SIGNS: [(&str, Comparison); 4] = [
        (">=", Comparison::AtLeast),
        ("<=", Comparison::AtMost),
        (">", Comparison::Above),
        ("<", Comparison::Below),
    ];
    let parts = SIGNS.iter().find_map(|(sign, comparison)| {
        text.split_once(sign).map(|(name, value)| (name.trim(), *comparison, value.trim()))
    });
    let (name, comparison, value) =
        parts.ok_or_else(|| format!("{text:?} has no comparison; write for example accuracy>=0.8"))?;
    let figure = Figure::ALL.iter().find(|(known, _)| *known == name).map(|(_, figure)| *figure);
    let figure = figure.ok_or_else(|| {
        let names: Vec<&str> = Figure::ALL.iter().map(|(name, _)| *name).collect();
        format!("{name:?} is no figure; there are {}", names.join(", "))
    })?;
    let value = match figure.unit() {
        Unit::Number => number(value)?,
        Unit::Seconds => units::parse_duration(value)?.as_secs_f64(),
        Unit::Bytes => units::parse_bytes(value)? as f64,
    };
    Ok(Condition { figure, comparison, value, text: text.to_owned() })
}

/// A number, or a share such as `80 %`.
fn number(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.strip_suffix('%') {
        Some(digits) => (digits.trim(), 0.01),
        None => (text, 1.0),
    };
    let value: f64 = digits.parse().map_err(|_| format!("{text:?} is no number"))?;
    if value.is_finite() { Ok(value * factor) } else { Err(format!("{text:?} is no finite number")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_and_judged() {
        let Gate(conditions) =
            parse("accuracy>=0.8, p95 <= 500ms,memory<1GB,ece<=5%,decode_rate>20").unwrap();
        let names: Vec<&str> = conditions.iter().map(|condition| condition.figure.name()).collect();
        assert_eq!(names, ["accuracy", "p95", "memory", "ece", "decode_rate"]);
        let judge = |index: usize, found: f64| conditions[index].judge(Some(found));
        for (index, met, missed) in
            [(0, 0.8, 0.799), (1, 0.5, 0.501), (2, 999_999_999.0, 1e9), (3, 0.05, 0.051), (4, 20.1, 20.0)]
        {
            assert_eq!((judge(index, met), judge(index, missed)), (Verdict::Met, Verdict::Missed), "{index}");
        }
        assert_eq!(conditions[0].judge(None), Verdict::Unknown);
        assert_eq!(conditions[0].judge(Some(f64::NAN)), Verdict::Unknown);
        assert_eq!(conditions[1].to_string(), "p95 <= 500ms");
    }

    #[test]
    fn bad_gates_are_refused() {
        for (text, expected) in [
            ("", "no condition"),
            (",", "no condition"),
            ("accuracy", "no comparison"),
            ("accuracy=0.8", "no comparison"),
            ("beauty>=1", "no figure"),
            ("accuracy>=high", "no number"),
            ("accuracy>=inf", "no finite number"),
            ("p95<=soon", "begin with a number"),
            ("memory<=1XB", "unknown"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
