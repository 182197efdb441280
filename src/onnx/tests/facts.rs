//! The text that `tests/data/onnx_facts.py` makes of a model.

use crate::onnx::*;

pub(super) fn fnv(data: &[u8]) -> String {
    let hash = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bits(value: f32) -> String {
    format!("{:08x}", value.to_bits())
}

fn list<T: ToString>(values: impl IntoIterator<Item = T>, separator: &str) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(separator)
}

fn tensor(tensor: &Tensor<'_>) -> String {
    let head = format!("tensor {} {} {:?} ", tensor.name, tensor.data_type.code(), tensor.dims);
    let content = match &tensor.content {
        TensorContent::Inline(data) => {
            format!("raw {} {}", data.len(), fnv(&data[..data.len().min(1000)]))
        }
        TensorContent::External { location, offset, length } => {
            format!(
                "external {location} {offset} {}",
                length.map_or("None".into(), |length| length.to_string())
            )
        }
        TensorContent::Int32(list) => format!("int32_data {list:?}"),
        TensorContent::Int64(list) => format!("int64_data {list:?}"),
        TensorContent::Float32(values) => {
            let values = values.iter().map(|value| format!("'{}'", bits(*value)));
            format!("float_data [{}]", list(values, ", "))
        }
        TensorContent::Float64(_) | TensorContent::Other => panic!("not in the golden graphs"),
    };
    head + &content
}

fn attribute(attribute: &Attribute<'_>, lines: &mut Vec<String>) {
    let (kind, value) = match &attribute.value {
        AttributeValue::Float(value) => ("float", bits(*value)),
        AttributeValue::Int(value) => ("int", value.to_string()),
        AttributeValue::String(value) => ("string", hex(value)),
        AttributeValue::Tensor(value) => ("tensor", tensor(value)),
        AttributeValue::Graph(_) => ("graph", String::new()),
        AttributeValue::Floats(values) => ("floats", list(values.iter().map(|value| bits(*value)), " ")),
        AttributeValue::Ints(values) => ("ints", list(values, " ")),
        AttributeValue::Strings(values) => ("strings", list(values.iter().map(|value| hex(value)), " ")),
        AttributeValue::Other => panic!("not in the golden graphs"),
    };
    lines.push(format!("attribute {} {kind} {value}", attribute.name));
    if let AttributeValue::Graph(inner) = &attribute.value {
        graph(inner, lines);
    }
}

fn graph(graph: &Graph<'_>, lines: &mut Vec<String>) {
    lines.push(format!("graph {}", graph.name));
    for node in &graph.nodes {
        lines.push(format!("node {} {} {}", node.op_type, node.domain, node.name));
        lines.push(format!("inputs {}", node.inputs.join(",")));
        lines.push(format!("outputs {}", node.outputs.join(",")));
        node.attributes.iter().for_each(|item| attribute(item, lines));
    }
    lines.extend(graph.initializers.iter().map(tensor));
    for (kind, infos) in [("input", &graph.inputs), ("output", &graph.outputs), ("value", &graph.value_info)]
    {
        for info in infos {
            let data_type =
                info.data_type.map_or(String::new(), |data_type| format!(" {}", data_type.code()));
            let dims = info.shape.iter().flatten().map(|dimension| match dimension {
                Dimension::Fixed(extent) => format!(" {extent}"),
                Dimension::Symbol(name) => format!(" <{name}>"),
            });
            lines.push(format!("{kind} {}{data_type}{}", info.name, list(dims, "")));
        }
    }
}

pub(super) fn text(model: &Model<'_>) -> String {
    let mut lines =
        vec![format!("model {} {} {}", model.ir_version, model.producer_name, model.producer_version)];
    lines.extend(model.operator_sets.iter().map(|set| format!("opset {} {}", set.domain, set.version)));
    lines.extend(model.metadata.iter().map(|(key, value)| format!("metadata {key} {value}")));
    graph(&model.graph, &mut lines);
    lines.join("\n")
}
