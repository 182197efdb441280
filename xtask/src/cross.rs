//! `cargo xtask cross`: builds for other machines, and tests of these builds under emulators.

mod arm64;
mod toolchain;
pub(crate) mod windows;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::command::{has, succeed};
use crate::demo::workspace;
use crate::dist::glibc_minor;
use toolchain::Toolchain;

/// 64-bit ARM Linux with the GNU C library: Raspberry Pi, Jetson, most boards.
const ARM64: &str = "aarch64-unknown-linux-gnu";
/// The command for 64-bit ARM Linux as one static program.
const ARM64_STATIC: &str = "aarch64-unknown-linux-musl";
/// 64-bit Windows.
const WINDOWS: &str = "x86_64-pc-windows-gnu";

/// The oldest C library that ARM64 Linux builds run on, as N of version 2.N: JetPack 5 and Debian 11.
const GLIBC_MINOR: u32 = 31;

/// What `cargo xtask cross` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The target triple
    #[arg(default_value = ARM64, value_parser = [ARM64, ARM64_STATIC, WINDOWS])]
    target: String,
    /// Run the tests under an emulator (qemu or Wine) instead of building what is shipped
    #[arg(long)]
    test: bool,
    /// The processors that qemu plays in the tests [default: all]
    #[arg(long = "cpu", value_name = "CPU", requires = "test", value_parser = arm64::processor_names())]
    processors: Vec<String>,
}

#[allow(clippy::print_stdout, reason = "the result of the chore")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.test {
        return test(&arguments.target, &arguments.processors);
    }
    println!("{}", build(&arguments.target)?.display());
    Ok(())
}

/// Builds for `target` and runs the tests of that build; under qemu on `processors`, or on all where there are none.
#[allow(clippy::print_stderr, reason = "a skipped check says so")]
fn test(target: &str, processors: &[String]) -> anyhow::Result<()> {
    let tools = match target {
        ARM64 => arm64::TOOLS,
        WINDOWS => windows::TOOLS,
        _ => bail!("there are no tests for {target}: its code is that of {ARM64}"),
    };
    for tool in tools {
        if !has(tool)? {
            return Ok(());
        }
    }
    let toolchain = match Toolchain::find(target) {
        Err(error) if std::env::var("CI").as_deref() != Ok("true") => {
            eprintln!("skipped: the tests for {target}: {error:#}");
            return Ok(());
        }
        toolchain => toolchain?,
    };
    if target == ARM64 { arm64::test(&toolchain, processors) } else { windows::test(&toolchain) }
}

/// Builds the library and the command for `target`; the folder that holds them.
pub(crate) fn build(target: &str) -> anyhow::Result<PathBuf> {
    let toolchain = Toolchain::find(target)?;
    for package in [&["edgeslm-ffi"][..], &["edgeslm", "--bin", "edgeslm"]] {
        succeed(&mut toolchain.cargo("build", &[&["--release", "--package"], package].concat())?)?;
    }
    let folder = toolchain.results("release");
    if target == ARM64 {
        for file in ["libedgeslm.so", "edgeslm"] {
            runs_on_old_systems(&folder.join(file))?;
        }
    }
    if target == WINDOWS {
        windows::import_library(&toolchain, &folder)?;
    }
    Ok(folder)
}

/// Whether a program or a library asks for no newer C library than is promised.
fn runs_on_old_systems(file: &Path) -> anyhow::Result<()> {
    let minor = glibc_minor(file)?;
    ensure!(
        minor <= GLIBC_MINOR,
        "{} needs version 2.{minor} of the GNU C library; 2.{GLIBC_MINOR} is promised",
        file.display()
    );
    Ok(())
}

/// The tests' programs and libraries that Cargo has built, as it tells in JSON.
pub(crate) fn built(output: &[u8]) -> anyhow::Result<Vec<serde_json::Value>> {
    let text = std::str::from_utf8(output).context("Cargo's messages")?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The test program of a Cargo target, such as the unit tests of the library `edgeslm`.
pub(crate) fn test_program(
    messages: &[serde_json::Value],
    kind: &str,
    name: &str,
) -> anyhow::Result<PathBuf> {
    let program = messages.iter().find(|message| {
        let target = &message["target"];
        message["profile"]["test"] == true
            && target["name"] == name
            && target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|of| of == kind))
    });
    let path = program.and_then(|message| message["executable"].as_str());
    Ok(path.with_context(|| format!("Cargo built no tests of the {kind} {name}"))?.into())
}

/// The directories of golden models.
fn models() -> PathBuf {
    workspace().join("tests/data/models")
}

/// Where a file of the repository lies.
fn source(path: &str) -> PathBuf {
    workspace().join(path)
}
