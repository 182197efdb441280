"""ONNX Runtime and onnxruntime-genai on an imported GGUF file.

usage: check_import.py MODEL.gguf EXACT_DIRECTORY INT4_DIRECTORY TOKENS.json
"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime_genai
from onnxruntime.capi import _pybind_state as ort

from gguf_reference import Llama
from onnx_session import Session

PROMPT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


def relative_error(ours, expected):
    return float(np.linalg.norm(ours - expected) / np.linalg.norm(expected))


def check_logits(reference, directory, tokens):
    """The import changes no weight, so only rounding is left. One prefill, and one token at a time."""
    expected = reference.logits(tokens)
    # ONNX Runtime has no switch for 32-bit arithmetic in 8-bit products, so the graph asks for it.
    session = Session(directory, exact=True)
    error = relative_error(session.logits(tokens), expected)
    session.reset()
    stepwise = relative_error(np.concatenate([session.logits([token]) for token in tokens]), expected)
    print(f"{directory}: error {error:.2e} in one prefill, {stepwise:.2e} token by token")
    assert max(error, stepwise) < 1e-3
    return expected


def check_quantiser(reference, directory):
    """--quantize int4 makes the bytes that ONNX Runtime's own quantiser makes."""
    session_weights = Session.initializers(directory)
    for source, name in [
        ("blk.3.ffn_down", "model.layers.3.mlp.down_proj.MatMul.weight"),
        ("blk.0.attn_output", "model.layers.0.attn.o_proj.MatMul.weight"),
        ("token_embd", "lm_head.MatMul.weight"),
    ]:
        weight = np.ascontiguousarray(reference.weights[f"{source}.weight"].T)
        columns, rows = weight.shape
        blocks = -(-columns // 32)
        packed = np.zeros((rows, blocks, 16), np.uint8)
        scales = np.zeros(rows * blocks, np.float32)
        zero_points = np.zeros(rows * ((blocks + 1) // 2), np.uint8)
        ort.quantize_matmul_4bits(packed, weight, scales, zero_points, 32, rows, columns, True)
        assert np.array_equal(session_weights[f"{name}_Q4"], packed), name
        assert np.array_equal(session_weights[f"{name}_scales"].ravel(), scales), name
    print(f"{directory}: the quantiser's bytes are ONNX Runtime's")


def check_genai(directory, tokenizations, expected_first=None):
    model = onnxruntime_genai.Model(str(directory))
    tokenizer = onnxruntime_genai.Tokenizer(model)
    for case in tokenizations:
        if "genai" not in case:
            assert list(tokenizer.encode(case["text"])) == case["tokens"], case
    messages = json.dumps([{"role": "user", "content": "hi"}])
    assert "<|im_start|>user\nhi<|im_end|>" in tokenizer.apply_chat_template(messages, add_generation_prompt=True)

    prompt = [int(token) for token in tokenizer.encode(PROMPT)]
    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(prompt) + 24, do_sample=False)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(np.array([prompt], np.int32))
    answer = []
    while not generator.is_done():
        generator.generate_next_token()
        answer.append(int(generator.get_next_tokens()[0]))
    text = tokenizer.decode(np.array(answer, np.int32))
    print(f"{directory}: onnxruntime-genai answers {text!r}")
    assert "Paris" in text


def main(gguf, exact, int4, tokens):
    tokenizations = json.loads(pathlib.Path(tokens).read_text())["cases"]
    reference = Llama(gguf)
    some = [token for case in tokenizations for token in case["tokens"]][:64]
    check_logits(reference, exact, some)
    check_quantiser(reference, int4)
    check_genai(exact, tokenizations)
    check_genai(int4, tokenizations)


main(*sys.argv[1:])
