"""Norms: fused with the sum before them or not, with casts, and in single operators."""

import numpy as np
from onnx import TensorProto

from weights import tensor_name


class Norms:
    """Of `Decoder`: the norms of the residual stream, of branches, and of queries and keys per head."""

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
