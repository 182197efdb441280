"""Measures onnxruntime-genai on a model directory: one JSON object on standard output.

usage: measure_genai.py DIRECTORY THREADS PROMPT_TOKENS NEW_TOKENS
"""

import json
import sys
import time

import onnxruntime_genai as og

from report import report


def generate(model, first_token, prompt_tokens, new_tokens):
    """Prefill and decode in tokens a second."""
    params = og.GeneratorParams(model)
    # The first new token comes with the prompt.
    length = prompt_tokens + new_tokens + 1
    params.set_search_options(max_length=length, min_length=length, do_sample=False)
    generator = og.Generator(model, params)
    prompt = [first_token + index % 1000 for index in range(prompt_tokens)]
    start = time.perf_counter()
    generator.append_tokens(prompt)
    generator.generate_next_token()
    first = time.perf_counter()
    for _ in range(new_tokens):
        generator.generate_next_token()
    end = time.perf_counter()
    return prompt_tokens / (first - start), new_tokens / (end - first)


def main():
    directory, threads, prompt_tokens, new_tokens = sys.argv[1], *map(int, sys.argv[2:5])
    start = time.perf_counter()
    config = og.Config(directory)
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    model = og.Model(config)
    load = time.perf_counter() - start
    # What is done at first use does not count; another prompt, so that nothing of it is reused.
    generate(model, 50, 32, 2)
    prefill, decode = generate(model, 100, prompt_tokens, new_tokens)
    report(load, prefill, decode)


main()
