//! The C# assembly, compiled by Mono's compiler and run by Mono.

#![allow(clippy::expect_used, reason = "helpers of a test may panic")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]
#![cfg(unix)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{
    assert_cases, assert_triage, behaviour_cases, example, ffi_directory, fixture, has, library_directory,
    models, run, text,
};

/// The folder of the assembly and of the programs that use it; `None` without Mono.
fn programs() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| (has("mcs") && has("mono")).then(build));
    folder.as_deref()
}

fn build() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("csharp");
    std::fs::create_dir_all(&folder).expect("a folder for the assemblies");
    let csharp = ffi_directory().join("csharp");
    let entries = std::fs::read_dir(csharp.join("EdgeSlm")).expect("the sources of EdgeSlm");
    let mut sources: Vec<PathBuf> = entries.map(|entry| entry.expect("a source").path()).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "cs"));
    // Public members without documentation are warnings, and warnings are errors.
    let documentation = format!("-doc:{}", folder.join("EdgeSlm.xml").display());
    compile(&folder.join("EdgeSlm.dll"), &["-target:library", "-unsafe", &documentation], &sources);
    let reference = format!("-r:{}", folder.join("EdgeSlm.dll").display());
    let tests = |names: &[&str]| -> Vec<PathBuf> {
        names.iter().map(|name| csharp.join("tests").join(name).with_extension("cs")).collect()
    };
    for (name, sources) in [
        ("Tests.exe", tests(&["Tests", "Lifetimes", "Cancelling", "Calibrations", "Sources", "Ort"])),
        ("Behaviour.exe", tests(&["Behaviour"])),
        ("Triage.exe", vec![example("csharp/Triage.cs")]),
    ] {
        compile(&folder.join(name), &[&reference], &sources);
    }
    folder
}

fn compile(target: &Path, more: &[&str], sources: &[PathBuf]) {
    // The language that every compiler of netstandard2.0 speaks.
    let mut command = Command::new("mcs");
    command.args(["-langversion:7.2", "-warnaserror", "-warn:4"]).arg(format!("-out:{}", target.display()));
    run(command.args(more).args(sources));
}

/// A command that runs one of the programs.
fn program(folder: &Path, name: &str) -> Command {
    let mut command = Command::new("mono");
    command.arg(folder.join(name)).env("LD_LIBRARY_PATH", library_directory());
    command
}

#[test]
fn the_assembly_does_what_it_says() {
    let Some(folder) = programs() else { return };
    let output = run(program(folder, "Tests.exe").arg(fixture()));
    assert!(text(&output.stdout).trim_end().ends_with(" passed, 0 failed"), "{output:?}");
}

#[test]
fn the_shared_cases_in_csharp() {
    let Some(folder) = programs() else { return };
    let output = run(program(folder, "Behaviour.exe").arg(behaviour_cases()).arg(models()));
    assert_cases(text(&output.stdout), 1);
}

#[test]
fn the_triage_example_in_csharp() {
    let Some(folder) = programs() else { return };
    assert_triage(|| program(folder, "Triage.exe"));
}
