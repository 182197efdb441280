//! The graphs of the golden directories, which the model builder wrote, against ours for the same decoders.

use std::path::Path;

use super::*;
use crate::import::decoder_spec::{Activation, BlockFormat, Embedding, Window, ZeroPoints};
use crate::import::rope::{LongRope, Rope, RopeScaling};
use crate::onnx::{AttributeValue, Graph, Node, Tensor, TensorContent};

const INT4: BlockFormat = BlockFormat { bits: 4, block_size: 32, zero_points: ZeroPoints::Symmetric };

fn spec(sizes: [usize; 6], storage: BlockFormat, embedding: Embedding) -> DecoderSpec {
    let [hidden_size, layers, attention_heads, kv_heads, head_size, feed_forward_size] = sizes;
    DecoderSpec {
        model_type: "llama".into(),
        hidden_size,
        attention_heads,
        kv_heads,
        head_size,
        feed_forward_size,
        vocabulary_size: 512,
        context_length: 1024,
        norm_epsilon: 1e-5,
        activation: Activation::Silu,
        rope: Rope { theta: 10_000.0, rotary_size: head_size, scaling: RopeScaling::None },
        attention_scale: (1.0 / (head_size as f64).sqrt()) as f32,
        attention_soft_cap: 0.0,
        logit_soft_cap: 0.0,
        embedding_scale: 1.0,
        window: None,
        norms_after: false,
        qkv_bias: false,
        float_type: FloatType::F32,
        accuracy_level: Some(4),
        layers: vec![LayerStorage::uniform(Storage::Blocks(storage)); layers],
        head: Storage::Blocks(storage),
        embedding,
    }
}

fn long_rope(rotary_size: usize) -> Rope {
    let factors = vec![1.0; rotary_size / 2];
    let long = LongRope {
        original_context: 128,
        short_factors: factors.clone(),
        long_factors: factors,
        magnitude: 1.0,
    };
    Rope { theta: 10_000.0, rotary_size, scaling: RopeScaling::Long(long) }
}

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models").join(name).join(GRAPH_FILE);
    std::fs::read(path).unwrap()
}

fn assert_same(name: &str, graph: &Graph<'_>, expected: &Graph<'_>) {
    fn each<T: PartialEq + std::fmt::Debug>(name: &str, ours: &[T], expected: &[T]) {
        for (ours, expected) in ours.iter().zip(expected) {
            assert_eq!(ours, expected, "{name}");
        }
        assert_eq!(ours.len(), expected.len(), "{name}");
    }
    each(name, &graph.nodes, &expected.nodes);
    each(name, &graph.initializers, &expected.initializers);
    each(name, &graph.inputs, &expected.inputs);
    each(name, &graph.outputs, &expected.outputs);
    // The builder gives some scalars no shape and constants of any shape that of a scalar; ours are right.
    let values = |graph: &Graph<'_>| {
        let mut values = Vec::new();
        for value in &graph.value_info {
            let shape = value.shape.clone().filter(|shape| !shape.is_empty());
            values.push(format!("{} {:?} {shape:?}", value.name, value.data_type));
        }
        values
    };
    each(name, &values(graph), &values(expected));
    assert_eq!(graph.name, expected.name);
}

/// The values of rotary caches inside the graph are compared elsewhere.
fn without_cache_values<'a>(graph: &Graph<'a>) -> Graph<'a> {
    let mut graph = graph.clone();
    for node in &mut graph.nodes {
        for attribute in &mut node.attributes {
            match &mut attribute.value {
                AttributeValue::Graph(branch) => **branch = without_cache_values(branch),
                AttributeValue::Tensor(Tensor { content, dims, .. }) if dims.len() == 2 => {
                    *content = TensorContent::Inline(&[]);
                }
                _ => {}
            }
        }
    }
    graph
}

#[test]
fn graphs_equal_the_model_builders() {
    let b128 = BlockFormat { bits: 4, block_size: 128, zero_points: ZeroPoints::Packed };
    let qwen = DecoderSpec {
        qkv_bias: true,
        norm_epsilon: 1e-6,
        ..spec([256, 3, 8, 2, 32, 704], INT4, Embedding::Tied)
    };
    let cases = [
        ("qwen-2.5-3b-int4", qwen),
        ("phi-4-int4", spec([320, 2, 10, 2, 32, 640], INT4, Embedding::Table)),
        ("mistral-nemo-int4", spec([320, 2, 8, 2, 32, 896], INT4, Embedding::Table)),
        ("mistral-nemo-int4-b128-asym", spec([320, 2, 8, 2, 32, 896], b128, Embedding::Table)),
    ];
    for (name, spec) in cases {
        let bytes = golden(name);
        let expected = Model::parse(&bytes).unwrap();
        let decoder = DecoderGraph::new(&spec).unwrap();
        let model = decoder.model();
        assert_same(name, &model.graph, &expected.graph);
        assert_eq!((model.ir_version, &model.operator_sets), (expected.ir_version, &expected.operator_sets));
    }
}

/// In these golden directories the lm_head reads the first layer's last norm, because of how they were made; so the
/// order of nodes and weights differs too.
#[test]
fn nodes_equal_the_model_builders_up_to_the_heads_input() {
    let tied = |sizes| spec(sizes, INT4, Embedding::Tied);
    let int8 = BlockFormat { bits: 8, ..INT4 };
    let half =
        DecoderSpec { float_type: FloatType::F16, accuracy_level: None, ..tied([256, 3, 8, 2, 32, 512]) };
    let phi_mini = DecoderSpec { rope: long_rope(48), ..tied([384, 3, 6, 2, 64, 512]) };
    let phi_3 = DecoderSpec { rope: long_rope(32), ..spec([256, 3, 8, 8, 32, 512], INT4, Embedding::Table) };
    let gemma = DecoderSpec {
        norm_epsilon: 1e-6,
        activation: Activation::GeluTanh,
        attention_soft_cap: 50.0,
        logit_soft_cap: 30.0,
        embedding_scale: 16.0,
        window: Some(Window { size: 64, layers: vec![0, 2], window_sized_cache: false }),
        norms_after: true,
        ..tied([256, 4, 4, 2, 64, 512])
    };
    let cases = [
        ("llama-3.2-1b-int4", tied([256, 3, 8, 2, 32, 512])),
        ("llama-3.2-1b-int8", spec([256, 3, 8, 2, 32, 512], int8, Embedding::Table)),
        ("llama-3.2-1b-cuda-int4", half),
        ("phi-4-mini-int4", phi_mini),
        ("phi-3.5-mini-int4", phi_3),
        ("gemma-2-2b-int4", gemma),
    ];
    for (name, spec) in cases {
        let bytes = golden(name);
        let expected = Model::parse(&bytes).unwrap();
        let decoder = DecoderGraph::new(&spec).unwrap();
        let model = decoder.model();
        let mut graph = without_cache_values(&model.graph);
        let mut expected = without_cache_values(&expected.graph);
        for graph in [&mut graph, &mut expected] {
            sort_nodes(&mut graph.nodes);
            // Their places in the data file follow the order of nodes.
            graph.initializers.sort_by_key(|tensor| tensor.name);
            for tensor in &mut graph.initializers {
                if let TensorContent::External { offset, .. } = &mut tensor.content {
                    *offset = 0;
                }
            }
            graph.value_info.sort_by_key(|value| value.name);
        }
        assert_same(name, &graph, &expected);
    }
}

fn sort_nodes(nodes: &mut [Node<'_>]) {
    for node in nodes.iter_mut().filter(|node| node.name.starts_with("/lm_head/MatMul")) {
        node.inputs[0] = "normed";
    }
    nodes.sort_by_key(|node| node.name);
}

#[test]
fn the_head_reads_the_final_norm() {
    let decoder = DecoderGraph::new(&spec([256, 3, 8, 2, 32, 512], INT4, Embedding::Tied)).unwrap();
    let model = decoder.model();
    let head = model.graph.nodes.last().unwrap();
    assert_eq!(
        (head.name, head.inputs[0]),
        ("/lm_head/MatMul_Q4", "/model/layers.3/final_norm_layernorm/output_0")
    );
}

#[test]
fn weights_fill_the_data_file_without_gaps() {
    let decoder = DecoderGraph::new(&spec([256, 2, 8, 2, 32, 512], INT4, Embedding::Table)).unwrap();
    let mut end = 0;
    for tensor in decoder.model().graph.initializers {
        let TensorContent::External { offset, length, .. } = tensor.content else {
            panic!("{}", tensor.name)
        };
        assert_eq!(offset, end, "{}", tensor.name);
        assert_eq!(length, tensor.byte_length(), "{}", tensor.name);
        end += length.unwrap();
    }
    assert_eq!(end, decoder.data_bytes());
}

#[test]
fn an_impossible_decoder_is_refused() {
    let good = || spec([256, 1, 8, 2, 32, 512], INT4, Embedding::Tied);
    let float = BlockFormat { zero_points: ZeroPoints::Float, ..INT4 };
    let cases: [(&str, DecoderSpec); 8] = [
        ("layers", DecoderSpec { layers: Vec::new(), ..good() }),
        ("hidden size", DecoderSpec { hidden_size: 0, ..good() }),
        ("vocabulary", DecoderSpec { vocabulary_size: usize::MAX, ..good() }),
        ("share", DecoderSpec { kv_heads: 3, ..good() }),
        ("head size", DecoderSpec { head_size: 20, ..good() }),
        ("rotary size", DecoderSpec { rope: Rope { rotary_size: 64, ..good().rope }, ..good() }),
        ("float zero points", DecoderSpec { head: Storage::Blocks(float), ..good() }),
        ("float zero points", DecoderSpec { embedding: Embedding::Blocks(float), ..good() }),
    ];
    for (text, spec) in cases {
        let error = DecoderGraph::new(&spec).unwrap_err();
        assert!(error.to_string().contains(text), "{text}: {error}");
    }
}
