//! `cargo xtask synth`: directories with random weights of published shapes.

use std::path::PathBuf;
use std::time::Instant;

use edgeslm::import::{BlockFormat, FloatType, SynthOptions, ZeroPoints, published_names, synthesise};

use crate::progress::Line;

/// What `cargo xtask synth` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The published model whose graph is written
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(published_names()))]
    model: String,
    /// The new directory; by default target/synth/MODEL
    #[arg(long)]
    out: Option<PathBuf>,
    /// How many layers, instead of all
    #[arg(long)]
    layers: Option<usize>,
    /// How many tokens, instead of all
    #[arg(long)]
    vocab: Option<usize>,
    /// The most positions, instead of the published number
    #[arg(long)]
    context: Option<usize>,
    /// Small numbers throughout: the same graph in a few hundred kilobytes
    #[arg(long)]
    tiny: bool,
    /// Bits of a weight
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=8))]
    bits: u8,
    /// Weights that share a scale
    #[arg(long, default_value_t = 32)]
    block: usize,
    /// How zero points are stored
    #[arg(long, value_enum, default_value = "symmetric")]
    zero_points: Zero,
    /// 16-bit inputs, outputs and scales, as in directories for GPUs
    #[arg(long)]
    float16: bool,
    /// Caches of windowed layers hold all positions
    #[arg(long)]
    full_window_cache: bool,
    /// The same seed gives the same bytes
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Zero {
    Symmetric,
    Packed,
    Float,
}

#[allow(clippy::print_stderr, reason = "what a chore has done")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let zero_points = match arguments.zero_points {
        Zero::Symmetric => ZeroPoints::Symmetric,
        Zero::Packed => ZeroPoints::Packed,
        Zero::Float => ZeroPoints::Float,
    };
    let options = SynthOptions {
        layers: arguments.layers,
        vocabulary_size: arguments.vocab,
        context_length: arguments.context,
        tiny: arguments.tiny,
        format: BlockFormat { bits: arguments.bits, block_size: arguments.block, zero_points },
        float_type: if arguments.float16 { FloatType::F16 } else { FloatType::F32 },
        window_sized_cache: !arguments.full_window_cache,
        seed: arguments.seed,
    };
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from("target/synth").join(&arguments.model));
    let started = Instant::now();
    let mut line = Line::new();
    synthesise(&arguments.model, &out, &options, &mut |progress| line.show(progress))?;
    line.finish();
    eprintln!("{} in {:.1} s", out.display(), started.elapsed().as_secs_f64());
    Ok(())
}
