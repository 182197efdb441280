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
    fixture, has, library_directory, models, run, text,
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

/// The environment that builds wheels, and the folder of all wheels that the tests need: made once for a list of requirements.
fn tools() -> Option<(PathBuf, PathBuf)> {
    let (environment, wheels) = (folder().join("tools"), folder().join("wheels"));
    let requirements = package().join("tests/requirements.txt");
    let wanted = fs::read_to_string(&requirements).expect("the requirements");
    let installed = folder().join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Some((environment, wheels));
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
    let mut install = pip(&environment, "install");
    run(install.args(["--upgrade", "--no-index", "--find-links"]).arg(&wheels).args(["setuptools", "wheel"]));
    fs::write(&installed, wanted).expect("a note of what is installed");
    Some((environment, wheels))
}

/// Copies the package's files, and lays header and library beside them.
fn lay_out(source: &Path) {
    let _absent = fs::remove_dir_all(source);
    fs::create_dir_all(source.join("edgeslm")).expect("a folder for the package");
    for part in ["", "edgeslm"] {
        let entries = fs::read_dir(package().join(part)).expect("the package's files");
        for file in entries.map(|entry| entry.expect("a file").path()).filter(|path| path.is_file()) {
            let name = file.file_name().expect("a file has a name");
            fs::copy(&file, source.join(part).join(name)).expect("a copy of the package");
        }
    }
    fs::copy(ffi_directory().join("include/edgeslm.h"), source.join("edgeslm/edgeslm.h"))
        .expect("a copy of the header");
    fs::copy(library_directory().join("libedgeslm.so"), source.join("edgeslm/libedgeslm.so"))
        .expect("a copy of the library");
}

/// The interpreter of a fresh environment into which the wheel is installed.
fn install() -> Option<PathBuf> {
    let (tools, wheels) = tools()?;
    let (source, built, environment) =
        (folder().join("source"), folder().join("built"), folder().join("environment"));
    lay_out(&source);
    let _absent = fs::remove_dir_all(&built);
    let mut wheel = pip(&tools, "wheel");
    run(wheel
        .args(["--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir"])
        .arg(&built)
        .arg(&source));
    let wheel = fs::read_dir(&built).expect("the wheel").next().expect("a wheel").expect("a wheel").path();
    let name = wheel.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(name.starts_with(concat!("edgeslm-", env!("CARGO_PKG_VERSION"), "-py3-none-")), "{name}");
    assert!(!name.ends_with("-any.whl"), "a wheel for one platform: {name}");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
    let mut install = pip(&environment, "install");
    run(install.args(["--no-index", "--find-links"]).arg(&wheels).arg(&wheel).args(["numpy", "pytest"]));
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
    assert_interrupt_stops_the_answer(triage());
}
