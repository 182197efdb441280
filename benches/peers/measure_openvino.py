"""Measures OpenVINO GenAI on a GGUF file: one JSON object on standard output.

usage: measure_openvino.py FILE THREADS PROMPT_TOKENS NEW_TOKENS
"""

import sys
import time

import numpy
import openvino
import openvino_genai

from report import report


def generate(pipeline, first_token, prompt_tokens, new_tokens):
    """Prefill and decode in tokens a second."""
    prompt = numpy.array([[first_token + index % 1000 for index in range(prompt_tokens)]], numpy.int64)
    # The first new token comes with the prompt.
    result = pipeline.generate(
        openvino.Tensor(prompt), max_new_tokens=new_tokens + 1, ignore_eos=True, do_sample=False
    )
    made = len(result.tokens[0])
    if made != new_tokens + 1:
        sys.exit(f"{made} new tokens instead of {new_tokens + 1}")
    metrics = result.perf_metrics
    first, each = metrics.get_ttft().mean, metrics.get_tpot().mean
    return 1e3 * prompt_tokens / first, 1e3 / each


def main():
    path, threads, prompt_tokens, new_tokens = sys.argv[1], *map(int, sys.argv[2:5])
    start = time.perf_counter()
    pipeline = openvino_genai.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=threads)
    load = time.perf_counter() - start
    # What is compiled at first use does not count; another prompt, so that nothing of it is reused.
    generate(pipeline, 50, 32, 2)
    prefill, decode = generate(pipeline, 100, prompt_tokens, new_tokens)
    report(load, prefill, decode)


main()
