//! Norms, with the sum that they take in.

use super::{BATCH, DecoderLayout, Fixed, Microsoft, SEQUENCE, Standard};
use crate::import::decoder_spec::FloatType;
use crate::import::graph_builder::Value;
use crate::import::weights::{LayerWeight, Layout, Role, Weight};
use crate::onnx::DataType;

/// The norms of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Norm {
    Input,
    PostAttention,
    PreFeedforward,
    PostFeedforward,
    Final,
}

impl Norm {
    fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::PostAttention => "post_attention",
            Self::PreFeedforward => "pre_feedforward",
            Self::PostFeedforward => "post_feedforward",
            Self::Final => "final_norm",
        }
    }
}

impl DecoderLayout<'_> {
    /// A norm; one that is not on the branch also adds the branch to the residual stream.
    pub(super) fn norm(&mut self, layer: usize, norm: Norm) -> String {
        let spec = self.spec;
        let on_branch = spec.norms_after && matches!(norm, Norm::PostAttention | Norm::PostFeedforward);
        let first = norm == Norm::Input && layer == 0;
        let skip = !on_branch && !first;
        let wide = self.wide_norms();
        let data_type = if wide { DataType::Float32 } else { self.float() };
        let float_type = if wide { FloatType::F32 } else { spec.float_type };
        let location = norm.name();
        let weight = format!("model.layers.{layer}.{location}_layernorm.weight");
        self.place(Weight {
            name: weight.clone(),
            role: match norm {
                Norm::Input => Role::Layer(layer, LayerWeight::InputNorm),
                Norm::PostAttention => Role::Layer(layer, LayerWeight::PostAttentionNorm),
                Norm::PreFeedforward => Role::Layer(layer, LayerWeight::PreFeedforwardNorm),
                Norm::PostFeedforward => Role::Layer(layer, LayerWeight::PostFeedforwardNorm),
                Norm::Final => Role::FinalNorm,
            },
            layout: Layout::Vector(float_type),
            rows: 1,
            columns: spec.hidden_size,
        });
        let base = format!("/model/layers.{layer}/{location}_layernorm");
        let name = format!("{base}/{}LayerNorm", if skip { "Skip" } else { "" });
        let hidden = [BATCH, SEQUENCE, Fixed(spec.hidden_size)];
        let output = format!("{base}/output_0");
        let narrowed = wide && !on_branch;
        let produced = if narrowed { format!("{name}/output_0/Cast/output_0") } else { output.clone() };
        let epsilon = ("epsilon", Value::Float(spec.norm_epsilon));
        if skip {
            let sum = format!("{base}/output_3");
            let outputs =
                if norm == Norm::Final { vec![&*produced] } else { vec![&*produced, "", "", &*sum] };
            let inputs = [&*self.residual, &*self.branch, &*weight];
            let operator = Microsoft("SkipSimplifiedLayerNormalization");
            self.graph.node(operator, &*name, &inputs, &outputs, vec![epsilon]);
            self.graph.value(&produced, data_type, &hidden);
            if norm != Norm::Final {
                self.graph.value(&sum, data_type, &hidden);
                self.residual = sum;
            }
        } else {
            let mut input = if on_branch { self.branch.clone() } else { self.residual.clone() };
            if wide && on_branch {
                input = self.cast(&format!("{name}/root_input/Cast"), &input, DataType::Float32, &hidden);
            }
            let attributes = vec![epsilon, ("axis", Value::Int(-1)), ("stash_type", Value::Int(1))];
            let operator = Standard("SimplifiedLayerNormalization");
            self.graph.node(operator, &*name, &[&input, &weight], &[&produced], attributes);
            self.graph.value(&produced, data_type, &hidden);
        }
        if narrowed {
            let to = vec![("to", Value::Int(i64::from(self.float().code())))];
            self.graph.node(Standard("Cast"), format!("{name}/output_0/Cast"), &[&produced], &[&output], to);
            self.graph.value(&output, self.float(), &hidden);
        }
        output
    }
}
