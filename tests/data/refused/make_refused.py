#!/usr/bin/env python3
"""Writes the directories beside this file: well-formed models in forms that the CPU engine must refuse by name.

    python tests/data/refused/make_refused.py

Each is a working one-layer model with one change. `expect.json` names the graph node at fault (null where it is not a node) and
words of which the error must contain one.
"""

import copy
import shutil
import sys
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "variants"))

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import layout
from decoder import build
from spec import Spec, Table
from weights import NBits, Qdq

SPEC = Spec(
    "base",
    "",
    layers=1,
    hidden=32,
    heads=2,
    kv_heads=1,
    intermediate=32,
    vocabulary=99,
    context=64,
    storage="inline",
    epsilon=1e-5,
)
OUTPUT = "/model/layers.0/attn/o_proj/MatMul_Q4"
ATTENTION = "/model/layers.0/attn/GroupQueryAttention"
NORM = "/model/layers.0/input_layernorm/LayerNorm"


class Model:
    """A model to be changed by node name."""

    def __init__(self, spec=SPEC):
        self.spec = spec
        self.proto = build(spec)
        self.graph = self.proto.graph
        self.config = layout.genai_config(spec, self.proto)

    def node(self, name):
        return next(node for node in self.graph.node if node.name == name)

    def attribute(self, name, key, value):
        node = self.node(name)
        kept = [attribute for attribute in node.attribute if attribute.name != key]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(key, value)])

    def constant(self, name, values):
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def drop(self, name):
        """Removes an initializer and returns it."""
        tensor = next(tensor for tensor in self.graph.initializer if tensor.name == name)
        kept = [tensor for tensor in self.graph.initializer if tensor.name != name]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        return tensor

    def replace(self, name, nodes):
        """Puts `nodes` where the node called `name` was."""
        everything = []
        for node in self.graph.node:
            everything += nodes if node.name == name else [node]
        everything = copy.deepcopy(everything)
        del self.graph.node[:]
        self.graph.node.extend(everything)

    def set_input(self, name, index, value):
        node = self.node(name)
        inputs = list(node.input)
        inputs += [""] * (index + 1 - len(inputs))
        inputs[index] = value
        del node.input[:]
        node.input.extend(inputs)


def with_attribute(name, key, value, spec=SPEC):
    model = Model(spec)
    model.attribute(name, key, value)
    return model, name, [key]


def weight_prepacked():
    return with_attribute(OUTPUT, "weight_prepacked", 1)


def g_idx():
    model = Model(Spec(**{**vars(SPEC), "weights": {"*": NBits(block=16)}}))
    model.set_input(OUTPUT, 4, model.constant("g_idx", 1 - np.arange(32, dtype=np.int32) // 16))
    return model, OUTPUT, ["g_idx"]


def fewer_bits(bits):
    model = Model()
    name = "model.layers.0.attn.o_proj.weight_Q4"
    model.drop(name)
    model.constant(name, np.full((32, 1, 4 * bits), 0x55, np.uint8))
    model.attribute(OUTPUT, "bits", bits)
    return model, OUTPUT, ["bits"]


def block_of_24():
    model = Model()
    name = "model.layers.0.attn.o_proj.weight_Q4"
    model.drop(name)
    model.constant(name, np.full((32, 2, 12), 0x77, np.uint8))
    model.drop("model.layers.0.attn.o_proj.weight_scales")
    model.constant("model.layers.0.attn.o_proj.weight_scales", np.ones((32, 2), np.float32))
    model.attribute(OUTPUT, "block_size", 24)
    return model, OUTPUT, ["block_size"]


def matmul_bnb4():
    model = Model()
    old = model.node(OUTPUT)
    weight = model.constant("bnb4", np.zeros(32 * 32 // 2, np.uint8))
    scales = model.constant("absmax", np.ones(32 * 32 // 64, np.float32))
    node = helper.make_node(
        "MatMulBnb4",
        [old.input[0], weight, scales],
        list(old.output),
        name="/o_proj/MatMulBnb4",
        domain="com.microsoft",
        K=32,
        N=32,
        block_size=64,
        quant_type=1,
    )
    model.replace(OUTPUT, [node])
    return model, "/o_proj/MatMulBnb4", ["MatMulBnb4"]


def static_int8():
    """Rows quantised with a scale that the file holds."""
    model = Model()
    old = model.node(OUTPUT)
    weight = model.constant("int8", np.ones((32, 32), np.int8))
    zero, row_zero = model.constant("int8_zero", np.int8(0)), model.constant("row_zero", np.uint8(128))
    scale, row_scale = model.constant("int8_scale", np.float32(0.01)), model.constant("row_scale", np.float32(0.02))
    nodes = [
        helper.make_node("QuantizeLinear", [old.input[0], row_scale, row_zero], ["q"], name="/o_proj/QuantizeLinear"),
        helper.make_node("MatMulInteger", ["q", weight, row_zero, zero], ["product"], name="/o_proj/MatMulInteger"),
        helper.make_node("Cast", ["product"], ["product_f32"], name="/o_proj/Cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["product_f32", scale], list(old.output), name="/o_proj/Mul"),
    ]
    model.replace(OUTPUT, nodes)
    return model, "/o_proj/QuantizeLinear", ["q4f16"]


def other_root():
    """A square root of something else than a mean of squares."""
    model = Model(Spec(**{**vars(SPEC), "norm": "decomposed"}))
    root = next(node for node in model.graph.node if node.op_type == "Sqrt")
    power = next(node for node in model.graph.node if node.op_type == "Pow")
    root.input[0] = power.input[0]
    return model, root.name, ["mean of squares"]


def other_error_function():
    """An error function that is no part of a GELU."""
    model = Model(Spec(**{**vars(SPEC), "mlp": "erf_half_last"}))
    node = next(node for node in model.graph.node if node.op_type == "Erf")
    scaled = next(other for other in model.graph.node if other.output[0] == node.input[0])
    node.input[0] = scaled.input[0]
    return model, node.name, ["error function"]


def heads_outermost():
    """Queries reshaped so that the heads are the outer axis, without being transposed."""
    model = Model(Spec(**{**vars(SPEC), "packed": False, "qk_norm": "4d"}))
    name = "/model/layers.0/attn/q_norm/Reshape_1"
    model.set_input(name, 1, model.constant("heads_outermost", np.array([1, 2, -1, 16], np.int64)))
    return model, name, ["shape"]


def first_token():
    """The head gets the first position's row."""
    model = Model(Spec(**{**vars(SPEC), "pruned": True}))
    name = "/lm_head/prune/Gather"
    model.set_input(name, 1, model.constant("first", np.int64(0)))
    return model, name, ["choice of tokens"]


def separate():
    return Spec(**{**vars(SPEC), "packed": False, "kv_heads": 2})


def multi_head_attention():
    model = Model(separate())
    old = model.node(ATTENTION)
    inputs = [*old.input[:3], "", "", "", *old.input[3:5]]
    node = helper.make_node(
        "MultiHeadAttention",
        inputs,
        list(old.output),
        name="/attn/MultiHeadAttention",
        domain="com.microsoft",
        num_heads=2,
        unidirectional=1,
    )
    model.replace(ATTENTION, [node])
    return model, "/attn/MultiHeadAttention", ["MultiHeadAttention"]


def decomposed_attention():
    model = Model(separate())
    old = model.node(ATTENTION)
    heads = model.constant("heads", np.array([0, 0, 2, 16], np.int64))
    joined = model.constant("joined", np.array([0, 0, 32], np.int64))
    scale = model.constant("scale", np.float32(0.25))
    base = "/model/layers.0/self_attn"

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], name=f"{base}/{op}_{len(nodes)}", **attributes))
        return output

    nodes = []
    q, k, v = (
        node("Transpose", [node("Reshape", [value, heads], f"{part}_heads")], f"{part}_t", perm=[0, 2, 1, 3])
        for part, value in zip("qkv", old.input[:3])
    )
    keys = node("Concat", [old.input[3], k], old.output[1], axis=2)
    values = node("Concat", [old.input[4], v], old.output[2], axis=2)
    scores = node("MatMul", [q, node("Transpose", [keys], "keys_t", perm=[0, 1, 3, 2])], "scores")
    weights = node("Softmax", [node("Mul", [scores, scale], "scaled")], "weights", axis=-1)
    mixed = node("Transpose", [node("MatMul", [weights, values], "mixed")], "mixed_t", perm=[0, 2, 1, 3])
    node("Reshape", [mixed, joined], old.output[0])
    model.replace(ATTENTION, nodes)
    return model, f"{base}/", ["Softmax", "Concat", "MatMul", "Transpose", "Reshape"]


def quantised_kv():
    model = Model()
    for index, name in ((12, "k_scale"), (13, "v_scale")):
        model.set_input(ATTENTION, index, model.constant(name, np.full(1, 0.05, np.float32)))
    for key in ("k_quant_type", "v_quant_type"):
        model.attribute(ATTENTION, key, "PER_TENSOR")
    model.attribute(ATTENTION, "kv_cache_bit_width", 8)
    for value in (*model.graph.input, *model.graph.output):
        if value.name.startswith(("past", "present")):
            value.type.tensor_type.elem_type = TensorProto.INT8
    return model, ATTENTION, ["k_quant_type", "k_scale", "kv_cache_bit_width", "v_quant_type", "v_scale"]


def attention_bias():
    model = Model()
    model.graph.input.append(
        helper.make_tensor_value_info("bias", TensorProto.FLOAT, [1, 1, "sequence_length", "total_sequence_length"])
    )
    model.set_input(ATTENTION, 10, "bias")
    return model, ATTENTION, ["attention_bias"]


def fused_qk_norm():
    model = Model()
    for index, name in ((14, "q_norm_weight"), (15, "k_norm_weight")):
        model.set_input(ATTENTION, index, model.constant(name, np.ones(16, np.float32)))
    return model, ATTENTION, ["q_norm_weight", "k_norm_weight"]


def qk_output():
    model, name, words = with_attribute(ATTENTION, "qk_output", 1)
    model.node(name).output.append("qk")
    return model, name, words


def non_causal():
    return with_attribute(ATTENTION, "causal", 0)


def other_attention(op):
    model = Model()
    node = model.node(ATTENTION)
    node.op_type = op
    node.name = f"/attn/{op}"
    return model, node.name, [op]


def unknown_op():
    model = Model()
    old = model.node(OUTPUT)
    node = helper.make_node("Mystery", list(old.input), list(old.output), name="/o_proj/Mystery", domain="example.custom")
    model.replace(OUTPUT, [node])
    model.proto.opset_import.append(helper.make_opsetid("example.custom", 1))
    return model, "/o_proj/Mystery", ["Mystery"]


def unknown_attribute():
    return with_attribute(OUTPUT, "future_mode", 3)


def float8_weights():
    model = Model(Spec(**{**vars(SPEC), "weights": {"*": Qdq("int8", block=0)}, "embedding": Table("uint8")}))
    name = "model.layers.0.attn.o_proj.qweight"
    model.drop(name)
    model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT8E4M3FN, (32, 32), bytes(32 * 32), raw=True))
    return model, "o_proj", ["DequantizeLinear", "element type"]


def qmoe():
    model = Model()
    old = model.node("/model/layers.0/mlp/down_proj/MatMul_Q4")
    experts, width = 2, 32
    inputs = [
        old.input[0],
        model.constant("router", np.ones((1, experts), np.float32)),
        model.constant("fc1", np.zeros((experts, width, width // 2), np.uint8)),
        model.constant("fc1_scales", np.ones((experts, width), np.float32)),
        "",
        model.constant("fc2", np.zeros((experts, width, width // 2), np.uint8)),
        model.constant("fc2_scales", np.ones((experts, width), np.float32)),
    ]
    node = helper.make_node("QMoE", inputs, list(old.output), name="/mlp/QMoE", domain="com.microsoft", k=1, expert_weight_bits=4)
    model.replace(old.name, [node])
    return model, "/mlp/QMoE", ["QMoE"]


def rotary_spec():
    return Spec(**{**vars(SPEC), "packed": False, "rope": "nodes"})


def rotary_scale():
    return with_attribute("/model/layers.0/attn/q_rotary/RotaryEmbedding", "scale", 0.5, rotary_spec())


def rotary_packed_batching():
    return with_attribute("/model/layers.0/attn/q_rotary/RotaryEmbedding", "is_packed_batching", 1, rotary_spec())


def rotation_offset():
    """The configuration says that the second rotation table begins where it does not."""
    changes = {
        "longrope": "concat_gqa",
        "switch": 16,
        "provider_options": ({"NvTensorRtRtx": {"multi_rotary_cache_concat_offset": "12"}},),
    }
    return Model(Spec(**{**vars(SPEC), **changes})), ATTENTION, ["multi_rotary_cache_concat_offset"]


def short_rotation_table():
    """The table for short sequences ends before the length at which the other one takes over."""
    model = Model(Spec(**{**vars(SPEC), "longrope": "if", "switch": 16}))
    choice = model.node("/model/rope_caches_subgraph/If")
    branch = next(attribute.g for attribute in choice.attribute if attribute.name == "else_branch")
    for node in branch.node:
        values = numpy_helper.to_array(node.attribute[0].t)[:12]
        node.attribute[0].t.CopyFrom(numpy_helper.from_array(values, node.output[0]))
    for output in branch.output:
        output.type.tensor_type.shape.dim[0].dim_value = 12
    return model, "cos_cache", ["12 rows"]


def norm_axis():
    return with_attribute(NORM, "axis", 1)


def gather_axis():
    return with_attribute("/model/embed_tokens/GatherBlockQuantized", "gather_axis", 1)


def conditional():
    """An `If` that chooses between two norms of the embedding."""
    model = Model()
    old = model.node(NORM)
    weight = old.input[1]
    branches = {}
    for branch, epsilon in (("then_branch", 1e-5), ("else_branch", 1e-2)):
        output = f"{branch}_output"
        node = helper.make_node(
            "SimplifiedLayerNormalization", [old.input[0], weight], [output], name=f"/{branch}", axis=-1, epsilon=epsilon
        )
        value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        branches[branch] = helper.make_graph([node], branch, [], [value])
    limit = model.constant("limit", np.int64(16))
    total = next(node.output[0] for node in model.graph.node if node.op_type == "Gather")
    nodes = [
        helper.make_node("Greater", [total, limit], ["longer"], name="/choice/Greater"),
        helper.make_node("If", ["longer"], list(old.output), name="/choice/If", **branches),
    ]
    model.replace(NORM, nodes)
    return model, "/choice/If", ["If"]


def logits_mask():
    model = Model()
    head = next(node for node in model.graph.node if "logits" in node.output)
    head.output[0] = "unmasked"
    mask = model.constant("logits_mask", np.arange(99) % 7 == 0)
    low = model.constant("low", np.float32(-1e30))
    model.graph.node.append(helper.make_node("Where", [mask, low, "unmasked"], ["logits"], name="/lm_head/Where"))
    return model, "/lm_head/Where", ["Where"]


def inputs_embeds():
    model = Model()
    removed = {"/model/embed_tokens/Reshape", "/model/embed_tokens/GatherBlockQuantized"}
    embedded = model.node("/model/embed_tokens/GatherBlockQuantized").output[0]
    for name in removed:
        model.replace(name, [])
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == embedded:
                node.input[index] = "inputs_embeds"
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("inputs_embeds", TensorProto.FLOAT, ["batch_size", "sequence_length", 32])
    )
    del model.config["model"]["decoder"]["inputs"]["input_ids"]
    model.config["model"]["decoder"]["inputs"]["inputs_embeds"] = "inputs_embeds"
    return model, None, ["inputs_embeds", "input_ids"]


def no_logits():
    model = Model()
    head = next(node for node in model.graph.node if "logits" in node.output)
    value = helper.make_tensor_value_info("hidden_states", TensorProto.FLOAT, ["batch_size", "sequence_length", 32])
    hidden = head.input[0]
    model.replace(head.name, [])
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == hidden:
                node.output[index] = "hidden_states"
    model.graph.output[0].CopyFrom(value)
    outputs = model.config["model"]["decoder"]["outputs"]
    del outputs["logits"]
    outputs["hidden_states"] = "hidden_states"
    return model, None, ["logits"]


def pipeline():
    model = Model()
    stage = {"embeddings": {"filename": "embeddings.onnx"}, "context": {"filename": "model.onnx"}}
    model.config["model"]["decoder"]["pipeline"] = [stage]
    return model, None, ["pipeline"]


REFUSED = {
    "weight-prepacked": weight_prepacked,
    "g-idx": g_idx,
    "bits-2": lambda: fewer_bits(2),
    "bits-3": lambda: fewer_bits(3),
    "block-24": block_of_24,
    "matmul-bnb4": matmul_bnb4,
    "static-int8": static_int8,
    "other-root": other_root,
    "other-error-function": other_error_function,
    "heads-outermost": heads_outermost,
    "first-token": first_token,
    "multi-head-attention": multi_head_attention,
    "decomposed-attention": decomposed_attention,
    "quantised-kv": quantised_kv,
    "attention-bias": attention_bias,
    "fused-qk-norm": fused_qk_norm,
    "qk-output": qk_output,
    "non-causal": non_causal,
    "paged-attention": lambda: other_attention("PagedAttention"),
    "sparse-attention": lambda: other_attention("SparseAttention"),
    "unknown-op": unknown_op,
    "unknown-attribute": unknown_attribute,
    "float8-weights": float8_weights,
    "qmoe": qmoe,
    "rotary-scale": rotary_scale,
    "rotary-packed-batching": rotary_packed_batching,
    "rotation-offset": rotation_offset,
    "short-rotation-table": short_rotation_table,
    "norm-axis": norm_axis,
    "gather-axis": gather_axis,
    "conditional": conditional,
    "logits-mask": logits_mask,
    "inputs-embeds": inputs_embeds,
    "no-logits": no_logits,
    "pipeline": pipeline,
}


def main():
    for name, make in REFUSED.items():
        directory = HERE / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        model, node, words = make()
        layout.save(model.proto, directory / "model.onnx", "inline", "")
        layout.write_json(directory / "genai_config.json", model.config)
        layout.write_tokenizer(directory)
        layout.write_json(directory / "expect.json", {"node": node, "mentions": words})


if __name__ == "__main__":
    main()
