//! The tests of the build for 64-bit Windows, under Wine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::ensure;

use super::toolchain::{MINGW, Toolchain};
use super::{built, models, source, test_program};
use crate::abi;
use crate::command::{checked, succeed};

/// Wine 8 lacks the library from which Rust's standard library takes random numbers; Windows 10 and later have it.
const RANDOM: &str = "
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count) { return SystemFunction036(bytes, (ULONG)count); }
";

pub(super) const TOOLS: &[&str] = &["wine", MINGW];

/// A folder as tills have them, for the programs and a model.
const FOLDER: &str = "Kasse Größe 1";

/// Golden models against their logits, the places of files, the command, and C programs.
#[allow(clippy::print_stderr, reason = "progress of a long command")]
pub(super) fn test(toolchain: &Toolchain) -> anyhow::Result<()> {
    let tests = ["--workspace", "--test", "golden", "--test", "places", "--no-run"];
    let mut cargo = toolchain.cargo("test", &tests)?;
    cargo.args(["--quiet", "--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    let messages = built(&checked(&mut cargo)?.stdout)?;
    // The example has the features built in that the tests have, so that nothing is built twice.
    let programs = ["--workspace", "--lib", "--bin", "edgeslm", "--example", "triage_kiosk", "--quiet"];
    succeed(&mut toolchain.cargo("build", &programs)?)?;

    let folder = toolchain.scratch("windows")?.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let results = toolchain.results("debug");
    for file in ["edgeslm.exe", "edgeslm.dll"] {
        fs::copy(results.join(file), folder.join(file))?;
    }
    for name in ["golden", "places"] {
        fs::copy(test_program(&messages, "test", name)?, folder.join(name).with_extension("exe"))?;
    }
    let model = folder.join("Modell für 10 €");
    succeed(Command::new("cp").arg("-r").arg(models().join("llama-3.2-1b-int4")).arg(&model))?;
    let random = folder.join("random.c");
    fs::write(&random, RANDOM)?;
    let mut cc = toolchain.cc()?;
    cc.arg("-shared").arg(random).arg("-ladvapi32").arg("-o").arg(folder.join("bcryptprimitives.dll"));
    checked(&mut cc)?;
    import_library(toolchain, &results)?;
    for (program, library) in
        [("examples/c/chat.c", "libedgeslm.dll.a"), ("ffi/tests/behaviour.c", MICROSOFT_IMPORT_LIBRARY)]
    {
        compile(toolchain, &source(program), &results.join(library), &folder)?;
    }

    let wine = Wine { folder: &folder, prefix: toolchain.scratch("wine")? };
    checked(wine.command("golden.exe").arg("models_in"))?;
    checked(&mut wine.command("places.exe"))?;
    let output =
        checked(wine.command("behaviour.exe").arg(source("tests/data/behaviour.txt")).arg(models()))?;
    ensure!(String::from_utf8_lossy(&output.stdout).trim_end().ends_with(" cases, 0 skipped"), "{output:?}");
    let questions = folder.join("questions.txt");
    fs::write(&questions, "Is the door open?\r\nAnd now?\r\n")?;
    let mut chat = wine.command("chat.exe");
    chat.arg(models().join("llama-3.2-1b-int4")).arg("4").stdin(fs::File::open(&questions)?);
    let output = checked(&mut chat)?;
    ensure!(String::from_utf8_lossy(&output.stdout).contains(" reused"), "{output:?}");
    let run = checked(wine.command("edgeslm.exe").arg("run").arg(&model).args(["-n", "4", "Is it open?"]))?;
    ensure!(!run.stdout.is_empty(), "{run:?}");
    eprintln!("Wine: golden models, places of files, C programs, the command");
    Ok(())
}

/// The import library for Microsoft's linker, which does not take that of GNU's.
pub(crate) const MICROSOFT_IMPORT_LIBRARY: &str = "edgeslm.lib";

/// Writes the import library for Microsoft's linker beside the shared library in `folder`.
pub(super) fn import_library(toolchain: &Toolchain, folder: &Path) -> anyhow::Result<()> {
    let header = fs::read_to_string(source("ffi/include/edgeslm.h"))?;
    let definitions = folder.join("edgeslm.def");
    fs::write(
        &definitions,
        format!("LIBRARY edgeslm.dll\nEXPORTS\n{}\n", abi::functions(&header)?.join("\n")),
    )?;
    let mut dlltool = toolchain.zig(&["dlltool", "-m", "i386:x86-64", "-d"])?;
    checked(dlltool.arg(definitions).arg("-l").arg(folder.join(MICROSOFT_IMPORT_LIBRARY)))?;
    Ok(())
}

/// Compiles a C program against an import library.
fn compile(toolchain: &Toolchain, program: &Path, library: &Path, to: &Path) -> anyhow::Result<()> {
    let mut cc = toolchain.cc()?;
    cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"]).arg(source("ffi/include")).arg(program);
    checked(
        cc.arg(library).arg("-o").arg(to.join(program.file_stem().unwrap_or_default()).with_extension("exe")),
    )?;
    Ok(())
}

struct Wine<'f> {
    folder: &'f Path,
    /// Where Wine keeps the system that it plays.
    prefix: PathBuf,
}

impl Wine<'_> {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("wine");
        command.arg(self.folder.join(program)).current_dir(self.folder);
        command.env("WINEPREFIX", &self.prefix).env("WINEDEBUG", "-all");
        command
    }
}
