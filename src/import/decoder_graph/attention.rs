//! Attention with its input projections.

use super::{DecoderLayout, Microsoft, SEQUENCE_LENGTHS, Standard, TOTAL_LENGTH, dotted};
use crate::import::decoder_spec::{LayerStorage, QkvStorage};
use crate::import::graph_builder::Value;
use crate::import::rope::{Part, RopeScaling};
use crate::import::weights::{LayerWeight, Layout, Role, Weight};

impl DecoderLayout<'_> {
    pub(super) fn attention(&mut self, layer: usize, storage: &LayerStorage, normed: &str) -> String {
        let spec = self.spec;
        let base = format!("/model/layers.{layer}/attn");
        let (query, kv) = (spec.query_size(), spec.kv_size());
        let projections = match storage.qkv {
            QkvStorage::Packed(storage) => {
                vec![("qkv_proj", LayerWeight::Qkv, LayerWeight::QkvBias, storage, query + 2 * kv)]
            }
            QkvStorage::Separate { query: query_storage, key, value } => vec![
                ("q_proj", LayerWeight::Query, LayerWeight::QueryBias, query_storage, query),
                ("k_proj", LayerWeight::Key, LayerWeight::KeyBias, key, kv),
                ("v_proj", LayerWeight::Value, LayerWeight::ValueBias, value, kv),
            ],
        };
        let mut projected = Vec::new();
        for &(name, weight, _, storage, rows) in &projections {
            let place = format!("{base}/{name}/MatMul");
            let matrix = self.matrix(&place, Role::Layer(layer, weight), storage, rows, spec.hidden_size);
            projected.push(self.product(&place, matrix, normed, None));
        }
        if spec.qkv_bias {
            for (&(name, _, bias, _, rows), value) in projections.iter().zip(&mut projected) {
                *value = self.bias(layer, &format!("{base}/{name}/Add"), value, bias, rows);
            }
        }
        projected.resize(3, String::new());
        self.rope_caches();

        let past = ["key", "value"].map(|part| format!("past_key_values.{layer}.{part}"));
        let present = ["key", "value"].map(|part| format!("present.{layer}.{part}"));
        let mut inputs: Vec<&str> = projected.iter().chain(&past).map(String::as_str).collect();
        inputs.extend([SEQUENCE_LENGTHS, TOTAL_LENGTH, "cos_cache", "sin_cache", "", "", ""]);
        let output = format!("{base}/GroupQueryAttention/output_0");
        let window = spec.window.as_ref().filter(|window| window.layers.contains(&layer));
        let mut attributes = vec![
            ("num_heads", Value::Int(spec.attention_heads as i64)),
            ("kv_num_heads", Value::Int(spec.kv_heads as i64)),
            ("scale", Value::Float(spec.attention_scale)),
            ("local_window_size", Value::Int(window.map_or(-1, |window| window.size as i64))),
            ("softcap", Value::Float(spec.attention_soft_cap)),
            ("do_rotary", Value::Int(1)),
            ("rotary_interleaved", Value::Int(0)),
        ];
        if window.is_some_and(|window| window.window_sized_cache) {
            attributes.push(("sliding_window_cache", Value::Int(1)));
        }
        let outputs = [&*output, &*present[0], &*present[1]];
        let name = format!("{base}/GroupQueryAttention");
        self.graph.node(Microsoft("GroupQueryAttention"), name, &inputs, &outputs, attributes);
        self.activation(&output, self.float(), query);
        output
    }

    /// The caches of a rope without switch are weights.
    fn rope_caches(&mut self) {
        let spec = self.spec;
        if !matches!(spec.rope.scaling, RopeScaling::Long(_)) {
            for (name, part) in [("cos_cache", Part::Cos), ("sin_cache", Part::Sin)] {
                self.place(Weight {
                    name: name.to_owned(),
                    role: Role::RopeCache(part),
                    layout: Layout::Rows(spec.float_type),
                    rows: spec.context_length,
                    columns: spec.rope.pairs(),
                });
            }
        }
    }

    fn bias(&mut self, layer: usize, name: &str, input: &str, bias: LayerWeight, columns: usize) -> String {
        let weight = format!("{}.bias", dotted(name));
        self.place(Weight {
            name: weight.clone(),
            role: Role::Layer(layer, bias),
            layout: Layout::Vector(self.spec.float_type),
            rows: 1,
            columns,
        });
        let output = format!("{name}/output_0");
        self.graph.node(Standard("Add"), name, &[input, &weight], &[&output], vec![]);
        self.activation(&output, self.float(), columns);
        output
    }
}
