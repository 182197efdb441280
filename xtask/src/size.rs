//! `cargo xtask size`: the size of the shared library as it is shipped.

use std::path::Path;

use anyhow::{Context, bail};

use crate::command::cargo;

/// The most bytes that the stripped release library may have.
const MAXIMUM: u64 = 12_000_000;

/// Builds the release library, which is stripped, and compares its size with the limit.
#[allow(clippy::print_stdout, reason = "the result of the chore")]
pub(crate) fn run() -> anyhow::Result<()> {
    cargo(&["build", "--quiet", "--release", "--package", "edgeslm-ffi"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Into::into);
    let name = format!("{}edgeslm{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let bytes = check(&target.join("release").join(&name))?;
    println!("{name}: {bytes} bytes of at most {MAXIMUM}");
    Ok(())
}

/// Compares a library's size with the limit; the size.
pub(crate) fn check(library: &Path) -> anyhow::Result<u64> {
    let bytes = library.metadata().with_context(|| library.display().to_string())?.len();
    if bytes > MAXIMUM {
        bail!("{} has {bytes} bytes; the limit is {MAXIMUM}", library.display());
    }
    Ok(bytes)
}
