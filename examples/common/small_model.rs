//! Where the model lies, and how it is loaded.

use std::path::PathBuf;

use clap::Args;
use edgeslm::{ErrorKind, LoadOptions, Model, Result};

/// Which model
#[derive(Args)]
pub(crate) struct ModelArguments {
    /// The model directory; `cargo xtask demo` makes the default one
    #[arg(long, value_name = "DIR", default_value = "target/demo/smollm2-135m-instruct")]
    pub(crate) model: PathBuf,

    /// Threads [default: as many as the process may use]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl ModelArguments {
    /// # Errors
    /// Those of [`Model::load`].
    pub(crate) fn load(&self) -> Result<Model> {
        let options = LoadOptions { threads: self.threads, ..LoadOptions::default() };
        let model = Model::load(&self.model, &options);
        model.map_err(|error| match error.kind() {
            ErrorKind::NotFound => error.with_hint(
                "make the demonstration's model with `cargo xtask demo`, or name one with --model",
            ),
            _ => error,
        })
    }
}
