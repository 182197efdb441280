//! The ONNX operators that a decoder graph may use: one file per operator or family of operators.
//!
//! An operator reads its attributes (any that it does not know is an error), checks its inputs and appends steps to the
//! program. To add one: write its file, its line in `TABLE` and its vectors in `tests`.

#![forbid(unsafe_code)]

mod activation;
mod arithmetic;
mod attributes;
mod decomposed;
mod gather;
mod gather_block_quantized;
mod group_query_attention;
mod layer_normalization;
mod matmul;
mod matmul_nbits;
mod quantized_tensor;
mod rotary_embedding;
mod shape;
mod slice;
mod token_choice;

#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::graph::lower::Lowering;
use crate::onnx::Node;

pub(crate) use attributes::Attributes;
pub(crate) use decomposed::Partial;

/// Appends what a node means to the program.
pub(crate) type Lower = for<'a> fn(&mut Lowering<'_, 'a>, &'a Node<'a>) -> Result<()>;

/// One operator.
pub(crate) struct Entry {
    domain: &'static str,
    op_type: &'static str,
    pub(crate) lower: Lower,
}

const ONNX: &str = "";
const MICROSOFT: &str = "com.microsoft";

const fn entry(domain: &'static str, op_type: &'static str, lower: Lower) -> Entry {
    Entry { domain, op_type, lower }
}

/// Every operator that may stand on the path from the tokens to the logits.
static TABLE: &[Entry] = &[
    entry(ONNX, "Add", arithmetic::add),
    entry(ONNX, "Cast", shape::cast),
    entry(ONNX, "DequantizeLinear", decomposed::dequantize_gathered),
    entry(ONNX, "Div", arithmetic::div),
    entry(ONNX, "DynamicQuantizeLinear", decomposed::dynamic_quantize_linear),
    entry(ONNX, "Erf", decomposed::erf),
    entry(ONNX, "Gather", gather::lower),
    entry(ONNX, "Gelu", activation::gelu),
    entry(ONNX, "Identity", shape::identity),
    entry(ONNX, "LayerNormalization", layer_normalization::layer),
    entry(ONNX, "MatMul", matmul::lower),
    entry(ONNX, "MatMulInteger", decomposed::mat_mul_integer),
    entry(ONNX, "Mul", arithmetic::mul),
    entry(ONNX, "Pow", arithmetic::pow),
    entry(ONNX, "RMSNormalization", layer_normalization::simplified),
    entry(ONNX, "Reciprocal", decomposed::reciprocal),
    entry(ONNX, "ReduceMean", decomposed::reduce_mean),
    entry(ONNX, "Relu", activation::relu),
    entry(ONNX, "Reshape", shape::reshape),
    entry(ONNX, "RotaryEmbedding", rotary_embedding::standard),
    entry(ONNX, "Sigmoid", activation::sigmoid),
    entry(ONNX, "SimplifiedLayerNormalization", layer_normalization::simplified),
    entry(ONNX, "Slice", slice::slice),
    entry(ONNX, "Split", slice::split),
    entry(ONNX, "Sqrt", decomposed::sqrt),
    entry(ONNX, "Squeeze", shape::identity_of_token_axis),
    entry(ONNX, "Sub", arithmetic::sub),
    entry(ONNX, "Swish", activation::swish),
    entry(ONNX, "Tanh", decomposed::tanh),
    entry(ONNX, "Unsqueeze", shape::identity_of_token_axis),
    entry(MICROSOFT, "BiasGelu", activation::bias_gelu),
    entry(MICROSOFT, "FastGelu", activation::fast_gelu),
    entry(MICROSOFT, "FusedMatMul", matmul::fused),
    entry(MICROSOFT, "GatherBlockQuantized", gather_block_quantized::lower),
    entry(MICROSOFT, "Gelu", activation::gelu),
    entry(MICROSOFT, "GroupQueryAttention", group_query_attention::lower),
    entry(MICROSOFT, "MatMulNBits", matmul_nbits::lower),
    entry(MICROSOFT, "QuickGelu", activation::quick_gelu),
    entry(MICROSOFT, "RotaryEmbedding", rotary_embedding::microsoft),
    entry(MICROSOFT, "SimplifiedLayerNormalization", layer_normalization::simplified),
    entry(MICROSOFT, "SkipLayerNormalization", layer_normalization::skip_layer),
    entry(MICROSOFT, "SkipSimplifiedLayerNormalization", layer_normalization::skip_simplified),
];

/// The operator called `op_type` in `domain`.
pub(crate) fn find(domain: &str, op_type: &str) -> Option<&'static Entry> {
    let domain = if domain == "ai.onnx" { ONNX } else { domain };
    TABLE.iter().find(|entry| entry.domain == domain && entry.op_type == op_type)
}

/// Names of all operators in the table, with their domains.
#[must_use]
pub fn names() -> Vec<(&'static str, &'static str)> {
    TABLE.iter().map(|entry| (entry.domain, entry.op_type)).collect()
}
