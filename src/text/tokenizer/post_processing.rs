//! The `post_processor` section of `tokenizer.json`: what is checked before the tokenizer crate runs it.

use serde_json::Value;

use super::sections::steps;
use super::tokenizer_error;
use crate::Result;

/// More tokens than any template puts around a text.
const MAX_TEMPLATE_TOKENS: usize = 1 << 16;

/// Checks that templates name only what they define, and the text once: the tokenizer crate panics on some that do not.
pub(super) fn check_templates(section: &Value) -> Result<()> {
    for step in steps(section, "processors")? {
        if step.get("type").and_then(Value::as_str) == Some("TemplateProcessing") {
            check_template(step)?;
        }
    }
    Ok(())
}

fn check_template(step: &Value) -> Result<()> {
    let count = |token: &Value, list: &str| token.get(list).and_then(Value::as_array).map_or(0, Vec::len);
    for template in ["single", "pair"] {
        let (mut texts, mut tokens) = (0, 0_usize);
        for piece in step.get(template).and_then(Value::as_array).into_iter().flatten() {
            if let Some(sequence) = piece.get("Sequence") {
                texts += 1;
                if template == "single" && sequence.get("id").is_some_and(|id| id == "B") {
                    return Err(tokenizer_error("the template for one text names a second one"));
                }
            }
            let Some(id) = piece.get("SpecialToken").and_then(|token| token.get("id")) else { continue };
            let token = step.get("special_tokens").zip(id.as_str()).and_then(|(tokens, id)| tokens.get(id));
            let Some(token) = token else {
                return Err(tokenizer_error(format!("a template has the token {id}, which is not defined")));
            };
            if count(token, "ids") != count(token, "tokens") {
                return Err(tokenizer_error(format!("the ids and texts of the token {id} differ in number")));
            }
            tokens = tokens.saturating_add(count(token, "ids"));
        }
        if texts > 2 || tokens > MAX_TEMPLATE_TOKENS {
            return Err(tokenizer_error(format!("a template of {texts} texts and {tokens} tokens")));
        }
    }
    Ok(())
}
