//! How byte-level BPE tokenizers split text before merging.
//!
//! GGUF names the split (`tokenizer.ggml.pre`); what the names stand for is in `llama-vocab.cpp` of the llama.cpp
//! project. The expressions are the ones in the tokenizer files that the models' authors publish.

use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result};

/// A way to split text into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    split: Split,
    /// Whether a word that is itself a token skips the merges.
    pub(super) ignores_merges: bool,
    /// Whether raw text gets the begin token when the file does not say.
    pub(super) adds_begin: bool,
    /// Whether text is first brought into Unicode's composed form.
    pub(super) composes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    /// GPT-2's expression, which byte-level tokenizers have built in.
    Gpt2,
    /// Every digit by itself, then as GPT-2.
    DigitsThenGpt2,
    Expression(&'static str),
}

const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl PreTokenizer {
    /// The split that GGUF calls `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for any other name.
    pub(super) fn named(name: &str) -> Result<Self> {
        let plain = |split| Self { split, ignores_merges: false, adds_begin: false, composes: false };
        Ok(match name {
            "gpt-2" | "phi-2" => plain(Split::Gpt2),
            "smollm" | "starcoder" | "refact" | "codeshell" => plain(Split::DigitsThenGpt2),
            "llama3" | "llama-v3" | "llama-bpe" => {
                Self { ignores_merges: true, adds_begin: true, ..plain(Split::Expression(LLAMA_3)) }
            }
            "smaug-bpe" | "dbrx" => plain(Split::Expression(LLAMA_3)),
            "qwen2" | "deepseek-r1-qwen" => Self { composes: true, ..plain(Split::Expression(QWEN_2)) },
            "tekken" => Self { ignores_merges: true, adds_begin: true, ..plain(Split::Expression(TEKKEN)) },
            "gpt-4o" => plain(Split::Expression(GPT_4O)),
            _ => {
                return Err(Error::new(ErrorKind::Unsupported, format!("a tokenizer that splits as {name}"))
                    .with_node("tokenizer.ggml.pre")
                    .with_hint(
                        "gpt-2, smollm, llama-bpe, qwen2, tekken, gpt-4o and dbrx are known; a file without the \
                         key is too old, convert the model again",
                    ));
            }
        })
    }

    /// The `pre_tokenizer` of `tokenizer.json`.
    pub(super) fn json(self) -> Value {
        let byte_level = |split: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": split });
        let first = match self.split {
            Split::Gpt2 => return byte_level(true),
            Split::DigitsThenGpt2 => json!({ "type": "Digits", "individual_digits": true }),
            Split::Expression(expression) => json!({
                "type": "Split",
                "pattern": { "Regex": expression },
                "behavior": "Isolated",
                "invert": false,
            }),
        };
        let split = self.split == Split::DigitsThenGpt2;
        json!({ "type": "Sequence", "pretokenizers": [first, byte_level(split)] })
    }
}
