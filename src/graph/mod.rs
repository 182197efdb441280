//! The program that a decoder graph means, before an engine plans how to run it.
//!
//! A [`Program`] is a list of [`Step`]s over values with one row a token: `[tokens, width]`, f32. Everything in the
//! ONNX file that only computes masks, positions and lengths is gone by then; it was checked to mean what the engine
//! does anyway (see `control`). [`passes`] rewrite programs into fewer, larger steps.

#![forbid(unsafe_code)]

pub(crate) mod control;
pub(crate) mod lower;
pub mod passes;
mod program;
pub(crate) mod rope;
pub(crate) mod view;
mod weights;

pub use lower::{ProgramOptions, lower};
pub use program::{
    Activation, Attention, KeyValue, LayerShape, NormKind, Operand, Operation, Program, Rope, RopeVariant,
    Step, ValueId,
};
pub use weights::{
    BlockWeights, DenseWeights, FloatKind, FloatWeights, Matrix, MatrixRows, Table, ZeroPointWeights,
};

#[cfg(test)]
mod tests;
