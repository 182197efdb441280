"""Writes how llama.cpp tokenises texts: the expectation for imported tokenizers.

usage: llama_cpp_tokens.py MODEL.gguf OUT.json     (needs the PyPI package xllamacpp)
"""

import json
import sys

import llama_cpp

TEXTS = [
    "Hello, world!",
    "  two  spaces   and\ttabs\n\nnewlines\r\n",
    "It's 12345 o'clock; we'll pay $3.50 (10%).",
    "Ünïcödé — ß, ñ, æ; 你好，世界 🎉🚀 e\u0301",
    "<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n",
    "def f(x):\n    return x**2  # square\n",
    "a\u00a0b\u2003c\u200bd",
    "ПРИВЕТ мир 123абв",
    "",
    " ",
    "\n",
    "I'M DON'T can't CAN'T he's",
    "<|endoftext|>x<|im_end|>",
    "1,234,567.89 2024-01-02 ½ ² ٣",
    "word\u0000null",
    "한국어 ไทย עברית",
    "https://example.com/a?b=c&d=%20e#f",
    "....!!!???--==>><<",
    "trailing space ",
    "ﬁ ligature ｆｕｌｌ",
]
# onnxruntime-genai's own tokenizer treats these otherwise than llama.cpp and the tokenizers library.
GENAI_DIFFERS = {"1,234,567.89 2024-01-02 ½ ² ٣", "word\u0000null"}


def main(model, out):
    cases = [{"text": text, "tokens": tokens} for text, tokens in zip(TEXTS, llama_cpp.tokenize(model, TEXTS))]
    for case in cases:
        if case["text"] in GENAI_DIFFERS:
            case["genai"] = "differs"
    made_by = "tests/python/llama_cpp_tokens.py SmolLM2-135M-Instruct.Q4_1.gguf OUT.json (xllamacpp 2026.10.11549)"
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"made_by": made_by, "cases": cases}, file, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
