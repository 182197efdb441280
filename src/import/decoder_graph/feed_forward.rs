//! The MLP with its gate.

use super::{DecoderLayout, Standard};
use crate::import::decoder_spec::{Activation, LayerStorage};
use crate::import::graph_builder::Value;
use crate::import::weights::{LayerWeight, Role};

impl DecoderLayout<'_> {
    pub(super) fn feed_forward(&mut self, layer: usize, storage: &LayerStorage, normed: &str) {
        let spec = self.spec;
        let (hidden, inner) = (spec.hidden_size, spec.feed_forward_size);
        let base = format!("/model/layers.{layer}/mlp");
        let mut project = |name: &str, weight, storage, rows, columns, input: &str| {
            let place = format!("{base}/{name}/MatMul");
            let matrix = self.matrix(&place, Role::Layer(layer, weight), storage, rows, columns);
            self.product(&place, matrix, input, None)
        };
        let gate = project("gate_proj", LayerWeight::Gate, storage.gate, inner, hidden, normed);
        let up = project("up_proj", LayerWeight::Up, storage.up, inner, hidden, normed);

        let activated = match spec.activation {
            Activation::Silu => {
                let sigmoid = format!("{base}/act_fn/Sigmoid/output_0");
                self.graph.node(
                    Standard("Sigmoid"),
                    format!("{base}/act_fn/Sigmoid"),
                    &[&gate],
                    &[&sigmoid],
                    vec![],
                );
                self.activation(&sigmoid, self.float(), inner);
                let output = format!("{base}/act_fn/Mul/output_0");
                self.graph.node(
                    Standard("Mul"),
                    format!("{base}/act_fn/Mul"),
                    &[&gate, &sigmoid],
                    &[&output],
                    vec![],
                );
                output
            }
            Activation::GeluTanh => {
                let output = format!("{base}/act_fn/FastGelu/output_0");
                let tanh = vec![("approximate", Value::String("tanh"))];
                self.graph.node(
                    Standard("Gelu"),
                    format!("{base}/act_fn/FastGelu"),
                    &[&gate],
                    &[&output],
                    tanh,
                );
                output
            }
        };
        self.activation(&activated, self.float(), inner);
        let gated = format!("{base}/Mul/output_0");
        self.graph.node(Standard("Mul"), format!("{base}/Mul"), &[&activated, &up], &[&gated], vec![]);
        self.activation(&gated, self.float(), inner);

        let place = format!("{base}/down_proj/MatMul");
        let matrix = self.matrix(&place, Role::Layer(layer, LayerWeight::Down), storage.down, hidden, inner);
        self.branch = self.product(&place, matrix, &gated, None);
    }
}
