//! `cargo xtask emulate`: the tests of the kernel row for AMX on a computer that the emulator Bochs plays, for machines without AMX.

mod archive;
mod frames;
mod initramfs;
mod kernel;
mod machine;
mod parts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{bail, ensure};

use crate::command::{cargo_command, checked};
use crate::cross::{built, test_program};
use crate::demo::workspace;
use parts::Parts;

/// The kernel row.
const ROW: &str = "amx-int8";
/// The test that fails where the emulated CPU or its system lacks something that the row needs.
const REQUIRED: &str = "required_rows_are_not_skipped";
/// The tests that call the row's own kernel, the product of 8-bit integers; its other kernels are those of AVX-512.
const TESTS: &str = "products";

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What `cargo xtask emulate` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Parts of the names of the tests
    #[arg(default_value = TESTS)]
    tests: Vec<String>,
}

#[allow(clippy::print_stderr, reason = "progress of a long command")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(
        cfg!(all(target_arch = "x86_64", target_os = "linux")),
        "the emulator and the tests are built for x86-64 Linux only"
    );
    let root = workspace().join("target/emulator");
    fs::create_dir_all(&root)?;
    let parts = Parts::find(&root)?;
    let program = program(&root)?;
    let tests: Vec<&str> = arguments.tests.iter().map(String::as_str).chain([REQUIRED]).collect();
    eprintln!("Running the tests of {ROW} in Bochs");
    let started = Instant::now();
    let outcome = machine::run(
        &parts,
        &root.join("run"),
        &program,
        &[&tests[..], &["--test-threads=1", "--show-output"]].concat(),
        &[("EDGESLM_KERNELS", ROW), ("EDGESLM_REQUIRE_KERNELS", ROW)],
    )?;
    ensure!(outcome.status == 0, "the tests ended with status {}", outcome.status);
    let passed = passed(&outcome.output, &tests)?;
    eprintln!("{ROW}: {passed} tests passed in Bochs in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// The unit tests of the kernels as a static program, which needs no other file.
fn program(root: &Path) -> anyhow::Result<PathBuf> {
    let mut cargo = cargo_command(&["test", "--package", "edgeslm-kernels", "--lib", "--target", TARGET]);
    cargo.args(["--no-run", "--quiet", "--message-format", "json-render-diagnostics"]);
    cargo.env("CARGO_TARGET_DIR", root.join("build"));
    cargo.env("RUSTFLAGS", "-Ctarget-feature=+crt-static -Cstrip=symbols");
    let messages = built(&checked(cargo.stderr(Stdio::inherit()))?.stdout)?;
    test_program(&messages, "lib", "edgeslm_kernels")
}

/// How many tests passed, by what the program printed. Each of `tests` has to be part of the name of one that did, and no line may say
/// that something was skipped.
fn passed(output: &str, tests: &[&str]) -> anyhow::Result<usize> {
    if let Some(line) = output.lines().find(|line| line.starts_with("skipped")) {
        bail!("not everything was tested: {line}");
    }
    let names = || output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok"));
    for test in tests {
        ensure!(names().any(|name| name.contains(test)), "no test of the name {test} has passed");
    }
    Ok(names().count())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_tests_that_ran_count() {
        let output = "running 2 tests\ntest tests::products::a ... ok\ntest tests::required_rows_are_not_skipped ... ok\n\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 60 filtered out; finished in 1.00s\n";
        assert_eq!(passed(output, &[TESTS, REQUIRED]).unwrap(), 2);
        passed(output, &["attention"]).unwrap_err();
        passed(&output.replace("a ... ok", "a ... ignored"), &[TESTS, REQUIRED]).unwrap_err();
        let skipped = format!("{output}skipped kernels amx-int8: the CPU lacks amx-tile\n");
        passed(&skipped, &[TESTS, REQUIRED]).unwrap_err();
    }
}
