"""Attention with its projections and rotations."""

import numpy as np
from onnx import TensorProto


class Attention:
    """Of `Decoder`: one layer's attention, from the norm before it to the output projection."""

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
