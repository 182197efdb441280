//! What cannot be read from a model's files alone: one row for each family of models.

#![forbid(unsafe_code)]

use super::Tokenizer;

/// A family of models that share their markup.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The family's name, for example `llama3`.
    pub name: &'static str,
    /// Values of `model.type` in `genai_config.json` or `model_type` in `config.json`. Empty: any.
    model_types: &'static [&'static str],
    /// Tokens that only this family (of those with the same type) has.
    markers: &'static [&'static str],
    /// Tokens that end a turn or the text.
    stop_tokens: &'static [&'static str],
    /// The chat template for directories that hold none.
    template: &'static str,
}

/// The first row that fits a model is its family. Formats as published in the chat templates of each family.
static FAMILIES: [Family; 9] = [
    Family {
        name: "llama3",
        model_types: &["llama"],
        markers: &["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        stop_tokens: &["<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"],
        template: include_str!("families/llama3.jinja"),
    },
    Family {
        name: "phi4-mini",
        model_types: &["phi3", "phi", "phi4"],
        markers: &["<|user|>", "<|assistant|>", "<|end|>", "<|tool_call|>"],
        stop_tokens: &["<|end|>", "<|endoftext|>"],
        template: include_str!("families/phi4_mini.jinja"),
    },
    Family {
        name: "phi3",
        model_types: &["phi3", "phi", "phi3small"],
        markers: &["<|user|>", "<|assistant|>", "<|end|>"],
        // Phi-3 lists <|assistant|> among its ends: the start of another answer.
        stop_tokens: &["<|end|>", "<|endoftext|>", "<|assistant|>"],
        template: include_str!("families/phi3.jinja"),
    },
    Family {
        name: "phi4",
        model_types: &["phi3", "phi", "phi4"],
        markers: &["<|im_start|>", "<|im_sep|>", "<|im_end|>"],
        stop_tokens: &["<|im_end|>", "<|endoftext|>"],
        template: include_str!("families/phi4.jinja"),
    },
    Family {
        name: "gemma2",
        model_types: &["gemma", "gemma2", "gemma3", "gemma3_text"],
        markers: &["<start_of_turn>", "<end_of_turn>"],
        stop_tokens: &["<end_of_turn>", "<eos>"],
        template: include_str!("families/gemma2.jinja"),
    },
    Family {
        name: "mistral-nemo",
        model_types: &["mistral"],
        markers: &["[INST]", "[/INST]"],
        stop_tokens: &["</s>"],
        template: include_str!("families/mistral_nemo.jinja"),
    },
    Family {
        name: "qwen2.5",
        model_types: &["qwen2"],
        markers: &["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
        stop_tokens: &["<|im_end|>", "<|endoftext|>"],
        template: include_str!("families/qwen2.jinja"),
    },
    Family {
        name: "smollm2",
        model_types: &["llama"],
        markers: &["<|im_start|>", "<|im_end|>", "<repo_name>"],
        stop_tokens: &["<|im_end|>", "<|endoftext|>"],
        template: include_str!("families/smollm2.jinja"),
    },
    Family {
        name: "chatml",
        model_types: &[],
        markers: &["<|im_start|>", "<|im_end|>"],
        stop_tokens: &["<|im_end|>", "<|endoftext|>"],
        template: include_str!("families/chatml.jinja"),
    },
];

impl Family {
    /// The family of a model, from the type that its configuration names (if any) and the tokens that it has.
    #[must_use]
    pub fn detect(model_type: Option<&str>, tokenizer: &Tokenizer) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| {
            let type_fits = model_type.is_none_or(|model_type| {
                family.model_types.is_empty() || family.model_types.contains(&model_type)
            });
            type_fits && family.markers.iter().all(|marker| markup_id(tokenizer, marker).is_some())
        })
    }

    /// The family's chat template, for directories that hold none.
    #[must_use]
    pub fn template(&self) -> &'static str {
        self.template
    }
}

/// The ids at which an answer ends, ascending: those of the configuration, the tokenizer's end-of-text token, and the
/// family's turn ends. Of a model without a known family the turn ends of all families count.
///
/// All are needed: configurations often list only one of several, and a model that is not stopped at its turn end
/// goes on to speak for the user.
#[must_use]
pub fn stop_ids(tokenizer: &Tokenizer, configured: &[u32], family: Option<&Family>) -> Vec<u32> {
    let mut ids = configured.to_vec();
    ids.extend(tokenizer.eos().and_then(|eos| eos.id));
    let families = match family {
        Some(family) => std::slice::from_ref(family),
        None => FAMILIES.as_slice(),
    };
    // `<|assistant|>` begins the answer in every family but Phi-3, where it was checked to be an end as well.
    let tokens = families
        .iter()
        .flat_map(|row| row.stop_tokens)
        .filter(|token| family.is_some() || **token != "<|assistant|>");
    ids.extend(tokens.filter_map(|token| markup_id(tokenizer, token)));
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The id of a token that is markup, not a piece of text that happens to read the same.
fn markup_id(tokenizer: &Tokenizer, token: &str) -> Option<u32> {
    tokenizer.id_of(token).filter(|id| tokenizer.is_special(*id) || tokenizer.is_added(*id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tokenizer(added: &[&str]) -> Tokenizer {
        let added: Vec<_> = (2..)
            .zip(added)
            .map(|(id, token)| json!({"id": id, "content": token, "special": true}))
            .collect();
        let file = json!({"added_tokens": added,
                          "model": {"type": "BPE", "vocab": {"a": 0, "</s>": 1}, "merges": []}});
        Tokenizer::from_bytes(file.to_string().as_bytes(), Some(&json!({"eos_token": "</s>"}))).unwrap()
    }

    #[test]
    fn models_are_recognised_by_type_and_tokens() {
        let llama =
            ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"];
        let phi3 = ["<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"];
        let phi4_mini = [
            "<|endoftext|>",
            "<|assistant|>",
            "<|end|>",
            "<|user|>",
            "<|system|>",
            "<|tool|>",
            "<|tool_call|>",
        ];
        let chatml = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
        for (model_type, added, family) in [
            (Some("llama"), &llama[..], Some("llama3")),
            (None, &llama[..], Some("llama3")),
            (Some("phi3"), &phi3[..], Some("phi3")),
            (Some("phi3"), &phi4_mini[..], Some("phi4-mini")),
            (Some("phi3"), &["<|endoftext|>", "<|im_start|>", "<|im_sep|>", "<|im_end|>"], Some("phi4")),
            (Some("gemma2"), &["<bos>", "<start_of_turn>", "<end_of_turn>"], Some("gemma2")),
            (Some("mistral"), &["<s>", "[INST]", "[/INST]"], Some("mistral-nemo")),
            (Some("qwen2"), &chatml[..], Some("qwen2.5")),
            (Some("llama"), &["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"], Some("smollm2")),
            (Some("olmo"), &chatml[..], Some("chatml")),
            (Some("llama"), &chatml[..], Some("chatml")),
            (Some("llama"), &["<s>"], None),
            (Some("gemma2"), &llama[..], None),
        ] {
            let detected = Family::detect(model_type, &tokenizer(added)).map(|family| family.name);
            assert_eq!(detected, family, "{model_type:?} {added:?}");
        }
    }

    #[test]
    fn stop_ids_are_the_union_of_configuration_tokenizer_and_family() {
        let tokenizer = tokenizer(&[
            "<|begin_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "<|eom_id|>",
        ]);
        let family = Family::detect(Some("llama"), &tokenizer);
        assert_eq!(stop_ids(&tokenizer, &[9, 5], family), [1, 5, 6, 9]);
        assert_eq!(stop_ids(&tokenizer, &[], None), [1, 5, 6]);
    }

    #[test]
    fn tokens_that_are_plain_text_do_not_stop() {
        let tokenizer = tokenizer(&["<|user|>", "<|assistant|>"]);
        // "</s>" is an ordinary piece here, and no family's: it stops because the tokenizer names it.
        assert_eq!(markup_id(&tokenizer, "</s>"), None);
        assert_eq!(stop_ids(&tokenizer, &[], None), [1]);
    }

    #[test]
    fn every_fallback_template_renders_a_conversation() {
        for family in &FAMILIES {
            let template =
                super::super::ChatTemplate::from_source(family.template(), Default::default()).unwrap();
            let messages = [super::super::Message::user("Is the door open?")];
            let text = template.render(&messages, &Default::default()).unwrap();
            assert!(text.contains("Is the door open?"), "{}: {text}", family.name);
        }
    }
}
