//! Makes model directories: from GGUF files, and with random weights of published shapes.
//!
//! Both write the layout of onnxruntime-genai's model builder through one description of a decoder
//! ([`DecoderSpec`]) and one graph writer ([`DecoderGraph`]), so onnxruntime-genai loads them as this library does.

#![forbid(unsafe_code)]

mod blocks;
mod convert;
mod decoder_directory;
mod decoder_graph;
mod decoder_spec;
mod directory;
mod gguf;
mod gguf_model;
mod gguf_weights;
mod graph_builder;
mod published;
mod quantize;
mod rope;
mod synth;
mod tensor_type;
mod tokenizer;
mod weights;

pub use convert::{ImportOptions, ImportReport, Quantize, import_gguf};
pub use decoder_graph::DecoderGraph;
pub use decoder_spec::{
    Activation, BlockFormat, DecoderSpec, Embedding, FloatType, LayerStorage, QkvStorage, Storage, Window,
    ZeroPoints,
};
pub use published::published_names;
pub use rope::{LongRope, Rope, RopeScaling};
pub use synth::{SynthOptions, synthesise};

/// How far the writing of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Bytes of the data file written so far.
    pub written: u64,
    /// Bytes it will have.
    pub total: u64,
    /// The weight written next; empty at the end.
    pub item: &'a str,
}
