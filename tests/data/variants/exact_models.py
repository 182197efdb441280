#!/usr/bin/env python3
"""Writes reference_fp32.safetensors beside a reference.safetensors of ../models that fp32 arithmetic does not give.

    python tests/data/variants/exact_models.py

Those references come from ONNX Runtime with `mlas.qnbit.force_fp32=1`. It obeys this for 4 bits with blocks of 32 only; elsewhere it
rounds activations to int8, which exact arithmetic differs from by up to 0.02. The new file has the same tokens and the exact logits.
"""

import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import numpy as np
import onnx
from safetensors.numpy import load_file, save_file

import independent
import reference
from spec import Spec

MODELS = Path(__file__).resolve().parent.parent / "models"


def exact_reference(directory):
    given = load_file(directory / "reference.safetensors")
    decoder = json.loads((directory / "genai_config.json").read_text())["model"]["decoder"]
    spec = Spec("", "", kv_heads=decoder["num_key_value_heads"], head_size=decoder["head_size"])
    session = reference.session(reference.exact(onnx.load(directory / "model.onnx")))
    tensors = {name: values for name, values in given.items() if name.endswith("tokens")}
    checks = {}
    for case in ("short", "long"):
        sequence = reference.Sequence(session, spec)
        prompt, following = (tensors[f"{case}.{part}_tokens"].tolist() for part in ("prompt", "next"))
        tensors[f"{case}.prompt_logits_last16"] = sequence.step(prompt)[-16:]
        tensors[f"{case}.next_logits"] = np.concatenate([sequence.step([token]) for token in following])
        whole = independent.logits(directory / "model.onnx", spec, prompt + following)
        checks[f"{case}.prompt_logits_last16"] = whole[: len(prompt)][-16:]
        checks[f"{case}.next_logits"] = whole[len(prompt) :]
    if reference.error(checks, tensors) > 2e-5:
        raise SystemExit(f"{directory.name}: NumPy differs by {reference.error(checks, tensors)}")
    return tensors, reference.error(given, tensors)


def main():
    for directory in sorted(path for path in MODELS.iterdir() if (path / "genai_config.json").exists()):
        if directory.name.startswith("phi-"):
            continue  # 4 bits with blocks of 32; its LongRoPE switch would need the steps taken apart
        tensors, error = exact_reference(directory)
        print(f"{directory.name:32} {error:.2e}")
        if error > 5e-4:
            file = directory / "reference_fp32.safetensors"
            save_file(tensors, file)
            file.chmod(0o644)


if __name__ == "__main__":
    main()
