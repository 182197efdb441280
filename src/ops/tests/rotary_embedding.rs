//! `RotaryEmbedding`.

use super::graph::{OneNodeGraph, float, floats, int, integers, microsoft, onnx};
use super::{Refusal, Vector, refused, vector};
use crate::onnx::{Attribute, Tensor};

/// Positions that the tables have.
pub(super) const POSITIONS: usize = 80;

/// Entry `index` of row `position` of the cosines. Any numbers do; these are exact in f16 and all differ in a row.
pub(super) fn cosine(position: usize, index: usize) -> f32 {
    1.0 - ((3 * position + 5 * index) % 32) as f32 / 16.0
}

/// The same of the sines.
pub(super) fn sine(position: usize, index: usize) -> f32 {
    ((7 * position + 3 * index + 1) % 32) as f32 / 16.0 - 1.0
}

/// A table for heads of which `rotated` elements rotate.
pub(super) fn table(entry: fn(usize, usize) -> f32, rotated: usize) -> Tensor<'static> {
    let half = rotated / 2;
    let entries: Vec<f32> = (0..POSITIONS * half).map(|place| entry(place / half, place % half)).collect();
    floats(&[POSITIONS as u64, half as u64], &entries)
}

/// Rotates the first `rotated` elements of a head.
pub(super) fn rotate(head: &[f64], position: usize, rotated: usize, interleaved: bool) -> Vec<f64> {
    let mut result = head.to_vec();
    for index in 0..rotated / 2 {
        let (first, second) =
            if interleaved { (2 * index, 2 * index + 1) } else { (index, index + rotated / 2) };
        let (cosine, sine) = (f64::from(cosine(position, index)), f64::from(sine(position, index)));
        result[first] = head[first] * cosine - head[second] * sine;
        result[second] = head[second] * cosine + head[first] * sine;
    }
    result
}

/// Three tokens, two heads of 8 elements or four of 4.
fn x() -> Vec<Vec<f32>> {
    let element = |token: usize, column: usize| ((5 * token + 3 * column) % 17) as f32 / 4.0 - 2.0;
    (0..3).map(|token| (0..16).map(|column| element(token, column)).collect()).collect()
}

fn rotated(head_size: usize, rotated: usize, interleaved: bool, shift: usize) -> Vec<Vec<f64>> {
    let rows = x().into_iter().enumerate();
    rows.map(|(token, row)| {
        let row: Vec<f64> = row.into_iter().map(f64::from).collect();
        row.chunks(head_size).flat_map(|head| rotate(head, token + shift, rotated, interleaved)).collect()
    })
    .collect()
}

fn graph(rotated: usize, positions: &'static str, attributes: Vec<Attribute<'static>>) -> OneNodeGraph {
    OneNodeGraph::of(&x())
        .constant("cosines", table(cosine, rotated))
        .constant("sines", table(sine, rotated))
        .tested(microsoft("RotaryEmbedding", &["x", positions, "cosines", "sines"], &["logits"], attributes))
}

pub(super) fn vectors() -> Vec<Vector> {
    let partial = || vec![int("num_heads", 2), int("rotary_embedding_dim", 4)];
    // 2 · 3 − 4 · 5 and 4 · 3 + 2 · 5 for the cosine 3 and the sine 5, as a check of the loop itself.
    let by_hand = OneNodeGraph::of(&[vec![2.0, 4.0]])
        .constant("cosines", floats(&[2, 1], &[3.0, 0.0]))
        .constant("sines", floats(&[2, 1], &[5.0, 0.0]))
        .tested(microsoft(
            "RotaryEmbedding",
            &["x", "position_ids", "cosines", "sines"],
            &["logits"],
            vec![],
        ));
    let first_position = graph(8, "past", vec![])
        .constant("one", integers(&[1], &[1]))
        .node(onnx("Shape", &["attention_mask"], &["extents"], vec![]))
        .node(onnx("Gather", &["extents", "one"], &["total"], vec![]))
        .node(onnx("Shape", &["input_ids"], &["new extents"], vec![]))
        .node(onnx("Gather", &["new extents", "one"], &["new"], vec![]))
        .node(onnx("Sub", &["total", "new"], &["past"], vec![]));
    let shifted = graph(8, "shifted", vec![]).constant("seven", integers(&[], &[7])).node(onnx(
        "Add",
        &["position_ids", "seven"],
        &["shifted"],
        vec![],
    ));
    vec![
        vector("one pair by hand", by_hand, vec![vec![-14.0, 22.0]]),
        vector("halves", graph(8, "position_ids", vec![]), rotated(8, 8, false, 0)),
        vector(
            "heads as wide as the table says",
            graph(4, "position_ids", vec![int("interleaved", 0), float("scale", 1.0)]),
            rotated(4, 4, false, 0),
        ),
        vector(
            "neighbours",
            graph(8, "position_ids", vec![int("interleaved", 1), int("num_heads", 2)]),
            rotated(8, 8, true, 0),
        ),
        vector("half of each head", graph(4, "position_ids", partial()), rotated(8, 4, false, 0)),
        vector(
            "half of each head, neighbours",
            graph(4, "position_ids", [partial(), vec![int("interleaved", 1)]].concat()),
            rotated(8, 4, true, 0),
        ),
        vector("the position of the first token", first_position, rotated(8, 8, false, 0)),
        vector("positions with an offset", shifted, rotated(8, 8, false, 7)),
    ]
}

pub(super) fn refusals() -> Vec<Refusal> {
    let with = |rotated, attributes| graph(rotated, "position_ids", attributes);
    let heads = OneNodeGraph::of(&x())
        .constant("shape", integers(&[4], &[0, 0, 2, 8]))
        .node(onnx("Reshape", &["x", "shape"], &["heads"], vec![]))
        .constant("cosines", table(cosine, 8))
        .constant("sines", table(sine, 8))
        .tested(microsoft(
            "RotaryEmbedding",
            &["heads", "position_ids", "cosines", "sines"],
            &["logits"],
            vec![],
        ));
    vec![
        refused("scale", with(8, vec![float("scale", 2.0)])),
        refused("is_packed_batching", with(8, vec![int("is_packed_batching", 1)])),
        refused("interleaved", with(8, vec![int("interleaved", 2)])),
        // Heads of 5 would leave a column over; heads of 2 cannot hold 8 rotated elements.
        refused("num_heads", with(4, vec![int("num_heads", 3), int("rotary_embedding_dim", 4)])),
        refused("num_heads", with(8, vec![int("num_heads", 8), int("rotary_embedding_dim", 8)])),
        // Two heads of 8, of which a table for heads of 4 does not tell that it is a partial one.
        refused("num_heads", with(4, vec![int("num_heads", 2)])),
        // Six heads of 2 do not fill rows of 16.
        refused("num_heads", with(2, vec![int("num_heads", 6), int("rotary_embedding_dim", 2)])),
        refused("rotary_embedding_dim", with(8, vec![int("num_heads", 2), int("rotary_embedding_dim", 4)])),
        refused("rotary_embedding_dim", with(8, vec![int("rotary_embedding_dim", -8)])),
        // A tensor with four axes has the heads before the tokens.
        refused("heads", heads),
        Refusal {
            graph: graph(8, "constant", vec![]).constant("constant", integers(&[1], &[0])),
            node: "constant",
            mentions: "positions are not those of consecutive tokens",
        },
    ]
}
