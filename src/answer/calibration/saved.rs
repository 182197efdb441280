//! A calibration with all that it depends on, as a small file beside the model.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Abstention, Calibration, CalibrationChoice, CalibrationSummary, largest};
use crate::answer::classify::{Classification, ClassifyOptions, LabelScore, invalid};
use crate::error::{Error, ErrorKind, Result};
use crate::model::read_limited;
use crate::session::{Prompt, Session, Statistics};

/// The longest file that is read, in bytes.
const MAXIMUM_FILE_BYTES: u64 = 64 << 20;

/// What files say that they are.
const FORMAT: &str = "edgeslm calibration";
const VERSION: u64 = 1;

/// A class with its calibrated probability, and whether to rely on it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// The index of the most probable class; of equals, the first.
    pub index: usize,
    /// The most probable class.
    pub label: String,
    /// One probability a class; they sum to 1.
    pub probabilities: Vec<f32>,
    /// Whether the class is too improbable for the risk that was asked for, so that a person or a larger model should
    /// decide. Never set without an [`Abstention`].
    pub abstain: bool,
    /// Counts and times, as in [`Classification`].
    pub statistics: Statistics,
}

impl Decision {
    /// The probability of the most probable class.
    #[must_use]
    pub fn probability(&self) -> f32 {
        self.probabilities.get(self.index).copied().unwrap_or(0.0)
    }

    /// The decision that a classification over the classes themselves is.
    pub(in crate::answer) fn uncalibrated(found: Classification) -> Self {
        let Classification { index, label, probabilities, statistics, .. } = found;
        Self { index, label, probabilities, abstain: false, statistics }
    }
}

/// A [`Calibration`] with the names of its classes, the labels that it was fitted to, the threshold below which it
/// abstains, and what identifies model and prompt.
///
/// It holds for one model, one prompt and one set of labels: with others its probabilities mean nothing, so that files
/// say which they are for and [`check`](Self::check) refuses others.
///
/// The file is JSON: `format` is `"edgeslm calibration"`, `version` 1, `model` a
/// [`Model::fingerprint`](crate::Model::fingerprint), `prompt` a [`Task::digest`](crate::answer::Task::digest) or
/// whatever the program identifies its prompt by, `classes` and `labels` their names, `score` `joint` or
/// `trie_normalised`, `fitted` a [`CalibrationSummary`], `layer` one array a class with a weight for each label and the
/// offset, `abstention` an [`Abstention`] or null.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelCalibration {
    identity: CalibrationIdentity,
    calibration: Calibration,
    summary: CalibrationSummary,
    abstention: Option<Abstention>,
}

/// What a calibration belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalibrationIdentity {
    /// [`Model::fingerprint`](crate::Model::fingerprint).
    pub model: String,
    /// What identifies the prompt: [`Task::digest`](crate::answer::Task::digest), or any text that changes with it.
    pub prompt: String,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The labels whose scores the calibration takes, as the model writes them.
    pub labels: Vec<String>,
    /// How they are scored.
    pub score: LabelScore,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    version: u64,
    model: String,
    prompt: String,
    classes: Vec<String>,
    labels: Vec<String>,
    score: LabelScore,
    fitted: CalibrationSummary,
    layer: Vec<Vec<f64>>,
    abstention: Option<Abstention>,
}

impl LabelCalibration {
    /// Joins a choice and a threshold with what they belong to.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where the numbers of labels and classes are not those of the calibration.
    pub fn new(
        identity: CalibrationIdentity,
        choice: &CalibrationChoice,
        abstention: Option<Abstention>,
    ) -> Result<Self> {
        let calibration = choice.calibration.clone();
        let counts = (identity.labels.len(), identity.classes.len());
        if counts != (calibration.label_count(), calibration.class_count()) {
            return Err(invalid(format!(
                "{} labels and {} classes for a calibration from {} to {}",
                counts.0,
                counts.1,
                calibration.label_count(),
                calibration.class_count()
            )));
        }
        Ok(Self { identity, calibration, summary: choice.summary.clone(), abstention })
    }

    /// What it belongs to.
    #[must_use]
    pub fn identity(&self) -> &CalibrationIdentity {
        &self.identity
    }

    /// How it was fitted.
    #[must_use]
    pub fn summary(&self) -> &CalibrationSummary {
        &self.summary
    }

    /// From which probability on a class is relied on; `None` where no risk was asked for.
    #[must_use]
    pub fn abstention(&self) -> Option<&Abstention> {
        self.abstention.as_ref()
    }

    /// The calibration itself.
    #[must_use]
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// Refuses a calibration of another model or another prompt. Pass the fingerprint of the model that will be used and
    /// what identifies its prompt.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if either is another.
    pub fn check(&self, model: &str, prompt: &str) -> Result<()> {
        let problem = |what: &str| {
            Err(invalid(format!("the calibration was made for another {what}"))
                .with_hint("make a new one, with `edgeslm calibrate` or from labelled examples"))
        };
        if self.identity.model != model {
            return problem("model");
        }
        if self.identity.prompt != prompt { problem("prompt or other labels") } else { Ok(()) }
    }

    /// What a classification over [`labels`](CalibrationIdentity::labels) means.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for another number of labels.
    pub fn decide(&self, found: &Classification) -> Result<Decision> {
        let probabilities = self.calibration.probabilities(&found.log_probabilities)?;
        let index = largest(&probabilities);
        let probability = probabilities.get(index).copied().unwrap_or(0.0);
        Ok(Decision {
            index,
            label: self.identity.classes.get(index).cloned().unwrap_or_default(),
            abstain: self.abstention.is_some_and(|abstention| !abstention.accepts(probability)),
            probabilities,
            statistics: found.statistics,
        })
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        let CalibrationIdentity { model, prompt, classes, labels, score } = self.identity.clone();
        let width = labels.len() + 1;
        let file = File {
            format: FORMAT.to_owned(),
            version: VERSION,
            model,
            prompt,
            classes,
            labels,
            score,
            fitted: self.summary.clone(),
            layer: self.calibration.layer.chunks_exact(width).map(<[f64]>::to_vec).collect(),
            abstention: self.abstention,
        };
        serde_json::to_string(&file)
            .map(|text| text + "\n")
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()).with_source(error))
    }

    /// The calibration in a file's text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] for a text that is no calibration or contradicts itself, [`ErrorKind::Unsupported`]
    /// for one of another version.
    pub fn from_json(text: &str) -> Result<Self> {
        let damaged = |message: String| {
            Error::new(ErrorKind::InvalidModel, message).with_hint("make it again with `edgeslm calibrate`")
        };
        let value: serde_json::Value = serde_json::from_str(text)
            .map_err(|error| damaged(format!("the calibration is not JSON: {error}")))?;
        if value.get("format").and_then(serde_json::Value::as_str) != Some(FORMAT) {
            return Err(damaged("this is no calibration".to_owned()));
        }
        if let Some(version) =
            value.get("version").and_then(serde_json::Value::as_u64).filter(|v| *v != VERSION)
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the calibration has version {version}, and this library reads version {VERSION}"),
            ));
        }
        let file: File = serde_json::from_value(value)
            .map_err(|error| damaged(format!("the calibration is damaged: {error}")))?;
        let width = file.labels.len() + 1;
        if file.classes.len() < 2 || file.labels.is_empty() || file.layer.len() != file.classes.len() {
            return Err(damaged(format!(
                "the calibration has {} classes, {} labels and {} rows",
                file.classes.len(),
                file.labels.len(),
                file.layer.len()
            )));
        }
        if file.layer.iter().any(|row| row.len() != width || row.iter().any(|value| !value.is_finite())) {
            return Err(damaged(format!("a row of the calibration does not have {width} finite numbers")));
        }
        if file.abstention.is_some_and(|abstention| !(0.0..=2.0).contains(&abstention.threshold)) {
            return Err(damaged("the calibration's threshold is no probability".to_owned()));
        }
        let File { model, prompt, classes, labels, score, .. } = file;
        Ok(Self {
            calibration: Calibration { labels: labels.len(), layer: file.layer.concat() },
            identity: CalibrationIdentity { model, prompt, classes, labels, score },
            summary: file.fitted,
            abstention: file.abstention,
        })
    }

    /// Writes the file. It is complete or as it was before: it is written beside `path` and then renamed.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] and [`ErrorKind::NotFound`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let text = self.to_json()?;
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let partial = PathBuf::from(name);
        let write = || {
            let mut file = std::fs::File::create(&partial)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            drop(file);
            std::fs::rename(&partial, path)
        };
        write().map_err(|error| {
            // What is there of it is of no use.
            let _ = std::fs::remove_file(&partial);
            Error::io(path, error)
        })
    }

    /// Reads a file. It says which model and prompt it is for: see [`check`](Self::check).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Io`], and as [`from_json`](Self::from_json), naming the file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_limited(path, MAXIMUM_FILE_BYTES)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            Error::new(ErrorKind::InvalidModel, format!("the calibration is not UTF-8: {error}"))
                .with_file(path)
        })?;
        Self::from_json(text).map_err(|error| error.with_file(path))
    }
}

impl Session {
    /// Which class `prompt` is of, with the probability that labelled examples showed and whether to rely on it. The
    /// prompt is of the form that the calibration was made with; see [`LabelCalibration::check`]. `options` gives
    /// deadline and cancel token; how labels are scored is the calibration's to say.
    ///
    /// # Errors
    /// As [`Session::classify_with`].
    pub fn decide(
        &mut self,
        prompt: impl Into<Prompt>,
        calibration: &LabelCalibration,
        options: &ClassifyOptions,
    ) -> Result<Decision> {
        let options = ClassifyOptions { score: calibration.identity.score, ..options.clone() };
        let labels: Vec<&str> = calibration.identity.labels.iter().map(String::as_str).collect();
        calibration.decide(&self.classify_with(prompt, &labels, &options)?)
    }
}
