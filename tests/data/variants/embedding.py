"""Token ids to the residual stream."""

import numpy as np
from onnx import TensorProto

from weights import pack, quantise


class Embedding:
    """Of `Decoder`: tables of their own, and those that the head shares."""

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
