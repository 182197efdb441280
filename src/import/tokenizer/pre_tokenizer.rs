//! How byte-level BPE tokenizers split text before merging.
//!
//! GGUF names the split (`tokenizer.ggml.pre`); what the names stand for is in `llama-vocab.cpp` of the llama.cpp
//! project. The expressions are the ones in the tokenizer files that the models' authors publish.

use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result};

/// A way to split text into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    /// Each splits the parts that the ones before it leave.
    steps: &'static [Step],
    /// Whether a word that is itself a token skips the merges.
    pub(super) ignores_merges: bool,
    /// Whether raw text gets the begin token when the file does not say.
    pub(super) adds_begin: bool,
    /// Whether text is first brought into Unicode's composed form.
    pub(super) composes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Every digit by itself.
    Digits,
    /// What the expression matches, and what lies between.
    Expression(&'static str),
    /// GPT-2's expression, which byte-level tokenizers have built in; the last step.
    Gpt2,
}

use Step::{Digits, Expression, Gpt2};

const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// What llama.cpp does for models that name no split of their own.
const DEFAULT: [Step; 4] = [
    Expression(r"[\p{P}$+<=>^~|]+"),
    Expression(GPT_2),
    Expression(r"\p{N}+"),
    Expression("[0-9][0-9][0-9]"),
];
const DEEPSEEK_CODER: [Step; 5] = [
    Expression(r"[\r\n]"),
    Expression(r"\s?\p{L}+"),
    Expression(r"\s?\p{P}+"),
    // Chinese, and everything from Samaritan to Hangul.
    Expression("[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+"),
    Digits,
];

impl PreTokenizer {
    /// The split that GGUF calls `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for any other name, and for none.
    pub(super) fn named(name: Option<&str>) -> Result<Self> {
        let plain = |steps| Self { steps, ignores_merges: false, adds_begin: false, composes: false };
        Ok(match name.unwrap_or("") {
            "default" => plain(&DEFAULT),
            "gpt-2" | "phi-2" | "mellum" | "trillion" => plain(&[Gpt2]),
            "smollm" | "starcoder" | "refact" | "codeshell" | "command-r" | "minerva-7b" => {
                plain(&[Digits, Gpt2])
            }
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "pixtral" => {
                Self { ignores_merges: true, adds_begin: true, ..plain(&[Expression(LLAMA_3)]) }
            }
            "smaug-bpe" | "dbrx" => plain(&[Expression(LLAMA_3)]),
            "qwen2" | "deepseek-r1-qwen" => Self { composes: true, ..plain(&[Expression(QWEN_2)]) },
            "megrez" | "stablelm2" => plain(&[Expression(QWEN_2)]),
            "tekken" => Self { ignores_merges: true, adds_begin: true, ..plain(&[Expression(TEKKEN)]) },
            "gpt-4o" | "llama4" => plain(&[Expression(GPT_4O)]),
            "deepseek-coder" => plain(&DEEPSEEK_CODER),
            name => {
                let message = match name {
                    "" => "the file does not say how its tokenizer splits text".to_owned(),
                    name => format!("a tokenizer that splits as {name}"),
                };
                return Err(Error::new(ErrorKind::Unsupported, message)
                    .with_node("tokenizer.ggml.pre")
                    .with_hint(
                        "gpt-2, smollm, llama-bpe, qwen2, tekken, gpt-4o, dbrx, deepseek-coder and default are \
                         known; a file without the key is too old, convert the model again",
                    ));
            }
        })
    }

    /// The `pre_tokenizer` of `tokenizer.json`.
    pub(super) fn json(self) -> Value {
        let byte_level = |split: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": split });
        let step = |step: &Step| match step {
            Gpt2 => None,
            Digits => Some(json!({ "type": "Digits", "individual_digits": true })),
            Expression(expression) => Some(json!({
                "type": "Split",
                "pattern": { "Regex": expression },
                "behavior": "Isolated",
                "invert": false,
            })),
        };
        let last = byte_level(self.steps.contains(&Gpt2));
        if self.steps == [Gpt2] {
            return last;
        }
        let steps: Vec<Value> = self.steps.iter().filter_map(step).chain([last]).collect();
        json!({ "type": "Sequence", "pretokenizers": steps })
    }
}
