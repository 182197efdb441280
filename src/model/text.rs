//! The text side of a model directory.

#![forbid(unsafe_code)]

use std::path::Path;

use serde_json::{Value, json};

use super::{ModelDirectory, PromptTemplates};
use crate::error::{Error, ErrorKind, Result};
use crate::text::{Text, TextFiles};

/// Loads tokenizer, chat template and stop tokens.
pub(super) fn load(directory: &ModelDirectory) -> Result<Text> {
    let files = directory.text_files();
    let tokenizer_json = tokenizer_json(directory)?;
    let config = directory.config();
    let prompt_templates = config.prompt_templates.as_ref().map(to_json);
    Text::load(&TextFiles {
        tokenizer_json,
        tokenizer_config: files.tokenizer_config.as_deref(),
        special_tokens_map: files.special_tokens_map.as_deref(),
        chat_template_jinja: files.chat_template.as_deref(),
        chat_template_json: files.chat_template_json.as_deref(),
        prompt_templates: prompt_templates.as_ref(),
        model_type: config.model_type.as_deref(),
        bos_token_id: config.bos_token_id,
        eos_token_ids: &config.eos_token_ids,
    })
}

/// The tokenizer's file.
pub(super) fn tokenizer_json(directory: &ModelDirectory) -> Result<&Path> {
    directory.text_files().tokenizer.as_deref().ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "the directory has no tokenizer.json").with_file(directory.path())
    })
}

fn to_json(templates: &PromptTemplates) -> Value {
    let PromptTemplates { system, user, assistant, prompt } = templates;
    json!({"system": system, "user": user, "assistant": assistant, "prompt": prompt})
}
