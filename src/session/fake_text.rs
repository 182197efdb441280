//! A tokenizer of single bytes with a few longer tokens, and a chat template.

use std::sync::Arc;

use serde_json::json;

use crate::model::TextFile;
use crate::text::{ChatTemplate, TemplateTokens, Text, TextFiles};

/// The token that ends an answer.
pub(crate) const END: u32 = 256;
/// The token that precedes an answer in a chat.
pub(crate) const ASSISTANT: u32 = 258;
/// ` yes`, which merges across the border of a prompt that ends in a space.
pub(crate) const SPACE_YES: u32 = 263;
/// How many tokens the tokenizer has. The fake engine has more rows.
pub(crate) const TOKENS: usize = 264;

/// Token `n` is the byte `n` up to 255, then: end, user, assistant, system, begin of text, `ye`, `yes`, ` yes`.
pub(crate) fn text() -> Arc<Text> {
    let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}<assistant>";
    let template = ChatTemplate::from_source(template, TemplateTokens::default()).unwrap();
    Arc::new(text_without_template(&[END]).with_chat_template(template).unwrap())
}

/// The same without a chat template, and with these stop tokens.
pub(crate) fn text_without_template(stop_tokens: &[u32]) -> Text {
    let mut vocabulary: serde_json::Map<String, serde_json::Value> =
        (0..=255_u8).map(|byte| (character(byte).to_string(), json!(byte))).collect();
    let special = ["<end>", "<user>", "<assistant>", "<system>", "<begin>"];
    let mut added = Vec::new();
    for (id, name) in (256..).zip(special) {
        vocabulary.insert(name.to_owned(), json!(id));
        added.push(json!({
            "id": id, "content": name, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        }));
    }
    for (id, token) in (261..).zip(["ye", "yes", "Ġyes"]) {
        vocabulary.insert(token.to_owned(), json!(id));
    }
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": added,
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<begin>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<begin>": {"id": "<begin>", "ids": [260], "tokens": ["<begin>"]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary,
            "merges": ["y e", "ye s", "Ġ yes"],
        },
    });
    let file = TextFile { path: "tokenizer.json".into(), text: tokenizer.to_string().into() };
    Text::load(TextFiles { eos_token_ids: stop_tokens, ..TextFiles::new(file) }).unwrap()
}

/// The character that stands for `byte` in byte-level vocabularies (GPT-2's `bytes_to_unicode`).
fn character(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !printable(other)).count() as u32;
    char::from_u32(256 + before).unwrap()
}

#[test]
fn tokens_are_bytes_and_the_merged_ones() {
    let text = text();
    let tokenizer = text.tokenizer();
    assert_eq!(tokenizer.vocabulary_size(), TOKENS);
    let encode = |text: &str| tokenizer.encode(text, crate::text::SpecialTokens::None).unwrap();
    assert_eq!(encode("aé\n"), [97, 0xC3, 0xA9, 10]);
    assert_eq!(encode("<assistant>a yes"), [ASSISTANT, 97, SPACE_YES]);
    let all: Vec<u32> = (0..TOKENS as u32).collect();
    assert!(all.iter().all(|&id| tokenizer.has_token(id)));
    assert_eq!(text.stop_ids(), [END]);
}
