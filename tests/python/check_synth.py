"""ONNX Runtime and onnxruntime-genai on synthesised directories: both load and run them, and agree.

usage: check_synth.py DIRECTORY...
"""

import sys

import numpy as np
import onnxruntime_genai

from onnx_session import Session

PROMPT = [int(token) for token in np.random.default_rng(1).integers(3, 259, 100)]


def genai_logits(directory):
    model = onnxruntime_genai.Model(directory)
    tokenizer = onnxruntime_genai.Tokenizer(model)
    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(PROMPT) + 8, do_sample=False)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(np.array([PROMPT], np.int32))
    logits = np.array(generator.get_output("logits"))[0, -1].astype(np.float32)
    while not generator.is_done():
        generator.generate_next_token()
    tokenizer.decode(generator.get_sequence(0))
    assert len(generator.get_sequence(0)) == len(PROMPT) + 8
    return logits


for directory in sys.argv[1:]:
    ours = genai_logits(directory)
    assert np.isfinite(ours).all() and 0.1 < ours.std() < 20, ours.std()
    # A cache of the window's size is onnxruntime-genai's to manage.
    if not Session.has_window_sized_cache(directory):
        session = Session(directory)
        whole = session.logits(PROMPT)
        assert np.array_equal(whole[-1], ours), directory
        session.reset()
        parts = np.concatenate([session.logits(PROMPT[:40]), session.logits(PROMPT[40:])])
        assert np.linalg.norm(parts - whole) < 0.02 * np.linalg.norm(whole), directory
    print(f"{directory}: standard deviation of the logits {ours.std():.2f}")
