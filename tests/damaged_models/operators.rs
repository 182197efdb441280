//! Operators with absurd attributes: each a typed error that names the node, or an answer.

use edgeslm::ErrorKind;
use edgeslm::onnx::AttributeValue::{Float, Floats, Int, Ints, Strings};
use edgeslm::onnx::{AttributeValue, Graph, Node, TensorContent};

use super::cases::Cases;
use super::fixtures::{Copy, GRAPH, Outcome, node, outcome, refused_at, set, tensor};

const MODEL: &str = "models/llama-3.2-1b-int4";

const REFUSALS: [ErrorKind; 2] = [ErrorKind::InvalidModel, ErrorKind::Unsupported];

fn changed(model: &str, change: impl FnOnce(&mut Graph<'_>)) -> Result<Outcome, String> {
    let copy = Copy::of(model);
    copy.edit_graph(change);
    outcome(copy.path())
}

/// Integers that no attribute may have, and some that it may.
const INTEGERS: [i64; 16] =
    [0, -1, 1, 2, 3, 5, 8, 17, 100, 512, 1 << 20, 1 << 40, 1 << 62, i64::MAX, -(1 << 40), i64::MIN];

const FLOATS: [f32; 8] =
    [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -1.0, 0.0, f32::MIN_POSITIVE];

/// Every attribute of the operators of three graphs, at every absurd value.
#[test]
fn absurd_values() {
    let mut cases = Cases::new("absurd attributes");
    for (model, op_type, integers, floats) in [
        (
            MODEL,
            "MatMulNBits",
            &["K", "N", "bits", "block_size", "accuracy_level", "weight_prepacked"][..],
            &[][..],
        ),
        (MODEL, "GatherBlockQuantized", &["bits", "block_size", "gather_axis", "quantize_axis"], &[]),
        (
            MODEL,
            "GroupQueryAttention",
            &[
                "num_heads",
                "kv_num_heads",
                "local_window_size",
                "do_rotary",
                "rotary_interleaved",
                "smooth_softmax",
                "qk_output",
                "kv_cache_bit_width",
            ],
            &["scale", "softcap"],
        ),
        (MODEL, "SimplifiedLayerNormalization", &["axis", "stash_type"], &["epsilon"]),
        (MODEL, "SkipSimplifiedLayerNormalization", &[], &["epsilon"]),
        (MODEL, "Reshape", &["allowzero"], &[]),
        ("variants/qdq-8-bits", "DequantizeLinear", &["axis", "block_size", "output_dtype"], &[]),
        (
            "variants/rotary-nodes-partial",
            "RotaryEmbedding",
            &["interleaved", "num_heads", "rotary_embedding_dim", "is_packed_batching"],
            &["scale"],
        ),
        ("variants/dense", "Gather", &["axis"], &[]),
        ("variants/qk-norm-split", "Split", &["axis", "num_outputs"], &[]),
        ("variants/gelu-forms", "Cast", &["to", "saturate"], &[]),
        ("variants/other-activations", "QuickGelu", &[], &["alpha"]),
    ] {
        let integers = integers.iter().flat_map(|name| INTEGERS.map(|value| (*name, Int(value))));
        let floats = floats.iter().flat_map(|name| FLOATS.map(|value| (*name, Float(value))));
        for (name, value) in integers.chain(floats) {
            cases.run(format!("{op_type} {name} {value:?}"), || {
                changed(model, |graph| set(node(graph, op_type), name, value.clone())).map(drop)
            });
        }
    }
    cases.finish();
}

/// Values that must be refused, and at the node.
#[test]
fn impossible_values_are_refused_at_their_node() {
    let mut cases = Cases::new("impossible attributes");
    for (op_type, name, values) in [
        ("MatMulNBits", "block_size", &[0, -1, 1, 8, 15, 17, 48, i64::MAX, i64::MIN][..]),
        ("MatMulNBits", "bits", &[0, -1, 1, 2, 3, 5, 7, 16, i64::MAX]),
        ("MatMulNBits", "K", &[0, -1, 255, 1 << 40, i64::MAX]),
        ("MatMulNBits", "N", &[0, -1, 383, 385, 1 << 40, i64::MAX]),
        ("GatherBlockQuantized", "block_size", &[0, -1, 1, 31, i64::MAX]),
        ("GroupQueryAttention", "num_heads", &[0, -1, 3, 7, 1 << 40, i64::MAX]),
        ("GroupQueryAttention", "kv_num_heads", &[0, -1, 3, 5, 16, 1 << 40, i64::MAX]),
        ("GroupQueryAttention", "local_window_size", &[0, -2, i64::MIN]),
    ] {
        // The tensor whose size does not fit, or the node.
        let place = if matches!(name, "K" | "N") { "MatMul" } else { op_type };
        for &value in values {
            cases.run(format!("{op_type} {name} {value}"), || {
                let outcome = changed(MODEL, |graph| set(node(graph, op_type), name, Int(value)))?;
                refused_at(outcome, &REFUSALS, GRAPH, place)
            });
        }
    }
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for name in ["scale", "softcap"] {
            cases.run(format!("GroupQueryAttention {name} {value}"), || {
                let outcome =
                    changed(MODEL, |graph| set(node(graph, "GroupQueryAttention"), name, Float(value)))?;
                refused_at(outcome, &REFUSALS, GRAPH, "GroupQueryAttention")
            });
        }
    }
    cases.finish();
}

/// A wrong kind of value, a missing one, an unknown one.
#[test]
fn wrong_kinds_of_value_are_refused() {
    let mut cases = Cases::new("wrong kinds of attribute");
    let kinds: [AttributeValue<'static>; 6] = [
        Float(4.0),
        AttributeValue::String(b"\xff"),
        Ints(vec![4]),
        Floats(vec![4.0]),
        Strings(vec![b"4"]),
        AttributeValue::Graph(Box::default()),
    ];
    for (op_type, name) in [
        ("MatMulNBits", "K"),
        ("MatMulNBits", "bits"),
        ("GroupQueryAttention", "num_heads"),
        ("GatherBlockQuantized", "block_size"),
        ("SimplifiedLayerNormalization", "axis"),
    ] {
        for value in &kinds {
            cases.run(format!("{op_type} {name} {value:?}"), || {
                let outcome = changed(MODEL, |graph| set(node(graph, op_type), name, value.clone()))?;
                refused_at(outcome, &REFUSALS, GRAPH, op_type)
            });
        }
    }
    for (op_type, name) in
        [("MatMulNBits", "K"), ("MatMulNBits", "block_size"), ("GroupQueryAttention", "num_heads")]
    {
        cases.run(format!("{op_type} without {name}"), || {
            let outcome = changed(MODEL, |graph| {
                node(graph, op_type).attributes.retain(|attribute| attribute.name != name);
            })?;
            refused_at(outcome, &REFUSALS, GRAPH, op_type)
        });
    }
    cases.run("an unknown attribute", || {
        let outcome = changed(MODEL, |graph| set(node(graph, "MatMulNBits"), "unheard_of", Int(1)))?;
        refused_at(outcome, &REFUSALS, GRAPH, "MatMulNBits")
    });
    cases.finish();
}

/// Rotation tables of other shapes: wider than a head, or with fewer rows than the context.
#[test]
fn rotation_tables() {
    let mut cases = Cases::new("rotation tables");
    for dims in [vec![64, 256], vec![1, 16_384], vec![512, 32], vec![16_384], vec![1, 1024, 16]] {
        cases.run(format!("{dims:?}"), || {
            let outcome = changed(MODEL, |graph| {
                for part in ["cos_cache", "sin_cache"] {
                    tensor(graph, part).dims = dims.clone();
                }
            })?;
            if dims == [512, 32] {
                // 64 rotated elements of heads of 32.
                return refused_at(outcome, &REFUSALS, GRAPH, "GroupQueryAttention");
            }
            refused_at(outcome, &REFUSALS, GRAPH, "")
        });
    }
    cases.run("tables of different shapes", || {
        let outcome = changed(MODEL, |graph| tensor(graph, "cos_cache").dims = vec![2048, 8])?;
        refused_at(outcome, &REFUSALS, GRAPH, "cos_cache")
    });
    // The context is then two positions long.
    cases.run("tables of two rows", || {
        let outcome = changed(MODEL, |graph| {
            for part in ["cos_cache", "sin_cache"] {
                let tensor = tensor(graph, part);
                tensor.dims = vec![2, 16];
                if let TensorContent::External { length, .. } = &mut tensor.content {
                    *length = None;
                }
            }
        })?;
        match outcome {
            Outcome::Failed(error) if error.kind() == ErrorKind::ContextLength => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    cases.finish();
}

/// The table of a LongRoPE model for short sequences must reach to the switch.
#[test]
fn a_short_table_that_ends_before_the_switch() {
    let mut cases = Cases::new("short tables");
    cases.run("8 rows for 128 positions", || {
        let outcome = changed("models/phi-4-mini-int4", |graph| {
            let node = node(graph, "If");
            for attribute in &mut node.attributes {
                let AttributeValue::Graph(branch) = &mut attribute.value else { continue };
                if attribute.name != "else_branch" {
                    continue;
                }
                shorten(branch);
            }
        })?;
        refused_at(outcome, &REFUSALS, GRAPH, "")
    });
    cases.finish();
}

/// Leaves eight rows of the tables of a branch.
fn shorten(branch: &mut Graph<'_>) {
    let constants = branch.nodes.iter_mut().flat_map(|node: &mut Node<'_>| &mut node.attributes);
    for attribute in constants {
        let AttributeValue::Tensor(tensor) = &mut attribute.value else { continue };
        let [rows, width] = tensor.dims[..] else { continue };
        assert!(rows >= 128);
        tensor.dims = vec![8, width];
        if let TensorContent::Inline(bytes) = &mut tensor.content {
            *bytes = &bytes[..8 * usize::try_from(width).unwrap() * 4];
        }
    }
}
