"""Writes small decoder graphs in the forms that published model directories have.

`Spec` names a form; `build` returns the graph with every weight inline. Weights come from the seed alone.
"""

from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from weights import NBits, pack, quantise, tensor_name, typed_tensor

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


@dataclass
class Table:
    """An embedding table of its own: `type` "float", or the integers of a GatherBlockQuantized."""

    type: str = "float"  # "uint8", "uint8_8", "typed_int4", "typed_uint4", or "codes": Gather, then DequantizeLinear
    block: int = 32
    zero_points: bool = False


@dataclass
class Spec:
    name: str
    exercises: str
    family: str = "llama"
    seed: int = 1
    # Shape
    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    intermediate: int = 96
    vocabulary: int = 160
    context: int = 216
    # Types: of inputs, outputs, norms and scales; `half_values` rounds fp32 values to what fp16 holds
    io: str = "f32"
    half_values: bool = False
    norm_casts: str | None = None  # "gemma" or "all": norms in fp32 inside an fp16 graph
    logits_cast: bool = False
    kv_casts: bool = False  # past and present in fp32 around an fp16 attention
    # Weights: by "layer.role", then role, then "*"
    weights: dict = field(default_factory=lambda: {"*": NBits()})
    embedding: object = "tied"  # "tied", "tied_transposed", "table_is_head" or a Table
    embedding_scale: float | None = None
    # Norms
    norm: str = "skip"  # "skip", "skip_bias", "separate", "rms", "layer", "decomposed", "decomposed_layer"
    sandwich: bool = False  # the four norms of Gemma
    parallel: bool = False  # attention and MLP both read the input norm
    epsilon: float = 1e-5
    qk_norm: str | None = None  # "3d" or "4d"
    # Attention
    packed: bool = True
    qkv_bias: bool = False
    rope: str = "gqa"  # "gqa", "nodes", or "standard_nodes" of ONNX
    positions: str = "input"  # "cumsum" over the mask, "range" over the lengths
    rope_layers: tuple | None = None
    rotary: int | None = None  # rotated elements of a head
    interleaved: bool = False
    second_cache_layers: tuple = ()  # layers that rotate by a table of their own
    longrope: str | None = None  # "if", "two_ifs", "concat", "concat_int32", or "concat_gqa": no position_ids
    switch: int = 64
    scale: float | None = None  # the attribute, None where absent
    softcap: float = 0.0
    windows: dict = field(default_factory=dict)  # by layer
    sliding_window_cache: bool = False
    sinks: bool = False
    smooth_softmax: bool = False
    gqa_position_ids: bool = False
    gqa_inputs: int = 12
    mask: str = "shape"  # "shape", "keepdims", "reduce_max", "cache_shape", "concat"
    # MLP
    mlp: object = "silu"  # an activation, or one a layer; "fc_..." has no gate
    fused_gate_up: bool = False
    mlp_bias: bool = False
    o_bias: bool = False
    residual_scale: float | None = None
    # Head
    head_bias: bool = False
    head_scale: float | None = None
    head_softcap: float | None = None
    pruned: bool = False
    logits_to_keep: str | None = None  # the input's name: the head gets that many of the last positions, all for 0
    # File
    opset: int = 22
    ir: int = 10
    kv_order: str = "keys_first"  # or "interleaved"
    constants: str = "nodes"  # "nodes", "initializers", "fields"
    factor_shape: tuple = ()  # of the constants in Mul and Div
    constant_first: bool = False  # Mul(constant, x) and Add(bias, x)
    storage: str = "external"  # "inline", "mixed", "odd", "two_files", "file_per_tensor"
    typed_fields: bool = False
    token_casts: bool = False  # token ids in int32, passed through Identity
    hidden_constants: bool = False  # behind Cast, Reshape, Squeeze and Unsqueeze
    integer_products: bool = True  # of formats that have them; dequantised weights otherwise
    shuffle_nodes: bool = False
    anonymous: bool = False  # nodes without names, values and weights named v0, v1, ...
    spelled_domain: bool = False  # "ai.onnx" in place of ""
    names: dict = field(default_factory=dict)  # inputs and outputs that are called otherwise
    symbolic_head: bool = True
    layout: str = "genai"  # "transformers.js"
    provider_options: tuple = ()  # of the session in genai_config.json
    # Fields of the spec that differ in the graph that ONNX Runtime's CPU kernels and NumPy evaluate in place of this one
    reference_as: dict = field(default_factory=dict)
    short: int = 48
    long: int = 200
    # What to change in the graph so that the logits must move: (op, attribute, value)
    ablate: tuple = ()


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


class Decoder:
    def __init__(self, spec):
        self.spec = spec
        self.graph = Graph(spec)
        self.spelling = 0  # counts the decomposed norms, which are spelled in four ways by turns
        self.residual = None  # the stream before the pending sum
        self.delta = None  # what the next norm adds to it
        self.layer = 0

    # Parts outside the layers

    def mask(self):
        graph, base = self.graph, "/model/attn_mask_reformat/attn_mask_subgraph"
        if self.spec.mask == "cache_shape":
            past = graph.node("Shape", ["past_key_values.0.key"], None, f"{base}/Shape_past", start=2, end=3)
            new = graph.node("Shape", ["input_ids"], None, f"{base}/Shape_new", start=-1)
            both = graph.node("Add", [past, new], None, f"{base}/Add")
            self.total64 = graph.node("Squeeze", [both, graph.constant([0])], None, f"{base}/Squeeze")
            self.total = graph.node("Cast", [self.total64], None, f"{base}/Cast", to=TensorProto.INT32)
            last = graph.node("Sub", [both, graph.constant([1])], None, f"{base}/Sub")
            self.seqlens = graph.node("Cast", [last], None, f"{base}/Sub/Cast", to=TensorProto.INT32)
            return
        if self.spec.mask == "concat":
            # A mask of the exporter's own: ones for the cached positions and for the new ones
            parts = []
            for name, source, axis in (("past", "past_key_values.0.value", 2), ("new", "input_ids", 1)):
                shape = graph.node("Shape", [source], None, f"{base}/{name}/Shape")
                length = graph.node("Gather", [shape, graph.constant([axis])], None, f"{base}/{name}/Gather", axis=0)
                extents = graph.node("Concat", [graph.constant([1]), length], None, f"{base}/{name}/Concat", axis=0)
                one = numpy_helper.from_array(np.ones(1, np.int64))
                parts.append(graph.node("ConstantOfShape", [extents], None, f"{base}/{name}/ConstantOfShape", value=one))
            mask = graph.node("Concat", parts, None, f"{base}/Concat", axis=-1)
            count = graph.node("ReduceSum", [mask, graph.constant([1])], None, f"{base}/ReduceSum", keepdims=0)
            last = graph.node("Sub", [count, graph.constant([1])], None, f"{base}/Sub")
            self.seqlens = graph.node("Cast", [last], None, f"{base}/Sub/Cast", to=TensorProto.INT32)
            self.total64 = graph.node("Squeeze", [count, graph.constant([0])], None, f"{base}/Squeeze")
            self.total = graph.node("Cast", [self.total64], None, f"{base}/Squeeze/Cast", to=TensorProto.INT32)
            return
        if self.spec.mask == "reduce_max":
            mask = graph.node("Cast", ["attention_mask"], None, f"{base}/Cast", to=TensorProto.INT32)
            count = graph.node("ReduceSum", [mask, graph.constant([1])], None, f"{base}/ReduceSum", keepdims=0)
            self.seqlens = graph.node("Sub", [count, graph.constant(1, "INT32")], None, f"{base}/Sub")
            self.total = graph.node("ReduceMax", [count], None, f"{base}/ReduceMax", keepdims=0)
            return
        keep = 1 if self.spec.mask == "keepdims" else 0
        count = graph.node("ReduceSum", ["attention_mask", graph.constant([1])], None, f"{base}/ReduceSum", keepdims=keep)
        last = graph.node("Sub", [count, graph.constant([1])], None, f"{base}/Sub")
        self.seqlens = graph.node("Cast", [last], None, f"{base}/Sub/Cast", to=TensorProto.INT32)
        shape = graph.node("Shape", ["attention_mask"], None, f"{base}/Shape")
        self.total64 = graph.node("Gather", [shape, graph.constant(1)], None, f"{base}/Gather", axis=0)
        self.total = graph.node("Cast", [self.total64], None, f"{base}/Gather/Cast", to=TensorProto.INT32)

    def rope_rows(self, rows, factor, gain):
        half = (self.spec.rotary or self.spec.head_size) // 2
        frequencies = 1.0 / (factor * 10000.0 ** (np.arange(half) / half))
        angles = np.outer(np.arange(rows), frequencies)
        return self.graph.cast(np.cos(angles) * gain), self.graph.cast(np.sin(angles) * gain)

    def rope(self):
        graph, spec = self.graph, self.spec
        self.positions = self.position_ids()
        if spec.longrope is None:
            cos, sin = self.rope_rows(spec.context, 1.0, 1.0)
            graph.initializer("cos_cache", cos)
            graph.initializer("sin_cache", sin)
            if spec.second_cache_layers:
                cos, sin = self.rope_rows(spec.context, 0.125, 1.0)
                graph.initializer("cos_cache_local", cos)
                graph.initializer("sin_cache_local", sin)
            return
        half = (spec.rotary or spec.head_size) // 2
        gain = 1.19
        small = self.rope_rows(spec.switch, np.linspace(1.0, 1.1, half), gain)
        large = self.rope_rows(spec.context, np.linspace(1.05, 4.0, half), gain)
        parts = ("cos", "sin")
        if spec.longrope in ("if", "two_ifs"):
            base = "/model/rope_caches_subgraph"
            longer = graph.node("Greater", [self.total64, graph.constant(spec.switch)], None, f"{base}/Greater")
            for chosen in [parts] if spec.longrope == "if" else [parts[:1], parts[1:]]:
                branches = {
                    f"{branch}_branch": cache_branch(kind, {part: tables[parts.index(part)] for part in chosen})
                    for branch, kind, tables in (("then", "large", large), ("else", "small", small))
                }
                name = f"{base}/If" if spec.longrope == "if" else f"{base}/{chosen[0]}/If"
                graph.node("If", [longer], [f"{part}_cache" for part in chosen], name, **branches)
            return
        for part, first, second in zip(parts, small, large):
            graph.initializer(f"{part}_cache", np.concatenate([first, second]))
        if spec.longrope == "concat_gqa":
            return
        base = "/model/pos_ids_reformat"
        kind, code = ("INT32", TensorProto.INT32) if spec.longrope == "concat_int32" else ("INT64", TensorProto.INT64)
        positions = self.positions
        if kind == "INT32":
            positions = graph.node("Cast", [positions], None, f"{base}/Cast_input", to=code)
        switch = graph.constant(spec.switch, kind)
        highest = graph.node("ReduceMax", [positions], None, f"{base}/ReduceMax", keepdims=0)
        longer = graph.node("GreaterOrEqual", [highest, switch], None, f"{base}/GreaterOrEqual")
        flag = graph.node("Cast", [longer], None, f"{base}/Cast", to=code)
        shift = graph.node("Mul", [flag, switch], None, f"{base}/Mul")
        self.positions = graph.node("Add", [shift, positions], None, f"{base}/Add_1")
        if kind == "INT32":
            self.positions = graph.node("Cast", [self.positions], None, f"{base}/Cast_output", to=TensorProto.INT64)

    def position_ids(self):
        """Positions from the input of that name, or from masks and lengths."""
        graph, base = self.graph, "/model/positions"
        if self.spec.positions == "input":
            return "position_ids"
        past = graph.node("Shape", ["past_key_values.0.key"], None, f"{base}/Shape", start=2, end=3)
        if self.spec.positions == "cumsum":
            counts = graph.node("CumSum", ["attention_mask", graph.constant(1)], None, f"{base}/CumSum")
            places = graph.node("Sub", [counts, graph.constant(1)], None, f"{base}/Sub")
            ends = graph.constant([2**63 - 1])
            return graph.node("Slice", [places, past, ends, graph.constant([1])], None, f"{base}/Slice")
        start = graph.node("Squeeze", [past], None, f"{base}/Squeeze")
        places = graph.node("Range", [start, self.total64, graph.constant(1)], None, f"{base}/Range")
        row = graph.node("Unsqueeze", [places, graph.constant([0])], None, f"{base}/Unsqueeze")
        shape = graph.node("Shape", ["input_ids"], None, f"{base}/Shape_new")
        return graph.node("Expand", [row, shape], None, f"{base}/Expand")

    def tokens(self):
        if not self.spec.token_casts:
            return "input_ids"
        narrow = self.graph.node("Cast", ["input_ids"], None, "/model/tokens/Cast", to=TensorProto.INT32)
        return self.graph.node("Identity", [narrow], None, "/model/tokens/Identity")

    def embed(self):
        graph, spec = self.graph, self.spec
        base = "/model/embed_tokens"
        tokens = self.tokens()
        self.head_matrix = graph.matrix(spec.vocabulary, spec.hidden, 3.0)
        self.head_inputs = None
        embedding = spec.embedding
        if embedding == "tied":
            head = self.format("lm_head")
            self.head_inputs = head.parts(graph, self.head_matrix, "lm_head.MatMul")
            padded = -(-spec.hidden // head.block) * head.block
            shape = graph.constant([spec.vocabulary, padded * head.bits // 8])
            data = graph.node("Reshape", [self.head_inputs[0], shape], None, f"{base}/Reshape")
            x = graph.node(
                "GatherBlockQuantized",
                [data, tokens, *self.head_inputs[1:]],
                None,
                f"{base}/GatherBlockQuantized",
                bits=head.bits,
                block_size=head.block,
                gather_axis=0,
                quantize_axis=1,
            )
            x = self.unpad(x, padded, base)
        elif embedding == "tied_transposed":
            self.head_inputs = [graph.initializer("lm_head.MatMul.weight", graph.cast(self.head_matrix.T))]
            table = graph.node("Transpose", self.head_inputs, None, f"{base}/Transpose", perm=[1, 0])
            x = graph.node("Gather", [table, tokens], None, f"{base}/Gather")
        elif embedding == "table_is_head":
            table = graph.initializer("model.embed_tokens.weight", graph.cast(self.head_matrix))
            x = graph.node("Gather", [table, tokens], None, f"{base}/Gather", axis=0)
            self.head_inputs = [graph.node("Transpose", [table], None, "/lm_head/Transpose", perm=[1, 0])]
        elif embedding.type == "float":
            table = graph.initializer(
                "model.embed_tokens.weight", graph.cast(graph.random(spec.vocabulary, spec.hidden, scale=0.5))
            )
            x = graph.node("Gather", [table, tokens], None, f"{base}/Gather")
        elif embedding.type == "codes":
            x = self.gathered_codes(tokens, base)
        else:
            x = self.quantised_table(embedding, base)
        if spec.embedding_scale is not None:
            x = graph.node("Mul", graph.with_constant(x, graph.io_constant(spec.embedding_scale)), None, f"{base}/Mul")
        if spec.norm_casts == "gemma":
            x = graph.node("Cast", [x], None, f"{base}/Cast", to=TensorProto.FLOAT)
        self.residual = x

    def gathered_codes(self, tokens, base):
        graph, spec = self.graph, self.spec
        matrix = graph.random(spec.vocabulary, spec.hidden, scale=0.5)
        integers, scales, zeros = quantise(matrix.reshape(1, -1), 8, matrix.size, "packed")
        name = "model.embed_tokens.weight"
        table = graph.initializer(f"{name}_quantized", integers.reshape(matrix.shape))
        inputs = [
            graph.node("Gather", [table, tokens], None, f"{base}/Gather_quant"),
            graph.initializer(f"{name}_scale", np.float32(scales).reshape(())),
            graph.initializer(f"{name}_zero_point", zeros.astype(np.uint8).reshape(())),
        ]
        return graph.node("DequantizeLinear", inputs, None, f"{base}/Gather_DequantizeLinear")

    def quantised_table(self, table, base):
        graph, spec = self.graph, self.spec
        matrix = graph.random(spec.vocabulary, spec.hidden, scale=0.5)
        typed = table.type in ("typed_int4", "typed_uint4")
        bits = 8 if table.type == "uint8_8" else 4
        integers, scales, zeros = quantise(matrix, bits, table.block, "packed" if table.zero_points else None)
        integers = integers.reshape(spec.vocabulary, -1)
        name = "model.embed_tokens.weight"
        if table.type == "typed_int4":
            onnx_type = TensorProto.INT4
            data = graph.typed_initializer(name, integers.astype(np.int16) - 8, onnx_type)
            zeros = None if zeros is None else zeros.astype(np.int16) - 8
        elif table.type == "typed_uint4":
            onnx_type = TensorProto.UINT4
            data = graph.typed_initializer(name, integers, onnx_type)
        else:
            data = graph.initializer(name, pack(integers, bits))
        inputs = [data, "input_ids", graph.initializer(f"{name}_scales", graph.cast(scales))]
        if zeros is not None:
            if typed:
                inputs.append(graph.typed_initializer(f"{name}_zero_points", zeros, onnx_type))
            else:
                inputs.append(graph.initializer(f"{name}_zero_points", pack(zeros, bits)))
        x = graph.node(
            "GatherBlockQuantized",
            inputs,
            None,
            f"{base}/GatherBlockQuantized",
            bits=None if typed else bits,
            block_size=table.block,
            gather_axis=0,
            quantize_axis=1,
        )
        return self.unpad(x, integers.shape[1], base)

    def unpad(self, x, width, base):
        if width == self.spec.hidden:
            return x
        graph = self.graph
        limits = [graph.constant([0]), graph.constant([self.spec.hidden]), graph.constant([-1])]
        return graph.node("Slice", [x, *limits], None, f"{base}/Slice")

    def head(self):
        graph, spec = self.graph, self.spec
        x = self.norm(f"/model/layers.{spec.layers}/final_norm_layernorm", last=True)
        if spec.pruned:
            x = graph.node("Gather", [x, graph.constant(-1)], None, "/lm_head/prune/Gather", axis=1)
            x = graph.node("Unsqueeze", [x, graph.constant([1])], None, "/lm_head/prune/Unsqueeze")
        if spec.logits_to_keep:
            negative = graph.node("Neg", [spec.logits_to_keep], None, "/lm_head/keep/Neg")
            starts = graph.node("Unsqueeze", [negative, graph.constant([0])], None, "/lm_head/keep/Unsqueeze")
            rest = [starts, graph.constant([2**63 - 1]), graph.constant([1]), graph.constant([1])]
            x = graph.node("Slice", [x, *rest], None, "/lm_head/keep/Slice")
        steps = []
        if spec.head_bias:
            bias = graph.initializer("lm_head.Add.bias", graph.cast(graph.random(spec.vocabulary, scale=0.5)))
            steps.append(("Add", "/lm_head/Add", bias))
        if spec.head_scale is not None:
            steps.append(("Mul", "/lm_head/Mul", graph.io_constant(spec.head_scale)))
        if spec.head_softcap is not None:
            cap = graph.io_constant(spec.head_softcap)
            steps += [
                ("Div", "/lm_head/softcap/Div", cap),
                ("Tanh", "/lm_head/softcap/Tanh", None),
                ("Mul", "/lm_head/softcap/Mul", cap),
            ]
        if spec.logits_cast:
            steps.append(("Cast", "/lm_head/Cast", None))
        output = "logits" if not steps else None
        if self.head_inputs is None:
            x = self.format("lm_head").emit(graph, x, graph.matrix(spec.vocabulary, spec.hidden, 2.0), "/lm_head", output)
        elif len(self.head_inputs) == 1:
            x = graph.node("MatMul", [x, *self.head_inputs], output, "/lm_head/MatMul")
        else:
            head = self.format("lm_head")
            x = graph.node(
                "MatMulNBits",
                [x, *self.head_inputs],
                output,
                "/lm_head/MatMul_Q4",
                K=spec.hidden,
                N=spec.vocabulary,
                bits=head.bits,
                block_size=head.block,
                accuracy_level=head.accuracy_level,
            )
        for index, (op, name, operand) in enumerate(steps):
            output = "logits" if index == len(steps) - 1 else None
            inputs = [x] if operand is None else graph.with_constant(x, operand) if op in ("Mul", "Add") else [x, operand]
            x = graph.node(op, inputs, output, name, to=TensorProto.FLOAT if op == "Cast" else None)

    # Parts of a layer

    def format(self, role):
        weights = self.spec.weights
        return weights.get(f"{self.layer}.{role}") or weights.get(role) or weights["*"]

    def linear(self, role, x, matrix, name, bias=False):
        graph = self.graph
        y = self.format(role).emit(graph, x, matrix, name)
        if bias:
            values = graph.initializer(f"{tensor_name(name)}.Add.bias", graph.cast(graph.random(matrix.shape[0], scale=0.3)))
            y = graph.node("Add", graph.with_constant(y, values), None, f"{name}/Add")
        return y

    def norm_weight(self, name, width=None):
        graph = self.graph
        values = graph.random(width or self.spec.hidden, scale=0.2, offset=1.0)
        if self.spec.norm_casts:
            return graph.initializer(f"{tensor_name(name)}.weight", np.asarray(values.astype(np.float16), np.float32))
        return graph.initializer(f"{tensor_name(name)}.weight", graph.cast(values))

    def plain_norm(self, x, name, width=None, widen=False, narrow=False):
        """A norm without a sum."""
        graph, spec = self.graph, self.spec
        weight = self.norm_weight(name, width)
        if widen:
            x = graph.node("Cast", [x], None, f"{name}/root_input/Cast", to=TensorProto.FLOAT)
        if spec.norm.startswith("decomposed"):
            return self.decomposed_norm(x, name, weight)
        final = f"{name}/output_0"
        output = f"{name}/output_0/Cast/output_0" if narrow else final
        if spec.norm == "rms":
            graph.node("RMSNormalization", [x, weight], output, f"{name}/RMSNorm", epsilon=spec.epsilon, axis=-1)
        elif spec.norm == "layer" and width is None:
            beta = graph.initializer(f"{tensor_name(name)}.bias", graph.cast(graph.random(spec.hidden, scale=0.2)))
            graph.node(
                "LayerNormalization", [x, weight, beta], output, f"{name}/LayerNorm", epsilon=spec.epsilon, axis=-1, stash_type=1
            )
        else:
            graph.node(
                "SimplifiedLayerNormalization",
                [x, weight],
                output,
                f"{name}/LayerNorm",
                epsilon=spec.epsilon,
                axis=-1,
                stash_type=1,
            )
        if narrow:
            graph.node("Cast", [output], final, f"{name}/output_0/Cast", to=self.graph.type)
        return final

    def decomposed_norm(self, x, name, weight):
        """A norm in single operators, in one of four spellings."""
        graph, spec = self.graph, self.spec
        spelling, self.spelling = self.spelling % 4, self.spelling + 1
        count = 0

        def node(op, *inputs, **attributes):
            nonlocal count
            count += 1
            return graph.node(op, list(inputs), None, f"{name}/{op}_{count}", **attributes)

        def mean(y):
            if spec.opset < 18:
                return node("ReduceMean", y, axes=[-1], keepdims=1)
            return node("ReduceMean", y, graph.constant([-1]), keepdims=1)

        in_half = spec.io != "f32"
        if in_half:
            x = node("Cast", x, to=TensorProto.FLOAT)
        number = graph.float_constant
        if spec.norm == "decomposed_layer":
            x = node("Sub", x, mean(x))
        square = node("Pow", x, number(2.0)) if spelling in (0, 1) else node("Mul", x, x)
        epsilon = number(spec.epsilon)
        total = node("Add", epsilon, mean(square)) if spelling == 1 else node("Add", mean(square), epsilon)
        if spelling == 3:
            x = node("Div", x, node("Sqrt", total))
        else:
            root = node("Pow", total, number(0.5)) if spelling == 1 else node("Sqrt", total)
            inverse = node("Reciprocal", root) if spelling == 2 else node("Div", number(1.0), root)
            x = node("Mul", inverse, x) if spelling == 0 else node("Mul", x, inverse)
        if in_half:
            x = node("Cast", x, to=graph.type)
        x = node("Mul", weight, x) if spelling == 1 else node("Mul", x, weight)
        if spec.norm == "decomposed_layer":
            bias = graph.initializer(f"{tensor_name(name)}.bias", graph.cast(graph.random(spec.hidden, scale=0.2)))
            x = node("Add", x, bias)
        return x

    def norm(self, name, last=False):
        """Adds the pending sum to the residual stream and normalises it."""
        graph, spec = self.graph, self.spec
        casts = spec.norm_casts
        if self.delta is None:
            return self.plain_norm(self.residual, name, widen=casts == "all", narrow=bool(casts))
        if spec.norm in ("separate", "rms", "decomposed", "decomposed_layer"):
            self.residual = graph.node("Add", [self.residual, self.delta], None, f"{name}/Add")
            self.delta = None
            return self.plain_norm(self.residual, name)
        weight = self.norm_weight(name)
        root, skip = self.residual, self.delta
        if casts == "all":
            root = graph.node("Cast", [root], None, f"{name}/root_input/Cast", to=TensorProto.FLOAT)
            skip = graph.node("Cast", [skip], None, f"{name}/skip_input/Cast", to=TensorProto.FLOAT)
        normed, total = f"{name}/output_0", f"{name}/output_3"
        outputs = [f"{name}/output_0/Cast/output_0" if casts else normed]
        if not last:
            outputs += ["", "", f"{name}/output_3/Cast/output_3" if casts == "all" else total]
        inputs = [root, skip, weight]
        op = "SkipSimplifiedLayerNormalization"
        if spec.norm == "skip_bias":
            inputs.append(graph.initializer(f"{tensor_name(name)}.sum_bias", graph.cast(graph.random(spec.hidden, scale=0.3))))
        elif spec.norm == "layer":
            op = "SkipLayerNormalization"
            inputs.append(graph.initializer(f"{tensor_name(name)}.bias", graph.cast(graph.random(spec.hidden, scale=0.2))))
            inputs.append(graph.initializer(f"{tensor_name(name)}.sum_bias", graph.cast(graph.random(spec.hidden, scale=0.3))))
        graph.node(op, inputs, outputs, f"{name}/SkipLayerNorm", epsilon=spec.epsilon)
        if casts:
            graph.node("Cast", [outputs[0]], normed, f"{name}/output_0/Cast", to=self.graph.type)
        if casts == "all" and not last:
            graph.node("Cast", [outputs[3]], total, f"{name}/output_3/Cast", to=self.graph.type)
        self.residual, self.delta = total, None
        return normed

    def qk_normed(self, x, name, heads):
        graph, size = self.graph, self.spec.head_size
        split = [0, 0, heads, size] if self.spec.qk_norm == "4d" else [0, -1, size]
        joined = [0, 0, heads * size] if self.spec.qk_norm == "4d" else [0, -1, heads * size]
        x = graph.node("Reshape", [x, graph.constant(split)], None, f"{name}/Reshape_1")
        x = self.plain_norm(x, f"{name}/layernorm", size)
        return graph.node("Reshape", [x, graph.constant(joined)], None, f"{name}/Reshape_2")

    def attention(self, x):
        graph, spec = self.graph, self.spec
        base = f"/model/layers.{self.layer}/attn"
        size, heads, kv_heads = spec.head_size, spec.heads, spec.kv_heads
        widths = [heads * size, kv_heads * size, kv_heads * size]
        # Larger queries and keys than a trained model's, so that attention is far from uniform.
        q, k, v = (graph.matrix(width, spec.hidden, gain) for width, gain in zip(widths, (1.2, 1.2, 1.0)))
        rotates = spec.rope_layers is None or self.layer in spec.rope_layers
        if spec.packed:
            packed = self.linear("qkv", x, np.concatenate([q, k, v]), f"{base}/qkv_proj", spec.qkv_bias)
            inputs = [packed, "", ""]
            if spec.qk_norm or spec.rope != "gqa":
                inputs = [f"{base}/{part}_split/output_0" for part in "qkv"]
                graph.node("Split", [packed, graph.constant(widths)], inputs, f"{base}/qkv_proj/Split", axis=-1)
        else:
            inputs = [
                self.linear(role, x, matrix, f"{base}/{role}_proj", spec.qkv_bias)
                for role, matrix in (("q", q), ("k", k), ("v", v))
            ]
        if spec.qk_norm:
            inputs[0] = self.qk_normed(inputs[0], f"{base}/q_norm", heads)
            inputs[1] = self.qk_normed(inputs[1], f"{base}/k_norm", kv_heads)
        if spec.rope == "standard_nodes" and rotates:
            for index, (part, count) in enumerate((("q", heads), ("k", kv_heads))):
                inputs[index] = graph.node(
                    "RotaryEmbedding",
                    [inputs[index], "cos_cache", "sin_cache", self.positions],
                    None,
                    f"{base}/{part}_rotary/RotaryEmbedding",
                    domain="",
                    interleaved=int(spec.interleaved),
                    num_heads=count,
                    rotary_embedding_dim=spec.rotary or 0,
                )
        if spec.rope == "nodes" and rotates:
            for index, (part, count) in enumerate((("q", heads), ("k", kv_heads))):
                inputs[index] = graph.node(
                    "RotaryEmbedding",
                    [inputs[index], self.positions, "cos_cache", "sin_cache"],
                    None,
                    f"{base}/{part}_rotary/RotaryEmbedding",
                    interleaved=int(spec.interleaved),
                    num_heads=count if spec.rotary else 0,
                    rotary_embedding_dim=spec.rotary or 0,
                )
        in_attention = spec.rope == "gqa" and rotates
        past = [f"past_key_values.{self.layer}.{part}" for part in ("key", "value")]
        present = [f"present.{self.layer}.{part}" for part in ("key", "value")]
        if spec.kv_casts:
            past = [graph.node("Cast", [name], None, f"{base}/{name}/Cast", to=self.graph.type) for name in past]
            narrow = [f"{base}/{name}/Cast/input_0" for name in present]
            for name, source in zip(present, narrow):
                graph.node("Cast", [source], name, f"{base}/{name}/Cast", to=TensorProto.FLOAT)
            present = narrow
        inputs += [*past, self.seqlens, self.total]
        suffix = "_local" if self.layer in spec.second_cache_layers else ""
        inputs += [f"cos_cache{suffix}", f"sin_cache{suffix}"] if in_attention else ["", ""]
        inputs += ["position_ids" if spec.gqa_position_ids else "", "", ""]
        if spec.sinks:
            inputs[11] = graph.initializer(f"model.layers.{self.layer}.attn.sinks", graph.cast(graph.random(heads, offset=1.0)))
        inputs = inputs[: spec.gqa_inputs]
        while spec.gqa_inputs < 9 and not inputs[-1]:
            inputs.pop()
        window = spec.windows.get(self.layer, -1)
        full = spec.gqa_inputs > 9
        x = graph.node(
            "GroupQueryAttention",
            inputs,
            [f"{base}/GroupQueryAttention/output_0", *present],
            f"{base}/GroupQueryAttention",
            num_heads=heads,
            kv_num_heads=kv_heads,
            scale=spec.scale,
            local_window_size=window if full or window > 0 else None,
            softcap=spec.softcap if full or spec.softcap else None,
            do_rotary=int(in_attention),
            rotary_interleaved=int(spec.interleaved),
            smooth_softmax=1 if spec.smooth_softmax else None,
            sliding_window_cache=1 if spec.sliding_window_cache and window > 0 else None,
        )
        return self.linear("o", x, graph.matrix(spec.hidden, heads * size), f"{base}/o_proj", spec.o_bias)

    def activation(self, x, base, kind):
        graph = self.graph
        name = f"{base}/act_fn"
        if kind in ("silu", "silu_swapped"):
            sigmoid = graph.node("Sigmoid", [x], None, f"{name}/Sigmoid")
            return graph.node("Mul", [x, sigmoid] if kind == "silu" else [sigmoid, x], None, f"{name}/Mul")
        if kind == "fast_gelu_bias":
            bias = graph.initializer(f"{tensor_name(name)}.bias", graph.cast(graph.random(self.spec.intermediate, scale=0.3)))
            return graph.node("FastGelu", [x, bias], None, f"{name}/FastGelu")
        if kind == "bias_gelu":
            bias = graph.initializer(f"{tensor_name(name)}.bias", graph.cast(graph.random(self.spec.intermediate, scale=0.3)))
            return graph.node("BiasGelu", [x, bias], None, f"{name}/BiasGelu")
        if kind.startswith(("erf_", "tanh_")):
            return self.gelu_nodes(x, name, kind)
        if kind == "relu2":
            x = graph.node("Relu", [x], None, f"{name}/Relu")
            return graph.node("Pow", [x, graph.constant([2], "INT32")], None, f"{name}/pow")
        op, attributes = {
            "gelu": ("Gelu", {"approximate": "none"}),
            "gelu_default": ("Gelu", {}),
            "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
            "fast_gelu": ("FastGelu", {}),
            "quick_gelu": ("QuickGelu", {}),
            "quick_gelu_alpha": ("QuickGelu", {"alpha": 1.0}),
            "microsoft_gelu": ("Gelu", {"domain": "com.microsoft"}),
            "swish": ("Swish", {}),
            "swish_alpha": ("Swish", {"alpha": 1.5}),
            "relu": ("Relu", {}),
        }[kind]
        return graph.node(op, [x], None, f"{name}/{op}", **attributes)

    def gelu_nodes(self, x, name, kind):
        """GELU in single operators; the kind says which, and where the half is."""
        graph = self.graph
        count = 0

        def node(op, *inputs):
            nonlocal count
            count += 1
            return graph.node(op, list(inputs), None, f"{name}/{op}_{count}")

        number = graph.io_constant
        half = number(0.5)
        if kind.startswith("erf_"):
            scaled = node("Mul", x, number(2**-0.5)) if kind == "erf_half_sum" else node("Div", x, number(2**0.5))
            bell = node("Add", node("Erf", scaled), number(1.0))
        else:
            cube = node("Pow", x, number(3.0)) if kind == "tanh_half_first" else node("Mul", node("Mul", x, x), x)
            inner = node("Mul", node("Add", x, node("Mul", cube, number(0.044715))), number((2 / np.pi) ** 0.5))
            bell = node("Add", number(1.0), node("Tanh", inner))
        if kind.endswith("_first"):
            return node("Mul", node("Mul", x, half), bell)
        if kind.endswith("_sum"):
            return node("Mul", x, node("Mul", bell, half))
        return node("Mul", node("Mul", x, bell), half)

    def mlp(self, x):
        graph, spec = self.graph, self.spec
        base = f"/model/layers.{self.layer}/mlp"
        up_matrix = graph.matrix(spec.intermediate, spec.hidden)
        down_matrix = graph.matrix(spec.hidden, spec.intermediate)
        kind = spec.mlp if isinstance(spec.mlp, str) else spec.mlp[self.layer]
        if kind.startswith("fc_"):
            x = self.linear("fc1", x, up_matrix, f"{base}/fc1", spec.mlp_bias)
            x = self.activation(x, base, kind.removeprefix("fc_"))
            return self.linear("fc2", x, down_matrix, f"{base}/fc2", spec.mlp_bias)
        gate_matrix = graph.matrix(spec.intermediate, spec.hidden)
        if spec.fused_gate_up:
            both = self.linear("gate_up", x, np.concatenate([gate_matrix, up_matrix]), f"{base}/gate_up_proj", spec.mlp_bias)
            gate, up = f"{base}/gate_proj/split", f"{base}/up_proj/split"
            sizes = [graph.constant([spec.intermediate] * 2)] if spec.opset < 18 else []
            count = 2 if spec.opset >= 18 else None
            graph.node("Split", [both, *sizes], [gate, up], f"{base}/gate_up_proj/Split", axis=-1, num_outputs=count)
        else:
            gate = self.linear("gate", x, gate_matrix, f"{base}/gate_proj", spec.mlp_bias)
            up = self.linear("up", x, up_matrix, f"{base}/up_proj", spec.mlp_bias)
        gate = self.activation(gate, base, kind)
        product = graph.node("Mul", [up, gate] if kind == "silu_swapped" else [gate, up], None, f"{base}/Mul")
        return self.linear("down", product, down_matrix, f"{base}/down_proj", spec.mlp_bias)

    def scaled(self, x, name):
        if self.spec.residual_scale is None:
            return x
        return self.graph.node(
            "Mul", self.graph.with_constant(x, self.graph.io_constant(self.spec.residual_scale)), None, f"{name}/Mul"
        )

    def block(self):
        graph, spec = self.graph, self.spec
        base = f"/model/layers.{self.layer}"
        x = self.norm(f"{base}/input_layernorm")
        attended = self.scaled(self.attention(x), f"{base}/attn/residual")
        if spec.parallel:
            self.delta = graph.node("Add", [attended, self.mlp(x)], None, f"{base}/parallel/Add")
            return
        if spec.sandwich:
            attended = self.plain_norm(attended, f"{base}/post_attention_layernorm", widen=spec.norm_casts == "gemma")
        self.delta = attended
        x = self.norm(f"{base}/{'pre_feedforward' if spec.sandwich else 'post_attention'}_layernorm")
        fed = self.scaled(self.mlp(x), f"{base}/mlp/residual")
        if spec.sandwich:
            fed = self.plain_norm(fed, f"{base}/post_feedforward_layernorm", widen=spec.norm_casts == "gemma")
        self.delta = fed

    def build(self):
        spec = self.spec
        self.mask()
        self.rope()
        self.embed()
        for self.layer in range(spec.layers):
            self.block()
        self.head()
        return self.model()

    def model(self):
        spec, graph = self.spec, self.graph
        used = {name for node in graph.nodes for name in node.input}
        inputs = [value("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])]
        inputs.append(value("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]))
        if "position_ids" in used:
            inputs.append(value("position_ids", TensorProto.INT64, ["batch_size", "sequence_length"]))
        if spec.logits_to_keep:
            inputs.append(value(spec.logits_to_keep, TensorProto.INT64, []))
        pairs = [(layer, part) for layer in range(spec.layers) for part in ("key", "value")]
        if spec.kv_order == "keys_first":
            pairs.sort(key=lambda pair: pair[1])
        kv_type = TensorProto.FLOAT if spec.kv_casts else graph.type
        last = "kv_cache_dim" if spec.symbolic_head else spec.head_size
        for layer, part in pairs:
            shape = ["batch_size", spec.kv_heads, "past_sequence_length", last]
            inputs.append(value(f"past_key_values.{layer}.{part}", kv_type, shape))
        outputs = [
            value(
                "logits",
                TensorProto.FLOAT if spec.logits_cast else graph.type,
                ["batch_size", 1 if spec.pruned else "sequence_length", spec.vocabulary],
            )
        ]
        for layer, part in pairs:
            shape = ["batch_size", spec.kv_heads, "total_sequence_length", last]
            outputs.append(value(f"present.{layer}.{part}", kv_type, shape))
        if spec.hidden_constants:
            hide_constants(graph)
        nodes = graph.nodes
        if spec.shuffle_nodes:
            nodes = [nodes[index] for index in graph.random_numbers.permutation(len(nodes))]
        initializers = list(graph.initializers.values())
        if spec.typed_fields:
            initializers = [with_typed_fields(tensor) for tensor in initializers]
        main = helper.make_graph(nodes, "main_graph", inputs, outputs, initializers)
        rename(main, spec)
        default = "ai.onnx" if spec.spelled_domain else ""
        for node in main.node:
            if default and not node.domain:
                node.domain = default
        opsets = [helper.make_opsetid(default, spec.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(
            main,
            opset_imports=opsets,
            ir_version=spec.ir,
            producer_name="onnxruntime-genai",
            producer_version="0.0.0" if spec.ir < 10 else "0.18.0",
        )


def hide_constants(graph):
    """Stores each float and packed constant in another shape or type, and nodes that give it its own."""
    stored = list(graph.initializers.values())
    graph.initializers.clear()
    nodes, graph.nodes = graph.nodes, []
    for index, tensor in enumerate(stored):
        values, name = numpy_helper.to_array(tensor), tensor.name
        is_float = values.dtype == np.float32
        if not is_float and values.dtype != np.uint8:
            graph.add_initializer(tensor)
            continue
        source, base = f"{name}_stored", f"/constants/{name}"
        form = index % 4 if is_float else 1
        if form == 0:
            narrow = graph.initializer(source, values.astype(np.float16))
            graph.node("Cast", [narrow], name, f"{base}/Cast", to=TensorProto.FLOAT)
        elif form == 1:
            flat = graph.initializer(source, values.reshape(values.shape[0], -1) if values.ndim > 1 else values)
            shape = [0, *values.shape[1:-1], -1] if values.ndim > 1 else [-1]
            graph.node("Reshape", [flat, graph.constant(shape)], name, f"{base}/Reshape")
        elif form == 2:
            wide = graph.initializer(source, values[None])
            graph.node("Squeeze", [wide, graph.constant([0])], name, f"{base}/Squeeze")
        else:
            same = graph.initializer(source, values)
            wide = graph.node("Unsqueeze", [same, graph.constant([0, -1])], None, f"{base}/Unsqueeze")
            narrow = graph.node("Squeeze", [wide, graph.constant([-1])], None, f"{base}/Squeeze")
            graph.node("Squeeze", [narrow, graph.constant([0])], name, f"{base}/Squeeze_1")
    graph.nodes += nodes


def canonical_names(spec):
    """The default name of each input and output, by the name that the graph has."""
    names = {}
    for default, other in spec.names.items():
        for layer in range(spec.layers):
            names[other.replace("%d", str(layer))] = default.replace("%d", str(layer))
    return names


def rename(graph, spec):
    new = {default: other for other, default in canonical_names(spec).items()}
    if spec.anonymous:
        fixed = {item.name for item in (*graph.input, *graph.output)}
        names = [tensor.name for tensor in graph.initializer]
        names += [name for node in graph.node for name in node.output]
        new.update({name: f"v{index}" for index, name in enumerate(names) if name and name not in fixed})
        for node in graph.node:
            node.name = ""
    for item in (*graph.input, *graph.output, *graph.initializer):
        item.name = new.get(item.name, item.name)
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = new.get(name, name)


def value(name, onnx_type, shape):
    return helper.make_tensor_value_info(name, onnx_type, shape)


def cache_branch(kind, tables):
    nodes, outputs = [], []
    for part, values in tables.items():
        name = f"{part}_cache_{kind}"
        tensor = numpy_helper.from_array(values, name)
        nodes.append(helper.make_node("Constant", [], [name], name=f"/{kind}/{part}_cache/Constant", value=tensor))
        outputs.append(value(name, tensor.data_type, values.shape))
    return helper.make_graph(nodes, f"{kind}_rope_caches_graph", [], outputs)


def with_typed_fields(tensor):
    """The same tensor in float_data, int32_data or int64_data."""
    values = numpy_helper.to_array(tensor)
    if tensor.data_type == TensorProto.FLOAT16:
        values = values.view(np.uint16)
    typed = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    field_name = {TensorProto.FLOAT: "float_data", TensorProto.INT64: "int64_data"}.get(tensor.data_type, "int32_data")
    getattr(typed, field_name).extend(values.reshape(-1).tolist())
    return typed


def build(spec):
    return Decoder(spec).build()


def build_reference(spec):
    """The graph with the same meaning from which the reference comes."""
    return build(Spec(**{**vars(spec), **spec.reference_as})) if spec.reference_as else build(spec)


def copy_of(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
