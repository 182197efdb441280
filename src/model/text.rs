//! The text side of a model directory.

#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::{ModelDirectory, PromptTemplates};
use crate::error::Result;
use crate::text::{Text, TextFiles};

/// Loads tokenizer, chat template and stop tokens.
pub(super) fn load(directory: &ModelDirectory<'_>) -> Result<Text> {
    let files = directory.text_files();
    let config = directory.config();
    let prompt_templates = config.prompt_templates.as_ref().map(to_json);
    let chat_template_jinja = directory.read_text(files.chat_template.as_deref())?;
    Text::load(TextFiles {
        tokenizer_json: directory.read_tokenizer()?,
        tokenizer_config: directory.read_text(files.tokenizer_config.as_deref())?,
        special_tokens_map: directory.read_text(files.special_tokens_map.as_deref())?,
        chat_template_json: match chat_template_jinja {
            Some(_) => None,
            None => directory.read_text(files.chat_template_json.as_deref())?,
        },
        chat_template_jinja,
        prompt_templates: prompt_templates.as_ref(),
        model_type: config.model_type.as_deref(),
        bos_token_id: config.bos_token_id,
        eos_token_ids: &config.eos_token_ids,
    })
}

fn to_json(templates: &PromptTemplates) -> Value {
    let PromptTemplates { system, user, assistant, prompt } = templates;
    json!({"system": system, "user": user, "assistant": assistant, "prompt": prompt})
}
