//! llama.cpp, built from the source that llama-cpp-python carries, for several sets of instructions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::contestant::{Class, Contestant, Program, Work};
use super::model::last_line;
use super::processor::{Instructions, Processor};
use crate::command::{checked, starts};
use crate::demo::workspace;
use crate::python;

/// The version of llama-cpp-python.
pub(crate) const VERSION: &str = "0.3.36";
const SHA256: &str = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e";
const FOLDER: &str = "target/peers";

/// Instructions, a name, and the options that turn the instructions on; AVX2 is on anyway.
type Build = (Instructions, &'static str, &'static [&'static str]);

/// The builds, the best first.
const BUILDS: [Build; 3] = [
    (
        Instructions::Amx,
        "amx",
        &["AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16", "AMX_TILE", "AMX_INT8"],
    ),
    (Instructions::Avx512, "avx512", &["AVX512", "AVX512_VBMI", "AVX512_VNNI"]),
    (Instructions::Avx2, "avx2", &[]),
];

/// The build whose program opens the kernels of all.
const WITH_PROGRAM: &str = "avx2";

/// The program that measures.
const MEASURE: &str = "measure-llama";

/// A build.
pub(super) struct Llama {
    program: PathBuf,
    kernels: PathBuf,
}

impl Llama {
    pub(super) fn command(&self, gguf: &Path, work: Work) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(&self.kernels).arg(gguf);
        let numbers = [work.threads, work.prompt_tokens, work.generate];
        command.args(numbers.map(|number| number.to_string()));
        command
    }
}

/// The program `target` of `benches/peers/llama`, and the best kernels that the processor has for it to open.
pub(crate) fn best(target: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let processor = Processor::of_this_machine()?;
    let (_, name, options) =
        best_build(&processor).context("llama.cpp is built for processors with AVX2 only")?;
    let built = build(&source()?, name, options, target)?;
    Ok((built.program, built.kernels))
}

fn best_build(processor: &Processor) -> Option<&'static Build> {
    BUILDS.iter().find(|(instructions, ..)| processor.has(*instructions))
}

/// Builds it for every set of instructions that the processor has.
pub(super) fn contestants(processor: &Processor) -> Vec<Contestant> {
    let source = source().map_err(|error| format!("{error:#}"));
    let best = best_build(processor);
    let of = |(instructions, name, options): &Build| {
        let program = if processor.has(*instructions) {
            source.clone().and_then(|source| {
                build(&source, name, options, MEASURE).map_err(|error| format!("{error:#}"))
            })
        } else {
            Err(format!("this processor has no {}", instructions.name()))
        };
        let is_best = best.is_some_and(|(best, ..)| best == instructions);
        Contestant {
            name: format!("llama.cpp ({name})"),
            class: if is_best { Class::Best } else { Class::Limited(*instructions) },
            program: program.map(Program::Llama),
        }
    };
    BUILDS.iter().map(of).collect()
}

/// The folder of this version.
fn folder() -> PathBuf {
    workspace().join(FOLDER).join(format!("llama-{VERSION}"))
}

/// llama.cpp's source, fetched where it is missing.
#[allow(clippy::print_stderr, reason = "progress of a long command")]
fn source() -> anyhow::Result<PathBuf> {
    let folder = folder();
    let package = folder.join("package");
    let source = package.join(format!("llama_cpp_python-{VERSION}/vendor/llama.cpp"));
    if source.exists() {
        return Ok(source);
    }
    let archive = folder.join(format!("llama_cpp_python-{VERSION}.tar.gz"));
    let python = python::interpreter()?;
    if !archive.exists() {
        eprintln!("Downloading llama-cpp-python {VERSION} (77 MB) with pip");
        fs::create_dir_all(&folder)?;
        let requirements = folder.join("requirements.txt");
        fs::write(&requirements, format!("llama-cpp-python=={VERSION} --hash=sha256:{SHA256}\n"))?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--no-binary=llama-cpp-python", "--require-hashes", "--dest"]).arg(&folder);
        checked(pip.arg("--requirement").arg(&requirements))
            .context("downloading llama.cpp's source with pip")?;
    }
    let partial = folder.join("package.partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    checked(Command::new(&python).args(["-m", "tarfile", "-e"]).arg(&archive).arg(&partial))?;
    fs::rename(&partial, &package)?;
    Ok(source)
}

/// Brings one build up to date, and the program `target`.
fn build(source: &Path, name: &str, options: &[&str], target: &str) -> anyhow::Result<Llama> {
    let program_folder = folder().join(WITH_PROGRAM);
    if name != WITH_PROGRAM {
        make(source, name, options, "ggml-cpu")?;
    }
    make(source, WITH_PROGRAM, &[], target)?;
    let kernels = folder().join(name).join("bin/libggml-cpu.so");
    Ok(Llama { program: program_folder.join(target), kernels })
}

#[allow(clippy::print_stderr, reason = "progress of a long command")]
fn make(source: &Path, name: &str, options: &[&str], target: &str) -> anyhow::Result<()> {
    if !starts("cmake") {
        bail!("cmake is missing (Debian and Ubuntu: apt install cmake g++)");
    }
    let folder = folder().join(name);
    let log = folder.with_extension("log");
    let run = |command: &mut Command| -> anyhow::Result<()> {
        let file = fs::OpenOptions::new().append(true).create(true).open(&log)?;
        let output = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).status()?;
        if !output.success() {
            bail!("building llama.cpp: {} (all of it: {})", last_line(&fs::read(&log)?), log.display());
        }
        Ok(())
    };
    if log.exists() {
        fs::remove_file(&log)?;
    }
    if !folder.join("Makefile").exists() {
        eprintln!("Building llama.cpp ({name}), which takes minutes; see {}", log.display());
    }
    // Each time: the folder may be of a time when the build had other programs.
    let mut configure = Command::new("cmake");
    configure.args(["-G", "Unix Makefiles", "-DCMAKE_BUILD_TYPE=Release"]);
    configure.arg("-S").arg(workspace().join("benches/peers/llama")).arg("-B").arg(&folder);
    configure.arg(format!("-DLLAMA_SOURCE={}", source.display()));
    run(configure.args(options.iter().map(|option| format!("-DGGML_{option}=ON"))))?;
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).to_string();
    run(Command::new("cmake").arg("--build").arg(&folder).args(["--parallel", &jobs, "--target", target]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_build_has_what_the_one_after_it_has() {
        for pair in BUILDS.windows(2) {
            let [(_, better, more), (_, _, fewer)] = pair else { unreachable!() };
            assert!(fewer.iter().all(|option| more.contains(option)) && more.len() > fewer.len(), "{better}");
        }
        assert_eq!(BUILDS.last().map(|(_, name, _)| *name), Some(WITH_PROGRAM));
    }
}
