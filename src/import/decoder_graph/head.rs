//! The residual stream to logits.

use super::{DecoderLayout, Standard};
use crate::import::weights::{Role, Weight};

impl DecoderLayout<'_> {
    pub(super) fn head_weight(&self) -> Weight {
        let spec = self.spec;
        self.matrix("/lm_head/MatMul", Role::LmHead, spec.head, spec.vocabulary_size, spec.hidden_size)
    }

    pub(super) fn head(&mut self, normed: &str) {
        let spec = self.spec;
        let capped = spec.logit_soft_cap != 0.0;
        let matrix = self.head_weight();
        let product = self.product("/lm_head/MatMul", matrix, normed, (!capped).then_some("logits"));
        if capped {
            let cap = self.float_constant(spec.logit_soft_cap);
            let divided = "/lm_head/softcap/Div/output_0";
            self.graph.node(Standard("Div"), "/lm_head/softcap/Div", &[&product, &cap], &[divided], vec![]);
            self.activation(divided, self.float(), spec.vocabulary_size);
            let tanh = "/lm_head/softcap/Tanh/output_0";
            self.graph.node(Standard("Tanh"), "/lm_head/softcap/Tanh", &[divided], &[tanh], vec![]);
            self.activation(tanh, self.float(), spec.vocabulary_size);
            self.graph.node(Standard("Mul"), "/lm_head/softcap/Mul", &[tanh, &cap], &["logits"], vec![]);
        }
    }
}
