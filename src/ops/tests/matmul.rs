//! `MatMul` and `MatMulNBits`, and the `DequantizeLinear`, `Transpose` and `Cast` of constants that `MatMul` reads through.

use super::graph::{
    OneNodeGraph, bfloats, bytes, float, floats, halves, int, integers, ints, microsoft, onnx,
};
use super::packing::{Quantised, exact_rows};
use super::{Refusal, Vector, refused, vector};
use crate::onnx::{Attribute, DataType, Tensor};

pub(super) fn vectors() -> Vec<Vector> {
    [dense(), dequantized(), by_bits()].into_iter().flatten().collect()
}

pub(super) fn refusals() -> Vec<Refusal> {
    [refusals_of_matmul(), refusals_of_dequantize(), refusals_by_bits()].into_iter().flatten().collect()
}

fn matmul(graph: OneNodeGraph) -> OneNodeGraph {
    graph.tested(onnx("MatMul", &["x", "w"], &["logits"], vec![]))
}

fn dense() -> Vec<Vector> {
    let x = [vec![1.0, 2.0, 3.0], vec![-1.0, 0.5, 0.0]];
    let weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    // 1·1 + 2·3 + 3·5, 1·2 + 2·4 + 3·6; −1·1 + 0.5·3, −1·2 + 0.5·4
    let expected = vec![vec![22.0, 28.0], vec![0.5, 0.0]];
    let transpose = |attributes| onnx("Transpose", &["stored"], &["w"], attributes);
    let cast = onnx("Cast", &["stored"], &["w"], vec![int("to", 1)]);
    let stored = floats(&[2, 3], &[1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    let graph = || OneNodeGraph::of(&x);
    [
        ("fp32", graph().constant("w", floats(&[3, 2], &weights))),
        ("fp16", graph().constant("w", halves(&[3, 2], &weights))),
        ("bf16", graph().constant("w", bfloats(&[3, 2], &weights))),
        (
            "Transpose of a constant",
            graph().constant("stored", stored.clone()).node(transpose(vec![ints("perm", &[1, 0])])),
        ),
        ("Transpose without perm", graph().constant("stored", stored).node(transpose(vec![]))),
        ("Cast of a constant", graph().constant("stored", halves(&[3, 2], &weights)).node(cast)),
    ]
    .into_iter()
    .map(|(name, graph)| vector(name, matmul(graph), expected.clone()))
    .collect()
}

fn refusals_of_matmul() -> Vec<Refusal> {
    let x = [vec![1.0, 2.0]];
    let square = || floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let heads = onnx("Reshape", &["x", "shape"], &["heads"], vec![]);
    vec![
        refused("two values that depend on the tokens", matmul(OneNodeGraph::of(&x).and("w", &x))),
        refused(
            "not hold one row a token",
            OneNodeGraph::of(&x).constant("w", square()).tested(onnx(
                "MatMul",
                &["w", "x"],
                &["logits"],
                vec![],
            )),
        ),
        refused(
            "weights for 3 columns and rows of 2",
            matmul(OneNodeGraph::of(&x).constant("w", floats(&[3, 2], &[0.0; 6]))),
        ),
        refused(
            "weights for 2 columns and rows of 1",
            OneNodeGraph::of(&x)
                .constant("shape", integers(&[4], &[0, 0, 2, 1]))
                .node(heads)
                .constant("w", square())
                .tested(onnx("MatMul", &["heads", "w"], &["logits"], vec![])),
        ),
        Refusal {
            graph: matmul(OneNodeGraph::of(&x).constant("stored", square()).node(onnx(
                "Transpose",
                &["stored"],
                &["w"],
                vec![ints("perm", &[0, 1])],
            ))),
            node: "w",
            mentions: "perm",
        },
    ]
}

/// A `MatMul` whose right side is a `DequantizeLinear`, with a `Transpose` between if `transpose`.
fn dequantize(
    graph: OneNodeGraph,
    (codes, scales, zero_points): (Tensor<'static>, Tensor<'static>, Option<Tensor<'static>>),
    attributes: Vec<Attribute<'static>>,
    transpose: bool,
) -> OneNodeGraph {
    let mut inputs = vec!["codes", "scales"];
    let mut graph = graph.constant("codes", codes).constant("scales", scales);
    if let Some(zero_points) = zero_points {
        inputs.push("zero points");
        graph = graph.constant("zero points", zero_points);
    }
    let output = if transpose { "stored" } else { "w" };
    let mut graph = graph.node(onnx("DequantizeLinear", &inputs, &[output], attributes));
    if transpose {
        graph = graph.node(onnx("Transpose", &["stored"], &["w"], vec![ints("perm", &[1, 0])]));
    }
    matmul(graph)
}

fn dequantized() -> Vec<Vector> {
    let mut vectors = Vec::new();
    let axis_and_block = |axis, block| vec![int("axis", axis), int("block_size", block as i64)];
    // [N, K] and a Transpose, as the builder's QDQ form has it: blocks along the second axis.
    let by_row = Quantised {
        rows: 3,
        columns: 40,
        bits: 4,
        block: 16,
        signed: true,
        zero_point: |row, block| ((row + block) % 5) as f32 - 2.0,
    };
    let symmetric = |_, _| 0.0;
    for (name, q, data_type, has_zero_points) in [
        ("int4 [N, K], zero points", by_row, DataType::Int4, true),
        ("int4 [N, K]", Quantised { zero_point: symmetric, ..by_row }, DataType::Int4, false),
        (
            "uint4 [N, K], whose absent zero point is 0",
            Quantised { signed: false, zero_point: symmetric, ..by_row },
            DataType::Uint4,
            false,
        ),
        (
            "int8 [N, K]",
            Quantised { bits: 8, block: 32, zero_point: symmetric, ..by_row },
            DataType::Int8,
            false,
        ),
        (
            "uint8 [N, K], whose absent zero point is 0",
            Quantised { bits: 8, signed: false, zero_point: symmetric, ..by_row },
            DataType::Uint8,
            false,
        ),
    ] {
        let x = exact_rows(2, q.columns);
        let (rows, columns, blocks) = (q.rows as u64, q.columns as u64, q.blocks() as u64);
        let codes = bytes(data_type, &[rows, columns], &q.codes());
        let scales = floats(&[rows, blocks], &q.scales());
        let zero_points = has_zero_points.then(|| bytes(data_type, &[rows, blocks], &q.zero_points()));
        let parts = (codes, scales, zero_points);
        let graph = dequantize(OneNodeGraph::of(&x), parts, axis_and_block(-1, q.block), true);
        vectors.push(vector(name, graph, q.multiply(&x)));
    }
    // [K, N]: blocks along the first axis. An odd N puts neighbours of a column into different halves of a byte.
    let q = Quantised {
        rows: 3,
        columns: 24,
        bits: 4,
        block: 16,
        signed: false,
        zero_point: |row, block| (6 + (row + 3 * block) % 4) as f32,
    };
    let x = exact_rows(2, q.columns);
    let zero_points: Vec<u8> =
        super::packing::pack(4, q.by_block_transposed(|row, block| (q.zero_point)(row, block) as i32));
    let parts = (
        bytes(DataType::Uint4, &[24, 3], &q.transposed_codes()),
        halves(&[2, 3], &q.by_block_transposed(|row, block| q.scale(row, block))),
        Some(bytes(DataType::Uint4, &[2, 3], &zero_points)),
    );
    let graph = dequantize(OneNodeGraph::of(&x), parts, axis_and_block(0, 16), false);
    vectors.push(vector("uint4 [K, N], zero points, fp16 scales", graph, q.multiply(&x)));

    // One scale a row of the product, and one for all.
    let channel = Quantised {
        rows: 2,
        columns: 20,
        bits: 8,
        block: 20,
        signed: true,
        zero_point: |row, _| row as f32 * 3.0 - 1.0,
    };
    let x = exact_rows(2, 20);
    let zero_points = bytes(DataType::Int8, &[2], &channel.zero_points());
    let scales = || floats(&[2], &channel.scales());
    let parts = (bytes(DataType::Int8, &[2, 20], &channel.codes()), scales(), Some(zero_points.clone()));
    let graph = dequantize(OneNodeGraph::of(&x), parts, vec![int("axis", 0)], true);
    vectors.push(vector("int8 [N, K], one scale a row", graph, channel.multiply(&x)));
    let parts = (bytes(DataType::Int8, &[20, 2], &channel.transposed_codes()), scales(), Some(zero_points));
    let graph = dequantize(OneNodeGraph::of(&x), parts, vec![], false);
    vectors.push(vector("int8 [K, N], one scale a column, the default axis", graph, channel.multiply(&x)));

    // (code − 3) · 0.5 of the codes 1 to 6: weights −1, −0.5, 0, 0.5, 1, 1.5.
    let x = [vec![127.0, 2.0, 4.0]];
    let expected = vec![vec![-127.0 + 0.0 + 4.0, -63.5 + 1.0 + 6.0]];
    let parts = |codes: &[u8], zero_point: &[u8], data_type| {
        let zero_points = Some(bytes(data_type, &[], zero_point));
        (bytes(data_type, &[3, 2], codes), floats(&[], &[0.5]), zero_points)
    };
    for (name, parts) in [
        ("uint8, one scale for all", parts(&[1, 2, 3, 4, 5, 6], &[3], DataType::Uint8)),
        ("uint4, one scale for all", parts(&[0x21, 0x43, 0x65], &[3], DataType::Uint4)),
        // Codes and zero point less 5.
        ("int8, one scale for all", parts(&[0xFC, 0xFD, 0xFE, 0xFF, 0, 1], &[0xFE], DataType::Int8)),
        ("int4, one scale for all", parts(&[0xDC, 0xFE, 0x10], &[0x0E], DataType::Int4)),
    ] {
        let graph = dequantize(OneNodeGraph::of(&x), parts, vec![], false);
        vectors.push(vector(name, graph, expected.clone()));
    }
    vectors
}

fn refusals_of_dequantize() -> Vec<Refusal> {
    let x = exact_rows(1, 32);
    let refused = |mentions, codes: Tensor<'static>, scales: &[u64], attributes| {
        let count = scales.iter().product::<u64>() as usize;
        let parts = (codes, floats(scales, &vec![1.0; count]), None);
        Refusal { graph: dequantize(OneNodeGraph::of(&x), parts, attributes, false), node: "w", mentions }
    };
    let codes = || bytes(DataType::Int8, &[32, 2], &[1; 64]);
    vec![
        refused("axis", codes(), &[2, 2], vec![int("axis", 2), int("block_size", 16)]),
        refused("axis", codes(), &[32, 1], vec![int("axis", 1), int("block_size", 16)]),
        refused("axis", codes(), &[32], vec![int("axis", 0)]),
        refused("block_size", codes(), &[2, 2], vec![int("axis", 0), int("block_size", 24)]),
        refused("block_size", codes(), &[4, 2], vec![int("axis", 0), int("block_size", -16)]),
        refused("not_an_attribute", codes(), &[2], vec![int("not_an_attribute", 0)]),
        refused("Int32", Tensor { data_type: DataType::Int32, ..codes() }, &[2], vec![]),
    ]
}

fn by_bits() -> Vec<Vector> {
    let mut vectors = Vec::new();
    // All codes are 9, one above the middle, and the scale is 0.5: half the sum of a row.
    let mut x = vec![0.0; 16];
    x[..4].copy_from_slice(&[127.0, 3.0, -2.0, 8.0]);
    let graph = OneNodeGraph::of(&[x])
        .constant("w", bytes(DataType::Uint8, &[1, 1, 8], &[0x99; 8]))
        .constant("scales", floats(&[1, 1], &[0.5]))
        .tested(microsoft(
            "MatMulNBits",
            &["x", "w", "scales"],
            &["logits"],
            vec![int("K", 16), int("N", 1), int("block_size", 16)],
        ));
    vectors.push(vector("the default of bits is 4", graph, vec![vec![68.0]]));

    let middle_of_4 = |_, _| 8.0;
    let middle_of_8 = |_, _| 128.0;
    let plain =
        Quantised { rows: 5, columns: 64, bits: 4, block: 32, signed: false, zero_point: middle_of_4 };
    let packed = Quantised { zero_point: |row, block| ((3 * row + 5 * block) % 16) as f32, ..plain };
    let floating = Quantised { zero_point: |row, block| (row + 2 * block) as f32 / 4.0 + 6.0, ..plain };
    let of_8 = Quantised { bits: 8, zero_point: middle_of_8, ..plain };
    let packed_8 = Quantised { zero_point: |row, block| (100 + 9 * row + 5 * block) as f32, ..of_8 };
    let bias = [1.0, -2.0, 3.0, -4.0, 0.5];
    let ragged = |q| Quantised { columns: 40, block: 16, ..q };
    let long = |q| Quantised { columns: 48, block: 128, ..q };
    for (name, q, zero_points, bias, half_scales) in [
        ("4 bits", plain, None, None, false),
        ("4 bits, bias, fp16 scales", plain, None, Some(bias), true),
        ("4 bits, zero points", packed, Some(Zero::Padded), None, false),
        ("4 bits, K of 40 in blocks of 16", ragged(plain), None, None, false),
        ("4 bits, three blocks, zero points by row", ragged(packed), Some(Zero::Padded), Some(bias), false),
        ("4 bits, three blocks, zero points without gaps", ragged(packed), Some(Zero::Flat), None, false),
        ("4 bits, fp32 zero points", ragged(floating), Some(Zero::Floats), Some(bias), false),
        ("4 bits, fp16 zero points", ragged(floating), Some(Zero::Halves), None, true),
        ("4 bits, a block longer than K", long(packed), Some(Zero::Padded), Some(bias), false),
        (
            "4 bits, blocks of 256",
            Quantised { block: 256, columns: 300, ..packed },
            Some(Zero::Padded),
            None,
            false,
        ),
        ("8 bits", of_8, None, None, false),
        ("8 bits, bias", ragged(of_8), None, Some(bias), false),
        ("8 bits, zero points", ragged(packed_8), Some(Zero::Padded), Some(bias), true),
        ("8 bits, a block longer than K", long(packed_8), Some(Zero::Padded), None, false),
        (
            "8 bits, fp32 zero points",
            Quantised { zero_point: floating.zero_point, ..of_8 },
            Some(Zero::Floats),
            None,
            false,
        ),
    ] {
        let x = exact_rows(3, q.columns);
        let (rows, blocks) = (q.rows as u64, q.blocks() as u64);
        let code_bytes = (q.block * q.bits / 8) as u64;
        let of_type = if half_scales { halves } else { floats };
        let mut inputs = vec!["x", "w", "scales", "", "", ""];
        let mut graph = OneNodeGraph::of(&x)
            .constant("w", bytes(DataType::Uint8, &[rows, blocks, code_bytes], &q.padded_codes()))
            .constant("scales", of_type(&[rows, blocks], &q.scales()));
        if let Some(zero) = zero_points {
            inputs[3] = "zero points";
            graph = graph.constant("zero points", zero.tensor(&q));
        }
        let mut expected = q.multiply(&x);
        if let Some(bias) = bias {
            inputs[5] = "bias";
            graph = graph.constant("bias", of_type(&[rows], &bias));
            for row in &mut expected {
                row.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += f64::from(bias));
            }
        }
        let attributes = [("K", q.columns), ("N", q.rows), ("bits", q.bits), ("block_size", q.block)];
        let attributes = attributes.map(|(name, value)| int(name, value as i64)).to_vec();
        let graph = graph.tested(microsoft("MatMulNBits", &inputs, &["logits"], attributes));
        vectors.push(vector(name, graph, expected));
    }
    vectors
}

/// The forms of `MatMulNBits`' input 3.
#[derive(Clone, Copy)]
enum Zero {
    Padded,
    Flat,
    Floats,
    Halves,
}

impl Zero {
    fn tensor(self, q: &Quantised) -> Tensor<'static> {
        let (rows, blocks) = (q.rows as u64, q.blocks() as u64);
        let packed = |packed: Vec<u8>| bytes(DataType::Uint8, &[packed.len() as u64], &packed);
        match self {
            Self::Padded => packed(q.padded_zero_points()),
            Self::Flat => packed(q.zero_points()),
            Self::Floats => floats(&[rows, blocks], &q.by_block(q.zero_point)),
            Self::Halves => halves(&[rows, blocks], &q.by_block(q.zero_point)),
        }
    }
}

fn refusals_by_bits() -> Vec<Refusal> {
    let sizes = || vec![int("K", 32), int("N", 2), int("bits", 4), int("block_size", 16)];
    let with = |changed: Attribute<'static>| {
        let mut attributes = sizes();
        attributes.retain(|attribute| attribute.name != changed.name);
        attributes.push(changed);
        attributes
    };
    let graph = |inputs: &[&'static str], attributes| {
        OneNodeGraph::of(&exact_rows(1, 32))
            .constant("w", bytes(DataType::Uint8, &[2, 2, 8], &[0x99; 32]))
            .constant("scales", floats(&[2, 2], &[1.0; 4]))
            .constant("other", integers(&[32], &[0; 32]))
            .constant("short", floats(&[1], &[1.0]))
            .tested(microsoft("MatMulNBits", inputs, &["logits"], attributes))
    };
    let three = ["x", "w", "scales"];
    let mut refusals: Vec<Refusal> = [
        ("bits", int("bits", 2)),
        ("bits", float("bits", 4.0)),
        ("block_size", int("block_size", 24)),
        ("block_size", int("block_size", 8)),
        ("block_size", int("block_size", 48)),
        ("block_size", int("block_size", -16)),
        ("K", int("K", 0)),
        ("N", int("N", -1)),
        ("weight_prepacked", int("weight_prepacked", 1)),
    ]
    .into_iter()
    .map(|(mentions, attribute)| refused(mentions, graph(&three, with(attribute))))
    .collect();
    refusals.extend([
        refused("g_idx", graph(&["x", "w", "scales", "", "other"], sizes())),
        refused("bias", graph(&["x", "w", "scales", "", "", "short"], sizes())),
        refused("input 2", graph(&["x", "w"], sizes())),
        refused("Float32", graph(&["x", "scales", "scales"], sizes())),
    ]);
    refusals
}
