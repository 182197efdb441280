//! The classifier of a task, calibrated on labelled examples, and what of an input its prompt shows.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use edgeslm::answer::{
    CalibrateOptions, Classifier, ClassifyOptions, LabelCalibration, Split, Task, read_examples,
};
use edgeslm::{Model, Result};
use serde_json::{Map, Value, json};

use crate::small_model::ModelArguments;

/// Which model sorts, and how sure it has to be
#[derive(Args)]
pub(crate) struct ClassifierArguments {
    #[command(flatten)]
    pub(crate) model: ModelArguments,

    /// The task file [default: the one that comes with the example]
    #[arg(long, value_name = "FILE")]
    task: Option<PathBuf>,

    /// Labelled examples to calibrate with [default: those that come with the example]
    #[arg(long, value_name = "FILE")]
    examples: Option<PathBuf>,

    /// Keep the calibration here, so that the next start need not make it again; `edgeslm calibrate` makes such files too
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,

    /// The share of wrong answers that is accepted among those that are not left to a person
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    risk: f64,

    /// The longest time for one text
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 10_000)]
    deadline: u64,

    /// Of examples with a split take those of one: `calibration` or `test`
    #[arg(long, value_name = "SPLIT")]
    pub(crate) split: Option<String>,

    /// Take the first N texts
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

impl ClassifierArguments {
    /// The classifier of the task in `examples/data` with this name, calibrated.
    ///
    /// # Errors
    /// For a task, examples or a calibration that cannot be used.
    pub(crate) fn classifier(&self, model: &Model, name: &str) -> Result<Classifier> {
        let beside = |end: &str| {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(format!("{name}{end}"))
        };
        let task = Task::read(self.task.clone().unwrap_or_else(|| beside(".task.json")))?;
        let examples = self.examples.clone().unwrap_or_else(|| beside(".jsonl"));
        let mut classifier = Classifier::new(model, task)?;
        match &self.calibration {
            Some(path) if path.exists() => classifier.load_calibration(path)?,
            path => {
                let calibration = self.calibrate(&mut classifier, &examples)?;
                if let Some(path) = path {
                    calibration.save(path)?;
                }
                classifier.set_calibration(Some(calibration))?;
            }
        }
        if classifier
            .calibration()
            .and_then(LabelCalibration::abstention)
            .is_some_and(|found| found.accepted == 0)
        {
            eprintln!("note: on the examples this model is too often wrong; all is left to a person");
        }
        Ok(classifier)
    }

    fn calibrate(&self, classifier: &mut Classifier, path: &Path) -> Result<LabelCalibration> {
        let mut examples = read_examples(path, classifier.task())?;
        examples.retain(|example| example.split == Split::Calibration);
        let options =
            CalibrateOptions { risk: Some(self.risk), confidence: 0.8, ..CalibrateOptions::default() };
        let started = Instant::now();
        let calibration = classifier.calibrate(&examples, &options, |_| ())?;
        eprintln!("calibrated on {} examples in {:.1} s", examples.len(), started.elapsed().as_secs_f64());
        Ok(calibration)
    }

    pub(crate) fn options(&self) -> ClassifyOptions {
        ClassifyOptions { deadline: Some(Duration::from_millis(self.deadline)), ..ClassifyOptions::default() }
    }
}

/// The fields that a prompt shows: those of a JSON object that has them, otherwise the text is the first.
pub(crate) fn fields(classifier: &Classifier, text: &str) -> Map<String, Value> {
    let names = classifier.task().inputs();
    if text.trim_start().starts_with('{')
        && let Ok(Value::Object(fields)) = serde_json::from_str(text)
        && names.iter().all(|name| fields.contains_key(*name))
    {
        return fields;
    }
    names.first().map(|name| ((*name).to_owned(), json!(text))).into_iter().collect()
}

/// Whether an example is for something else.
pub(crate) fn is_of_other_split(fields: &Map<String, Value>, split: Option<&str>) -> bool {
    let own = fields.get("split").and_then(Value::as_str);
    matches!((own, split), (Some(own), Some(split)) if own != split)
}

/// With three digits after the point.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
