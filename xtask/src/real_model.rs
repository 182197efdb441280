//! The tests that run the demonstration's model.

use anyhow::Context;

use crate::command::{cargo_command, succeed};
use crate::demo;

/// Obtains the model and runs them, in the profile of the other tests: that is built anyway and optimised.
pub(crate) fn run() -> anyhow::Result<()> {
    let models = demo::models()?;
    let folder = models.exact.parent().context("the model has no folder")?;
    let mut arguments = vec!["test", "--workspace", "--test", "real_model"];
    // Each test uses two threads itself.
    arguments.extend(["--", "--include-ignored", "--test-threads=1", "--show-output"]);
    succeed(cargo_command(&arguments).env("EDGESLM_DEMO_MODELS", folder))
}
