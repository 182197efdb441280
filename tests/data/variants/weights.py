"""Weight formats of a linear layer: how a float matrix becomes ONNX nodes and initializers.

Every format takes the matrix as [N, K] (one row an output) and writes what a published file holds. `emit` returns the
name of the product.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

INT_TYPES = {
    "int4": (TensorProto.INT4, 4, True),
    "uint4": (TensorProto.UINT4, 4, False),
    "int8": (TensorProto.INT8, 8, True),
    "uint8": (TensorProto.UINT8, 8, False),
}


def pack(values, bits):
    """Packs unsigned integers along the last axis, the first in the lowest bits; each row ends on a whole byte."""
    values = values.astype(np.uint8)
    if bits == 8:
        return values
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
    return (values[..., 0::2] & 15) | (values[..., 1::2] << 4)


def blocks_of(matrix, block):
    """[N, K] as [N, blocks, block], the last block padded with zeros."""
    rows, columns = matrix.shape
    count = -(-columns // block)
    padded = np.zeros((rows, count * block), np.float32)
    padded[:, :columns] = matrix
    return padded.reshape(rows, count, block)


def quantise(matrix, bits, block, zero_points):
    """Integers [N, blocks, block], scales [N, blocks] and zero points [N, blocks] (None where symmetric).

    Symmetric scales carry the sign of the largest element, so that about half of them are negative.
    """
    blocks = blocks_of(matrix, block)
    top = (1 << bits) - 1
    middle = 1 << (bits - 1)
    if zero_points is None:
        index = np.abs(blocks).argmax(-1)[..., None]
        scales = np.take_along_axis(blocks, index, -1)[..., 0] / -middle
        zeros = np.full(scales.shape, middle, np.float32)
    else:
        low = np.minimum(blocks.min(-1), 0)
        high = np.maximum(blocks.max(-1), 0)
        scales = (high - low) / top
        zeros = -low / np.where(scales == 0, 1, scales)
        if zero_points == "packed":
            zeros = np.clip(np.round(zeros), 0, top)
        else:
            zeros = np.round(zeros * 4) / 4
    scales = np.where(scales == 0, 1, scales).astype(np.float32)
    integers = np.clip(np.round(blocks / scales[..., None] + zeros[..., None]), 0, top)
    return integers.astype(np.uint8), scales, None if zero_points is None else zeros


@dataclass
class NBits:
    """MatMulNBits. `zero_points`: None, "packed" or "float"; `flat`: scales and zero points of rank 1."""

    bits: int = 4
    block: int = 32
    zero_points: str | None = None
    flat: bool = False
    bias: bool = False
    g_idx: bool = False  # the groups in their order, which changes nothing
    accuracy_level: int | None = 4

    def parts(self, graph, matrix, name):
        integers, scales, zeros = quantise(matrix, self.bits, self.block, self.zero_points)
        inputs = [
            graph.initializer(f"{name}.weight_Q{self.bits}", pack(integers, self.bits)),
            graph.initializer(f"{name}.weight_scales", graph.cast(scales.reshape(-1) if self.flat else scales)),
        ]
        if zeros is not None:
            zeros = pack(zeros, self.bits) if self.zero_points == "packed" else graph.cast(zeros)
            inputs.append(graph.initializer(f"{name}.weight_zero_points", zeros.reshape(-1) if self.flat else zeros))
        return inputs

    def emit(self, graph, x, matrix, name, output=None):
        rows, columns = matrix.shape
        inputs = [x, *self.parts(graph, matrix, tensor_name(name))]
        if self.g_idx:
            inputs += [""] * (4 - len(inputs))
            groups = np.arange(columns, dtype=np.int32) // self.block
            inputs.append(graph.initializer(f"{tensor_name(name)}.g_idx", groups))
        if self.bias:
            inputs += [""] * (5 - len(inputs))
            inputs.append(graph.initializer(f"{tensor_name(name)}.bias", graph.cast(graph.random(rows, scale=0.3))))
        attributes = {"K": columns, "N": rows, "bits": self.bits, "block_size": self.block}
        if self.accuracy_level is not None:
            attributes["accuracy_level"] = self.accuracy_level
        return graph.node("MatMulNBits", inputs, output, f"{name}/MatMul_Q{self.bits}", **attributes)


@dataclass
class Dense:
    """MatMul with a constant [K, N] in the type of the graph."""

    def emit(self, graph, x, matrix, name, output=None):
        weight = graph.initializer(f"{tensor_name(name)}.weight", graph.cast(np.ascontiguousarray(matrix.T)))
        return graph.node("MatMul", [x, weight], output, f"{name}/MatMul")


@dataclass
class Fused:
    """FusedMatMul with a constant [N, K]."""

    def emit(self, graph, x, matrix, name, output=None):
        weight = graph.initializer(f"{tensor_name(name)}.weight", graph.cast(matrix))
        return graph.node("FusedMatMul", [x, weight], output, f"{name}/FusedMatMul", transB=1)


@dataclass
class DynamicInt8:
    """What onnxruntime.quantization.quantize_dynamic makes of a MatMul."""

    type: str = "uint8"
    per_channel: bool = False

    def emit(self, graph, x, matrix, name, output=None):
        onnx_type, _, signed = INT_TYPES[self.type]
        rows, columns = matrix.shape
        flat = matrix if self.per_channel else matrix.reshape(1, -1)
        integers, scales, zeros = quantise(flat, 8, flat.shape[1], None if signed else "packed")
        offset = 128 if signed else 0
        integers = integers.reshape(rows, columns).astype(np.int16) - offset
        zeros = np.zeros_like(scales) if zeros is None else zeros
        shape = (rows,) if self.per_channel else ()
        tensor = f"{tensor_name(name)}.weight"
        weight = graph.typed_initializer(f"{tensor}_quantized", integers.T, onnx_type)
        scale = graph.initializer(f"{tensor}_scale", scales.astype(np.float32).reshape(shape))
        zero = graph.typed_initializer(f"{tensor}_zero_point", zeros.reshape(shape), onnx_type)
        if not graph.spec.integer_products:
            inputs, axis = [weight, scale, zero], 1 if self.per_channel else None
            dequantised = graph.node("DequantizeLinear", inputs, None, f"{name}/DequantizeLinear", axis=axis)
            return graph.node("MatMul", [x, dequantised], output, f"{name}/MatMul")
        parts = [f"{x}_quantized", f"{x}_scale", f"{x}_zero_point"]
        if not any(parts[0] in node.output for node in graph.nodes):
            graph.node("DynamicQuantizeLinear", [x], parts, f"{x}_QuantizeLinear")
        y = graph.node("MatMulInteger", [parts[0], weight, parts[2], zero], None, f"{name}/MatMul_quant")
        y = graph.node("Cast", [y], None, f"{name}/MatMul_cast", to=TensorProto.FLOAT)
        both = graph.node("Mul", [parts[1], scale], None, f"{name}/MatMul_quant_scales_mul")
        return graph.node("Mul", [y, both], output, f"{name}/MatMul_quant_output_scale_mul")


@dataclass
class Qdq:
    """DequantizeLinear before MatMul.

    `axis` 1: the integers are [N, K], blocks along K, then Transpose. `axis` 0: they are [K, N], no Transpose.
    `block` 0: one scale per output; None: one for the tensor.
    """

    type: str = "int4"
    axis: int = 1
    block: int | None = 32
    zero_points: bool = False
    negative_axis: bool = False
    domain: str | None = None

    def emit(self, graph, x, matrix, name, output=None):
        onnx_type, bits, signed = INT_TYPES[self.type]
        rows, columns = matrix.shape
        if self.block is None:
            flat, scales, zeros = quantise(matrix.reshape(1, -1), bits, matrix.size, self.scheme(signed))
            integers = flat.reshape(rows, columns)
        else:
            integers, scales, zeros = quantise(matrix, bits, self.block or columns, self.scheme(signed))
            integers = integers.reshape(rows, -1)[:, :columns]
        integers = integers.astype(np.int16) - ((1 << (bits - 1)) if signed else 0)
        if zeros is not None:
            zeros = zeros.astype(np.int16) - ((1 << (bits - 1)) if signed else 0)
        attributes = {}
        if self.block is None:
            scales = scales.reshape(())
            zeros = None if zeros is None else zeros.reshape(())
        elif self.block == 0:
            scales = scales.reshape(-1)
            zeros = None if zeros is None else zeros.reshape(-1)
            attributes["axis"] = 0 if self.axis == 1 else 1
        else:
            attributes["axis"] = -1 if self.negative_axis and self.axis == 1 else self.axis
            attributes["block_size"] = self.block
        if self.axis == 0:
            integers = integers.T
            if self.block:
                scales = scales.T
                zeros = None if zeros is None else zeros.T
        tensor = tensor_name(name)
        inputs = [
            graph.typed_initializer(f"{tensor}.qweight", integers, onnx_type),
            graph.initializer(f"{tensor}.scales", graph.cast(np.ascontiguousarray(scales))),
        ]
        if zeros is not None:
            inputs.append(graph.typed_initializer(f"{tensor}.qzeros", zeros, onnx_type))
        weight = graph.node("DequantizeLinear", inputs, None, f"{name}/DequantizeLinear", self.domain, **attributes)
        if self.axis == 1:
            weight = graph.node("Transpose", [weight], None, f"{name}/Transpose", perm=[1, 0])
        return graph.node("MatMul", [x, weight], output, f"{name}/MatMul")

    def scheme(self, signed):
        if self.zero_points:
            return "packed"
        if not signed:
            raise ValueError("unsigned integers without zero points would all be positive")
        return None


def tensor_name(name):
    return name[1:].replace("/", ".")


def typed_tensor(name, values, onnx_type):
    """A tensor of a type that NumPy lacks, as raw data."""
    flat = np.asarray(values).reshape(-1)
    if onnx_type in (TensorProto.INT4, TensorProto.UINT4):
        raw = pack(flat.astype(np.int16) & 15, 4).tobytes()
    else:
        raw = flat.astype(np.int8 if onnx_type == TensorProto.INT8 else np.uint8).tobytes()
    return onnx.helper.make_tensor(name, onnx_type, np.shape(values), raw, raw=True)
