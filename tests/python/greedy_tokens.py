"""Writes the greedy answers that a model's weights give in 32-bit arithmetic: the expectation for strict accuracy.

usage: greedy_tokens.py MODEL.gguf OUT.json     (needs the PyPI packages gguf, numpy and xllamacpp)

Every weight is dequantised to float32 and written to a GGUF file, which llama.cpp then runs with a float32 KV cache. The
prompts are rendered and tokenised by llama.cpp as well. A second implementation, gguf_reference.py, dequantises the file
itself and has to choose the same tokens.
"""

import json
import pathlib
import sys
import tempfile
import urllib.request
from importlib.metadata import version

import gguf
import numpy as np
import xllamacpp

from gguf_reference import Llama

MAXIMUM_TOKENS = 64
# Least difference between the largest and the second largest logit of a chosen token: a hundred times what two
# implementations in float32 differ by, so that rounding decides nothing.
LEAST_MARGIN = 0.01

REPORT = """The night shift began with rain. At ten past two the level sensor of the second cooling tank reported a value \
below the first mark, although the operator had filled the tank an hour before. She walked down to the hall, found the \
floor dry and the pipes quiet, and thought at first that the sensor was dirty, as it had been twice in the spring. When she \
wiped the glass the value did not change. She then closed the inlet, waited for five minutes and read the level again: it \
had fallen by three centimetres. Water was leaving the tank, yet none of it was to be seen. The drawing in the office shows \
an old drain that leads from the bottom of the tank to a shaft behind the wall. It was thought to be sealed when the hall \
was rebuilt. The operator lifted the cover of the shaft and heard water running. She set the line to half speed, started \
the spare pump so that the machines would stay cool, and called the maintenance team, which arrived at three. They closed \
the drain with a plug, filled the tank once more and watched the level until the morning. It stayed where it was. The team \
recommends a permanent seal, a second sensor at the bottom of the tank and a note on the drawing. The loss of water is \
estimated at nine hundred litres. No machine was damaged and no one was hurt."""


def user(*texts):
    """A conversation whose first, third, ... texts are the user's."""
    return [{"role": "assistant" if index % 2 else "user", "content": text} for index, text in enumerate(texts)]


PROMPTS = {
    "question": user("What is the capital of France, and which river runs through it?"),
    "list": user("Name five things to pack for a hike in the mountains."),
    "code": user("Write a Python function that returns the larger of two numbers."),
    "triage": [
        {
            "role": "system",
            "content": "You sort patient statements into emergency, urgent or routine and give one sentence of advice.",
        },
        *user("My chest has felt tight since this morning and my left arm tingles."),
    ],
    "translation": user("Translate into French: The station is closed on Sunday."),
    "summary": user(f"Summarise this report in two sentences.\n\n{REPORT}"),
    "arithmetic": user("I buy three pens at 2 euros each and pay with a 10 euro note. How much change do I get?"),
    "story": user("Tell a short story about a lighthouse keeper who finds a letter in a bottle."),
    "turns": user(
        "I have a dog called Bruno.",
        "That is a lovely name! How old is Bruno?",
        "He is four years old. What should I feed him?",
    ),
    "accents": user("Was heißt „Guten Morgen, schöne Grüße aus Köln“ auf Englisch? 🌞"),
    "explanation": user("Explain to a child why the sky is blue."),
    "format": user('Answer only with JSON: {"name": ..., "colour": ...} for a ripe banana.'),
}


def write_float32(source, target):
    """Copies a GGUF file with every weight dequantised."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        # The writer counts for itself.
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        item = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], item)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, np.ascontiguousarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(path):
    """Loads a file in llama.cpp with nothing below float32; returns a function that posts a request."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_ctx = 2048
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.port = 18432
    parameters.warmup = False
    server = xllamacpp.Server(parameters)

    def post(path, content):
        body = json.dumps(content).encode()
        request = urllib.request.Request(f"{server.listening_address}/{path}", body, {"Content-Type": "application/json"})
        return json.loads(urllib.request.urlopen(request).read())

    return post


def answer(post, tokens):
    """llama.cpp's most probable token, again and again; and whether the last one is the stop token."""
    request = {
        "prompt": tokens,
        "n_predict": MAXIMUM_TOKENS,
        "temperature": 0,
        "top_k": 1,
        "samplers": ["top_k"],
        "repeat_penalty": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "cache_prompt": False,
        "return_tokens": True,
    }
    reply = post("completion", request)
    assert reply["tokens_evaluated"] == len(tokens), reply
    assert reply["stop_type"] in ("eos", "limit"), reply
    return reply["tokens"], reply["stop_type"] == "eos"


def confirm(reference, prompt, answer):
    """The least margin by which the second implementation chooses the same tokens."""
    logits = reference.logits(prompt + answer)[len(prompt) - 1 : -1]
    assert np.array_equal(logits.argmax(-1), answer), "the implementations differ"
    second, first = np.partition(logits, -2)[:, -2:].T
    return float((first - second).min())


def main(source, target):
    reference = Llama(source)
    stop = reference.file.metadata["tokenizer.ggml.eos_token_id"]
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "float32.gguf")
        write_float32(source, path)
        post = serve(path)
        for name, messages in PROMPTS.items():
            text = post("apply-template", {"messages": messages})["prompt"]
            prompt = post("tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]
            expected, stops = answer(post, prompt)
            assert stops == (expected[-1] == stop) and (stops or len(expected) == MAXIMUM_TOKENS)
            margin = confirm(reference, prompt, expected)
            text = post("detokenize", {"tokens": expected})["content"]
            print(f"{name}: {len(prompt)} + {len(expected)} tokens, margin {margin:.4f}: {text!r}", flush=True)
            assert margin >= LEAST_MARGIN, "rounding may decide; take another prompt"
            case = {"name": name, "messages": messages, "prompt": prompt}
            case["expected"] = expected[:-1] if stops else expected
            case["ends"] = "stop_token" if stops else "max_tokens"
            cases.append(case)
    versions = ", ".join(f"{package} {version(package)}" for package in ("xllamacpp", "gguf", "numpy"))
    head = {
        "made_by": f"tests/python/greedy_tokens.py {pathlib.Path(source).name} smollm2_greedy.json ({versions})",
        "how": "llama.cpp, every weight dequantised to float32, float32 KV cache, no flash attention, "
        f"one thread, greedy without penalties, at most {MAXIMUM_TOKENS} tokens; the stop token is left out",
        "confirmed": "gguf_reference.py (NumPy, float32) chooses the same tokens, each with a logit at least "
        f"{LEAST_MARGIN} above the next",
    }
    lines = ",\n  ".join(json.dumps(case, ensure_ascii=False) for case in cases)
    fields = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
    pathlib.Path(target).write_text(f'{{\n{fields} "cases": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
