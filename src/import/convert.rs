//! GGUF files to model directories.

use std::path::Path;

use super::Progress;
use super::decoder_directory::write_decoder;
use super::decoder_spec::{BlockFormat, DecoderSpec, Embedding, LayerStorage, QkvStorage, ZeroPoints};
use super::directory::NewDirectory;
use super::gguf::Gguf;
use super::gguf_model::GgufModel;
use super::gguf_weights::GgufWeights;
use super::tokenizer::TokenizerFiles;
use super::weights::{LayerWeight, Role};
use crate::error::{Error, Result};
use crate::model::{Load, MappedFile};

/// How a GGUF file is converted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImportOptions {
    /// Quantises every matrix anew, from its dequantised values. By default no weight changes.
    pub quantize: Option<Quantize>,
    /// The most positions of a sequence, where it is to be fewer than the file says: the rotary caches get shorter.
    pub context_length: Option<usize>,
}

/// A symmetric block-wise quantisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantize {
    /// Bits of a weight: 4 or 8.
    pub bits: u8,
    /// Weights that share a scale: a power of two from 16 to 256.
    pub block_size: usize,
}

impl Quantize {
    /// 4 bits, blocks of 32.
    pub const INT4: Self = Self { bits: 4, block_size: 32 };
    /// 8 bits, blocks of 32.
    pub const INT8: Self = Self { bits: 8, block_size: 32 };

    fn format(self) -> Result<BlockFormat> {
        let Self { bits, block_size } = self;
        let format = BlockFormat { bits, block_size, zero_points: ZeroPoints::Symmetric };
        format.check()?;
        Ok(format)
    }
}

/// What an import made.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportReport {
    /// The description from which the graph was written.
    pub spec: DecoderSpec,
    /// The model's name in the GGUF file.
    pub name: Option<String>,
    /// The licence that the GGUF file names.
    pub license: Option<String>,
    /// Bytes of the data file.
    pub data_bytes: u64,
}

/// Converts the GGUF file `source` to a model directory at `target`.
///
/// The directory appears complete or not at all. F16, BF16 and F32 tensors become dense `MatMul` weights in 32 bits. What
/// becomes of quantised tensors unless [`ImportOptions::quantize`] says otherwise:
///
/// | tensors | `MatMulNBits` weights |
/// |---|---|
/// | Q4_0 | the same, 4 bits |
/// | Q3_K | the same, 4 bits in blocks of 16 |
/// | Q8_0, Q5_0, IQ4_NL, IQ4_XS, MXFP4 | the same, 8 bits |
/// | Q6_K | the same, 8 bits in blocks of 16 |
/// | Q4_1, Q4_K, Q2_K | 4 bits with 32-bit zero points: the same within 3 · 2⁻²⁴ of a block's largest weight |
/// | Q5_1, Q5_K | none: an error that says so |
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) and [`Io`](crate::ErrorKind::Io) for files; [`InvalidModel`](crate::ErrorKind::InvalidModel) for a damaged file;
/// [`Unsupported`](crate::ErrorKind::Unsupported), naming the tensor or key, for an architecture, tensor type or tokenizer that has no
/// conversion; [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when `target` is not empty or an option is out of range.
pub fn import_gguf(
    source: &Path,
    target: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<ImportReport> {
    let quantize = options.quantize.map(Quantize::format).transpose()?;
    let file = MappedFile::open(source, Load::Map)?;
    let in_source = |error: Error| error.with_file(source);
    let gguf = Gguf::parse(file.as_bytes()).map_err(in_source)?;
    let model = GgufModel::read(&gguf, options.context_length).map_err(in_source)?;
    let mut weights = GgufWeights::new(model, quantize);
    let spec = decoder_spec(&weights).map_err(in_source)?;
    let tokenizer =
        TokenizerFiles::from_gguf(&gguf, spec.vocabulary_size, spec.context_length).map_err(in_source)?;

    let directory = NewDirectory::create(target)?;
    tokenizer.write(&directory)?;
    let data_bytes = write_decoder(&directory, &spec, &tokenizer.special, &mut weights, progress)?;
    directory.finish()?;
    let text = |key| gguf.string(key).map(str::to_owned);
    Ok(ImportReport { spec, name: text("general.name"), license: text("general.license"), data_bytes })
}

/// The decoder with the storage that each matrix of the file gets.
fn decoder_spec(weights: &GgufWeights<'_>) -> Result<DecoderSpec> {
    let layer = |index| -> Result<LayerStorage> {
        let storage = |weight| weights.storage(Role::Layer(index, weight));
        let query = storage(LayerWeight::Query)?;
        let (key, value) = (storage(LayerWeight::Key)?, storage(LayerWeight::Value)?);
        let qkv = if query == key && key == value {
            QkvStorage::Packed(query)
        } else {
            QkvStorage::Separate { query, key, value }
        };
        Ok(LayerStorage {
            qkv,
            output: storage(LayerWeight::Output)?,
            gate: storage(LayerWeight::Gate)?,
            up: storage(LayerWeight::Up)?,
            down: storage(LayerWeight::Down)?,
        })
    };
    let model = weights.model();
    let head = weights.storage(Role::LmHead)?;
    let embedding = match weights.block_format(Role::Embedding)? {
        // GatherBlockQuantized takes no float zero points.
        Some(BlockFormat { zero_points: ZeroPoints::Float, .. }) => Embedding::Table,
        _ if model.tied => Embedding::Tied,
        Some(format) => Embedding::Blocks(format),
        None => Embedding::Table,
    };
    let layers = (0..model.layers).map(layer).collect::<Result<_>>()?;
    let spec = DecoderSpec { layers, head, embedding, ..model.spec.clone() };
    spec.check()?;
    Ok(spec)
}

#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
