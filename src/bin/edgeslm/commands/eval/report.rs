//! What an evaluation found, as its JSON has it. Times are in seconds, rates in tokens per second, memory in bytes.

use std::path::PathBuf;

use edgeslm::answer::measures::{ClassScores, ConfidenceBin, ConfusionMatrix, CoverageRisk};
use edgeslm::answer::{Abstention, CalibrationSummary, TaskKind};
use serde::Serialize;

use super::gate::Figure;

/// The whole evaluation.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) edgeslm: &'static str,
    pub(super) task: TaskFacts,
    pub(super) baseline: Option<Baseline>,
    pub(super) models: Vec<ModelReport>,
    pub(super) gate: Vec<GateLine>,
}

#[derive(Debug, Serialize)]
pub(super) struct TaskFacts {
    pub(super) name: String,
    #[serde(serialize_with = "kind_name")]
    pub(super) kind: TaskKind,
    pub(super) about: String,
    pub(super) set: PathBuf,
    pub(super) examples: usize,
    pub(super) labels: Vec<String>,
    pub(super) fields: Vec<String>,
}

fn kind_name<S: serde::Serializer>(kind: &TaskKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

/// Always the most frequent label.
#[derive(Debug, Serialize)]
pub(super) struct Baseline {
    pub(super) label: String,
    pub(super) accuracy: f64,
    pub(super) macro_f1: f64,
}

/// One model asked in one way.
#[derive(Debug, Serialize)]
pub(super) struct ModelReport {
    /// For people: the directory's name, and how it was asked.
    pub(super) name: String,
    pub(super) directory: PathBuf,
    pub(super) engine: String,
    pub(super) mode: Mode,
    pub(super) classify: Option<ClassifyScores>,
    pub(super) extract: Option<ExtractScores>,
    pub(super) text: Option<TextScores>,
    pub(super) speed: Speed,
    pub(super) answers: Vec<Item>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// As the task says.
    Task,
    /// A plain question, and the answer found in what the model wrote.
    FreeText,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct ClassifyScores {
    pub(super) accuracy: f64,
    pub(super) macro_f1: f64,
    /// `[right][decided]`; an answer without a label is counted in `unanswered` alone.
    pub(super) confusion: ConfusionMatrix,
    pub(super) classes: Vec<ClassScores>,
    /// Answers in which no label was found: they count as wrong.
    pub(super) unanswered: usize,
    pub(super) probabilities: Option<ProbabilityScores>,
    pub(super) calibration: Option<CalibrationSummary>,
    pub(super) abstention: Option<Abstention>,
    pub(super) abstained: usize,
    /// The share of examples that were answered and not left to a person.
    pub(super) coverage: f64,
    /// The share of right answers among those.
    pub(super) selective_accuracy: f64,
}

/// What only answers with probabilities have.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ProbabilityScores {
    pub(super) expected_calibration_error: f64,
    pub(super) brier_score: f64,
    pub(super) log_loss: f64,
    pub(super) bins: Vec<ConfidenceBin>,
    pub(super) coverage_risk: Vec<CoverageRisk>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct ExtractScores {
    /// The share of answers of which all fields are right.
    pub(super) exact: f64,
    /// The share of answers that are a JSON object.
    pub(super) parsed: f64,
    /// The mean of the fields' shares.
    pub(super) field_accuracy: f64,
    pub(super) fields: Vec<FieldScore>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct FieldScore {
    pub(super) name: String,
    /// The share of answers in which it is right, a missing one where none is expected included.
    pub(super) exact: f64,
    /// Answers that give a value where none is expected.
    pub(super) invented: usize,
    /// Answers that give none where one is expected.
    pub(super) missing: usize,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct TextScores {
    /// The share that the task counts as right.
    pub(super) accuracy: f64,
    pub(super) exact: f64,
    pub(super) prefix: f64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Speed {
    pub(super) load: f64,
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) prompt_tokens: usize,
    pub(super) reused_tokens: usize,
    pub(super) generated_tokens: usize,
    /// Of prompt tokens that were not in the cache.
    pub(super) prefill_rate: Option<f64>,
    /// Of generated tokens; none where nothing was generated.
    pub(super) decode_rate: Option<f64>,
    /// The most memory that was resident while this model was loaded and asked, pages of its files included.
    pub(super) peak_memory: Option<u64>,
}

/// One example's answer.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) expected: String,
    pub(super) answer: String,
    pub(super) right: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) probability: Option<f32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) abstained: bool,
    pub(super) seconds: f64,
    /// What was asked about, for people who judge.
    #[serde(skip)]
    pub(super) input: String,
}

/// A condition and what became of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct GateLine {
    pub(super) model: String,
    pub(super) condition: String,
    pub(super) found: Option<f64>,
    pub(super) met: bool,
}

impl ModelReport {
    /// A figure, if this task and this system have it.
    pub(super) fn figure(&self, figure: Figure) -> Option<f64> {
        let classify = self.classify.as_ref();
        let probabilities = classify.and_then(|scores| scores.probabilities.as_ref());
        let (extract, text) = (self.extract.as_ref(), self.text.as_ref());
        match figure {
            Figure::Accuracy => classify
                .map(|scores| scores.accuracy)
                .or(extract.map(|scores| scores.exact))
                .or(text.map(|scores| scores.accuracy)),
            Figure::MacroF1 => classify.map(|scores| scores.macro_f1),
            Figure::CalibrationError => probabilities.map(|scores| scores.expected_calibration_error),
            Figure::Brier => probabilities.map(|scores| scores.brier_score),
            Figure::LogLoss => probabilities.map(|scores| scores.log_loss),
            Figure::Coverage => classify.map(|scores| scores.coverage),
            Figure::SelectiveAccuracy => classify.map(|scores| scores.selective_accuracy),
            Figure::ExactMatch => extract.map(|scores| scores.exact).or(text.map(|scores| scores.exact)),
            Figure::FieldAccuracy => extract.map(|scores| scores.field_accuracy),
            Figure::Parsed => extract.map(|scores| scores.parsed),
            Figure::PrefixMatch => text.map(|scores| scores.prefix),
            Figure::P50 => Some(self.speed.p50),
            Figure::P95 => Some(self.speed.p95),
            Figure::PrefillRate => self.speed.prefill_rate,
            Figure::DecodeRate => self.speed.decode_rate,
            Figure::PeakMemory => self.speed.peak_memory.map(|bytes| bytes as f64),
            Figure::LoadTime => Some(self.speed.load),
        }
    }
}
