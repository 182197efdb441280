"""Writes onnx_facts.txt: what the Python package onnx reads from the graphs below models/, or below the named ones.

One line a graph: its path, counts, and the FNV-1a hash of a text that lists every field. The test
`src/onnx/tests.rs` makes the same text from what the library reads. Run: python onnx_facts.py [DIRECTORY...]
"""

import pathlib
import struct
import sys

import onnx

KINDS = {1: "float", 2: "int", 3: "string", 4: "tensor", 5: "graph", 6: "floats", 7: "ints", 8: "strings"}


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def bits(value):
    return struct.pack(">f", value).hex()


def domain(name):
    return "" if name == "ai.onnx" else name


def tensor(item):
    head = f"tensor {item.name} {item.data_type} {list(item.dims)} "
    if item.data_location == 1:
        place = {entry.key: entry.value for entry in item.external_data}
        return head + f"external {place['location']} {place.get('offset', 0)} {place.get('length')}"
    if item.HasField("raw_data"):
        return head + f"raw {len(item.raw_data)} {fnv(item.raw_data[:1000])}"
    for field in ["int32_data", "int64_data"]:
        if len(getattr(item, field)):
            return head + f"{field} {list(getattr(item, field))}"
    for field in ["float_data", "double_data"]:
        if len(getattr(item, field)):
            return head + f"{field} {[bits(value) for value in getattr(item, field)]}"
    return head + f"raw 0 {fnv(b'')}"


def attribute(item, lines):
    value = {
        1: lambda: bits(item.f),
        2: lambda: str(item.i),
        3: lambda: item.s.hex(),
        4: lambda: tensor(item.t),
        5: lambda: "",
        6: lambda: " ".join(map(bits, item.floats)),
        7: lambda: " ".join(map(str, item.ints)),
        8: lambda: " ".join(string.hex() for string in item.strings),
    }[item.type]()
    lines.append(f"attribute {item.name} {KINDS[item.type]} {value}")
    if item.type == 5:
        graph(item.g, lines)


def value_info(kind, item, lines):
    text = ""
    if item.type.HasField("tensor_type"):
        text = f" {item.type.tensor_type.elem_type}"
        if item.type.tensor_type.HasField("shape"):
            for dim in item.type.tensor_type.shape.dim:
                text += f" {dim.dim_value}" if dim.HasField("dim_value") else f" <{dim.dim_param}>"
    lines.append(f"{kind} {item.name}{text}")


def graph(item, lines):
    lines.append(f"graph {item.name}")
    for node in item.node:
        lines.append(f"node {node.op_type} {domain(node.domain)} {node.name}")
        lines.append("inputs " + ",".join(node.input))
        lines.append("outputs " + ",".join(node.output))
        for one in node.attribute:
            attribute(one, lines)
    lines.extend(tensor(one) for one in item.initializer)
    for kind, infos in [("input", item.input), ("output", item.output), ("value", item.value_info)]:
        for info in infos:
            value_info(kind, info, lines)


def main():
    root = pathlib.Path(__file__).parent
    facts = []
    roots = [root / name for name in sys.argv[1:] or ["models"]]
    for path in sorted(path for root in roots for path in root.rglob("*.onnx")):
        model = onnx.load(path, load_external_data=False)
        lines = [f"model {model.ir_version} {model.producer_name} {model.producer_version}"]
        lines += [f"opset {domain(one.domain)} {one.version}" for one in model.opset_import]
        lines += [f"metadata {one.key} {one.value}" for one in model.metadata_props]
        graph(model.graph, lines)
        counts = [len(model.graph.node), len(model.graph.initializer), len(model.graph.value_info)]
        text = "\n".join(lines).encode()
        facts.append(f"{path.relative_to(root).as_posix()} {' '.join(map(str, counts))} {fnv(text)}\n")
    (root / "onnx_facts.txt").write_text("".join(facts))


main()
