//! The tests that run ONNX Runtime and onnxruntime-genai on what the library writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use edgeslm::import::{
    BlockFormat, FloatType, ImportOptions, Quantize, SynthOptions, ZeroPoints, import_gguf, published_names,
    synthesise,
};

use crate::command::succeed;
use crate::constrained;
use crate::demo::{self, workspace};

/// A virtual environment for the packages that the tests and the download need.
const ENVIRONMENT: &str = "target/venv";

/// The packages of that environment.
pub(crate) const REQUIREMENTS: &str = "tests/python/requirements.txt";

/// Runs them in an environment of their own under `target`.
pub(crate) fn run() -> anyhow::Result<()> {
    let interpreter = environment()?;
    let tests = workspace().join("tests");
    let script = |name: &str| {
        let mut command = Command::new(&interpreter);
        command.arg(tests.join("python").join(name)).current_dir(workspace());
        command
    };
    let types = workspace().join("target/tensor-types");
    if types.exists() {
        fs::remove_dir_all(&types)?;
    }
    succeed(script("check_tensor_types.py").arg("write").arg(&types))?;
    import_all(&types)?;
    succeed(script("check_tensor_types.py").arg("check").arg(&types))?;
    let synthesised = synthesise_all()?;
    succeed(script("check_synth.py").args(synthesised))?;
    constrained::run(&constrained::Arguments { answers: 600, model: None })?;
    let models = demo::models()?;
    let tokens = tests.join("data/import/smollm2_tokens.json");
    succeed(script("check_import.py").args([&models.gguf, &models.exact, &models.int4, &tokens]))
}

/// The interpreter of a virtual environment that has the pinned packages.
pub(crate) fn environment() -> anyhow::Result<PathBuf> {
    environment_with(ENVIRONMENT, REQUIREMENTS)
}

/// The interpreter of the virtual environment in `folder`, which gets the packages that the file `requirements` pins.
pub(crate) fn environment_with(folder: &str, requirements: &str) -> anyhow::Result<PathBuf> {
    let requirements = workspace().join(requirements);
    let wanted = fs::read_to_string(&requirements).with_context(|| requirements.display().to_string())?;
    let note = workspace().join(folder).join("installed.txt");
    let path = interpreter_in(folder)?;
    if let Ok(installed) = fs::read_to_string(&note) {
        if installed == wanted {
            return Ok(path);
        }
        // No package of before may stay.
        fs::remove_dir_all(workspace().join(folder))?;
        interpreter_in(folder)?;
    }
    let mut pip = Command::new(&path);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    succeed(pip.arg(&requirements))?;
    fs::write(&note, wanted)?;
    Ok(path)
}

/// The version of `package` that the file `requirements` pins; nothing where it pins none.
pub(crate) fn pinned(requirements: &str, package: &str) -> String {
    let text = fs::read_to_string(workspace().join(requirements)).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.split_once("=="));
    lines
        .find(|(name, _)| *name == package)
        .map_or_else(String::new, |(_, version)| version.trim().to_owned())
}

/// The interpreter of the virtual environment. It has pip, which a system's Python may lack.
pub(crate) fn interpreter() -> anyhow::Result<PathBuf> {
    interpreter_in(ENVIRONMENT)
}

fn interpreter_in(folder: &str) -> anyhow::Result<PathBuf> {
    let folder = workspace().join(folder);
    let interpreter = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let has_pip = Command::new(&interpreter).args(["-m", "pip", "--version"]).output();
    if !has_pip.is_ok_and(|output| output.status.success()) {
        let system = if cfg!(windows) { "python" } else { "python3" };
        succeed(Command::new(system).args(["-m", "venv", "--clear"]).arg(&folder))
            .context("making a virtual environment (Debian and Ubuntu: apt install python3-venv)")?;
    }
    Ok(interpreter)
}

/// Makes directories of the GGUF files in `folder`; those whose names end in `-int8` are quantised anew.
fn import_all(folder: &Path) -> anyhow::Result<()> {
    let entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    for source in entries.iter().map(fs::DirEntry::path) {
        let target = source.with_extension("");
        let quantize = target.to_string_lossy().ends_with("-int8").then_some(Quantize::INT8);
        let options = ImportOptions { quantize, context_length: None };
        import_gguf(&source, &target, &options, &mut |_| {})?;
    }
    Ok(())
}

/// A small directory of every published graph, and of every way to store it.
fn synthesise_all() -> anyhow::Result<Vec<PathBuf>> {
    let folder = workspace().join("target/synth-tests");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut directories = Vec::new();
    let mut write = |model: &str, variant: &str, options: &SynthOptions| -> anyhow::Result<()> {
        let directory = folder.join(Path::new(&format!("{model}{variant}")));
        let options = SynthOptions { tiny: true, ..options.clone() };
        synthesise(model, &directory, &options, &mut |_| {})?;
        directories.push(directory);
        Ok(())
    };
    let plain = SynthOptions::default();
    let full_cache = SynthOptions { window_sized_cache: false, ..plain.clone() };
    let half = SynthOptions { float_type: FloatType::F16, ..full_cache.clone() };
    let stored = |bits, block_size, zero_points| SynthOptions {
        format: BlockFormat { bits, block_size, zero_points },
        ..plain.clone()
    };
    for model in published_names() {
        write(model, "", &plain)?;
    }
    write("gemma-2-2b", "-full-cache", &full_cache)?;
    for model in ["llama-3.2-1b", "phi-4-mini", "gemma-2-2b"] {
        write(model, "-float16", &half)?;
    }
    write("smollm2-135m", "-int8", &stored(8, 32, ZeroPoints::Symmetric))?;
    write("smollm2-135m", "-block-256", &stored(4, 256, ZeroPoints::Symmetric))?;
    write("qwen-2.5-3b", "-packed", &stored(4, 128, ZeroPoints::Packed))?;
    write("qwen-2.5-3b", "-float", &stored(4, 16, ZeroPoints::Float))?;
    Ok(directories)
}
