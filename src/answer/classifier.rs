//! A task for classifying, on a model.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::calibration::{Abstention, CalibrationChoice, CalibrationIdentity, Decision, LabelCalibration};
use super::classify::{Classification, ClassifyOptions, invalid};
use super::task::{Answer, Example, Task, TaskKind};
use crate::Model;
use crate::error::Result;
use crate::sampling::{exp, ln};
use crate::session::{Session, SessionOptions};
use crate::text::Text;

/// Options of [`Classifier::calibrate`].
#[derive(Debug, Clone)]
pub struct CalibrateOptions {
    /// The share of wrong answers that is accepted among those that are taken; `None` takes all. Default 0.1.
    pub risk: Option<f64>,
    /// The probability with which that bound is to hold. Default 0.9.
    pub confidence: f64,
    /// Deadline and cancel token of each classification, and how labels are scored.
    pub classify: ClassifyOptions,
}

impl Default for CalibrateOptions {
    fn default() -> Self {
        Self { risk: Some(0.1), confidence: 0.9, classify: ClassifyOptions::default() }
    }
}

/// Answers a [`Task`] of the kind `classify`, with or without a calibration.
///
/// ```no_run
/// # fn example(model: &edgeslm::Model) -> edgeslm::Result<()> {
/// use edgeslm::answer::{Classifier, Task};
/// use serde_json::json;
///
/// let mut classifier = Classifier::new(model, Task::read("triage.task.json")?)?;
/// classifier.load_calibration("models/smollm2/triage.calibration.json")?;
/// let fields = json!({"statement": "My arm went numb an hour ago."});
/// let decision = classifier.decide(fields.as_object().unwrap())?;
/// if decision.abstain {
///     println!("a nurse should look at this");
/// } else {
///     println!("{} ({:.0} %)", decision.label, 100.0 * decision.probability());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Classifier {
    task: Task,
    fingerprint: String,
    text: Arc<Text>,
    session: Session,
    calibration: Option<LabelCalibration>,
}

impl Classifier {
    /// A classifier with a session of its own.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a task of another kind.
    pub fn new(model: &Model, task: Task) -> Result<Self> {
        let session = model.session(SessionOptions::default())?;
        Self::of_session(session, Arc::clone(model.text()), model.fingerprint(), task)
    }

    pub(super) fn of_session(
        session: Session,
        text: Arc<Text>,
        fingerprint: String,
        task: Task,
    ) -> Result<Self> {
        if task.kind() != TaskKind::Classify {
            return Err(invalid(format!("the task {:?} is of kind {}", task.name(), task.kind().name())));
        }
        Ok(Self { task, fingerprint, text, session, calibration: None })
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// The calibration in use.
    #[must_use]
    pub fn calibration(&self) -> Option<&LabelCalibration> {
        self.calibration.as_ref()
    }

    /// Uses a calibration, or none.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for one of another model, prompt or set of labels.
    pub fn set_calibration(&mut self, calibration: Option<LabelCalibration>) -> Result<()> {
        if let Some(calibration) = &calibration {
            calibration.check(&self.fingerprint, self.task.digest())?;
            let identity = calibration.identity();
            if identity.classes != self.task.labels() || identity.labels != self.task.words() {
                return Err(invalid("the calibration was made for other labels"));
            }
        }
        self.calibration = calibration;
        Ok(())
    }

    /// Uses the calibration in a file.
    ///
    /// # Errors
    /// As [`LabelCalibration::load`] and [`set_calibration`](Self::set_calibration), naming the file.
    pub fn load_calibration(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let calibration = LabelCalibration::load(path)?;
        self.set_calibration(Some(calibration)).map_err(|error| error.with_file(path))
    }

    /// The label of an input: by the calibration, if there is one, and otherwise the label that the model most probably
    /// writes, with its probability among the labels, which need not mean much.
    ///
    /// # Errors
    /// As [`Task::prompt`] and [`Session::classify_with`].
    pub fn decide(&mut self, fields: &Map<String, Value>) -> Result<Decision> {
        self.decide_with(fields, &ClassifyOptions::default())
    }

    /// Like [`decide`](Self::decide), with deadline and cancel token; how labels are scored is the calibration's to say.
    ///
    /// # Errors
    /// As [`decide`](Self::decide), [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) and
    /// [`ErrorKind::DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded).
    pub fn decide_with(
        &mut self,
        fields: &Map<String, Value>,
        options: &ClassifyOptions,
    ) -> Result<Decision> {
        let prompt = self.task.prompt(&self.text, fields)?;
        match &self.calibration {
            Some(calibration) => self.session.decide(prompt, calibration, options),
            None => {
                let words = self.task.words().iter().take(self.task.labels().len());
                let words: Vec<&str> = words.map(String::as_str).collect();
                let mut found = self.session.classify_with(prompt, &words, options)?;
                found.label = self.task.labels().get(found.index).cloned().unwrap_or_default();
                Ok(Decision::uncalibrated(found))
            }
        }
    }

    /// The scores of all words of the task for an input: what a calibration takes.
    ///
    /// # Errors
    /// As [`decide_with`](Self::decide_with).
    pub fn scores(
        &mut self,
        fields: &Map<String, Value>,
        options: &ClassifyOptions,
    ) -> Result<Classification> {
        let prompt = self.task.prompt(&self.text, fields)?;
        let words: Vec<&str> = self.task.words().iter().map(String::as_str).collect();
        self.session.classify_with(prompt, &words, options)
    }

    /// The logarithms of the words' mean probabilities after the task's inputs that say nothing; `None` where it has none.
    ///
    /// # Errors
    /// As [`scores`](Self::scores).
    pub fn content_free_scores(&mut self, options: &ClassifyOptions) -> Result<Option<Vec<f64>>> {
        let inputs = self.task.content_free().to_vec();
        if inputs.is_empty() {
            return Ok(None);
        }
        let mut sums = vec![0.0; self.task.words().len()];
        for fields in &inputs {
            let found = self.scores(fields, options)?;
            for (sum, score) in sums.iter_mut().zip(&found.log_probabilities) {
                *sum += exp(score.max(-700.0)) / inputs.len() as f64;
            }
        }
        Ok(Some(sums.into_iter().map(|sum| ln(sum.max(f64::MIN_POSITIVE))).collect()))
    }

    /// Learns from labelled examples what the model's scores mean, and from which probability on its decisions can be
    /// relied on. Calls `progress` with the number of examples done. The classifier itself does not change: see
    /// [`set_calibration`](Self::set_calibration).
    ///
    /// # Errors
    /// As [`CalibrationChoice::of`], [`Abstention::choose`] and [`scores`](Self::scores), which names the example;
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a label without two examples.
    pub fn calibrate(
        &mut self,
        examples: &[Example],
        options: &CalibrateOptions,
        mut progress: impl FnMut(usize),
    ) -> Result<LabelCalibration> {
        let mut scored = Vec::with_capacity(examples.len());
        for example in examples {
            let Answer::Label(class) = example.answer else {
                return Err(invalid("the answer is no label").with_node(&example.id));
            };
            let found = self
                .scores(&example.fields, &options.classify)
                .map_err(|error| error.with_node(&example.id))?;
            scored.push((found.log_probabilities, class));
            progress(scored.len());
        }
        for (index, label) in self.task.labels().iter().enumerate() {
            let count = scored.iter().filter(|(_, class)| *class == index).count();
            if count < 2 {
                return Err(invalid(format!("the label {label:?} has {count} examples"))
                    .with_hint("a calibration needs at least two of each label, better ten"));
            }
        }
        let content_free = self.content_free_scores(&options.classify)?;
        let choice = CalibrationChoice::of(&scored, self.task.labels().len(), content_free.as_deref())?;
        let abstention = match options.risk {
            Some(risk) => Some(Abstention::choose(&choice.judged(&scored), risk, options.confidence)?),
            None => None,
        };
        let identity = CalibrationIdentity {
            model: self.fingerprint.clone(),
            prompt: self.task.digest().to_owned(),
            classes: self.task.labels().to_vec(),
            labels: self.task.words().to_vec(),
            score: options.classify.score,
        };
        LabelCalibration::new(identity, &choice, abstention)
    }
}
