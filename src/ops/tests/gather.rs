//! `Gather` and `GatherBlockQuantized`.

use super::graph::{OneNodeGraph, bfloats, bytes, floats, halves, int, integers, ints, microsoft, onnx};
use super::packing::Quantised;
use super::{Refusal, Vector, refused, vector};
use crate::onnx::{Attribute, DataType, Tensor};

pub(super) fn vectors() -> Vec<Vector> {
    [plain(), quantized()].into_iter().flatten().collect()
}

pub(super) fn refusals() -> Vec<Refusal> {
    [refusals_of_plain(), refusals_of_quantized()].into_iter().flatten().collect()
}

fn look_up(graph: OneNodeGraph, attributes: Vec<Attribute<'static>>) -> OneNodeGraph {
    graph.tested(onnx("Gather", &["table", "input_ids"], &["logits"], attributes))
}

fn plain() -> Vec<Vector> {
    let rows = [1.0, -2.0, 0.5, 4.0, 8.0, -0.25];
    let expected = vec![vec![1.0, -2.0], vec![0.5, 4.0], vec![8.0, -0.25]];
    let graph = OneNodeGraph::default;
    let last = |index| {
        OneNodeGraph::of(&[vec![1.0, 2.0], vec![3.0, 4.0]]).constant("last", index).tested(onnx(
            "Gather",
            &["x", "last"],
            &["logits"],
            vec![int("axis", 1)],
        ))
    };
    // Each position is the last one of some sequence.
    let of_last = vec![vec![1.0, 2.0], vec![3.0, 4.0]];
    let transposed = graph()
        .constant("stored", floats(&[2, 3], &[1.0, 0.5, 8.0, -2.0, 4.0, -0.25]))
        .node(onnx("Transpose", &["stored"], &["table"], vec![ints("perm", &[1, 0])]));
    // (code − zero point) · scale: zero points 1 and 2, scales 0.5 and −2.
    let dequantized = graph()
        .constant("codes", bytes(DataType::Int8, &[2, 3], &[3, 0xFF, 1, 0, 2, 4]))
        .constant("scales", floats(&[2], &[0.5, -2.0]))
        .constant("zero points", bytes(DataType::Int8, &[2], &[1, 2]))
        .node(onnx(
            "DequantizeLinear",
            &["codes", "scales", "zero points"],
            &["table"],
            vec![int("axis", 0)],
        ));
    vec![
        vector("fp32", look_up(graph().constant("table", floats(&[3, 2], &rows)), vec![]), expected.clone()),
        vector("fp16", look_up(graph().constant("table", halves(&[3, 2], &rows)), vec![]), expected.clone()),
        vector(
            "bf16, axis 0",
            look_up(graph().constant("table", bfloats(&[3, 2], &rows)), vec![int("axis", 0)]),
            expected.clone(),
        ),
        vector("a transposed table", look_up(transposed, vec![]), expected),
        vector(
            "a table quantised by row",
            look_up(dequantized, vec![]),
            vec![vec![1.0, -1.0, 0.0], vec![4.0, 0.0, -4.0]],
        ),
        vector("the last token", last(integers(&[], &[-1])), of_last.clone()),
        vector("the last token, index of rank 1", last(integers(&[1], &[-1])), of_last),
    ]
}

fn refusals_of_plain() -> Vec<Refusal> {
    let x = [vec![1.0, 2.0], vec![3.0, 4.0]];
    let table = || floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let choice = |index: i64, axis| {
        OneNodeGraph::of(&x).constant("index", integers(&[], &[index])).tested(onnx(
            "Gather",
            &["x", "index"],
            &["logits"],
            vec![int("axis", axis)],
        ))
    };
    vec![
        refused("axis", look_up(OneNodeGraph::default().constant("table", table()), vec![int("axis", 1)])),
        refused("axis", choice(-1, 0)),
        refused("axis", choice(-1, 2)),
        refused("a choice of tokens", choice(0, 1)),
        refused("a choice of tokens", choice(-2, 1)),
        // After a Reshape to [batch, tokens · heads, head size] the last row is one head of the last token.
        refused(
            "a choice of tokens",
            OneNodeGraph::of(&x)
                .constant("shape", integers(&[3], &[0, -1, 1]))
                .node(onnx("Reshape", &["x", "shape"], &["heads"], vec![]))
                .constant("index", integers(&[], &[-1]))
                .tested(onnx("Gather", &["heads", "index"], &["logits"], vec![int("axis", 1)])),
        ),
        refused(
            "something other than input_ids",
            OneNodeGraph::of(&x).constant("table", table()).tested(onnx(
                "Gather",
                &["table", "x"],
                &["logits"],
                vec![],
            )),
        ),
    ]
}

/// `scales` and `zero_points` have the blocks of a row side by side.
fn block_quantized(
    data: Tensor<'static>,
    scales: Tensor<'static>,
    zero_points: Option<Tensor<'static>>,
    attributes: Vec<Attribute<'static>>,
) -> OneNodeGraph {
    let mut inputs = vec!["data", "input_ids", "scales"];
    let mut graph = OneNodeGraph::default().constant("data", data).constant("scales", scales);
    if let Some(zero_points) = zero_points {
        inputs.push("zero points");
        graph = graph.constant("zero points", zero_points);
    }
    graph.tested(microsoft("GatherBlockQuantized", &inputs, &["logits"], attributes))
}

fn table_rows(q: &Quantised) -> Vec<Vec<f64>> {
    (0..q.rows).map(|row| (0..q.columns).map(|column| q.weight(row, column)).collect()).collect()
}

fn quantized() -> Vec<Vector> {
    let typed = Quantised { rows: 4, columns: 40, bits: 4, block: 16, signed: false, zero_point: |_, _| 0.0 };
    let with_zero_points = Quantised { zero_point: |row, block| (5 + row + 3 * block) as f32, ..typed };
    let packed = Quantised { columns: 48, zero_point: |_, _| 8.0, ..typed };
    let packed_8 = Quantised { bits: 8, zero_point: |_, _| 128.0, ..packed };
    let mut vectors = Vec::new();
    for (name, q, data_type, zero_points) in [
        ("uint4, whose absent zero point is 0", typed, DataType::Uint4, None),
        ("uint4, zero points", with_zero_points, DataType::Uint4, Some(with_zero_points.zero_points())),
        ("int4", Quantised { signed: true, ..typed }, DataType::Int4, None),
        ("4 bits in bytes, whose absent zero point is 8", packed, DataType::Uint8, None),
        (
            "4 bits in bytes, zero points by row",
            Quantised { zero_point: with_zero_points.zero_point, ..packed },
            DataType::Uint8,
            Some(with_zero_points.padded_zero_points()),
        ),
        ("8 bits, whose absent zero point is 128", packed_8, DataType::Uint8, None),
        (
            "8 bits, zero points",
            Quantised { zero_point: |row, block| (90 + row + 20 * block) as f32, ..packed_8 },
            DataType::Uint8,
            Some(vec![90, 110, 130, 91, 111, 131, 92, 112, 132, 93, 113, 133]),
        ),
    ] {
        let codes = q.codes();
        let width = if data_type == DataType::Uint8 { codes.len() / q.rows } else { q.columns };
        let data = bytes(data_type, &[q.rows as u64, width as u64], &codes);
        let scales = floats(&[q.rows as u64, q.blocks() as u64], &q.scales());
        // The type of the zero points is the table's.
        let zero_points = zero_points.map(|packed| {
            let count = packed.len() * if data_type == DataType::Uint8 { 1 } else { 2 };
            bytes(data_type, &[count as u64], &packed)
        });
        let attributes = vec![int("block_size", q.block as i64), int("bits", q.bits as i64)];
        vectors.push(vector(name, block_quantized(data, scales, zero_points, attributes), table_rows(&q)));
    }
    // The head's weights as the table: [rows, blocks, bytes] seen as [rows, bytes]. The defaults are 4 bits and blocks of 128.
    let tied = Quantised { columns: 256, block: 128, ..packed };
    for (name, shape) in [("a Reshape of the head", [4, 128]), ("a Reshape of the head, inferred", [4, -1])] {
        let graph = OneNodeGraph::default()
            .constant("head", bytes(DataType::Uint8, &[4, 2, 64], &tied.codes()))
            .constant("shape", integers(&[2], &shape))
            .node(onnx("Reshape", &["head", "shape"], &["data"], vec![]))
            .constant("scales", halves(&[4, 2], &tied.scales()))
            .tested(microsoft(
                "GatherBlockQuantized",
                &["data", "input_ids", "scales"],
                &["logits"],
                vec![int("gather_axis", 0), int("quantize_axis", -1)],
            ));
        vectors.push(vector(name, graph, table_rows(&tied)));
    }
    vectors
}

fn refusals_of_quantized() -> Vec<Refusal> {
    let graph = |data_type, columns, changed: Attribute<'static>| {
        let data = bytes(data_type, &[2, columns], &[0x99; 32]);
        let mut attributes = vec![int("block_size", 16), int("bits", 4)];
        attributes.retain(|attribute| attribute.name != changed.name);
        attributes.push(changed);
        block_quantized(data, floats(&[2, 2], &[1.0; 4]), None, attributes)
    };
    let bytes_with = |changed| graph(DataType::Uint8, 16, changed);
    vec![
        refused("gather_axis", bytes_with(int("gather_axis", 1))),
        refused("quantize_axis", bytes_with(int("quantize_axis", 0))),
        refused("bits", bytes_with(int("bits", 2))),
        refused("bits", graph(DataType::Uint4, 32, int("bits", 8))),
        refused("bits", graph(DataType::Int4, 32, int("bits", 8))),
        refused("block_size", bytes_with(int("block_size", 24))),
        refused("block_size", bytes_with(int("block_size", -16))),
        refused("2 blocks of 8", bytes_with(int("block_size", 8))),
    ]
}
