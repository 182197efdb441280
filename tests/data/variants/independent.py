"""Evaluates a decoder graph in NumPy and float64, from the definitions of the operators.

It shares nothing with ONNX Runtime, so that the references do not rest on one implementation. One sequence from its start only.
"""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_file import canonical_names

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
CASTS = {**dict.fromkeys(FLOATS, np.float64), TensorProto.INT32: np.int64, TensorProto.INT64: np.int64}


def logits(path, spec, tokens):
    """The logits of every position of `tokens` in the file at `path`."""
    model = onnx.load(path)
    length = len(tokens)
    names = canonical_names(spec)
    feeds = {
        "input_ids": np.array([tokens]),
        "attention_mask": np.ones((1, length), np.int64),
        "position_ids": np.arange(length)[None],
        spec.logits_to_keep: np.array(0),
    }
    for layer in range(spec.layers):
        for part in ("key", "value"):
            feeds[f"past_key_values.{layer}.{part}"] = np.zeros((1, spec.kv_heads, 0, spec.head_size))
    values = {"": None}
    values.update({item.name: feeds.get(names.get(item.name, item.name)) for item in model.graph.input})
    values.update({tensor.name: constant(tensor) for tensor in model.graph.initializer})
    typed = {tensor.name for tensor in model.graph.initializer if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4)}
    waiting = list(model.graph.node)
    while waiting:
        ready = [node for node in waiting if all(name in values for name in node.input)]
        assert ready, "the graph has a cycle"
        for node in ready:
            evaluate(node, values, typed)
        waiting = [node for node in waiting if node not in ready]
    output = next(item.name for item in model.graph.output if names.get(item.name, item.name) == "logits")
    return values[output][0]


def constant(tensor):
    values = numpy_helper.to_array(tensor)
    if tensor.data_type in FLOATS:
        return values.astype(np.float64)
    return values.astype(np.int64) if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4) else values


def evaluate(node, values, typed):
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    inputs = [values[name] for name in node.input]
    if node.op_type == "GatherBlockQuantized":
        attributes["typed"] = node.input[0] in typed
    if node.op_type == "RotaryEmbedding" and not node.domain:
        x, cos, sin, positions = inputs
        inputs = [x, positions, cos, sin]
    results = OPERATORS[node.op_type](inputs, attributes)
    for name, result in zip(node.output, results if isinstance(results, tuple) else (results,)):
        if name:
            values[name] = result


def optional(inputs, index):
    return inputs[index] if index < len(inputs) else None


def low_then_high(packed):
    nibbles = np.empty((*packed.shape[:-1], packed.shape[-1] * 2), np.uint8)
    nibbles[..., 0::2], nibbles[..., 1::2] = packed & 15, packed >> 4
    return nibbles


def dequantise(integers, scales, zeros, block):
    """[rows, K] from integers [rows, K], scales and zero points [rows, blocks]."""
    spread = np.repeat(np.arange(scales.shape[1]), block)[: integers.shape[1]]
    return (integers.astype(np.float64) - zeros[:, spread]) * scales[:, spread]


def integer_rows(packed, rows, bits):
    packed = packed.reshape(rows, -1)
    return low_then_high(packed) if bits == 4 else packed


def zero_points(packed, rows, blocks, bits):
    if packed is None:
        return np.full((rows, blocks), float(1 << (bits - 1)))
    if packed.dtype == np.uint8:
        return integer_rows(packed, rows, bits)[:, :blocks].astype(np.float64)
    return packed.reshape(rows, blocks).astype(np.float64)


def matmul_nbits(inputs, attributes):
    rows, columns, bits = attributes["N"], attributes["K"], attributes.get("bits", 4)
    blocks = -(-columns // attributes["block_size"])
    integers = integer_rows(inputs[1], rows, bits)[:, :columns]
    zeros = zero_points(optional(inputs, 3), rows, blocks, bits)
    weights = dequantise(integers, inputs[2].reshape(rows, blocks), zeros, attributes["block_size"])
    bias = optional(inputs, 5)
    return inputs[0] @ weights.T + (0 if bias is None else bias)


def gather_block_quantized(inputs, attributes):
    data, indices, scales = inputs[:3]
    rows, blocks = scales.shape
    bits, zeros = attributes.get("bits", 4), optional(inputs, 3)
    if attributes["typed"]:
        zeros = np.zeros((rows, blocks)) if zeros is None else zeros
        return dequantise(data, scales, zeros, attributes["block_size"])[indices]
    zeros = zero_points(zeros, rows, blocks, bits)
    return dequantise(integer_rows(data, rows, bits), scales, zeros, attributes["block_size"])[indices]


def dequantize_linear(inputs, attributes):
    values, scales = inputs[0].astype(np.float64), inputs[1]
    zeros = optional(inputs, 2)
    zeros = np.zeros_like(scales) if zeros is None else zeros.astype(np.float64)
    axis = attributes.get("axis", 1)
    if scales.ndim == 1:
        shape = [1] * values.ndim
        shape[axis] = -1
        scales, zeros = scales.reshape(shape), zeros.reshape(shape)
    elif scales.ndim:
        scales = np.repeat(scales, attributes["block_size"], axis)
        zeros = np.repeat(zeros, attributes["block_size"], axis)
    return (values - zeros) * scales


def root_mean_square(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def layer_norm(x, weight, bias, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return root_mean_square(centred, weight, epsilon) + bias


def simplified_norm(inputs, attributes):
    return root_mean_square(inputs[0], inputs[1], attributes.get("epsilon", 1e-5))


def skip_simplified_norm(inputs, attributes):
    bias = optional(inputs, 3)
    total = inputs[0] + inputs[1] + (0 if bias is None else bias)
    return root_mean_square(total, inputs[2], attributes["epsilon"]), None, None, total


def skip_layer_norm(inputs, attributes):
    bias = optional(inputs, 4)
    total = inputs[0] + inputs[1] + (0 if bias is None else bias)
    return layer_norm(total, inputs[2], inputs[3], attributes["epsilon"]), None, None, total


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu(inputs, attributes):
    x = inputs[0]
    if attributes.get("approximate") == b"tanh":
        return tanh_gelu(x)
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def fast_gelu(inputs, attributes):
    bias = optional(inputs, 1)
    return tanh_gelu(inputs[0] + (0 if bias is None else bias))


def rotate(x, positions, cos_cache, sin_cache, interleaved):
    """x [positions, heads, size]."""
    cos, sin = cos_cache[positions][:, None], sin_cache[positions][:, None]
    width = 2 * cos.shape[-1]
    first, second = (slice(0, width, 2), slice(1, width, 2)) if interleaved else (slice(0, width // 2), slice(width // 2, width))
    rotated = x.copy()
    rotated[..., first] = x[..., first] * cos - x[..., second] * sin
    rotated[..., second] = x[..., second] * cos + x[..., first] * sin
    return rotated


def rotary_embedding(inputs, attributes):
    x, positions, cos, sin = inputs
    heads = attributes.get("num_heads", 0) or x.shape[2] // (2 * cos.shape[1])
    parts = x[0].reshape(x.shape[1], heads, -1)
    return rotate(parts, positions[0], cos, sin, attributes.get("interleaved", 0)).reshape(x.shape)


def group_query_attention(inputs, attributes):
    heads, kv_heads = attributes["num_heads"], attributes["kv_num_heads"]
    length = inputs[0].shape[1]
    assert int(np.ravel(inputs[5])[0]) == length - 1 and int(inputs[6]) == length
    if inputs[1] is None:
        packed = inputs[0][0].reshape(length, heads + 2 * kv_heads, -1)
        q, k, v = np.split(packed, [heads, heads + kv_heads], axis=1)
    else:
        q, k, v = (x[0].reshape(length, count, -1) for x, count in zip(inputs, (heads, kv_heads, kv_heads)))
    positions = np.arange(length)
    if attributes.get("do_rotary", 0):
        q, k = (rotate(x, positions, inputs[7], inputs[8], attributes.get("rotary_interleaved", 0)) for x in (q, k))
    scale = attributes.get("scale", 0) or 1 / math.sqrt(q.shape[-1])
    window = attributes.get("local_window_size", -1)
    distance = positions[:, None] - positions
    hidden = (distance < 0) | ((distance >= window) if window > 0 else False)
    sinks = optional(inputs, 11)
    if sinks is None and attributes.get("smooth_softmax", 0) == 1:
        sinks = np.zeros(heads)
    output = np.empty_like(q)
    for head in range(heads):
        kv = head * kv_heads // heads
        scores = q[:, head] @ k[:, kv].T * scale
        if attributes.get("softcap", 0):
            scores = attributes["softcap"] * np.tanh(scores / attributes["softcap"])
        weights = np.where(hidden, 0, np.exp(scores))
        total = weights.sum(-1, keepdims=True) + (0 if sinks is None else math.exp(sinks[head]))
        output[:, head] = weights / total @ v[:, kv]
    return output.reshape(1, length, -1), None, None


def choose(inputs, attributes):
    branch = attributes["then_branch"] if bool(inputs[0]) else attributes["else_branch"]
    values = {}
    for node in branch.node:
        evaluate(node, values, set())
    return tuple(values[item.name] for item in branch.output)


def reshape(inputs, attributes):
    x, shape = inputs
    return x.reshape([x.shape[index] if extent == 0 else int(extent) for index, extent in enumerate(shape)])


def split(inputs, attributes):
    sizes = optional(inputs, 1)
    pieces = attributes["num_outputs"] if sizes is None else np.cumsum(sizes)[:-1]
    return tuple(np.split(inputs[0], pieces, attributes.get("axis", 0)))


def take_slice(inputs, attributes):
    x, starts, ends, axes = inputs[:4]
    ranges = [slice(None)] * x.ndim
    for start, end, axis in zip(starts, ends, axes):
        ranges[axis] = slice(start, end)
    return x[tuple(ranges)]


def reduce_mean(inputs, attributes):
    axes = attributes.get("axes") if len(inputs) == 1 else inputs[1]
    return inputs[0].mean(axis=tuple(axes), keepdims=bool(attributes.get("keepdims", 1)))


def fused_matmul(inputs, attributes):
    x, weight = inputs
    return x @ (weight.T if attributes.get("transB") else weight)


def squeeze(inputs, attributes):
    axes = optional(inputs, 1)
    return np.squeeze(inputs[0], None if axes is None else tuple(axes))


def constant_of_shape(inputs, attributes):
    return np.full(inputs[0], numpy_helper.to_array(attributes["value"])[0])


def constant_node(inputs, attributes):
    ((kind, value),) = attributes.items()
    if kind == "value":
        return constant(value)
    return np.array(value, np.float64 if "float" in kind else np.int64)


def cast(inputs, attributes):
    return None if inputs[0] is None else inputs[0].astype(CASTS[attributes["to"]])


OPERATORS = {
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "BiasGelu": lambda inputs, _: gelu([inputs[0] + inputs[1]], {}),
    "Cast": cast,
    "Concat": lambda inputs, attributes: np.concatenate(inputs, attributes["axis"]),
    "Constant": constant_node,
    "ConstantOfShape": constant_of_shape,
    "CumSum": lambda inputs, _: np.cumsum(inputs[0], int(inputs[1])),
    "DequantizeLinear": dequantize_linear,
    "Div": lambda inputs, _: inputs[0] / inputs[1],
    "Erf": lambda inputs, _: np.vectorize(math.erf)(inputs[0]),
    "Expand": lambda inputs, _: np.broadcast_to(inputs[0], inputs[1]),
    "FastGelu": fast_gelu,
    "FusedMatMul": fused_matmul,
    "Gather": lambda inputs, attributes: np.take(inputs[0], inputs[1], axis=attributes.get("axis", 0)),
    "GatherBlockQuantized": gather_block_quantized,
    "Gelu": gelu,
    "Greater": lambda inputs, _: inputs[0] > inputs[1],
    "GreaterOrEqual": lambda inputs, _: inputs[0] >= inputs[1],
    "GroupQueryAttention": group_query_attention,
    "Identity": lambda inputs, _: inputs[0],
    "If": choose,
    "LayerNormalization": lambda inputs, attributes: layer_norm(*inputs, attributes.get("epsilon", 1e-5)),
    "MatMul": lambda inputs, _: inputs[0] @ inputs[1],
    "MatMulNBits": matmul_nbits,
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "Neg": lambda inputs, _: -inputs[0],
    "Pow": lambda inputs, _: inputs[0] ** inputs[1],
    "QuickGelu": lambda inputs, attributes: inputs[0] / (1 + np.exp(-attributes.get("alpha", 1.702) * inputs[0])),
    "RMSNormalization": simplified_norm,
    "Range": lambda inputs, _: np.arange(*(int(value) for value in inputs)),
    "Reciprocal": lambda inputs, _: 1 / inputs[0],
    "ReduceMax": lambda inputs, attributes: inputs[0].max(keepdims=bool(attributes.get("keepdims", 1))),
    "ReduceMean": reduce_mean,
    "ReduceSum": lambda inputs, attributes: inputs[0].sum(axis=tuple(inputs[1]), keepdims=bool(attributes.get("keepdims", 1))),
    "Relu": lambda inputs, _: np.maximum(inputs[0], 0),
    "Reshape": reshape,
    "RotaryEmbedding": rotary_embedding,
    "Shape": lambda inputs, attributes: np.array(inputs[0].shape[attributes.get("start", 0) : attributes.get("end")]),
    "Sigmoid": lambda inputs, _: 1 / (1 + np.exp(-inputs[0])),
    "SimplifiedLayerNormalization": simplified_norm,
    "SkipLayerNormalization": skip_layer_norm,
    "SkipSimplifiedLayerNormalization": skip_simplified_norm,
    "Slice": take_slice,
    "Split": split,
    "Sqrt": lambda inputs, _: np.sqrt(inputs[0]),
    "Squeeze": squeeze,
    "Sub": lambda inputs, _: inputs[0] - inputs[1],
    "Swish": lambda inputs, attributes: inputs[0] / (1 + np.exp(-attributes.get("alpha", 1.0) * inputs[0])),
    "Tanh": lambda inputs, _: np.tanh(inputs[0]),
    "Transpose": lambda inputs, attributes: np.transpose(inputs[0], attributes["perm"]),
    "Unsqueeze": lambda inputs, _: np.expand_dims(inputs[0], tuple(inputs[1])),
}
