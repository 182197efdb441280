//! Where the ONNX Runtime libraries for the tests lie: `cargo xtask ort` puts them there.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};

use edgeslm::engine::{OrtOptions, Provider};

/// Names the folder of Python packages.
const VARIABLE: &str = "EDGESLM_TEST_ORT";

/// The folder of one set of packages: `cpu`, with plug-in providers, or `webgpu`.
pub(crate) fn packages(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os(VARIABLE) else {
        eprintln!("skipped: ONNX Runtime is missing; cargo xtask ort fetches it and runs this test");
        return None;
    };
    let folder = Path::new(&folder).join(name);
    assert!(folder.is_dir(), "{} is missing", folder.display());
    Some(folder)
}

/// ONNX Runtime's shared library in a folder of packages.
pub(crate) fn in_packages(folder: &Path) -> PathBuf {
    let capi = folder.join("onnxruntime/capi");
    let entries = std::fs::read_dir(&capi).unwrap().map(|entry| entry.unwrap().path());
    let is_library =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("libonnxruntime.so.");
    entries.filter(is_library).max().expect("a library in the package")
}

/// Options for the CPU provider.
pub(crate) fn options() -> Option<OrtOptions> {
    let library = Some(in_packages(&packages("cpu")?));
    Some(OrtOptions { library, provider: Provider::Cpu, ..OrtOptions::default() })
}
