//! What the emulator is made of: fetched from Debian and built once, under `target/emulator`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

use super::archive::{Archive, KEYRING};
use crate::command::{checked, starts, succeed};

/// Commands, and the Debian packages that have them.
const TOOLS: [(&str, &str); 8] = [
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("as", "binutils"),
    ("lz4", "lz4"),
    ("make", "make"),
    ("patch", "patch"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
];

/// The computer's BIOS and that of its graphics card.
const FIRMWARE: [&str; 2] = ["bochsbios=3.0+dfsg-1", "vgabios=0.8a+ds-2"];
/// Linux 6.1, whose builds change with Debian's corrections.
const KERNEL: &str = "^linux-image-6[.]1[.]0-[0-9]+-cloud-amd64-unsigned$";

const SOURCE: &str = "bochs=3.0+dfsg-1";
const SOURCE_FILE: &str = "bochs_3.0+dfsg.orig.tar.xz";
const SOURCE_SHA256: &str = "78f6c73d4a6472d5130a87ab9dc306d02c7c71ed8e25b3a8ef642e2a7acd282b";
const PATCH: &str = include_str!("bochs-3.0-amx.patch");
const CONFIGURE: [&str; 13] = [
    "--with-nogui",
    "--enable-x86-64",
    "--enable-cpu-level=6",
    "--enable-avx",
    "--enable-evex",
    "--enable-amx",
    "--enable-repeat-speedups",
    "--enable-fast-function-calls",
    "--enable-handlers-chaining",
    "--disable-docbook",
    "--disable-plugins",
    "CFLAGS=-O2",
    "CXXFLAGS=-O2 -fomit-frame-pointer",
];

/// Files under `target/emulator`.
pub(super) struct Parts {
    pub(super) bochs: PathBuf,
    pub(super) bios: PathBuf,
    pub(super) graphics_bios: PathBuf,
    /// The kernel as Debian packs it.
    pub(super) kernel: PathBuf,
}

impl Parts {
    /// Fetches and builds what is missing.
    pub(super) fn find(root: &Path) -> anyhow::Result<Self> {
        tools()?;
        let packages = packages(root).context("fetching the emulator's firmware and kernel")?;
        let bochs = bochs(root).context("building Bochs")?;
        let boot = packages.join("boot");
        let mut kernels = fs::read_dir(&boot)?.collect::<Result<Vec<_>, _>>()?;
        kernels.retain(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz-"));
        let kernel = kernels.pop().with_context(|| format!("there is no kernel in {}", boot.display()))?;
        Ok(Self {
            bochs,
            bios: packages.join("usr/share/bochs/BIOS-bochs-latest"),
            graphics_bios: packages.join("usr/share/vgabios/vgabios.bin"),
            kernel: kernel.path(),
        })
    }
}

/// Makes sure of the programs that the steps call; installs those that are missing where this runs as root.
#[allow(clippy::print_stderr, reason = "progress of a long command")]
fn tools() -> anyhow::Result<()> {
    ensure!(
        starts("apt-get") && starts("dpkg-deb"),
        "apt-get or dpkg-deb is missing: the emulator is made of Debian packages"
    );
    let missing = || {
        let tools = TOOLS.iter().filter(|(tool, _)| !starts(tool)).map(|(_, package)| *package);
        let keyring = (!Path::new(KEYRING).exists()).then_some("debian-archive-keyring");
        tools.chain(keyring).collect::<Vec<_>>()
    };
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if String::from_utf8_lossy(&checked(Command::new("id").arg("-u"))?.stdout).trim() != "0" {
        bail!("{list}: missing; run `apt-get install {list}` as root");
    }
    eprintln!("Installing {list}");
    checked(Command::new("apt-get").args(["update", "-qq"]))
        .context("reading the system's lists of packages, which needs the network")?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages);
    checked(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    ensure!(missing().is_empty(), "still missing: {}", missing().join(" "));
    Ok(())
}

/// A folder with the firmware and the kernel, unpacked and not installed.
#[allow(clippy::print_stderr, reason = "progress of a long command")]
fn packages(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = root.join("packages");
    let (note, wanted) = (folder.join("unpacked.txt"), format!("{}\n{KERNEL}\n", FIRMWARE.join("\n")));
    if fs::read_to_string(&note).is_ok_and(|unpacked| unpacked == wanted) {
        return Ok(folder);
    }
    eprintln!("Fetching the emulated computer's firmware and kernel");
    empty(&folder)?;
    let archive = Archive::open(root)?;
    // The names differ in a number of two digits.
    let kernel = archive.names(KERNEL)?.into_iter().max().context("no kernel")?;
    archive.unpack(&[FIRMWARE[0], FIRMWARE[1], &kernel], &folder)?;
    // Modules are not used.
    fs::remove_dir_all(folder.join("lib"))?;
    fs::write(note, wanted)?;
    Ok(folder)
}

/// Bochs with [`PATCH`], built.
#[allow(clippy::print_stderr, reason = "progress of a long command")]
fn bochs(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = root.join("bochs");
    let (program, note) = (folder.join("bochs"), folder.join("built.txt"));
    let wanted = format!("{SOURCE_SHA256}\n{}\n{PATCH}", CONFIGURE.join("\n"));
    if fs::read_to_string(&note).is_ok_and(|built| built == wanted) {
        return Ok(program);
    }
    empty(&folder)?;
    let source = folder.join(SOURCE_FILE);
    eprintln!("Fetching the source of Bochs");
    Archive::open(root)?.source(SOURCE, &folder)?;
    let found: String = Sha256::digest(fs::read(&source)?).iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(found == SOURCE_SHA256, "{SOURCE_FILE} has the SHA-256 {found} and not {SOURCE_SHA256}");
    let tree = folder.join("source");
    fs::create_dir(&tree)?;
    succeed(Command::new("tar").arg("-xf").arg(&source).args(["--strip-components=1", "-C"]).arg(&tree))?;
    fs::write(folder.join("amx.patch"), PATCH)?;
    checked(Command::new("patch").args(["-p1", "--fuzz=0", "-i", "../amx.patch"]).current_dir(&tree))?;
    eprintln!("Building Bochs, which takes minutes");
    checked(Command::new("./configure").args(CONFIGURE).current_dir(&tree))?;
    let jobs = std::thread::available_parallelism()?;
    checked(Command::new("make").args([&format!("-j{jobs}"), "bochs"]).current_dir(&tree))?;
    fs::copy(tree.join("bochs"), &program)?;
    fs::remove_dir_all(tree)?;
    fs::write(note, wanted)?;
    Ok(program)
}

/// Makes a folder, without what was in it.
pub(super) fn empty(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    Ok(())
}
