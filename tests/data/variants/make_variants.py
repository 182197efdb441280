#!/usr/bin/env python3
"""Writes the directories beside this file, and README.md and bounds.json.

    pip install onnx==1.23.2 onnxruntime==1.32.0 safetensors numpy
    python tests/data/variants/make_variants.py [name ...]

With names, only these directories are written anew. Running it again gives the same files.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

from safetensors.numpy import save_file

import independent
import layout
import reference
from decoder import build, build_reference
from forms import VARIANTS
from spec import Spec

HERE = Path(__file__).resolve().parent


def write(spec):
    """Writes one directory and returns its errors for bounds.json."""
    directory = HERE / spec.name
    shutil.rmtree(directory, ignore_errors=True)
    model = build(spec)
    if spec.layout == "genai":
        directory.mkdir()
        path = directory / "model.onnx"
        layout.save(model, path, spec.storage, "model.onnx.data")
        layout.write_json(directory / "genai_config.json", layout.genai_config(spec, model))
    else:
        (directory / "onnx").mkdir(parents=True)
        if spec.layout == "transformers.js":
            path = directory / "onnx" / "model_q4.onnx"
            half = build(Spec(**{**vars(spec), "io": "f16", "half_values": False}))
            layout.save(half, directory / "onnx" / "model_q4f16.onnx", "two_files", "model_q4f16.onnx_data")
        else:
            path = directory / "onnx" / "model_quantized.onnx"
        layout.save(model, path, spec.storage, f"{path.name}_data")
        layout.write_json(directory / "config.json", layout.huggingface_config(spec))
        layout.write_json(
            directory / "generation_config.json",
            {"bos_token_id": layout.BEGIN, "eos_token_id": layout.END, "do_sample": True, "temperature": 0.6, "top_p": 0.9},
        )
    layout.write_tokenizer(directory)

    evaluated = build_reference(spec)
    exact = reference.exact(evaluated)
    tensors = reference.run(exact, spec)
    save_file(tensors, directory / "reference.safetensors")
    (directory / "reference.safetensors").chmod(0o644)
    if spec.reference_as:
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(evaluated.SerializeToString())
            file.flush()
            check(spec, file.name, exact, tensors)
    else:
        check(spec, path, exact, tensors)

    shipped = path
    if spec.reference_as:
        shipped = evaluated
    elif spec.sliding_window_cache:
        shipped = reference.changed(model, [("GroupQueryAttention", "sliding_window_cache", None)])
    runs = spec.io != "bf16" or None  # ONNX Runtime has no bf16 on the CPU
    level_4 = reference.changed(exact, [("MatMulNBits", "accuracy_level", 4)])
    errors = {
        "ort_fp32": runs and reference.error(reference.run(shipped, spec, force_fp32=True, optimise=True), tensors),
        "ort_as_shipped": runs and reference.error(reference.run(shipped, spec, optimise=True), tensors),
        "ort_level_4": reference.error(reference.run(level_4, spec), tensors),
        "int8_block_32": reference.error(reference.run(reference.int8_activations(exact), spec), tensors),
    }
    if spec.layout == "transformers.js":
        errors["ort_fp32_q4f16"] = reference.error(
            reference.run(directory / "onnx" / "model_q4f16.onnx", spec, force_fp32=True, optimise=True), tensors
        )
    return {name: value and float(f"{value:.3g}") for name, value in errors.items()}


def check(spec, path, exact, tensors):
    """Stops where the reference would be wrong or would not notice the feature."""
    if not all((abs(values) < 1e4).all() for name, values in tensors.items() if "logits" in name):
        raise SystemExit(f"{spec.name}: logits out of range")
    session = reference.session(exact)
    for source, evaluate in (
        ("ONNX Runtime, whole prefills", lambda tokens: reference.Sequence(session, spec).step(tokens)),
        ("NumPy", lambda tokens: independent.logits(path, spec, tokens)),
    ):
        difference = reference.error(reference.whole(evaluate, spec), tensors)
        if difference > 2e-5:
            raise SystemExit(f"{spec.name}: {source} differs from the reference by {difference}")
    for change in spec.ablate:
        moved = reference.error(reference.run(reference.changed(exact, [change]), spec), tensors)
        if moved < 0.03:
            raise SystemExit(f"{spec.name}: {change} moves the logits by {moved} only")


README = """# Graph forms

Small decoders with random weights, one directory a form that published model directories have and the directories in
`../models` lack. `make_variants.py` writes them (and this file); the same versions of onnx and ONNX Runtime give the same bytes.

`reference.safetensors` has the keys of `../models/*/reference.safetensors`: for `short` and `long` the prompt, the logits of its last
16 positions from one prefill, eight tokens decoded one at a time, and the logits after each. Differences:

- The logits are exact arithmetic on the file's values: ONNX Runtime in fp32, with fp16 and bf16 values widened and `accuracy_level` removed.
  (`mlas.qnbit.force_fp32` does not do: ONNX Runtime 1.32 obeys it for 4 bits with blocks of 32 only.)
- A pruned head has logits for the last position alone: `prompt_logits_last16` is then [1, V].
- `independent.py`, NumPy in float64 from the operators' definitions, agrees with every one within 2e-5 (the script checks it).
- Where ONNX Runtime's CPU kernels lack a form (`reference_as` in the script), all runs are of a graph with the same meaning that they have.
- Where LongRoPE's switch is crossed while generating, the logits from there on are those of a prefill of everything so far.
- For `sliding_window_cache` the reference comes from the same graph without that attribute, which has the same meaning.

`bounds.json`: the largest ||logits - reference|| / ||reference|| over the four logit tensors, for

| key | run |
|---|---|
| `ort_fp32` | the file in ONNX Runtime with `mlas.qnbit.force_fp32=1`; not zero for fp16 graphs (rounding between nodes) and where the entry is not obeyed |
| `ort_as_shipped` | the file in ONNX Runtime with default options |
| `ort_level_4` | fp32 graph, accuracy_level 4 on every MatMulNBits: activations in int8 by block of the weights |
| `int8_block_32` | fp32 graph, the input of every product with quantised weights rounded to int8 by row and block of 32 |

The first two are null for bf16, which ONNX Runtime's CPU kernels lack. What integer activations cost is the larger of the last two; strict fp32 arithmetic comes within 5e-5 of the reference, which
also tells Gelu's two forms apart (1e-4).

| directory | what it exercises |
|---|---|
"""


def main():
    wanted = sys.argv[1:]
    bounds_file = HERE / "bounds.json"
    bounds = json.loads(bounds_file.read_text()) if wanted and bounds_file.exists() else {}
    for spec in VARIANTS:
        if not wanted or spec.name in wanted:
            bounds[spec.name] = write(spec)
            size = sum(file.stat().st_size for file in (HERE / spec.name).rglob("*") if file.is_file())
            print(f"{spec.name:28} {size / 1000:6.0f} kB  {bounds[spec.name]}", flush=True)
    names = [spec.name for spec in VARIANTS]
    assert len(set(names)) == len(names)
    layout.write_json(bounds_file, {name: bounds[name] for name in names if name in bounds})
    rows = [f"| {spec.name} | {spec.exercises} |\n" for spec in VARIANTS]
    (HERE / "README.md").write_text(README + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
