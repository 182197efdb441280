//! The Python package: its wheel is built, installed into a fresh environment and tested there.

#![allow(clippy::expect_used, reason = "helpers of a test may panic")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]
#![cfg(unix)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{
    assert_cases, assert_interrupt_stops_the_answer, assert_triage, behaviour_cases, example, ffi_directory,
    fixture, has, library_directory, models, run, text, xtask,
};

fn package() -> PathBuf {
    ffi_directory().join("python")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("python")
}

/// A command of pip in an environment.
fn pip(environment: &Path, command: &str) -> Command {
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", command]);
    pip
}

/// The folder of all wheels that the tests need: filled once for a list of requirements.
fn wheels() -> Option<PathBuf> {
    let (environment, wheels) = (folder().join("tools"), folder().join("wheels"));
    let requirements = package().join("tests/requirements.txt");
    let wanted = fs::read_to_string(&requirements).expect("the requirements");
    let downloaded = folder().join("downloaded.txt");
    if fs::read_to_string(&downloaded).is_ok_and(|downloaded| downloaded == wanted) {
        return Some(wheels);
    }
    fs::create_dir_all(folder()).expect("a folder for the environments");
    let _absent = fs::remove_dir_all(&wheels);
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
    let mut download = pip(&environment, "download");
    let output = download.arg("--dest").arg(&wheels).arg("--requirement").arg(&requirements).output();
    let output = output.expect("pip starts");
    if !output.status.success() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{}", text(&output.stderr));
        println!("skipped: the packages of {} cannot be had", requirements.display());
        return None;
    }
    fs::write(&downloaded, wanted).expect("a note of what was downloaded");
    Some(wheels)
}

/// The interpreter of a fresh environment into which the wheel is installed.
fn install() -> Option<PathBuf> {
    let wheels = wheels()?;
    let environment = folder().join("environment");
    let mut build = xtask();
    build.arg("wheel").arg(library_directory().join("libedgeslm.so")).arg(folder().join("built"));
    let output = run(build.arg("--find-links").arg(&wheels));
    let wheel = PathBuf::from(text(&output.stdout).trim_end());
    let name = wheel.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(name.starts_with(concat!("edgeslm-", env!("CARGO_PKG_VERSION"), "-py3-none-")), "{name}");
    assert!(!name.ends_with("-any.whl"), "a wheel for one platform: {name}");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
    let mut install = pip(&environment, "install");
    run(install
        .args(["--no-index", "--find-links"])
        .arg(&wheels)
        .arg(&wheel)
        .args(["mypy", "numpy", "pytest"]));
    Some(environment.join("bin/python"))
}

/// A command that runs the interpreter with nothing from outside.
fn python(interpreter: &Path) -> Command {
    let mut command = Command::new(interpreter);
    command.arg("-B").env_remove("PYTHONPATH").env_remove("EDGESLM_LIBRARY").env("PYTHONIOENCODING", "utf-8");
    command
}

#[test]
fn the_wheel_in_a_fresh_environment() {
    if !has("python3") {
        return;
    }
    let Some(interpreter) = install() else { return };
    let output = run(python(&interpreter)
        .args(["-m", "pytest", "-q", "-rP", "-p", "no:cacheprovider"])
        .arg(package().join("tests"))
        .current_dir(folder())
        .env("EDGESLM_TEST_MODEL", fixture())
        .env("EDGESLM_TEST_MODELS", models())
        .env("EDGESLM_TEST_LIST", behaviour_cases()));
    let cases =
        text(&output.stdout).lines().find(|line| line.ends_with(" skipped") && line.contains(" cases, "));
    assert_cases(cases.expect("the count of cases"), 1);

    let triage = || {
        let mut command = python(&interpreter);
        command.arg(example("python/triage.py"));
        command
    };
    assert_triage(triage);
    // Python leaves interrupts ignored where a shell has started the tests so, in the background.
    let mut interruptible = Command::new("env");
    interruptible.args(["--default-signal=INT", "--"]).arg(&interpreter).arg(example("python/triage.py"));
    assert_interrupt_stops_the_answer(interruptible);
}
