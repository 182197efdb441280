"""Logits by ONNX Runtime, and the changes to a graph that reference and bounds need."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from model_file import canonical_names, copy_of

HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def session(model, force_fp32=False, optimise=False):
    """`model` is a path or a ModelProto."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    if force_fp32:
        options.add_session_config_entry("mlas.qnbit.force_fp32", "1")
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class Sequence:
    """A conversation with dynamic KV: what a step returns as present is the next step's past."""

    def __init__(self, session, spec):
        self.session, self.spec = session, spec
        self.default = canonical_names(spec)
        self.types = {item.name: np.float16 if "float16" in item.type else np.float32 for item in session.get_inputs()}
        self.names = {name: self.default.get(name, name) for name in self.types}
        self.outputs = [self.default.get(item.name, item.name) for item in session.get_outputs()]
        self.reset()

    def reset(self):
        empty = (1, self.spec.kv_heads, 0, self.spec.head_size)
        self.past = {
            default: np.zeros(empty, self.types[name]) for name, default in self.names.items() if default.startswith("past_")
        }
        self.tokens = []

    def step(self, tokens):
        """Runs `tokens` and returns their logits; crosses LongRoPE's switch by starting anew."""
        before, after = len(self.tokens), len(self.tokens) + len(tokens)
        if self.spec.longrope and 0 < before <= self.spec.switch < after:
            everything = [*self.tokens, *tokens]
            self.reset()
            return self.step(everything)[-len(tokens) :]
        feeds = {
            "input_ids": np.array([tokens], np.int64),
            "attention_mask": np.ones((1, after), np.int64),
            "position_ids": np.arange(before, after, dtype=np.int64)[None],
            self.spec.logits_to_keep: np.array(0, np.int64),
            **self.past,
        }
        results = self.session.run(None, {name: feeds[default] for name, default in self.names.items()})
        values = dict(zip(self.outputs, results))
        self.past = {name: values[name.replace("past_key_values", "present")] for name in self.past}
        self.tokens += list(tokens)
        return values["logits"][0].astype(np.float32)


def cases(spec):
    numbers = np.random.default_rng([spec.seed, 4])
    for name, length in (("short", spec.short), ("long", spec.long)):
        prompt = numbers.integers(0, spec.vocabulary, length).astype(np.int32)
        following = numbers.integers(0, spec.vocabulary, 8).astype(np.int32)
        yield name, prompt, following


def run(model, spec, **options):
    """The tensors of reference.safetensors."""
    ort = session(model, **options)
    tensors = {}
    for name, prompt, following in cases(spec):
        sequence = Sequence(ort, spec)
        tensors[f"{name}.prompt_tokens"] = prompt
        tensors[f"{name}.prompt_logits_last16"] = sequence.step(prompt.tolist())[-16:]
        tensors[f"{name}.next_tokens"] = following
        tensors[f"{name}.next_logits"] = np.concatenate([sequence.step([int(token)])[-1:] for token in following])
    return tensors


def whole(evaluate, spec):
    """The same logits where each row comes from one prefill of everything before it; `evaluate` takes all tokens."""
    tensors = {}
    for name, prompt, following in cases(spec):
        tokens = [*prompt.tolist(), *following.tolist()]
        tensors[f"{name}.prompt_logits_last16"] = evaluate(prompt.tolist())[-16:]
        lengths = range(len(prompt) + 1, len(tokens) + 1)
        tensors[f"{name}.next_logits"] = np.array([evaluate(tokens[:length])[-1] for length in lengths])
    return tensors


def error(tensors, reference):
    """The largest ||logits - reference|| / ||reference|| over the four logit tensors."""
    worst = 0.0
    for name, expected in reference.items():
        if name.endswith("tokens"):
            continue
        got = tensors[name]
        expected = expected[-got.shape[0] :]
        worst = max(worst, float(np.linalg.norm(got - expected) / np.linalg.norm(expected)))
    return worst


def graphs_of(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs_of(attribute.g)


def widened(model):
    """The same graph with every fp16 and bf16 value in fp32: what exact arithmetic on the file's values gives."""
    model = copy_of(model)
    for graph in graphs_of(model.graph):
        for tensor in graph.initializer:
            widen_tensor(tensor)
        for item in (*graph.input, *graph.output, *graph.value_info):
            if item.type.tensor_type.elem_type in HALVES:
                item.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    widen_tensor(attribute.t)
                if node.op_type == "Cast" and attribute.name == "to" and attribute.i in HALVES:
                    attribute.i = TensorProto.FLOAT
    return model


def widen_tensor(tensor):
    if tensor.data_type in HALVES:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def exact(model):
    """What the reference runs: fp32 throughout and plain KV tensors for windowed layers.

    Without accuracy_level MatMulNBits computes in fp32. The session entry `mlas.qnbit.force_fp32` is no substitute: ONNX
    Runtime 1.32 obeys it for 4 bits with blocks of 32 only.
    """
    plain = [("GroupQueryAttention", "sliding_window_cache", None), ("MatMulNBits", "accuracy_level", None)]
    return changed(widened(model), plain)


def changed(model, changes):
    """A copy with attributes set, or removed where the value is None."""
    model = copy_of(model)
    for op, name, value in changes:
        for graph in graphs_of(model.graph):
            for node in graph.node:
                if node.op_type != op:
                    continue
                kept = [attribute for attribute in node.attribute if attribute.name != name]
                del node.attribute[:]
                node.attribute.extend(kept)
                if value is not None:
                    node.attribute.append(helper.make_attribute(name, value))
    return model


def int8_activations(model, block=32):
    """The same graph with the input of every quantised product rounded to int8, one scale a row and block."""
    model = copy_of(model)
    version = next(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx"))
    graph = model.graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    nodes, rounded = [], {}
    for node in graph.node:
        columns = quantised_columns(node, producers, shapes)
        if columns is not None:
            source = node.input[0]
            if source not in rounded:
                rounded[source] = f"{source}/int8"
                nodes += rounding_nodes(source, rounded[source], columns, block, graph, version)
            node.input[0] = rounded[source]
        nodes.append(node)
    copies = [copy_node(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return model


def copy_node(node):
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def quantised_columns(node, producers, shapes):
    """K of a product with quantised weights, None for any other node."""
    if node.op_type == "MatMulNBits":
        return next(attribute.i for attribute in node.attribute if attribute.name == "K")
    if node.op_type != "MatMul":
        return None
    weight = producers.get(node.input[1])
    transposed = weight is not None and weight.op_type == "Transpose"
    if transposed:
        weight = producers.get(weight.input[0])
    if weight is None or weight.op_type != "DequantizeLinear":
        return None
    return shapes[weight.input[0]][1 if transposed else 0]


def rounding_nodes(source, target, columns, block, graph, version):
    padded = -(-columns // block) * block

    def constant(name, values):
        name = f"{source}/{name}"
        graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(op, inputs, part, **attributes):
        output = f"{source}/int8_{part}"
        made.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    made = []
    zero = constant("zero", np.float32(0))
    pads = constant("pads", np.array([0, 0, 0, 0, 0, padded - columns], np.int64))
    x = node("Pad", [source, pads, zero], "padded")
    x = node("Reshape", [x, constant("blocks", np.array([0, 0, -1, block], np.int64))], "blocks")
    largest = [node("Abs", [x], "abs")]
    if version >= 18:
        largest = node("ReduceMax", [*largest, constant("axis", np.array([-1], np.int64))], "max", keepdims=1)
    else:
        largest = node("ReduceMax", largest, "max", axes=[-1], keepdims=1)
    largest = node("Max", [largest, constant("tiny", np.float32(1e-30))], "floor")
    scale = node("Div", [largest, constant("127", np.float32(127))], "scale")
    x = node("Mul", [node("Round", [node("Div", [x, scale], "ratio")], "integers"), scale], "values")
    x = node("Reshape", [x, constant("row", np.array([0, 0, padded], np.int64))], "joined")
    limits = [
        constant("start", np.array([0], np.int64)),
        constant("end", np.array([columns], np.int64)),
        constant("last", np.array([-1], np.int64)),
    ]
    made.append(helper.make_node("Slice", [x, *limits], [target]))
    return made
