"""Writes tensor_types.safetensors: rows of every ggml type, and their weights as the PyPI package gguf dequantises them.

usage: make_tensor_types.py     (needs the PyPI packages gguf 0.19 and safetensors)

`TYPE.bytes` are rows of 256 weights, `TYPE.weights` their float32 values. Rows that any bytes may make, as far as every
weight is finite, are under `TYPE.any.*`; they cover scales of every magnitude and sign.
"""

import pathlib
import sys

import gguf
import numpy as np
import safetensors.numpy
from gguf.quants import dequantize

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "python"))
import tiny_llama

COLUMNS = 256
ROWS = 8


def any_rows(kind, random):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    rows = []
    while len(rows) < ROWS:
        row = random.integers(0, 256, COLUMNS // elements * size, dtype=np.uint8)
        with np.errstate(all="ignore"):
            if np.isfinite(dequantize(row, kind)).all():
                rows.append(row)
    return np.stack(rows)


def main():
    random = np.random.default_rng(7)
    tensors = {}
    for kind in tiny_llama.KEPT + tiny_llama.REQUANTISED + [tiny_llama.Type.BF16, tiny_llama.Type.F16]:
        data = tiny_llama.rows(kind, ROWS, COLUMNS, random)
        tensors[f"{kind.name}.bytes"] = data.view(np.uint8)
        tensors[f"{kind.name}.weights"] = dequantize(data, kind)
        if kind in tiny_llama.FLOATS:
            continue
        data = any_rows(kind, random)
        tensors[f"{kind.name}.any.bytes"] = data
        tensors[f"{kind.name}.any.weights"] = dequantize(data, kind)
    safetensors.numpy.save_file(tensors, HERE / "tensor_types.safetensors")


main()
