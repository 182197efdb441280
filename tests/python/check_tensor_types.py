"""ONNX Runtime and onnxruntime-genai on imports of every ggml tensor type and of SentencePiece tokenizers.

usage: check_tensor_types.py write FOLDER     writes GGUF files
       check_tensor_types.py check FOLDER     checks FOLDER/NAME, made of FOLDER/NAME.gguf; where NAME ends in -int8, with
                                              --quantize int8
"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime_genai

import tiny_llama
from gguf_reference import Llama
from onnx_session import Session
from tiny_llama import Type

TOKENIZERS = json.loads((pathlib.Path(__file__).parent.parent / "data/import/tokenizers.json").read_text())


def sentencepiece_tokenizer(number):
    """What adds a vocabulary of tokenizers.json to a GGUF file."""
    vocabulary = TOKENIZERS["vocabularies"][number]

    def add(writer):
        writer.add_tokenizer_model("llama")
        writer.add_token_list(vocabulary["tokens"])
        writer.add_token_scores(vocabulary["scores"])
        writer.add_token_types(vocabulary["types"])
        writer.add_bos_token_id(vocabulary["bos"])
        writer.add_eos_token_id(vocabulary["eos"])
        writer.add_unk_token_id(vocabulary["unknown"])
        for key, value in vocabulary["runs"][0]["keys"].items():
            writer.add_bool(f"tokenizer.ggml.{key}", value)
        return len(vocabulary["tokens"])

    return add


def write(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for kind in tiny_llama.FLOATS + tiny_llama.KEPT:
        tiny_llama.write(folder / f"{kind.name}.gguf", kind)
    for kind in tiny_llama.FLOATS[:1] + tiny_llama.KEPT + tiny_llama.REQUANTISED:
        tiny_llama.write(folder / f"{kind.name}-int8.gguf", kind)
    for kind in (Type.F16, Type.Q4_0, Type.Q4_K, Type.Q6_K):
        tiny_llama.write(folder / f"{kind.name}-untied.gguf", kind, tied=False)
    # What most files called Q4_0 and Q4_K are.
    for kind in (Type.Q4_0, Type.Q4_K):
        tiny_llama.write(folder / f"{kind.name}-and-Q6_K.gguf", kind, head=Type.Q6_K)
    for number in (0, 1):
        tiny_llama.write(folder / f"sentencepiece-{number}.gguf", Type.Q8_0, sentencepiece_tokenizer(number))


def check_logits(gguf, directory):
    tokens = np.random.default_rng(3).integers(0, 257, 24).tolist()
    expected = Llama(gguf).logits(tokens)
    logits = Session(directory, exact=True).logits(tokens)
    error = float(np.linalg.norm(logits - expected) / np.linalg.norm(expected))
    print(f"{directory.name}: error {error:.1e}")
    assert error < (0.03 if directory.name.endswith("-int8") else 1e-5)


def check_genai(directory):
    """It generates, which ONNX Runtime alone does not show."""
    model = onnxruntime_genai.Model(str(directory))
    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(max_length=12, do_sample=False)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(np.array([[1, 2, 3, 4]], np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return model


def check_sentencepiece(model, number):
    tokenizer = onnxruntime_genai.Tokenizer(model)
    run = TOKENIZERS["vocabularies"][number]["runs"][0]
    texts = list(zip(TOKENIZERS["texts"], run["tokens"], strict=True))
    for text, tokens in texts:
        assert list(tokenizer.encode(text)) == tokens, text
    print(f"onnxruntime-genai tokenises {len(texts)} texts as llama.cpp does")


def check(folder):
    for gguf in sorted(folder.glob("*.gguf")):
        directory = gguf.with_suffix("")
        check_logits(gguf, directory)
        model = check_genai(directory)
        if directory.name.startswith("sentencepiece"):
            check_sentencepiece(model, int(directory.name[-1]))


{"write": write, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]))
