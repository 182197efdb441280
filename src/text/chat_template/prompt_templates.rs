//! The form that prompts had before chat templates.

use serde_json::Value;

use crate::text::message::{Message, Role};

/// `prompt_templates` of old ONNX Runtime GenAI directories: one text for each role, with `{Content}` in it, and one
/// for the last question together with the beginning of the answer.
#[derive(Debug)]
pub(super) struct PromptTemplates {
    system: String,
    user: String,
    assistant: String,
    prompt: Option<String>,
}

const CONTENT: &str = "{Content}";

impl PromptTemplates {
    pub(super) fn from_json(json: &Value) -> Option<Self> {
        let text =
            |name: &str| json.get(name)?.as_str().filter(|text| text.contains(CONTENT)).map(str::to_owned);
        let (user, prompt) = (text("user"), text("prompt"));
        let user = user.or_else(|| prompt.clone())?;
        let plain = || CONTENT.to_owned();
        let (system, assistant) =
            (text("system").unwrap_or_else(plain), text("assistant").unwrap_or_else(plain));
        Some(Self { system, user, assistant, prompt })
    }

    /// Whether `text` occurs in one of them.
    pub(super) fn mentions(&self, text: &str) -> bool {
        let Self { system, user, assistant, prompt } = self;
        [system, user, assistant].into_iter().chain(prompt).any(|part| part.contains(text))
    }

    pub(super) fn render(&self, messages: &[Message], add_generation_prompt: bool) -> String {
        let mut text = String::new();
        for (index, message) in messages.iter().enumerate() {
            let is_last = index + 1 == messages.len();
            let template = match (message.role, &self.prompt) {
                (Role::User, Some(prompt)) if is_last && add_generation_prompt => prompt,
                (Role::System, _) => &self.system,
                (Role::Assistant, _) => &self.assistant,
                (Role::User | Role::Tool, _) => &self.user,
            };
            text.push_str(&template.replace(CONTENT, &message.content));
        }
        let prompted = self.prompt.is_some() && messages.last().is_some_and(|last| last.role == Role::User);
        if add_generation_prompt && !prompted {
            text.push_str(self.assistant.split(CONTENT).next().unwrap_or_default());
        }
        text
    }
}
