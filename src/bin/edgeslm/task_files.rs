//! Where task files, sets and calibrations are.

use std::path::{Path, PathBuf};

use clap::Args;
use edgeslm::answer::{Example, Split, Task, read_examples};

use crate::failure::Failure;

/// A set and the task that it is for.
#[derive(Args, Debug)]
pub(crate) struct SetArguments {
    /// The examples: JSON, one object a line, or CSV
    #[arg(value_name = "SET")]
    pub(crate) set: PathBuf,

    /// The task file [default: SET with the ending .task.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) task: Option<PathBuf>,

    /// Take the first N examples of the split
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    pub(crate) limit: usize,
}

impl SetArguments {
    /// The task and all examples.
    pub(crate) fn read(&self) -> Result<(Task, Vec<Example>), Failure> {
        let path = self.task.clone().unwrap_or_else(|| self.set.with_extension("task.json"));
        let task = Task::read(&path).map_err(|error| match (error.kind(), &self.task) {
            (edgeslm::ErrorKind::NotFound, None) => {
                error.with_hint("name the task file with --task; docs/evaluation.md says what it holds")
            }
            _ => error,
        })?;
        let examples = read_examples(&self.set, &task)?;
        Ok((task, examples))
    }
}

/// The examples of a split.
pub(crate) fn of_split(examples: &[Example], split: Split) -> Vec<Example> {
    examples.iter().filter(|example| example.split == split).cloned().collect()
}

/// Where the calibration of a task lies beside a model.
pub(crate) fn calibration_path(model: &Path, task: &Task) -> PathBuf {
    let directory = if model.is_dir() { model } else { model.parent().unwrap_or(Path::new("")) };
    let name: String = task
        .name()
        .chars()
        .map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' })
        .collect();
    directory.join(format!("{name}.calibration.json"))
}
