//! `GroupQueryAttention` against the formula in f64.

use super::graph::{OneNodeGraph, float, floats, halves, int, integers, microsoft, onnx, text};
use super::rotary_embedding::{cosine, rotate, sine, table};
use super::{Refusal, Vector, refused, vector};
use crate::onnx::Attribute;

/// Elements of a head.
const SIZE: usize = 8;

/// One attention and what it is given.
#[derive(Clone)]
struct Attention {
    heads: usize,
    kv_heads: usize,
    tokens: usize,
    scale: f64,
    softcap: Option<f64>,
    window: Option<usize>,
    sinks: Option<Vec<f64>>,
    /// How many elements rotate, and whether neighbours do.
    rotation: Option<(usize, bool)>,
}

impl Attention {
    fn new(heads: usize, kv_heads: usize, tokens: usize) -> Self {
        let scale = 1.0 / (SIZE as f64).sqrt();
        Self { heads, kv_heads, tokens, scale, softcap: None, window: None, sinks: None, rotation: None }
    }

    /// Queries, keys and values of a token side by side, exact in f16.
    fn packed(&self) -> Vec<Vec<f32>> {
        let width = (self.heads + 2 * self.kv_heads) * SIZE;
        let element = |token: usize, column: usize| {
            ((11 * token + 7 * column + token * column % 5) % 33) as f32 / 8.0 - 2.0
        };
        (0..self.tokens).map(|token| (0..width).map(|column| element(token, column)).collect()).collect()
    }

    /// Head `head` of `token`, queries first, then keys, then values.
    fn head(&self, token: usize, head: usize) -> Vec<f64> {
        self.packed()[token][head * SIZE..][..SIZE].iter().map(|element| f64::from(*element)).collect()
    }

    fn rotated(&self, token: usize, head: usize) -> Vec<f64> {
        let plain = self.head(token, head);
        match self.rotation {
            Some((rotated, interleaved)) => rotate(&plain, token, rotated, interleaved),
            None => plain,
        }
    }

    /// The attended values, by the definition.
    fn attended(&self) -> Vec<Vec<f64>> {
        (0..self.tokens)
            .map(|token| (0..self.heads).flat_map(|head| self.attended_head(token, head)).collect())
            .collect()
    }

    fn attended_head(&self, token: usize, head: usize) -> Vec<f64> {
        let kv_head = head / (self.heads / self.kv_heads);
        let query = self.rotated(token, head);
        let first = self.window.map_or(0, |window| (token + 1).saturating_sub(window));
        let weights: Vec<f64> = (first..=token)
            .map(|position| {
                let key = self.rotated(position, self.heads + kv_head);
                let product: f64 = query.iter().zip(&key).map(|(query, key)| query * key).sum();
                let score = product * self.scale;
                self.softcap.map_or(score, |cap| cap * (score / cap).tanh()).exp()
            })
            .collect();
        let sink = self.sinks.as_ref().map_or(0.0, |sinks| sinks[head].exp());
        let sum = weights.iter().sum::<f64>() + sink;
        let mut attended = vec![0.0; SIZE];
        for (position, weight) in (first..=token).zip(&weights) {
            let value = self.head(position, self.heads + self.kv_heads + kv_head);
            attended.iter_mut().zip(value).for_each(|(sum_of, value)| *sum_of += weight / sum * value);
        }
        attended
    }

    /// The node over packed rows.
    fn graph(&self, attributes: Vec<Attribute<'static>>) -> OneNodeGraph {
        self.graph_of(OneNodeGraph::of(&self.packed()), &["x", "", ""], &[], attributes)
    }

    /// The node with `query`'s three inputs and with what follows the lengths.
    fn graph_of(
        &self,
        graph: OneNodeGraph,
        query: &[&'static str; 3],
        after_lengths: &[&'static str],
        attributes: Vec<Attribute<'static>>,
    ) -> OneNodeGraph {
        let inputs =
            [query, ["past_key", "past_value", "lengths", "total"].as_slice(), after_lengths].concat();
        let sizes = [("num_heads", self.heads), ("kv_num_heads", self.kv_heads)];
        let sizes = sizes.map(|(name, value)| int(name, value as i64));
        // Unless the test gives others.
        let kept = sizes.into_iter().filter(|size| attributes.iter().all(|other| other.name != size.name));
        let attributes = kept.chain(attributes.clone()).collect();
        lengths(graph).tested(microsoft("GroupQueryAttention", &inputs, &["logits"], attributes))
    }

    fn rotating(&self, rotated: usize, attributes: Vec<Attribute<'static>>) -> OneNodeGraph {
        self.rotating_at(rotated, "", attributes)
    }

    fn rotating_at(
        &self,
        rotated: usize,
        positions: &'static str,
        attributes: Vec<Attribute<'static>>,
    ) -> OneNodeGraph {
        let graph = OneNodeGraph::of(&self.packed())
            .constant("cosines", table(cosine, rotated))
            .constant("sines", table(sine, rotated));
        let attributes = [vec![int("do_rotary", 1)], attributes].concat();
        self.graph_of(graph, &["x", "", ""], &["cosines", "sines", positions], attributes)
    }
}

/// The sequence's length less one, and its length, as the model builder computes them.
fn lengths(graph: OneNodeGraph) -> OneNodeGraph {
    graph
        .constant("axis 1", integers(&[1], &[1]))
        .constant("index 1", integers(&[], &[1]))
        .node(onnx("ReduceSum", &["attention_mask", "axis 1"], &["sums"], vec![int("keepdims", 0)]))
        .node(onnx("Sub", &["sums", "axis 1"], &["less one"], vec![]))
        .node(onnx("Cast", &["less one"], &["lengths"], vec![int("to", 6)]))
        .node(onnx("Shape", &["attention_mask"], &["extents"], vec![]))
        .node(onnx("Gather", &["extents", "index 1"], &["length"], vec![int("axis", 0)]))
        .node(onnx("Cast", &["length"], &["total"], vec![int("to", 6)]))
}

pub(super) fn vectors() -> Vec<Vector> {
    [by_hand(), scores(), rotations(), inputs()].into_iter().flatten().collect()
}

/// Queries of zero weigh all positions alike, so what comes out is the mean of the values.
fn by_hand() -> Vec<Vector> {
    let attention = Attention::new(1, 1, 3);
    let row = |value: f32| [vec![0.0; SIZE], vec![1.0; SIZE], vec![value; SIZE]].concat();
    let rows = [row(6.0), row(-2.0), row(11.0)];
    let graph = |after_lengths: &[&'static str], attributes| {
        let graph = OneNodeGraph::of(&rows).constant("sink", floats(&[1], &[2.0_f32.ln()]));
        attention.graph_of(graph, &["x", "", ""], after_lengths, attributes)
    };
    let sink = ["", "", "", "", "sink"];
    let expected = |values: [f64; 3]| values.map(|value| vec![value; SIZE]).to_vec();
    vec![
        vector("the mean of the values", graph(&[], vec![]), expected([6.0, 2.0, 5.0])),
        vector("a window of two", graph(&[], vec![int("local_window_size", 2)]), expected([6.0, 2.0, 4.5])),
        vector("a window of one", graph(&[], vec![int("local_window_size", 1)]), expected([6.0, -2.0, 11.0])),
        // One more position whose value is 0.
        vector(
            "a smooth softmax",
            graph(&[], vec![int("smooth_softmax", 1)]),
            expected([3.0, 4.0 / 3.0, 15.0 / 4.0]),
        ),
        // Two more such positions.
        vector("a sink of ln 2", graph(&sink, vec![]), expected([2.0, 1.0, 3.0])),
        vector(
            "a sink and a window",
            graph(&sink, vec![int("local_window_size", 2)]),
            expected([2.0, 1.0, 9.0 / 4.0]),
        ),
    ]
}

fn scores() -> Vec<Vector> {
    let grouped = Attention::new(4, 2, 5);
    let long = Attention::new(2, 1, 70);
    let with_sinks = Attention { sinks: Some(vec![0.5, -1.0, 2.0, 0.0]), ..grouped.clone() };
    let sinks: Vec<f32> = vec![0.5, -1.0, 2.0, 0.0];
    let defaults = vec![
        float("scale", 0.0),
        float("softcap", 0.0),
        int("local_window_size", -1),
        int("do_rotary", 0),
        int("smooth_softmax", -1),
        int("qk_output", 0),
        int("causal", 1),
        int("kv_cache_bit_width", 0),
        text("k_quant_type", "NONE"),
        text("v_quant_type", "NONE"),
        int("sliding_window_cache", 0),
    ];
    let case = |name, attention: &Attention, attributes| {
        vector(name, attention.graph(attributes), attention.attended())
    };
    vec![
        case("a query head for each key head", &Attention::new(2, 2, 4), vec![]),
        case("two query heads for each key head", &grouped, vec![]),
        case("all query heads for one key head", &Attention::new(3, 1, 4), vec![]),
        case("every attribute at its default", &grouped, defaults),
        case("scale", &Attention { scale: 0.25, ..grouped.clone() }, vec![float("scale", 0.25)]),
        case("softcap", &Attention { softcap: Some(1.5), ..grouped.clone() }, vec![float("softcap", 1.5)]),
        case(
            "softcap after the scale, a window and a smooth softmax",
            &Attention {
                scale: 0.5,
                softcap: Some(2.0),
                window: Some(3),
                sinks: Some(vec![0.0; 4]),
                ..grouped.clone()
            },
            vec![
                float("scale", 0.5),
                float("softcap", 2.0),
                int("local_window_size", 3),
                int("smooth_softmax", 1),
            ],
        ),
        case("more positions than a block of the cache", &long, vec![]),
        case(
            "a window across the border of a block",
            &Attention { window: Some(9), ..long.clone() },
            vec![int("local_window_size", 9), int("sliding_window_cache", 1)],
        ),
        vector(
            "a sink for each query head",
            with_sinks.graph_of(
                OneNodeGraph::of(&with_sinks.packed()).constant("sinks", halves(&[4], &sinks)),
                &["x", "", ""],
                &["", "", "", "", "sinks"],
                vec![],
            ),
            with_sinks.attended(),
        ),
    ]
}

fn rotations() -> Vec<Vector> {
    let grouped = Attention::new(4, 2, 5);
    let case = |name, rotation: (usize, bool), positions, attributes| {
        let attention = Attention { rotation: Some(rotation), ..grouped.clone() };
        vector(name, attention.rotating_at(rotation.0, positions, attributes), attention.attended())
    };
    let neighbours = || vec![int("rotary_interleaved", 1)];
    vec![
        case("halves", (8, false), "", vec![int("rotary_interleaved", 0)]),
        case("neighbours", (8, true), "", neighbours()),
        case("half of each head", (4, false), "", vec![]),
        case("half of each head, neighbours", (4, true), "", neighbours()),
        case("position_ids", (8, false), "position_ids", vec![]),
    ]
}

/// Queries, keys and values as three inputs.
fn inputs() -> Vec<Vector> {
    let attention = Attention::new(4, 2, 5);
    let (query, kv) = (4 * SIZE, 2 * SIZE);
    let split = |parts: &[&'static str; 3]| {
        OneNodeGraph::of(&attention.packed())
            .constant("sizes", integers(&[3], &[query as i64, kv as i64, kv as i64]))
            .node(onnx("Split", &["x", "sizes"], parts, vec![int("axis", -1)]))
    };
    let plain = || split(&["q", "k", "v"]);
    let case = |name, attention: &Attention, graph, after_lengths: &[&'static str], attributes| {
        let graph = attention.graph_of(graph, &["q", "k", "v"], after_lengths, attributes);
        vector(name, graph, attention.attended())
    };
    let rotated = Attention { rotation: Some((8, false)), ..attention.clone() };
    let tables =
        |graph: OneNodeGraph| graph.constant("cosines", table(cosine, 8)).constant("sines", table(sine, 8));
    // Rotated by nodes of their own, as the DirectML builds have it.
    let rotate = |input, output| {
        microsoft("RotaryEmbedding", &[input, "position_ids", "cosines", "sines"], &[output], vec![])
    };
    let by_nodes =
        tables(split(&["plain q", "plain k", "v"])).node(rotate("plain q", "q")).node(rotate("plain k", "k"));
    vec![
        case("three inputs", &attention, plain(), &[], vec![]),
        case(
            "three inputs, rotated",
            &rotated,
            tables(plain()),
            &["cosines", "sines"],
            vec![int("do_rotary", 1)],
        ),
        case("three inputs, rotated before", &rotated, by_nodes, &[], vec![]),
    ]
}

pub(super) fn refusals() -> Vec<Refusal> {
    let attention = Attention::new(4, 2, 2);
    let mut refusals: Vec<Refusal> = [
        int("num_heads", 0),
        int("kv_num_heads", 0),
        int("kv_num_heads", 3),
        int("kv_num_heads", -2),
        float("num_heads", 4.0),
        float("scale", f32::NAN),
        float("softcap", -1.0),
        int("local_window_size", 0),
        int("local_window_size", -2),
        int("smooth_softmax", 2),
        int("do_rotary", 2),
        int("qk_output", 1),
        int("causal", 0),
        int("kv_cache_bit_width", 8),
        text("k_quant_type", "PER_TENSOR"),
        text("v_quant_type", "PER_CHANNEL"),
    ]
    .into_iter()
    .map(|attribute| refused(attribute.name, attention.graph(vec![attribute])))
    .collect();
    refusals.push(refused("rotary_interleaved", attention.rotating(8, vec![int("rotary_interleaved", 2)])));
    refusals.push(refused("10 rotated elements of heads of 8", attention.rotating(10, vec![])));
    for (place, name) in [
        (3, "attention_bias"),
        (5, "k_scale"),
        (6, "v_scale"),
        (7, "q_norm_weight"),
        (8, "k_norm_weight"),
        (9, "query_seqlens"),
    ] {
        let mut after_lengths = vec![""; place + 1];
        after_lengths[place] = "some constant";
        let graph = OneNodeGraph::of(&attention.packed()).constant("some constant", floats(&[1], &[1.0]));
        refusals.push(refused(name, attention.graph_of(graph, &["x", "", ""], &after_lengths, vec![])));
    }
    let three_sinks = OneNodeGraph::of(&attention.packed()).constant("sinks", floats(&[3], &[1.0; 3]));
    let after_lengths = ["", "", "", "", "sinks"];
    let three_sinks = attention.graph_of(three_sinks, &["x", "", ""], &after_lengths, vec![]);
    refusals.push(refused("3 head sinks for 4 heads", three_sinks));
    // Two heads of 4 elements, which is no multiple of 8.
    let narrow = OneNodeGraph::of(&[vec![1.0; 16]]);
    let narrow = Attention::new(2, 1, 1).graph_of(narrow, &["x", "", ""], &[], vec![]);
    refusals.push(refused("a multiple of 8", narrow));
    refusals.extend(wrong_lengths(&attention));
    refusals
}

/// Lengths that are not those of the sequence, and a cache that is not the graph's.
fn wrong_lengths(attention: &Attention) -> Vec<Refusal> {
    let with = |place: usize, name: &'static str| {
        let mut graph = attention
            .graph(vec![])
            .constant("five", integers(&[1], &[5]))
            .constant("cache", floats(&[1, 2, 0, 8], &[]));
        graph.tested_node().inputs[place] = name;
        graph
    };
    vec![
        refused("input 5 (total)", with(5, "total")),
        refused("input 5 (five)", with(5, "five")),
        refused("input 6 (five)", with(6, "five")),
        refused("input 3 (cache)", with(3, "cache")),
        refused("input 4 (cache)", with(4, "cache")),
    ]
}
