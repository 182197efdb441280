//! The models that are measured, as each peer reads them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, bail};
use edgeslm::import::{SynthOptions, published_names, synthesise};
use serde_json::Value;

use crate::demo::{self, workspace};
use crate::progress::Line;
use crate::python;

/// The name of the imported real model.
pub(crate) const REAL: &str = "smollm2-135m-instruct-int4";

/// Where the GGUF files lie.
const GGUF_FOLDER: &str = "target/peers/models";

/// A model directory, and the same weights as a GGUF file.
pub(crate) struct Model {
    pub(super) name: String,
    pub(crate) directory: PathBuf,
    /// The file, or why there is none.
    pub(crate) gguf: Result<PathBuf, String>,
    /// The most positions.
    pub(super) context_length: usize,
    /// Bytes of the directory's files.
    pub(super) bytes: u64,
}

impl Model {
    /// Makes what is missing. `wants_gguf` says whether some peer reads GGUF.
    pub(crate) fn prepare(name: &str, wants_gguf: bool) -> anyhow::Result<Self> {
        let directory = directory(name)?;
        let config = directory.join("genai_config.json");
        let text = fs::read(&config).with_context(|| config.display().to_string())?;
        let text: Value = serde_json::from_slice(&text).with_context(|| config.display().to_string())?;
        let context_length = text.pointer("/model/context_length").and_then(Value::as_u64);
        let context_length =
            context_length.with_context(|| format!("{} has no context_length", config.display()))?;
        let gguf = if wants_gguf {
            gguf(name, &directory).map_err(|error| format!("{error:#}"))
        } else {
            Err("no peer needs it".to_owned())
        };
        let bytes =
            files(&directory)?.iter().map(|path| Ok(fs::metadata(path)?.len())).sum::<io::Result<u64>>();
        Ok(Self {
            name: name.to_owned(),
            gguf,
            context_length: usize::try_from(context_length)?,
            bytes: bytes?,
            directory,
        })
    }
}

/// The model's directory, made where it is missing.
fn directory(model: &str) -> anyhow::Result<PathBuf> {
    if model == REAL {
        return Ok(demo::models()?.int4);
    }
    let published: Vec<_> = published_names().collect();
    if !published.contains(&model) {
        bail!("{model} is neither {REAL} nor one of {}", published.join(", "));
    }
    let directory = workspace().join("target/synth").join(model);
    if !directory.exists() {
        let mut line = Line::new();
        synthesise(model, &directory, &SynthOptions::default(), &mut |progress| line.show(progress))?;
        line.finish();
    }
    Ok(directory)
}

/// The directory's weights as a GGUF file, written anew where the directory or the script that writes it is newer.
#[allow(clippy::print_stderr, reason = "progress of a long command")]
fn gguf(name: &str, directory: &Path) -> anyhow::Result<PathBuf> {
    let folder = workspace().join(GGUF_FOLDER);
    let file = folder.join(format!("{name}.gguf"));
    let script = workspace().join("benches/peers/write_gguf.py");
    let written = |path: &Path| fs::metadata(path)?.modified();
    let newest = written(&directory.join("genai_config.json"))?.max(written(&script)?);
    if written(&file).is_ok_and(|time| time > newest) {
        return Ok(file);
    }
    eprintln!("Writing {}", file.display());
    fs::create_dir_all(&folder)?;
    let output = Command::new(python::environment()?)
        .arg(&script)
        .args([directory, &file])
        .output()
        .context("starting Python")?;
    if !output.status.success() {
        bail!("no GGUF file: {}", last_line(&output.stderr));
    }
    Ok(file)
}

/// The last line that says something.
pub(super) fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    line.unwrap_or("it said nothing").to_owned()
}

/// The files of a folder.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.metadata()?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Reads a file, or the files of a folder, so that the system has them in memory.
pub(super) fn warm(path: &Path) -> anyhow::Result<()> {
    let files = if path.is_dir() { files(path)? } else { vec![path.to_owned()] };
    for file in files {
        let mut source = fs::File::open(&file).with_context(|| file.display().to_string())?;
        io::copy(&mut source, &mut io::sink()).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_models_are_refused_with_the_known_ones() {
        let error = Model::prepare("llama-1", false).err().unwrap().to_string();
        assert!(error.starts_with("llama-1 is neither smollm2-135m-instruct-int4 nor one of "), "{error}");
        assert!(error.contains("llama-3.2-1b"), "{error}");
    }

    #[test]
    fn the_last_line_that_says_something() {
        assert_eq!(last_line(b"Traceback:\n  x\nValueError: y\n\n"), "ValueError: y");
        assert_eq!(last_line(b"\n"), "it said nothing");
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let error = warm(Path::new("absent.gguf")).unwrap_err().to_string();
        assert_eq!(error, "absent.gguf");
    }
}
