"""Measures onnxruntime-genai on a model directory: one JSON object on standard output.

usage: genai.py DIRECTORY THREADS PROMPT_TOKENS NEW_TOKENS ROUNDS
"""

import json
import statistics
import sys
import time

import onnxruntime_genai as og


def status(field):
    with open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return None


def main():
    directory, threads, prompt_tokens, new_tokens, rounds = sys.argv[1], *map(int, sys.argv[2:6])
    start = time.perf_counter()
    config = og.Config(directory)
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    model = og.Model(config)
    load = time.perf_counter() - start
    prompt = [100 + index % 1000 for index in range(prompt_tokens)]
    prefill, decode = [], []
    for _ in range(rounds):
        params = og.GeneratorParams(model)
        length = prompt_tokens + new_tokens + 1
        params.set_search_options(max_length=length, min_length=length, do_sample=False)
        generator = og.Generator(model, params)
        start = time.perf_counter()
        generator.append_tokens(prompt)
        generator.generate_next_token()
        first = time.perf_counter()
        for _ in range(new_tokens):
            generator.generate_next_token()
        end = time.perf_counter()
        prefill.append(prompt_tokens / (first - start))
        decode.append(new_tokens / (end - first))
        del generator
    print(json.dumps({
        "engine": "onnxruntime-genai",
        "load_s": load,
        "prefill_tokens_per_s": statistics.median(prefill),
        "decode_tokens_per_s": statistics.median(decode),
        "peak_rss_bytes": status("VmHWM"),
        "anonymous_bytes": status("RssAnon"),
    }))


main()
