//! The text side of a model directory.

use super::ModelDirectory;
use crate::error::{Error, ErrorKind, Result};
use crate::session::TextModel;
use crate::text::Tokenizer;

/// Loads tokenizer, chat template and stop tokens.
pub(super) fn text_model(directory: &ModelDirectory) -> Result<TextModel> {
    let files = directory.text_files();
    let tokenizer = files.tokenizer.as_deref().ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "the directory has no tokenizer.json").with_file(directory.path())
    })?;
    let tokenizer = Tokenizer::load(tokenizer, files.tokenizer_config.as_deref())?;
    let stop_tokens = directory.config().eos_token_ids.clone();
    Ok(TextModel { tokenizer, chat: None, stop_tokens })
}
