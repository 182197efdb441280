"""A finished graph to an ONNX model: inputs, outputs, names and how constants are stored."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from graph import value


def assemble(spec, graph):
    """The model of a finished graph, with its inputs and outputs under the names that the spec asks for."""
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


def with_typed_fields(tensor):
    """The same tensor in float_data, int32_data or int64_data."""
    values = numpy_helper.to_array(tensor)
    if tensor.data_type == TensorProto.FLOAT16:
        values = values.view(np.uint16)
    typed = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    field_name = {TensorProto.FLOAT: "float_data", TensorProto.INT64: "int64_data"}.get(tensor.data_type, "int32_data")
    getattr(typed, field_name).extend(values.reshape(-1).tolist())
    return typed


def copy_of(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
