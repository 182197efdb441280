"""Sequence lengths, positions and rotation tables, in the ways in which exporters write them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from graph import value


class Positions:
    """Of `Decoder`: what the attention of every layer reads besides the layer's own values."""

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


def cache_branch(kind, tables):
    nodes, outputs = [], []
    for part, values in tables.items():
        name = f"{part}_cache_{kind}"
        tensor = numpy_helper.from_array(values, name)
        nodes.append(helper.make_node("Constant", [], [name], name=f"/{kind}/{part}_cache/Constant", value=tensor))
        outputs.append(value(name, tensor.data_type, values.shape))
    return helper.make_graph(nodes, f"{kind}_rope_caches_graph", [], outputs)
