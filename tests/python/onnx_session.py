"""Runs a model directory in ONNX Runtime with 32-bit arithmetic."""

import json
import pathlib

import numpy as np
import onnxruntime


class Session:
    def __init__(self, directory, force_fp32=True):
        directory = pathlib.Path(directory)
        self.config = json.loads((directory / "genai_config.json").read_text())["model"]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if force_fp32:
            options.add_session_config_entry("mlas.qnbit.force_fp32", "1")
        path = str(directory / self.config["decoder"]["filename"])
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]
        past = next(entry for entry in self.session.get_inputs() if entry.name.endswith(".key"))
        self.dtype = np.float16 if past.type == "tensor(float16)" else np.float32
        self.reset()

    def reset(self):
        decoder = self.config["decoder"]
        shape = (1, decoder["num_key_value_heads"], 0, decoder["head_size"])
        parts = [f"{layer}.{part}" for layer in range(decoder["num_hidden_layers"]) for part in ("key", "value")]
        self.cache = {part: np.zeros(shape, self.dtype) for part in parts}
        self.length = 0

    def logits(self, tokens):
        """Feeds tokens after those fed before; their logits, float32."""
        self.length += len(tokens)
        feed = {f"past_key_values.{part}": value for part, value in self.cache.items()}
        feed["input_ids"] = np.array([tokens], np.int64)
        feed["attention_mask"] = np.ones((1, self.length), np.int64)
        outputs = dict(zip(self.names, self.session.run(None, feed)))
        self.cache = {part: outputs[f"present.{part}"] for part in self.cache}
        return outputs["logits"][0].astype(np.float32)
