//! The tests of the build for 64-bit ARM, under qemu on processors with and without the dot and the matrix product.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::ensure;

use super::{built, models, runs_on_old_systems, source, test_program};
use crate::command::checked;
use crate::cross::toolchain::Toolchain;

/// A processor that qemu plays.
struct Processor {
    name: &'static str,
    /// The kernel rows that it must have, the best first.
    rows: &'static [&'static str],
}

/// A Raspberry Pi 3, a Raspberry Pi 4, a Raspberry Pi 5 or Jetson Orin, and everything that qemu knows.
const PROCESSORS: [Processor; 4] = [
    Processor { name: "cortex-a53", rows: &["neon", "scalar"] },
    Processor { name: "cortex-a72", rows: &["neon", "scalar"] },
    Processor { name: "cortex-a76", rows: &["neon-dotprod", "neon", "scalar"] },
    Processor { name: "max", rows: &["neon-i8mm", "neon-dotprod", "neon", "scalar"] },
];

pub(super) fn processor_names() -> [&'static str; 4] {
    PROCESSORS.map(|processor| processor.name)
}

const EMULATOR: &str = "qemu-aarch64";
/// A program that takes longer hangs.
const SECONDS: &str = "900";

pub(super) const TOOLS: &[&str] = &[EMULATOR];

/// Kernels against the reference, golden models against their logits, and C programs.
#[allow(clippy::print_stderr, reason = "progress of a long command")]
pub(super) fn test(toolchain: &Toolchain, processors: &[String]) -> anyhow::Result<()> {
    let tests = |arguments: &[&str]| -> anyhow::Result<_> {
        let mut cargo = toolchain.cargo("test", arguments)?;
        cargo.args(["--no-run", "--quiet", "--message-format", "json-render-diagnostics"]);
        built(&checked(cargo.stderr(Stdio::inherit()))?.stdout)
    };
    let kernels =
        test_program(&tests(&["--package", "edgeslm-kernels", "--lib"])?, "lib", "edgeslm_kernels")?;
    let golden = test_program(&tests(&["--workspace", "--test", "golden"])?, "test", "golden")?;
    // The example has the features built in that the tests have, so that nothing is built twice.
    let mut cargo = toolchain.cargo("build", &["--workspace", "--lib", "--example", "triage_kiosk"])?;
    checked(cargo.arg("--quiet").stderr(Stdio::inherit()))?;
    let scratch = toolchain.scratch("arm64")?;
    let library = toolchain.results("debug").join("libedgeslm.so");
    runs_on_old_systems(&library)?;
    fs::copy(&library, scratch.join("libedgeslm.so"))?;
    fs::copy(&library, scratch.join("libedgeslm.so.0"))?;
    let emulator = Emulator { runtime: toolchain.arm64_runtime()?, scratch };
    let (chat, behaviour) = (
        emulator.compile(toolchain, &source("examples/c/chat.c"))?,
        emulator.compile(toolchain, &source("ffi/tests/behaviour.c"))?,
    );
    let questions = emulator.scratch.join("questions.txt");
    fs::write(&questions, "Is the door open?\nAnd now?\n")?;
    for processor in &PROCESSORS {
        if !processors.is_empty() && !processors.iter().any(|name| name == processor.name) {
            continue;
        }
        let run = |program: &Path| emulator.command(processor, program);
        checked(run(&kernels).env("EDGESLM_REQUIRE_KERNELS", processor.rows.join(",")))?;
        checked(run(&golden).arg("models_in"))?;
        let output = checked(run(&behaviour).arg(source("tests/data/behaviour.txt")).arg(models()))?;
        ensure!(String::from_utf8_lossy(&output.stdout).ends_with(" cases, 0 skipped\n"), "{output:?}");
        let model = models().join("llama-3.2-1b-int4");
        let output = checked(run(&chat).arg(model).arg("4").stdin(fs::File::open(&questions)?))?;
        ensure!(String::from_utf8_lossy(&output.stdout).contains(" reused"), "{output:?}");
        eprintln!("{}: kernels {}, golden models, C programs", processor.name, processor.rows.join(", "));
    }
    Ok(())
}

struct Emulator {
    /// The loader and the libraries of the other architecture.
    runtime: PathBuf,
    /// The shared library and the C programs.
    scratch: PathBuf,
}

impl Emulator {
    /// Runs a program through the loader of its architecture, so that nothing has to be installed for it.
    fn command(&self, processor: &Processor, program: &Path) -> Command {
        let mut command = Command::new("timeout");
        command
            .args([SECONDS, EMULATOR, "-cpu", processor.name])
            .arg(self.runtime.join("ld-linux-aarch64.so.1"));
        let libraries = format!("{}:{}", self.runtime.display(), self.scratch.display());
        // With that variable, programs that start threads have been seen to hang.
        command.args(["--library-path", &libraries]).arg(program).env_remove("QEMU_LD_PREFIX");
        command
    }

    fn compile(&self, toolchain: &Toolchain, source_file: &Path) -> anyhow::Result<PathBuf> {
        let program = self.scratch.join(source_file.file_stem().unwrap_or_default());
        let mut cc = toolchain.cc()?;
        cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"]).arg(source("ffi/include"));
        cc.arg(source_file).arg("-L").arg(&self.scratch).args(["-ledgeslm", "-lm", "-o"]).arg(&program);
        checked(&mut cc)?;
        Ok(program)
    }
}
