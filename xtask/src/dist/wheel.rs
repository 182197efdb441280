//! The Python package with the library in it, as a wheel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::{copy, host};
use crate::command::succeed;
use crate::demo::workspace;
use crate::python::interpreter;

/// What `cargo xtask wheel` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The shared library, built for this machine
    library: PathBuf,
    /// The folder for the wheel
    folder: PathBuf,
    /// Where the wheels of the build's tools are; by default they come from the package index
    #[arg(long)]
    find_links: Option<PathBuf>,
}

/// Builds a wheel around a library and prints its path.
#[allow(clippy::print_stdout, reason = "the result of the chore")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { library, folder, find_links } = arguments;
    let platform = platform(&host()?, library)?.context("Python packages are not made for this machine")?;
    let header = workspace().join("ffi/include");
    println!("{}", build(library, &header, &platform, folder, find_links.as_deref())?.display());
    Ok(())
}

/// Builds the wheel of a packed folder and puts it beside that; its path. `None` where there is no shared library.
pub(super) fn of_package(folder: &Path, target: &str) -> anyhow::Result<Option<PathBuf>> {
    let library = if target.contains("windows") {
        "bin/edgeslm.dll"
    } else if target.contains("apple") {
        "lib/libedgeslm.dylib"
    } else {
        "lib/libedgeslm.so"
    };
    let library = folder.join(library);
    let Some(platform) = platform(target, &library)? else { return Ok(None) };
    let wheels = workspace().join("target/dist/wheels").join(target);
    build(&library, &folder.join("include"), &platform, &wheels, None).map(Some)
}

/// The name of a platform in wheels; `None` where there is no shared library.
fn platform(target: &str, library: &Path) -> anyhow::Result<Option<String>> {
    Ok(match target {
        "x86_64-pc-windows-gnu" | "x86_64-pc-windows-msvc" => Some("win_amd64".to_owned()),
        "aarch64-apple-darwin" => Some("macosx_11_0_arm64".to_owned()),
        _ => match target.strip_suffix("-unknown-linux-gnu") {
            Some(architecture) => Some(format!("manylinux_2_{}_{architecture}", glibc_minor(library)?)),
            None => None,
        },
    })
}

/// Empties `wheels` and builds the only wheel in it from the sources, the header in `headers` and the library.
fn build(
    library: &Path,
    headers: &Path,
    platform: &str,
    wheels: &Path,
    find_links: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    let build = wheels.with_extension("build");
    for folder in [&build, wheels] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
    }
    let sources = workspace().join("ffi/python");
    copy(&sources, &build, &["pyproject.toml", "setup.py", "README.md"])?;
    let package = build.join("edgeslm");
    fs::create_dir_all(&package)?;
    for entry in fs::read_dir(sources.join("edgeslm"))? {
        let path = entry?.path();
        if path.is_file() {
            fs::copy(&path, package.join(path.file_name().context("a file has a name")?))?;
        }
    }
    copy(headers, &package, &["edgeslm.h"])?;
    fs::copy(library, package.join(library.file_name().context("a library has a name")?))?;
    let mut pip = Command::new(interpreter()?);
    pip.args(["-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir"]);
    pip.arg(wheels).arg(&build).env("EDGESLM_PLATFORM", platform);
    if let Some(folder) = find_links {
        pip.args(["--no-index", "--find-links"]).arg(folder);
    }
    succeed(&mut pip).context("building the wheel")?;
    fs::remove_dir_all(&build)?;
    let wheel = fs::read_dir(wheels)?.next().context("pip made no wheel")??.path();
    Ok(wheel)
}

/// N, where 2.N is the newest version of the GNU C library that `library` asks for.
pub(crate) fn glibc_minor(library: &Path) -> anyhow::Result<u32> {
    let output =
        Command::new("readelf").args(["-V", "-W"]).arg(library).output().context("starting readelf")?;
    if !output.status.success() {
        bail!("readelf {}: {}", library.display(), String::from_utf8_lossy(&output.stderr));
    }
    newest(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("{} asks for no version of the C library", library.display()))
}

fn newest(versions: &str) -> Option<u32> {
    let minors = versions.split("GLIBC_2.").skip(1);
    let minors = minors.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    minors.max()
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn the_newest_version_counts() {
        let versions = "Name: GLIBC_2.2.5  Flags\nName: GLIBC_2.17  Flags\nName: GLIBC_2.9\nName: GCC_3.0";
        assert_eq!(newest(versions), Some(17));
        assert_eq!(newest("Name: GCC_3.0"), None);
    }
}
