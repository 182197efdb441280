"""Runs a model directory in ONNX Runtime."""

import json
import pathlib

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime


class Session:
    def __init__(self, directory, exact=False):
        """exact: 32-bit arithmetic, where a directory for CPUs asks for 8-bit activations."""
        directory = pathlib.Path(directory)
        self.config = json.loads((directory / "genai_config.json").read_text())["model"]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        model = onnx.load(str(directory / "model.onnx"), load_external_data=False)
        if exact:
            for node in model.graph.node:
                for attribute in node.attribute:
                    if attribute.name == "accuracy_level":
                        attribute.i = 0
        # From memory, so that the directory stays as it is.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(directory.resolve())
        )
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.names = [output.name for output in self.session.get_outputs()]
        past = next(entry for entry in self.session.get_inputs() if entry.name.endswith(".key"))
        self.dtype = np.float16 if past.type == "tensor(float16)" else np.float32
        self.reset()

    @staticmethod
    def initializers(directory):
        """The weights by name."""
        model = onnx.load(str(pathlib.Path(directory) / "model.onnx"))
        return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}

    @staticmethod
    def has_window_sized_cache(directory):
        model = onnx.load(str(pathlib.Path(directory) / "model.onnx"), load_external_data=False)
        return any(a.name == "sliding_window_cache" and a.i for node in model.graph.node for a in node.attribute)

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
