"""The residual stream to logits."""

from onnx import TensorProto


class Head:
    """Of `Decoder`: the last norm, the positions whose logits are given, the product and what follows it."""

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
