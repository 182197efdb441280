"""Writes the logits that a runtime gives a model directory at every position.

usage: logits.py genai|onnxruntime DIRECTORY

Each line of standard input is a sequence of tokens, numbers with spaces between. The answer on standard output is a row of
the vocabulary's logits for each token, float32 in the machine's byte order. genai is onnxruntime-genai with the directory as
it is; onnxruntime is ONNX Runtime in 32-bit arithmetic.
"""

import pathlib
import sys

import numpy


def genai(directory):
    """A function that gives the logits of a sequence of tokens."""
    import onnxruntime_genai as og

    model = og.Model(directory)

    def logits(tokens):
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=len(tokens) + 1)
        generator = og.Generator(model, params)
        generator.append_tokens(tokens)
        return generator.get_output("logits")[0]

    return logits


def onnxruntime(directory):
    """A function that gives the logits of a sequence of tokens."""
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests/python"))
    from onnx_session import Session

    session = Session(directory, exact=True)

    def logits(tokens):
        session.reset()
        return session.logits(tokens)

    return logits


RUNTIMES = {"genai": genai, "onnxruntime": onnxruntime}


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in RUNTIMES:
        sys.exit(__doc__)
    logits = RUNTIMES[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        rows = logits([int(token) for token in line.split()])
        sys.stdout.buffer.write(rows.astype(numpy.float32).tobytes())
        sys.stdout.buffer.flush()


main()
