//! Byte-level BPE (`gpt2`): tokens spell bytes, and a list says which pairs merge.

use serde_json::{Value, json};

use super::Sections;
use super::pre_tokenizer::PreTokenizer;
use super::vocabulary::{Vocabulary, strings};
use crate::error::{Error, ErrorKind, Result};
use crate::import::gguf::Gguf;

/// The pairs that merge, the first one first.
///
/// # Errors
/// [`ErrorKind::InvalidModel`] and [`ErrorKind::Tokenizer`], naming the key.
pub(super) fn merges(gguf: &Gguf<'_>) -> Result<Vec<Value>> {
    let key = "tokenizer.ggml.merges";
    let pair = |merge: &str| {
        // Spaces inside the parts are spelled otherwise, so the first one separates them.
        let (left, right) = merge.split_once(' ').ok_or_else(|| {
            Error::new(ErrorKind::Tokenizer, format!("the merge {merge:?} has no two parts")).with_node(key)
        })?;
        Ok(json!([left, right]))
    };
    strings(gguf, key)?.into_iter().map(pair).collect()
}

/// The sections of a byte-level tokenizer.
pub(super) fn sections(split: PreTokenizer, vocabulary: &Vocabulary<'_>, merges: Vec<Value>) -> Sections {
    let byte_level = |trim_offsets: bool| json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": trim_offsets, "use_regex": true });
    Sections {
        normalizer: if split.composes { json!({ "type": "NFC" }) } else { Value::Null },
        pre_tokenizer: split.json(),
        post_processor: Some(byte_level(false)),
        decoder: byte_level(true),
        model: json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": split.ignores_merges,
            "vocab": vocabulary.ids(),
            "merges": merges,
        }),
        class: "PreTrainedTokenizerFast",
        space_first: false,
    }
}
