//! The Python package with the library in it, as a wheel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::copy;
use crate::demo::{succeed, workspace};
use crate::python::interpreter;

/// Builds the wheel of a packed folder and puts it beside that; its path.
pub(super) fn build(folder: &Path, target: &str) -> anyhow::Result<Option<PathBuf>> {
    let (library, platform) = match target {
        "x86_64-pc-windows-gnu" | "x86_64-pc-windows-msvc" => ("bin/edgeslm.dll", "win_amd64".to_owned()),
        "aarch64-apple-darwin" => ("lib/libedgeslm.dylib", "macosx_11_0_arm64".to_owned()),
        _ => match target.strip_suffix("-unknown-linux-gnu") {
            Some(architecture) => {
                let minor = glibc_minor(&folder.join("lib/libedgeslm.so"))?;
                ("lib/libedgeslm.so", format!("manylinux_2_{minor}_{architecture}"))
            }
            // No shared library.
            None => return Ok(None),
        },
    };
    let dist = workspace().join("target/dist");
    let (build, wheels) = (dist.join("python-build"), dist.join("wheels").join(target));
    for folder in [&build, &wheels] {
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
    copy(&folder.join("include"), &package, &["edgeslm.h"])?;
    let name = Path::new(library).file_name().context("a library has a name")?;
    fs::copy(folder.join(library), package.join(name))?;
    let mut pip = Command::new(interpreter()?);
    pip.args(["-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir"]);
    succeed(pip.arg(&wheels).arg(&build).env("EDGESLM_PLATFORM", platform)).context("building the wheel")?;
    fs::remove_dir_all(&build)?;
    let wheel = fs::read_dir(&wheels)?.next().context("pip made no wheel")??.path();
    Ok(Some(wheel))
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
