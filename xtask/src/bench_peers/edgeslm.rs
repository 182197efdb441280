//! edgeslm's own command, with the best kernels or others.

use std::path::{Path, PathBuf};
use std::process::Command;

use edgeslm::kernels::KernelTable;

use super::contestant::{Class, Contestant, Program, Work};
use super::processor::{Instructions, Processor};
use crate::demo::workspace;

/// How the command is called.
pub(super) struct Edgeslm {
    /// The row of kernels, where it is not to choose.
    kernels: Option<&'static str>,
    /// ONNX Runtime's library, where its CPU provider computes.
    library: Option<PathBuf>,
    /// Prompts that are answered together.
    sequences: usize,
}

impl Edgeslm {
    /// `sequences` prompts together, with the best kernels.
    pub(super) fn together(sequences: usize) -> Self {
        Self { kernels: None, library: None, sequences }
    }

    /// Measures one round on the model in `directory`.
    pub(super) fn command(&self, directory: &Path, work: Work) -> Command {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), Into::into);
        let mut command = Command::new(target.join("release/edgeslm"));
        command.arg("bench").arg(directory).args(["--json", "--rounds", "1"]);
        let Work { prompt_tokens, generate, threads } = work;
        for (option, number) in [
            ("--threads", threads),
            ("--prompt-tokens", prompt_tokens),
            // The first comes with the prompt.
            ("--generate", generate + 1),
            ("--sequences", self.sequences),
        ] {
            command.args([option, &number.to_string()]);
        }
        if let Some(kernels) = self.kernels {
            command.args(["--kernels", kernels]);
        }
        if let Some(library) = &self.library {
            command.args(["--provider", "cpu", "--ort-library"]).arg(library);
        }
        command
    }
}

/// The rows of kernels that are compared with peers built for the same instructions.
const LIMITED: [(&str, Instructions); 2] =
    [("avx512vnni", Instructions::Avx512), ("avx2", Instructions::Avx2)];

/// edgeslm as users run it and, where the processor has better kernels than a peer is built for, with those that compare.
pub(super) fn contestants(processor: &Processor, library: Option<PathBuf>) -> Vec<Contestant> {
    let best = KernelTable::supported().next().map_or("scalar", |row| row.name());
    let in_ort = library.is_some();
    let name = if in_ort { "edgeslm in ONNX Runtime".to_owned() } else { format!("edgeslm ({best})") };
    let contestant = |name, class, kernels, library| Contestant {
        name,
        class,
        program: Ok(Program::Edgeslm(Edgeslm { kernels, library, sequences: 1 })),
    };
    let mut all = vec![contestant(name, Class::Best, None, library)];
    if !in_ort {
        let limited =
            LIMITED.into_iter().filter(|(row, instructions)| *row != best && processor.has(*instructions));
        all.extend(limited.map(|(row, instructions)| {
            contestant(format!("edgeslm ({row})"), Class::Limited(instructions), Some(row), None)
        }));
    }
    all
}
