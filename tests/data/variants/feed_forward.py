"""The MLP, with and without gate, and its activations."""

import numpy as np

from weights import tensor_name


class FeedForward:
    """Of `Decoder`: one layer's MLP."""

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
