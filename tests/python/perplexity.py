"""Writes how well ONNX Runtime predicts a text with a directory's weights in 32-bit arithmetic.

usage: perplexity.py TEXT OUT.json DIRECTORY...     (packages of requirements.txt)

The text is cut into windows as `edgeslm perplexity` cuts it: each starts with an empty cache, and its last token predicts the
first of the next.
"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime
import onnxruntime_genai

from onnx_session import Session

WINDOW = 1024
PASS = 256


def negative_log_likelihood(logits, targets):
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    chosen = np.take_along_axis(logits, np.array(targets)[:, None], -1)[:, 0]
    return float((np.log(np.exp(logits).sum(-1)) - chosen).sum())


def measure(directory, text):
    tokenizer = onnxruntime_genai.Tokenizer(onnxruntime_genai.Model(str(directory)))
    tokens = [int(token) for token in tokenizer.encode(text)]
    session = Session(directory, exact=True)
    total = 0.0
    inputs = len(tokens) - 1
    for start in range(0, inputs, WINDOW):
        session.reset()
        end = min(start + WINDOW, inputs)
        for first in range(start, end, PASS):
            last = min(first + PASS, end)
            total += negative_log_likelihood(session.logits(tokens[first:last]), tokens[first + 1 : last + 1])
    return {"tokens": len(tokens), "perplexity": float(np.exp(total / inputs))}


def main(text, target, *directories):
    content = pathlib.Path(text).read_text(encoding="utf-8")
    names = [pathlib.Path(directory).name for directory in directories]
    report = {
        "made_by": f"tests/python/perplexity.py {pathlib.Path(text).name} smollm2_perplexity.json {' '.join(names)} "
        f"(onnxruntime {onnxruntime.__version__}, onnxruntime-genai {onnxruntime_genai.__version__})",
        "window": WINDOW,
    }
    for name, directory in zip(names, directories):
        report[name] = measure(directory, content)
        print(name, report[name])
    pathlib.Path(target).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


main(*sys.argv[1:])
