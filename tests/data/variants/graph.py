"""A graph under construction."""

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from weights import typed_tensor

MICROSOFT = {
    "BiasGelu",
    "FastGelu",
    "FusedMatMul",
    "GatherBlockQuantized",
    "GroupQueryAttention",
    "MatMulNBits",
    "QuickGelu",
    "RotaryEmbedding",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
}


class Graph:
    """Nodes and initializers under construction, and the random numbers that fill them."""

    def __init__(self, spec):
        self.spec = spec
        self.random_numbers = np.random.default_rng([spec.seed, 20])
        self.nodes = []
        self.initializers = {}
        self.constants = {}
        self.type, self.kind, self.element = {
            "f32": (TensorProto.FLOAT, "FLOAT", np.float32),
            "f16": (TensorProto.FLOAT16, "FLOAT16", np.float16),
            "bf16": (TensorProto.BFLOAT16, "BFLOAT16", ml_dtypes.bfloat16),
        }[spec.io]

    def cast(self, values):
        values = np.asarray(values, np.float32)
        return values.astype(np.float16).astype(np.float32) if self.spec.half_values else values.astype(self.element)

    def random(self, *shape, scale=1.0, offset=0.0):
        return (self.random_numbers.standard_normal(shape) * scale + offset).astype(np.float32)

    def matrix(self, rows, columns, gain=1.0):
        return self.random(rows, columns, scale=gain / np.sqrt(columns))

    def add_initializer(self, tensor):
        assert tensor.name not in self.initializers, tensor.name
        self.initializers[tensor.name] = tensor
        return tensor.name

    def initializer(self, name, values):
        return self.add_initializer(numpy_helper.from_array(np.require(values, requirements="C"), name))

    def typed_initializer(self, name, values, onnx_type):
        return self.add_initializer(typed_tensor(name, values, onnx_type))

    def constant(self, value, kind="INT64"):
        """A scalar or short vector, in the spelling that the spec asks for."""
        name = f"/model/constants/{kind}/{value}"
        if name in self.constants:
            return name
        self.constants[name] = True
        values = np.asarray(value, {"INT64": np.int64, "INT32": np.int32, self.kind: self.element}[kind])
        if self.spec.constants == "initializers":
            return self.initializer(name, values)
        node_name = name.replace("constants", "constant_nodes")
        attributes = {"value": numpy_helper.from_array(values, name)}
        if self.spec.constants == "fields" and kind == "INT64":
            attributes = {"value_ints": list(value)} if values.ndim else {"value_int": int(value)}
        elif self.spec.constants == "fields" and kind == "FLOAT":
            attributes = {"value_float": float(value)}
        self.nodes.append(helper.make_node("Constant", [], [name], name=node_name, **attributes))
        return name

    def io_constant(self, value):
        value = np.full(self.spec.factor_shape, value).tolist()
        return self.constant(value, self.kind)

    def float_constant(self, value):
        """An fp32 number, whatever the type of the graph is."""
        name = f"/model/constants/FLOAT/{value}"
        if name not in self.constants:
            self.constants[name] = True
            tensor = numpy_helper.from_array(np.float32(value), name)
            self.nodes.append(helper.make_node("Constant", [], [name], name=f"/model/constant_nodes/FLOAT/{value}", value=tensor))
        return name

    def with_constant(self, x, constant):
        return [constant, x] if self.spec.constant_first else [x, constant]

    def node(self, op, inputs, outputs, name, domain=None, **attributes):
        """Adds a node; `outputs` None gives the builder's `<name>/output_0`. Returns the first output."""
        if outputs is None:
            outputs = [f"{name}/output_0"]
        elif isinstance(outputs, str):
            outputs = [outputs]
        attributes = {key: value for key, value in attributes.items() if value is not None}
        if domain is None:
            domain = "com.microsoft" if op in MICROSOFT else ""
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0]


def value(name, onnx_type, shape):
    return helper.make_tensor_value_info(name, onnx_type, shape)
