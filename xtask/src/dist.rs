//! `cargo xtask dist`: what is shipped, as a folder and an archive: headers, libraries, the command, build files, licences.

mod build_files;
mod sbom;
mod wheel;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

use crate::command::{cargo, succeed};
use crate::cross::windows::MICROSOFT_IMPORT_LIBRARY;
use crate::demo::workspace;

pub(crate) use wheel::{Arguments as WheelArguments, glibc_minor, run as wheel};

/// What `cargo xtask dist` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The target triple; by default this machine's
    #[arg(long)]
    target: Option<String>,
}

/// A packed result.
pub(crate) struct Package {
    /// The folder with `include`, `lib`, `bin` and `share`.
    pub(crate) folder: PathBuf,
    /// The folder as an archive.
    pub(crate) archive: PathBuf,
    /// The Python package, where there is a shared library.
    pub(crate) wheel: Option<PathBuf>,
}

#[allow(clippy::print_stdout, reason = "the result of the chore")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let package = pack(arguments.target.as_deref())?;
    println!("{}", package.folder.display());
    println!("{}", package.archive.display());
    if let Some(wheel) = package.wheel {
        println!("{}", wheel.display());
    }
    Ok(())
}

/// Builds for `target` and lays out what is shipped.
pub(crate) fn pack(target: Option<&str>) -> anyhow::Result<Package> {
    let host = host()?;
    let built = match target {
        Some(target) if target != host => crate::cross::build(target)?,
        _ => {
            cargo(&["build", "--quiet", "--release", "--package", "edgeslm-ffi"])?;
            cargo(&["build", "--quiet", "--release", "--package", "edgeslm", "--bin", "edgeslm"])?;
            target_directory().join("release")
        }
    };
    let target = target.unwrap_or(&host).to_owned();
    let name = format!("edgeslm-{}-{target}", env!("CARGO_PKG_VERSION"));
    let folder = workspace().join("target/dist").join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    libraries(&built, &folder, &target)?;
    copy(&workspace().join("ffi/include"), &folder.join("include"), &["edgeslm.h", "edgeslm.hpp"])?;
    build_files::write(&folder, &target)?;
    documents(&folder)?;
    fs::write(folder.join("share/edgeslm/sbom.cdx.json"), sbom::document(&target)?)?;
    csharp(&folder, &target)?;
    checksums(&folder)?;
    let archive = workspace().join("target/dist").join(format!("{name}.tar.gz"));
    succeed(
        Command::new("tar")
            .args(["--owner=0", "--group=0", "--sort=name", "-czf"])
            .arg(&archive)
            .arg("-C")
            .arg(workspace().join("target/dist"))
            .arg(&name),
    )?;
    let wheel = wheel::of_package(&folder, &target)?;
    Ok(Package { folder, archive, wheel })
}

/// The triple that Cargo builds for by itself.
pub(crate) fn host() -> anyhow::Result<String> {
    let output =
        Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

/// Where Cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), Into::into)
}

fn copy(from: &Path, to: &Path, names: &[&str]) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for name in names {
        let source = from.join(name);
        fs::copy(&source, to.join(name)).with_context(|| source.display().to_string())?;
    }
    Ok(())
}

/// The libraries and the command, by the names that linkers and loaders look for.
fn libraries(built: &Path, folder: &Path, target: &str) -> anyhow::Result<()> {
    let (bin, lib) = (folder.join("bin"), folder.join("lib"));
    if target.contains("windows") {
        copy(built, &bin, &["edgeslm.dll", "edgeslm.exe"])?;
        copy(built, &lib, &["libedgeslm.dll.a", MICROSOFT_IMPORT_LIBRARY, "libedgeslm.a"])?;
        return Ok(());
    }
    copy(built, &bin, &["edgeslm"])?;
    copy(built, &lib, &["libedgeslm.a"])?;
    if target.contains("musl") {
        return Ok(());
    }
    if target.contains("apple") {
        return copy(built, &lib, &["libedgeslm.dylib"]);
    }
    let version = env!("CARGO_PKG_VERSION");
    fs::copy(built.join("libedgeslm.so"), lib.join(format!("libedgeslm.so.{version}")))?;
    link(&format!("libedgeslm.so.{version}"), &lib.join("libedgeslm.so.0"))?;
    link("libedgeslm.so.0", &lib.join("libedgeslm.so"))
}

#[cfg(unix)]
pub(crate) fn link(to: &str, at: &Path) -> anyhow::Result<()> {
    Ok(std::os::unix::fs::symlink(to, at)?)
}

#[cfg(not(unix))]
pub(crate) fn link(to: &str, at: &Path) -> anyhow::Result<()> {
    let source = at.parent().map(|folder| folder.join(to)).context("a link has a folder")?;
    fs::copy(source, at)?;
    Ok(())
}

fn documents(folder: &Path) -> anyhow::Result<()> {
    let root = workspace();
    let documents = folder.join("share/doc/edgeslm");
    copy(root, &documents, &["README.md", "CHANGELOG.md", "SECURITY.md"])?;
    copy(&root.join("docs"), &documents.join("docs"), &["getting-started.md", "install-arm64.md"])?;
    for (language, sources) in [
        ("c", &["chat.c", "triage.c"][..]),
        ("cpp", &["triage.cpp"]),
        ("csharp", &["Triage.cs"]),
        ("python", &["triage.py"]),
    ] {
        let examples = folder.join("share/edgeslm/examples").join(language);
        copy(&root.join("examples").join(language), &examples, sources)?;
    }
    copy(root, &folder.join("share/licenses/edgeslm"), &["LICENSE-MIT", "LICENSE-APACHE"])?;
    fs::write(folder.join("share/licenses/edgeslm/DEPENDENCIES.txt"), sbom::licenses()?)?;
    Ok(())
}

/// The C# project beside the library for this platform, ready for `dotnet pack`.
fn csharp(folder: &Path, target: &str) -> anyhow::Result<()> {
    let project = folder.join("share/edgeslm/csharp/EdgeSlm");
    let sources = workspace().join("ffi/csharp/EdgeSlm");
    fs::create_dir_all(&project)?;
    for entry in fs::read_dir(&sources)? {
        let path = entry?.path();
        let name = path.file_name().context("a file has a name")?;
        if path.extension().is_some_and(|extension| ["cs", "csproj", "md"].iter().any(|of| extension == *of))
        {
            fs::copy(&path, project.join(name))?;
        }
    }
    let version = concat!("<Version>", env!("CARGO_PKG_VERSION"), "</Version>");
    ensure!(
        fs::read_to_string(project.join("EdgeSlm.csproj"))?.contains(version),
        "the C# project has another version than the library"
    );
    let Some(identifier) = runtime_identifier(target) else { return Ok(()) };
    let native = project.join("runtimes").join(identifier).join("native");
    fs::create_dir_all(&native)?;
    let (from, name) = if target.contains("windows") {
        ("bin/edgeslm.dll", "edgeslm.dll")
    } else if target.contains("apple") {
        ("lib/libedgeslm.dylib", "libedgeslm.dylib")
    } else {
        ("lib/libedgeslm.so", "libedgeslm.so")
    };
    fs::copy(folder.join(from), native.join(name))?;
    Ok(())
}

/// The name of a platform in .NET; `None` where there is no shared library.
pub(crate) fn runtime_identifier(target: &str) -> Option<&'static str> {
    [
        ("x86_64-unknown-linux-gnu", "linux-x64"),
        ("aarch64-unknown-linux-gnu", "linux-arm64"),
        ("x86_64-pc-windows-gnu", "win-x64"),
        ("x86_64-pc-windows-msvc", "win-x64"),
        ("aarch64-apple-darwin", "osx-arm64"),
    ]
    .into_iter()
    .find_map(|(triple, identifier)| (triple == target).then_some(identifier))
}

/// `SHA256SUMS` of every file, as `sha256sum --check` reads it.
fn checksums(folder: &Path) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(present) = folders.pop() {
        for entry in fs::read_dir(&present)? {
            let path = entry?.path();
            let metadata = path.symlink_metadata()?;
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() {
                let digest = Sha256::digest(fs::read(&path)?);
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                let name = path.strip_prefix(folder)?.to_str().context("a name is UTF-8")?.replace('\\', "/");
                lines.push(format!("{hex}  {name}\n"));
            }
        }
    }
    if lines.is_empty() {
        bail!("{} is empty", folder.display());
    }
    lines.sort_by(|a, b| a[66..].cmp(&b[66..]));
    Ok(fs::write(folder.join("SHA256SUMS"), lines.concat())?)
}
