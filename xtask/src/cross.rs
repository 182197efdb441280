//! `cargo xtask cross`: builds for other machines. Uses rustup's target where it is installed; elsewhere, on Debian, the compiler of its
//! package `rustc-web` with the standard library of the other architecture, unpacked under `target/cross` and not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::demo::{succeed, workspace};

/// The oldest C library that ARM64 Linux builds run on: JetPack 5 and Debian 11.
const GLIBC: &str = "2.31";

/// What `cargo xtask cross` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The target triple
    #[arg(default_value = ARM64, value_parser = [ARM64])]
    target: String,
}

pub(crate) const ARM64: &str = "aarch64-unknown-linux-gnu";

/// What is unpacked: packages of this machine's architecture, and of the target's.
const COMPILER: [&str; 4] = ["rustc-web", "libstd-rust-web-1.96", "libstd-rust-web-dev", "libllvm22"];
const ARM64_LIBRARY: [&str; 2] = ["libstd-rust-web-1.96:arm64", "libstd-rust-web-dev:arm64"];

/// The linker, and what hands it to Cargo with a chosen version of the C library.
const ZIG: &str = "ziglang==0.17.1\ncargo-zigbuild==0.24.1\n";

#[allow(clippy::print_stdout, reason = "the result of the chore")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    println!("{}", build(&arguments.target)?.display());
    Ok(())
}

/// Builds the library and the command for `target`; the folder that holds them.
pub(crate) fn build(target: &str) -> anyhow::Result<PathBuf> {
    let toolchain = Toolchain::find(target)?;
    for package in [&["edgeslm-ffi"][..], &["edgeslm", "--bin", "edgeslm"]] {
        succeed(toolchain.zigbuild(&["--release", "--package"]).args(package))?;
    }
    Ok(toolchain.folder.join(target).join("release"))
}

/// How Cargo is called for another machine.
pub(crate) struct Toolchain {
    target: String,
    /// The compiler, where it is not Cargo's own.
    rustc: Option<PathBuf>,
    /// The virtual environment with the linker.
    environment: PathBuf,
    /// Where the results go.
    folder: PathBuf,
}

impl Toolchain {
    /// Makes sure of the compiler and the linker.
    pub(crate) fn find(target: &str) -> anyhow::Result<Self> {
        let root = workspace().join("target/cross");
        fs::create_dir_all(&root)?;
        let rustc = if has_library(Path::new("rustc"), target) {
            None
        } else {
            Some(debian_compiler(&root, target)?)
        };
        let environment = zig(&root)?;
        Ok(Self { target: target.to_owned(), rustc, environment, folder: root.join("build") })
    }

    /// `cargo zigbuild`, against the oldest C library.
    fn zigbuild(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("zigbuild", &format!("{}.{GLIBC}", self.target));
        command.args(arguments);
        command
    }

    /// A command of `cargo-zigbuild`.
    fn command(&self, chore: &str, target: &str) -> Command {
        let mut command = Command::new(self.environment.join("bin/cargo-zigbuild"));
        command.arg(chore).args(["--target", target]).current_dir(workspace());
        command.env("CARGO_TARGET_DIR", &self.folder);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.environment.join("bin")).chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(path) {
            command.env("PATH", path);
        }
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc);
        }
        command
    }
}

/// Whether `rustc` has a standard library for `target`.
fn has_library(rustc: &Path, target: &str) -> bool {
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    output.is_ok_and(|output| {
        output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
    })
}

/// A script that runs Debian's compiler with the target's standard library.
fn debian_compiler(root: &Path, target: &str) -> anyhow::Result<PathBuf> {
    let script = root.join("rustc");
    if script.exists() && has_library(&script, target) {
        return Ok(script);
    }
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        bail!("rustc has no standard library for {target}: run `rustup target add {target}`");
    }
    let (packages, toolchain) = (root.join("packages"), root.join("toolchain"));
    fs::create_dir_all(&packages)?;
    fs::create_dir_all(&toolchain)?;
    // Only lists the packages of the other architecture; needs to be root once.
    let foreign = Command::new("dpkg").arg("--print-foreign-architectures").output()?;
    if !String::from_utf8_lossy(&foreign.stdout).lines().any(|line| line == "arm64") {
        succeed(Command::new("dpkg").args(["--add-architecture", "arm64"]))?;
        succeed(Command::new("apt-get").args(["update", "-qq"]))?;
    }
    succeed(
        Command::new("apt-get")
            .args(["download", "-qq"])
            .args(COMPILER)
            .args(ARM64_LIBRARY)
            .current_dir(&packages),
    )
    .context("fetching Debian's compiler")?;
    for entry in fs::read_dir(&packages)? {
        succeed(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(&toolchain))?;
    }
    let usr = toolchain.join("usr");
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH={0}/lib/x86_64-linux-gnu exec {0}/bin/rustc \"$@\"\n",
        usr.display()
    );
    fs::write(&script, text)?;
    succeed(Command::new("chmod").arg("+x").arg(&script))?;
    if !has_library(&script, target) {
        bail!("Debian's compiler in {} has no standard library for {target}", toolchain.display());
    }
    Ok(script)
}

/// A virtual environment with the linker.
fn zig(root: &Path) -> anyhow::Result<PathBuf> {
    let environment = root.join("venv");
    let installed = environment.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == ZIG) {
        return Ok(environment);
    }
    succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(ZIG.lines());
    succeed(&mut pip)?;
    fs::write(&installed, ZIG)?;
    Ok(environment)
}
