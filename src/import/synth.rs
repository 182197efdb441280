//! Model directories of published shapes with random weights: full size without a download.

use std::io::Write;
use std::path::Path;

use half::f16;

use super::Progress;
use super::decoder_directory::write_decoder;
use super::decoder_spec::{
    BlockFormat, DecoderSpec, Embedding, FloatType, LayerStorage, Storage, ZeroPoints,
};
use super::directory::NewDirectory;
use super::published::published_shape;
use super::tokenizer::TokenizerFiles;
use super::weights::{Layout, Weight, WeightSource, append};
use crate::error::Result;

/// What a synthesised model differs in from the published one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SynthOptions {
    /// How many layers, where not as many as published.
    pub layers: Option<usize>,
    /// Rows of the embedding, where not as many as published.
    pub vocabulary_size: Option<usize>,
    /// The most positions, where not as many as published.
    pub context_length: Option<usize>,
    /// A few hundred kilobytes instead of gigabytes: the same graph with small numbers.
    pub tiny: bool,
    /// How every matrix is stored.
    pub format: BlockFormat,
    /// The type of inputs, outputs, activations and scales: 16 bits as in directories for GPUs.
    pub float_type: FloatType,
    /// Whether the caches of windowed layers hold a window only, as the model builder does it since 0.18.
    pub window_sized_cache: bool,
    /// The same seed gives the same bytes.
    pub seed: u64,
}

impl Default for SynthOptions {
    fn default() -> Self {
        Self {
            layers: None,
            vocabulary_size: None,
            context_length: None,
            tiny: false,
            format: BlockFormat { bits: 4, block_size: 32, zero_points: ZeroPoints::Symmetric },
            float_type: FloatType::F32,
            window_sized_cache: true,
            seed: 0,
        }
    }
}

/// Writes a directory with the graph of the published model `name` and random weights to `target`.
///
/// The directory appears complete or not at all. [`published_names`](super::published_names) lists the models.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for an unknown name, impossible options or a
/// target that is not empty; [`ErrorKind::Io`](crate::ErrorKind::Io).
pub fn synthesise(
    name: &str,
    target: &Path,
    options: &SynthOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<DecoderSpec> {
    options.format.check()?;
    let shape = published_shape(name, options)?;
    let storage = Storage::Blocks(options.format);
    let mut spec = DecoderSpec {
        layers: vec![LayerStorage::uniform(storage); shape.layers],
        head: storage,
        ..shape.spec
    };
    // The builder ties 4-bit embeddings only; float zero points cannot be gathered.
    if options.format.bits != 4 || options.format.zero_points != ZeroPoints::Symmetric {
        spec.embedding = Embedding::Table;
    }
    spec.check()?;
    let tokenizer = TokenizerFiles::synthetic(spec.vocabulary_size, spec.context_length)?;
    let directory = NewDirectory::create(target)?;
    tokenizer.write(&directory)?;
    let mut weights = RandomWeights { seed: options.seed };
    write_decoder(&directory, &spec, &tokenizer.special, &mut weights, progress)?;
    directory.finish()?;
    Ok(spec)
}

/// Random weights, small enough that activations stay near 1.
struct RandomWeights {
    seed: u64,
}

impl WeightSource for RandomWeights {
    fn write(&mut self, weight: &Weight, output: &mut dyn Write) -> Result<()> {
        // By name, so that a layer has the same weights however many layers there are.
        let mut random = Random::new(self.seed, &weight.name);
        let spread = 1.0 / (weight.columns as f32).sqrt();
        match weight.layout {
            Layout::Vector(float) if weight.name.ends_with(".bias") => {
                write_floats(output, weight.columns, float, || random.signed() * 0.1)
            }
            Layout::Vector(float) => {
                write_floats(output, weight.columns, float, || 1.0 + random.signed() * 0.2)
            }
            Layout::Rows(float) | Layout::Columns(float) => {
                write_floats(output, weight.rows * weight.columns, float, || random.signed() * spread * 1.7)
            }
            Layout::Blocks(format, float) => write_blocks(output, weight, format, float, spread, &mut random),
        }
    }
}

fn write_blocks(
    output: &mut dyn Write,
    weight: &Weight,
    format: BlockFormat,
    float: FloatType,
    spread: f32,
    random: &mut Random,
) -> Result<()> {
    let parts = weight.parts();
    let blocks = weight.rows * weight.columns.div_ceil(format.block_size);
    // Uniform values of 2^bits steps have a standard deviation of 2^bits / sqrt(12).
    let range = f32::from(1_u16 << format.bits);
    let scale = spread * 12.0_f32.sqrt() / range;
    write_bytes(output, parts.first().map_or(0, |part| part.bytes), random)?;
    write_floats(output, blocks, float, || scale * random.signed().mul_add(0.5, 1.0) * random.sign())?;
    match format.zero_points {
        ZeroPoints::Symmetric => Ok(()),
        ZeroPoints::Packed => write_bytes(output, parts.last().map_or(0, |part| part.bytes), random),
        ZeroPoints::Float => {
            write_floats(output, blocks, float, || range * random.signed().mul_add(0.1, 0.5))
        }
    }
}

fn write_bytes(output: &mut dyn Write, count: u64, random: &mut Random) -> Result<()> {
    let mut chunk = vec![0; 1 << 20];
    let mut left = count;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        let bytes = chunk.get_mut(..length).unwrap_or_default();
        random.fill(bytes);
        append(output, bytes)?;
        left -= length as u64;
    }
    Ok(())
}

fn write_floats(
    output: &mut dyn Write,
    count: usize,
    float: FloatType,
    mut next: impl FnMut() -> f32,
) -> Result<()> {
    const CHUNK: usize = 1 << 18;
    let mut bytes = Vec::with_capacity(CHUNK.min(count) * float.bytes());
    for start in (0..count).step_by(CHUNK) {
        bytes.clear();
        for _ in start..count.min(start + CHUNK) {
            match float {
                FloatType::F32 => bytes.extend(next().to_le_bytes()),
                FloatType::F16 => bytes.extend(f16::from_f32(next()).to_le_bytes()),
            }
        }
        append(output, &bytes)?;
    }
    Ok(())
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn new(seed: u64, name: &str) -> Self {
        // FNV-1a of the name.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in [−1, 1).
    fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// −1 or 1.
    fn sign(&mut self) -> f32 {
        if self.next() >> 63 == 0 { 1.0 } else { -1.0 }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = self.next().to_le_bytes();
        }
        let last = self.next().to_le_bytes();
        for (byte, value) in rest.iter_mut().zip(last) {
            *byte = value;
        }
    }
}

#[cfg(test)]
mod tests;
