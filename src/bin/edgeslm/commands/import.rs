//! `edgeslm import`: a model directory from a GGUF file.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use edgeslm::import::{ImportOptions, Progress, Quantize, import_gguf};

use crate::failure::{Exit, Failure};
use crate::output::write_facts;
use crate::{progress, units};

/// Make a model directory from a GGUF file
///
/// Takes models of the Llama family (llama, qwen2) with tensors in Q2_K to Q8_0, IQ4_NL, IQ4_XS, MXFP4, F16, BF16 or F32. No weight
/// changes unless --quantize asks for it; Q5_1 and Q5_K need that. Tokenizer (byte-level BPE or SentencePiece) and chat template
/// come from the file. onnxruntime-genai loads the directory too.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edgeslm import smollm2-135m-q4_1.gguf smollm2
  edgeslm import llama-3.2-1b-f16.gguf llama-int4 --quantize int4 --block-size 64")]
pub(crate) struct Arguments {
    /// The GGUF file
    #[arg(value_name = "SOURCE")]
    source: PathBuf,

    /// The directory to make; it must not exist or be empty
    #[arg(value_name = "OUT")]
    target: PathBuf,

    /// Quantise every matrix anew, symmetric in blocks
    #[arg(long, value_enum, value_name = "KIND")]
    quantize: Option<Bits>,

    /// Weights that share a scale: a power of two from 16 to 256
    #[arg(long, value_name = "N", default_value = "32", requires = "quantize")]
    block_size: usize,

    /// Shorten the context to N positions, which makes the rotary tables smaller
    #[arg(long, value_name = "N")]
    context: Option<usize>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Bits {
    Int4,
    Int8,
}

impl Arguments {
    fn options(&self) -> ImportOptions {
        let quantize = self.quantize.map(|bits| Quantize {
            bits: match bits {
                Bits::Int4 => 4,
                Bits::Int8 => 8,
            },
            block_size: self.block_size,
        });
        ImportOptions { quantize, context_length: self.context }
    }
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let bar = progress::bytes(0);
    let mut show = |Progress { written, total, item }: Progress<'_>| {
        bar.set_length(total);
        bar.set_position(written);
        bar.set_message(item.to_owned());
    };
    let report = import_gguf(&arguments.source, &arguments.target, &arguments.options(), &mut show)?;
    bar.finish_and_clear();
    let spec = &report.spec;
    let mut facts = vec![
        ("made", arguments.target.display().to_string()),
        ("layers", spec.layers.len().to_string()),
        ("weights", units::bytes(report.data_bytes)),
    ];
    if let Some(name) = report.name {
        facts.insert(1, ("name", name));
    }
    facts.push(("licence", report.license.unwrap_or_else(|| "not stated in the file".to_owned())));
    write_facts(out, &facts)?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        import: Arguments,
    }

    #[test]
    fn quantisation_is_only_what_was_asked_for() {
        let four = |block_size| Some(Quantize { bits: 4, block_size });
        for (line, quantize, context_length) in [
            ("a b", None, None),
            ("a b --quantize int4", four(32), None),
            ("a b --quantize int4 --block-size 128", four(128), None),
            ("a b --quantize int8 --context 512", Some(Quantize::INT8), Some(512)),
        ] {
            let line = Line::try_parse_from(["x"].into_iter().chain(line.split_whitespace())).unwrap();
            assert_eq!(line.import.options(), ImportOptions { quantize, context_length });
        }
    }
}
