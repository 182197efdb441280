//! Compilers and linkers for other machines. rustup's standard library for a target is used where it is installed; elsewhere, on Debian,
//! the compiler of its package `rustc-web`, unpacked under `target/cross` and not installed, with the standard library of the other
//! architecture or, where Debian has none, its source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::{ARM64, GLIBC_MINOR, WINDOWS};
use crate::command::succeed;
use crate::demo::workspace;

/// Debian's compiler, unpacked.
const COMPILER: [&str; 4] = ["rustc-web", "libstd-rust-web-1.96", "libstd-rust-web-dev", "libllvm22"];
/// Its standard library for 64-bit ARM with the GNU C library.
const ARM64_LIBRARY: [&str; 2] = ["libstd-rust-web-1.96:arm64", "libstd-rust-web-dev:arm64"];
/// The source of its standard library, for targets that Debian has none for.
const LIBRARY_SOURCE: [&str; 1] = ["rust-web-src"];
/// What programs for 64-bit ARM need at run time.
const ARM64_RUNTIME: [&str; 2] = ["libc6:arm64", "libgcc-s1:arm64"];

/// The linker for Linux targets, and what hands it to Cargo with a chosen version of the C library.
const ZIG: &str = "ziglang==0.17.1\ncargo-zigbuild==0.24.1\n";

/// How Cargo is called for another machine.
pub(super) struct Toolchain {
    target: String,
    /// The compiler, where it is not Cargo's own.
    rustc: Option<PathBuf>,
    /// Whether the standard library is built with the program.
    builds_library: bool,
    /// The virtual environment with the linker, for Linux targets.
    zig: Option<PathBuf>,
    root: PathBuf,
}

impl Toolchain {
    /// Makes sure of the compiler and the linker.
    pub(super) fn find(target: &str) -> anyhow::Result<Self> {
        let root = workspace().join("target/cross");
        fs::create_dir_all(&root)?;
        let (rustc, builds_library) = if has_library(Path::new("rustc"), target)? {
            (None, false)
        } else {
            let (rustc, builds_library) = debian_compiler(&root, target)?;
            (Some(rustc), builds_library)
        };
        let zig = if target == WINDOWS { None } else { Some(zig(&root)?) };
        Ok(Self { target: target.to_owned(), rustc, builds_library, zig, root })
    }

    /// The folder of what is built in a profile.
    pub(super) fn results(&self, profile: &str) -> PathBuf {
        self.root.join("build").join(&self.target).join(profile)
    }

    /// A folder under `target` for what is neither fetched nor built by Cargo.
    pub(super) fn scratch(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.root.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Cargo's command `name` for the target.
    pub(super) fn cargo(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = match &self.zig {
            Some(environment) => {
                let mut command = Command::new(environment.join("bin/cargo-zigbuild"));
                command.arg(if name == "build" { "zigbuild" } else { name });
                let bin = std::iter::once(environment.join("bin"));
                let path = std::env::var_os("PATH").unwrap_or_default();
                command.env("PATH", std::env::join_paths(bin.chain(std::env::split_paths(&path)))?);
                let suffix = if self.target == ARM64 { format!(".2.{GLIBC_MINOR}") } else { String::new() };
                command.args(["--target", &format!("{}{suffix}", self.target)]);
                command
            }
            None => {
                let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                command.args([name, "--target", &self.target]);
                command.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", MINGW);
                command
            }
        };
        // Zig brings the start files of static programs.
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS", "-Clink-self-contained=no");
        command.args(arguments).current_dir(workspace()).env("CARGO_TARGET_DIR", self.root.join("build"));
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc);
        }
        if self.builds_library {
            command.arg("-Zbuild-std=std,panic_unwind").env("RUSTC_BOOTSTRAP", "1");
        }
        Ok(command)
    }

    /// A C compiler for the target.
    pub(super) fn cc(&self) -> anyhow::Result<Command> {
        if self.target == WINDOWS {
            return Ok(Command::new(MINGW));
        }
        let target = self.target.replace("-unknown", "");
        self.zig(&["cc", "-target", &format!("{target}.2.{GLIBC_MINOR}")])
    }

    /// A tool of Zig's.
    pub(super) fn zig(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(zig(&self.root)?.join("bin/python-zig"));
        command.args(arguments);
        Ok(command)
    }

    /// A folder with the loader and the libraries that programs for 64-bit ARM need.
    pub(super) fn arm64_runtime(&self) -> anyhow::Result<PathBuf> {
        let runtime = self.root.join("runtime");
        unpack(&self.root, &ARM64_RUNTIME, &runtime).context("fetching the C library of 64-bit ARM")?;
        Ok(runtime.join("lib/aarch64-linux-gnu"))
    }
}

/// The linker for Windows.
pub(super) const MINGW: &str = "x86_64-w64-mingw32-gcc-posix";

/// Whether `rustc` has a standard library for `target`.
fn has_library(rustc: &Path, target: &str) -> anyhow::Result<bool> {
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    let output = output.with_context(|| format!("starting {}", rustc.display()))?;
    Ok(output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

/// A script that runs Debian's compiler, and whether it has to build the standard library.
fn debian_compiler(root: &Path, target: &str) -> anyhow::Result<(PathBuf, bool)> {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        bail!("rustc has no standard library for {target}: run `rustup target add {target}`");
    }
    let (script, toolchain) = (root.join("rustc"), root.join("toolchain"));
    let builds_library = target != ARM64;
    let library = if builds_library { &LIBRARY_SOURCE[..] } else { &ARM64_LIBRARY };
    unpack(root, &[&COMPILER, library].concat(), &toolchain).context("fetching Debian's compiler")?;
    let usr = toolchain.join("usr");
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH={0}/lib/x86_64-linux-gnu exec {0}/bin/rustc \"$@\"\n",
        usr.display()
    );
    // Rewritten only when it changes: Cargo builds everything again for a compiler that does.
    if fs::read_to_string(&script).ok().as_deref() != Some(&text) {
        fs::write(&script, text)?;
        succeed(Command::new("chmod").arg("+x").arg(&script))?;
    }
    if !builds_library && !has_library(&script, target)? {
        bail!("Debian's compiler in {} has no standard library for {target}", toolchain.display());
    }
    Ok((script, builds_library))
}

/// Fetches Debian packages and unpacks them into `folder`, those that have not been.
fn unpack(root: &Path, packages: &[&str], folder: &Path) -> anyhow::Result<()> {
    for package in packages {
        let downloads = root.join("packages").join(package.replace(':', "-"));
        let done = downloads.join("unpacked");
        if done.exists() {
            continue;
        }
        let foreign = package.ends_with(":arm64");
        fs::create_dir_all(&downloads)?;
        if foreign {
            know_arm64_packages()?;
        }
        let download = || {
            let mut command = Command::new("apt-get");
            command.args(["download", "-qq", "-o", "APT::Sandbox::User=root", package]);
            succeed(command.current_dir(&downloads))
        };
        if download().is_err() {
            // The lists of packages may be old, or not there yet.
            succeed(Command::new("apt-get").args(["update", "-qq"]))?;
            download()?;
        }
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(&downloads)? {
            succeed(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(folder))?;
        }
        fs::remove_dir_all(&downloads)?;
        fs::create_dir_all(&downloads)?;
        fs::write(done, "")?;
    }
    Ok(())
}

/// Has the packages of 64-bit ARM listed beside this machine's; needs to be root once.
fn know_arm64_packages() -> anyhow::Result<()> {
    let foreign = Command::new("dpkg").arg("--print-foreign-architectures").output()?;
    if !String::from_utf8_lossy(&foreign.stdout).lines().any(|line| line == "arm64") {
        succeed(Command::new("dpkg").args(["--add-architecture", "arm64"]))?;
        succeed(Command::new("apt-get").args(["update", "-qq"]))?;
    }
    Ok(())
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
