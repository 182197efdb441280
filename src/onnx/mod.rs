//! Reads ONNX protobuf files over borrowed bytes, and writes them.
//!
//! Names, attributes and tensor contents are views into the file's bytes: parsing a graph that carries a
//! gigabyte inline copies nothing but small lists. The format is ONNX IR
//! (`onnx/onnx.proto3`); fields that an engine does not need are skipped.
//!
//! The input is untrusted: [`Model::parse`] returns an error for anything malformed, never panics, and
//! allocates in proportion to the file's size at most.

#![forbid(unsafe_code)]

mod reader;
#[cfg(test)]
mod tests;
mod types;
mod values;
mod wire;
mod writer;

pub use types::{
    Attribute, AttributeValue, DataType, Dimension, Graph, Model, Node, OperatorSet, Tensor, TensorContent,
    ValueInfo,
};
pub use writer::write;
