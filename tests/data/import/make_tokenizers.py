"""Writes tokenizers.json: small vocabularies as GGUF files have them, and how llama.cpp tokenises texts with them.

usage: make_tokenizers.py     (needs the PyPI packages gguf, sentencepiece, tokenizers and xllamacpp)

The SentencePiece vocabularies are trained here, and SentencePiece itself must agree with llama.cpp wherever it sees the
same text: it knows no tokens spelled out in the text. The byte-level vocabulary has tokens across every border of
words, so that each way of splitting text shows.
"""

import io
import json
import pathlib
import sys
import tempfile
import unicodedata

import gguf
import sentencepiece
import tokenizers

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "python"))
import llama_cpp
import tiny_llama

CORPUS = (HERE / "corpus.txt").read_text(encoding="utf-8")
TEXTS = [
    "Hello, world!",
    "the patient says that breathing is hard",
    " one space before",
    "  two  spaces   and    four",
    "trailing space ",
    "trailing spaces   ",
    "\ttab\tand\n\nnewlines\r\n  then text\n",
    "It's 12345 o'clock; we'll pay $3.50 (10%).",
    "I'M DON'T can't CAN'T he's they'RE",
    "Ünïcödé — ß, ñ, æ; 你好，世界 🎉🚀 e\u0301",
    "a\u00a0b\u2003c\u200bd",
    "ПРИВЕТ мир 123абв",
    "",
    " ",
    "   ",
    "\n",
    "\n\n\n",
    "aaaaaaa aaaaaaaaa ababa bababab xyxyxyxyx thethethethe ttttttt bananananas",
    "1,234,567.89 2024-01-02 123456789012 ½ ² ٣",
    "한국어 ไทย עברית",
    "https://example.com/a?b=c&d=%20e#f",
    "....!!!???--==>><<",
    "ﬁ ligature ｆｕｌｌ",
    "def f(x):\n    return x**2  # square\n\n\treturn 0",
    "words▁with▁▁the ▁mark itself",
    "<0x41> and <0xZZ> are text",
    "</s> <s> <unk> <|end|> spelled out",
    "<|end|>after",
    "before<|end|> between <|end|>\nafter <|end|>",
    "<note>user defined</note> and<note> again",
    "  <note>  <|end|>  ",
    "café cafe\u0301 CAFÉ naïve",
    "CamelCaseWord snake_case_word kebab-case-word",
    "x" * 70,
    "zero\u200dwidth\ufeffmarks",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 family",
]
SPECIAL = "the red light"
PRE_TOKENIZERS = [
    "default", "gpt-2", "phi-2", "mellum", "trillion",
    "smollm", "starcoder", "refact", "codeshell", "command-r", "minerva-7b",
    "llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "dbrx", "smaug-bpe",
    "qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "tekken", "gpt-4o", "llama4", "deepseek-coder",
]  # fmt: skip


def sentencepiece_vocabulary(**options):
    """A trained vocabulary: what GGUF has of it, and SentencePiece's own processor."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=900,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        control_symbols=["<|end|>"],
        minloglevel=2,
        **options,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    kinds = [
        (processor.IsUnknown, gguf.TokenType.UNKNOWN),
        (processor.IsControl, gguf.TokenType.CONTROL),
        (processor.IsByte, gguf.TokenType.BYTE),
        (lambda id: processor.IdToPiece(id) == "<note>", gguf.TokenType.USER_DEFINED),
        (lambda id: True, gguf.TokenType.NORMAL),
    ]
    ids = range(processor.GetPieceSize())
    vocabulary = {
        "model": "llama",
        "tokens": [processor.IdToPiece(id) for id in ids],
        "scores": [processor.GetScore(id) for id in ids],
        "types": [int(next(kind for is_kind, kind in kinds if is_kind(id))) for id in ids],
        "bos": processor.bos_id(),
        "eos": processor.eos_id(),
        "unknown": processor.unk_id(),
    }
    return vocabulary, processor


def byte_level_vocabulary():
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1500,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>", "<|end|>", "<note>"],
        show_progress=False,
    )
    # Three lines at a time, so that tokens also span line ends.
    lines = (CORPUS + "\n\n" + CORPUS.replace("\n", "\r\n")).splitlines(keepends=True)
    texts = ["".join(lines[start : start + 3]) for start in range(len(lines))]
    bpe.train_from_iterator([*texts, *(TEXTS * 6)], trainer)
    model = json.loads(bpe.to_str())["model"]
    # Words that no merge makes: a tokenizer that looks for whole words first finds them.
    whole = ["Ġ" + word for word in ("breathing", "spaces", "user", "four")] + ["text", "return", "zero"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    tokens += [word for word in whole if word not in model["vocab"]]
    control, user = int(gguf.TokenType.CONTROL), int(gguf.TokenType.USER_DEFINED)
    return {
        "model": "gpt2",
        "tokens": tokens,
        "types": [control] * 3 + [user] + [int(gguf.TokenType.NORMAL)] * (len(tokens) - 4),
        "merges": [" ".join(merge) for merge in model["merges"]],
        "bos": 0,
        "eos": 1,
    }


def expected(vocabulary, keys):
    """The ids that llama.cpp gives, from a GGUF file with the vocabulary and `keys`."""

    def add_tokenizer(writer):
        writer.add_tokenizer_model(vocabulary["model"])
        writer.add_token_list(vocabulary["tokens"])
        writer.add_token_types(vocabulary["types"])
        if "scores" in vocabulary:
            writer.add_token_scores(vocabulary["scores"])
        if "merges" in vocabulary:
            writer.add_token_merges(vocabulary["merges"])
        if "unknown" in vocabulary:
            writer.add_unk_token_id(vocabulary["unknown"])
        writer.add_bos_token_id(vocabulary["bos"])
        writer.add_eos_token_id(vocabulary["eos"])
        for key, value in keys.items():
            name = f"tokenizer.ggml.{key}"
            writer.add_bool(name, value) if isinstance(value, bool) else writer.add_string(name, value)
        return len(vocabulary["tokens"])

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tiny.gguf"
        tiny_llama.write(path, tiny_llama.Type.F32, add_tokenizer, hidden=64)
        texts = llama_cpp.tokenize(path, TEXTS)
        special = llama_cpp.tokenize(path, [SPECIAL], special=True)[0]
    return {"keys": keys, "special": special, "tokens": texts}


def agrees(processor, runs):
    """How many texts SentencePiece sees as llama.cpp does; it must give the same ids for them."""
    spelled = ["<|end|>", "<s>", "</s>", "<unk>"]
    if processor.encode("a")[0] != processor.PieceToId("a"):
        # After a user-defined token llama.cpp puts a space in front of the text again.
        spelled.append("<note>")
    count = 0
    for text, tokens in zip(TEXTS, runs["tokens"], strict=True):
        if not any(token in text for token in spelled):
            assert processor.encode(text) == tokens, (text, processor.encode(text), tokens)
            count += 1
    return count


def main():
    llama, llama_processor = sentencepiece_vocabulary(user_defined_symbols=["<note>"])
    gemma, gemma_processor = sentencepiece_vocabulary(user_defined_symbols=["<note>"], add_dummy_prefix=False)
    byte_level = byte_level_vocabulary()
    llama["runs"] = [expected(llama, {}), expected(llama, {"add_bos_token": False, "add_eos_token": True})]
    gemma["runs"] = [expected(gemma, {"add_space_prefix": False})]
    print("SentencePiece agrees on", agrees(llama_processor, llama["runs"][0]), agrees(gemma_processor, gemma["runs"][0]))
    byte_level["runs"] = [expected(byte_level, {"pre": name}) for name in PRE_TOKENIZERS]
    # Qwen's own tokenizer composes characters first, which llama.cpp leaves out.
    decomposed = [number for number, text in enumerate(TEXTS) if unicodedata.normalize("NFC", text) != text]
    result = {
        "texts": TEXTS,
        "decomposed": decomposed,
        "special": SPECIAL,
        "vocabularies": [llama, gemma, byte_level],
    }
    with open(HERE / "tokenizers.json", "w", encoding="utf-8") as file:
        json.dump(result, file, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main()
