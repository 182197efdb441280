//! The command line: what can be asked for, apart from how it is done.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::PossibleValuesParser};
use edgeslm::engine::{EngineChoice, OrtOptions, Provider, ThreadPriority, schedule_this_thread};
use edgeslm::kernels::KernelTable;
use edgeslm::model::Load;
use edgeslm::{Accuracy, KvPrecision, LoadOptions};

#[cfg(feature = "ort")]
use crate::commands::devices;
use crate::commands::{bench, calibrate, chat, check, eval, import, info, perplexity, run};
use crate::units::{self, Processors};

/// Runs quantised small language models on this device, without a network.
///
/// DIR is a model directory: an ONNX graph with its weights, configuration and tokenizer, as onnxruntime-genai's model builder and
/// transformers.js lay them out. `edgeslm import` makes one from a GGUF file.
#[derive(Parser, Debug)]
#[command(name = "edgeslm", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "\
Examples:
  edgeslm import smollm2-135m-q4_1.gguf smollm2    Make a model directory from a GGUF file
  edgeslm chat smollm2                             Talk to it
  edgeslm run smollm2 'Why is the sky blue?'       Ask once
  edgeslm info smollm2                             See what it is and what memory it takes

Exit status: 0 success, 1 failure, 2 wrong usage, 3 failed gate of `eval`, 130 interrupted.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Run(run::Arguments),
    Chat(chat::Arguments),
    Info(info::Arguments),
    #[cfg(feature = "ort")]
    Devices(devices::Arguments),
    Check(check::Arguments),
    Perplexity(perplexity::Arguments),
    Bench(bench::Arguments),
    Calibrate(calibrate::Arguments),
    Eval(eval::Arguments),
    #[cfg(feature = "import")]
    Import(import::Arguments),
}

/// How a model is loaded.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Loading")]
pub(crate) struct LoadArguments {
    /// What runs the model: cpu, or ort for ONNX Runtime
    #[arg(long, value_enum, default_value_t)]
    engine: EngineArgument,

    /// The execution provider of ONNX Runtime [default: auto, the first that takes the model]
    #[arg(long, value_name = "NAME", value_parser = providers(), hide_possible_values = false)]
    provider: Option<String>,

    /// An option of the provider; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    provider_option: Vec<(String, String)>,

    /// The shared library of a provider that is a plug-in, an absolute path [default: beside ONNX Runtime]
    #[arg(long, value_name = "FILE")]
    provider_library: Option<PathBuf>,

    /// ONNX Runtime's shared library, an absolute path [default: EDGESLM_ORT_LIBRARY, or where it is found]
    #[arg(long, value_name = "FILE")]
    ort_library: Option<PathBuf>,

    /// The graph to use where the directory has several: a file relative to it, or a variant such as q4f16
    #[arg(long, value_name = "GRAPH")]
    graph: Option<String>,

    /// How exact the arithmetic is
    #[arg(long, value_enum, default_value_t)]
    pub(crate) accuracy: AccuracyArgument,

    /// In which numbers the KV cache is kept
    #[arg(long, value_name = "NUMBERS", value_enum, default_value_t)]
    kv_precision: KvPrecisionArgument,

    /// Threads to compute with [default: as many as the process may use, or as --processors has]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// The processors to compute on, such as 0-3,6 [default: those that the process was started on]
    #[arg(long, value_name = "LIST", value_parser = units::parse_processors)]
    processors: Option<Processors>,

    /// How urgent the computing threads are beside those of other programs
    #[arg(long, value_enum, default_value_t)]
    priority: PriorityArgument,

    /// The kernels to compute with [default: the best that the CPU has]
    #[arg(long, value_name = "ROW", value_parser = kernel_rows(), hide_possible_values = false)]
    kernels: Option<String>,

    /// The most memory for the KV cache, such as 512MB or 1GiB [default: three quarters of what is free]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    memory_budget: Option<u64>,

    /// The most positions of prompt and answer together [default: the model's context length]
    #[arg(long, value_name = "N")]
    context: Option<usize>,

    /// Read the weights into memory in place of mapping the files, which then may change
    #[arg(long)]
    copy: bool,

    /// Follow symbolic links that leave the model directory
    #[arg(long)]
    follow_links: bool,
}

impl LoadArguments {
    pub(crate) fn options(&self) -> LoadOptions {
        LoadOptions {
            engine: self.engine(),
            graph: self.graph.clone(),
            accuracy: self.accuracy.into(),
            kv_precision: self.kv_precision.into(),
            threads: self.threads,
            processors: self.processors.clone().map(|Processors(list)| list),
            priority: self.priority.into(),
            kernels: self.kernels.clone(),
            memory_budget: self.memory_budget,
            context_length: self.context,
            load: if self.copy { Load::Copy } else { Load::Map },
            follow_links: self.follow_links,
        }
    }
}

impl LoadArguments {
    /// Loads the model in `directory`. Since this program has nothing else to do, its own thread, which computes too, goes where the
    /// engine's threads are.
    pub(crate) fn load(&self, directory: &Path) -> edgeslm::Result<edgeslm::Model> {
        let options = self.options();
        let model = edgeslm::Model::load(directory, &options)?;
        schedule_this_thread(options.processors.as_deref(), options.priority)?;
        Ok(model)
    }

    /// The engine: any option that only ONNX Runtime has chooses it.
    fn engine(&self) -> EngineChoice {
        let of_ort = self.provider.is_some()
            || self.provider_library.is_some()
            || self.ort_library.is_some()
            || !self.provider_option.is_empty();
        if self.engine == EngineArgument::Cpu && !of_ort {
            return EngineChoice::Cpu;
        }
        let provider = self.provider.as_deref().and_then(|name| Provider::by_name(name).ok());
        EngineChoice::Ort(OrtOptions {
            library: self.ort_library.clone(),
            provider: provider.unwrap_or_default(),
            provider_library: self.provider_library.clone(),
            provider_options: self.provider_option.clone(),
        })
    }
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
enum EngineArgument {
    /// This program's own kernels
    #[default]
    Cpu,
    /// ONNX Runtime, whose shared library is opened
    Ort,
}

pub(crate) fn providers() -> PossibleValuesParser {
    PossibleValuesParser::new(Provider::ALL.map(Provider::name))
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "it is not KEY=VALUE".to_owned())
}

fn kernel_rows() -> PossibleValuesParser {
    PossibleValuesParser::new(KernelTable::all().map(|(name, _)| name))
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AccuracyArgument {
    /// Integer dot products over activations in 8 bits, KV cache in f16
    #[default]
    Default,
    /// As the default, over activations in two planes of 8 bits
    Precise,
    /// fp32 arithmetic in a fixed order, KV cache in f32
    Strict,
}

impl From<AccuracyArgument> for Accuracy {
    fn from(accuracy: AccuracyArgument) -> Self {
        match accuracy {
            AccuracyArgument::Default => Self::Default,
            AccuracyArgument::Precise => Self::Precise,
            AccuracyArgument::Strict => Self::Strict,
        }
    }
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
enum PriorityArgument {
    /// That of this program
    #[default]
    Normal,
    /// Gives way to other programs
    Low,
    /// Before other programs, where the system allows it
    High,
}

impl From<PriorityArgument> for ThreadPriority {
    fn from(priority: PriorityArgument) -> Self {
        match priority {
            PriorityArgument::Normal => Self::Normal,
            PriorityArgument::Low => Self::Low,
            PriorityArgument::High => Self::High,
        }
    }
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
enum KvPrecisionArgument {
    /// As the accuracy says
    #[default]
    Auto,
    /// Codes of 8 bits with scales, about half of the memory of f16
    Int8,
}

impl From<KvPrecisionArgument> for KvPrecision {
    fn from(precision: KvPrecisionArgument) -> Self {
        match precision {
            KvPrecisionArgument::Auto => Self::Auto,
            KvPrecisionArgument::Int8 => Self::Int8,
        }
    }
}

/// A model and how to load it.
#[derive(Args, Debug)]
pub(crate) struct ModelArguments {
    /// The model directory, or an .onnx file in one
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,

    #[command(flatten)]
    pub(crate) load: LoadArguments,
}

impl ModelArguments {
    pub(crate) fn load(&self) -> edgeslm::Result<edgeslm::Model> {
        self.load.load(&self.directory)
    }

    /// Bytes of weights that a pass over the model reads, as the CPU engine's reading of the graph has it; where it has none, all.
    pub(crate) fn weights_read(&self, model: &edgeslm::Model) -> u64 {
        let options = LoadOptions { engine: EngineChoice::Cpu, ..self.load.options() };
        let estimate = edgeslm::Model::estimate(&model.info().graph, &options, 1);
        estimate.map_or_else(|_| model.info().memory.weights, |estimate| estimate.weights)
    }

    /// What a session of `positions` tokens would take.
    pub(crate) fn estimate(&self, positions: usize) -> edgeslm::Result<edgeslm::model::MemoryEstimate> {
        edgeslm::Model::estimate(&self.directory, &self.load.options(), positions)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["edgeslm"], arguments].concat())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn loading_options_reach_the_library() {
        let line = "info m --graph q4 --accuracy strict --threads 2 --processors 0-2,5 --priority low --kernels scalar \
                    --memory-budget 512MB --context 300 --copy --follow-links --kv-precision int8";
        let cli = parse(&line.split_whitespace().collect::<Vec<_>>()).unwrap();
        let Command::Info(info) = cli.command else { panic!("{:?}", cli.command) };
        let options = info.model.load.options();
        assert_eq!(info.model.directory, PathBuf::from("m"));
        assert_eq!(options.graph.as_deref(), Some("q4"));
        assert_eq!(options.processors, Some(vec![0, 1, 2, 5]));
        assert_eq!(options.priority, ThreadPriority::Low);
        assert_eq!((options.accuracy, options.kv_precision), (Accuracy::Strict, KvPrecision::Int8));
        assert_eq!((options.threads, options.kernels.as_deref()), (Some(2), Some("scalar")));
        assert_eq!((options.memory_budget, options.context_length), (Some(512_000_000), Some(300)));
        assert_eq!((options.load, options.follow_links), (Load::Copy, true));
    }

    #[test]
    fn options_of_onnx_runtime_choose_its_engine() {
        let options = |line: &str| {
            let cli = parse(&line.split_whitespace().collect::<Vec<_>>()).unwrap();
            let Command::Info(info) = cli.command else { panic!("{:?}", cli.command) };
            info.model.load.options().engine
        };
        assert_eq!(options("info m --engine ort"), EngineChoice::Ort(OrtOptions::default()));
        let line = "info m --provider cuda --provider-option device_id=1 --provider-option a=b=c \
                    --ort-library /l/libonnxruntime.so --provider-library /p.so";
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let expected = OrtOptions {
            library: Some(PathBuf::from("/l/libonnxruntime.so")),
            provider: Provider::Cuda,
            provider_library: Some(PathBuf::from("/p.so")),
            provider_options: vec![pair("device_id", "1"), pair("a", "b=c")],
        };
        assert_eq!(options(line), EngineChoice::Ort(expected));
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let Command::Info(info) = parse(&["info", "m"]).unwrap().command else { panic!() };
        let (options, expected) = (info.model.load.options(), LoadOptions::default());
        assert_eq!(format!("{options:?}"), format!("{expected:?}"));
    }

    #[test]
    fn wrong_usage_is_refused() {
        for (line, kind) in [
            ("", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("fly", ErrorKind::InvalidSubcommand),
            ("run", ErrorKind::MissingRequiredArgument),
            ("info m --kernels x87", ErrorKind::InvalidValue),
            ("info m --accuracy perfect", ErrorKind::InvalidValue),
            ("info m --kv-precision int4", ErrorKind::InvalidValue),
            ("info m --memory-budget 3XB", ErrorKind::ValueValidation),
            ("info m --threads many", ErrorKind::ValueValidation),
            ("info m --processors 3-1", ErrorKind::ValueValidation),
            ("info m --priority highest", ErrorKind::InvalidValue),
            ("info m --engine tpu", ErrorKind::InvalidValue),
            ("info m --provider tpu", ErrorKind::InvalidValue),
            ("info m --provider cuda --provider-option device", ErrorKind::ValueValidation),
            ("run m hello --file f", ErrorKind::ArgumentConflict),
            ("run m hello --raw --system s", ErrorKind::ArgumentConflict),
            ("run m hello --deadline soon", ErrorKind::ValueValidation),
            ("perplexity m", ErrorKind::MissingRequiredArgument),
            ("perplexity m --text a --tokens b", ErrorKind::ArgumentConflict),
            ("check m --bound -1", ErrorKind::UnknownArgument),
            ("import a", ErrorKind::MissingRequiredArgument),
            ("import a b --block-size 32", ErrorKind::MissingRequiredArgument),
            ("import a b --quantize int2", ErrorKind::InvalidValue),
        ] {
            let error = parse(&line.split_whitespace().collect::<Vec<_>>()).expect_err(line);
            assert_eq!(error.kind(), kind, "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
