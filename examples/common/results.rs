//! Results as JSON lines, on the standard output or appended to a file.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as IoErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use edgeslm::{Error, ErrorKind, Result};
use serde_json::{Value, json};

/// Where results go.
pub(crate) struct Results {
    file: Option<(PathBuf, File)>,
    /// Keys of the results that the file holds.
    known: HashSet<String>,
    failures: usize,
}

impl Results {
    /// With no path, the standard output. A last line that a crash has left incomplete is removed, and its text asked again.
    ///
    /// # Errors
    /// For a file that cannot be opened, and one that holds something else.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self { file: None, known: HashSet::new(), failures: 0 }) };
        let io = |error| Error::io(path, error);
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path).map_err(io)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut known = HashSet::new();
        for (line, number) in text[..whole].split(|byte| *byte == b'\n').zip(1..) {
            if line.is_empty() {
                continue;
            }
            let result: Value = serde_json::from_slice(line).map_err(|error| {
                Error::new(ErrorKind::InvalidArgument, format!("the line is no result: {error}"))
                    .with_file(path)
                    .with_node(format!("line {number}"))
                    .with_hint("results are appended to files of results only")
            })?;
            known.extend(result["key"].as_str().filter(|_| result["error"].is_null()).map(str::to_owned));
        }
        if whole < text.len() {
            let is_result = text[whole..].first() == Some(&b'{');
            if whole == 0 && !is_result {
                return Err(Error::new(ErrorKind::InvalidArgument, "the file holds no results")
                    .with_file(path)
                    .with_hint("results are appended to files of results only"));
            }
            file.set_len(whole as u64).map_err(io)?;
        }
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok(Self { file: Some((path.to_owned(), file)), known, failures: 0 })
    }

    /// Whether there is a result already.
    pub(crate) fn has(&self, key: Option<&str>) -> bool {
        key.is_some_and(|key| self.known.contains(key))
    }

    /// Writes one result.
    ///
    /// # Errors
    /// For a full disk and the like.
    pub(crate) fn write(&mut self, result: &Value) -> Result<()> {
        if !result["error"].is_null() {
            self.failures += 1;
        }
        // One call, so that lines of two writers do not mix.
        let line = format!("{result}\n");
        match &mut self.file {
            Some((path, file)) => file.write_all(line.as_bytes()).map_err(|error| Error::io(path, error)),
            None => print(&line),
        }
    }

    /// Writes why there is no result.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn write_error(&mut self, source: &str, key: Option<&str>, error: &Error) -> Result<()> {
        self.write(&json!({ "source": source, "key": key, "error": error.to_string() }))
    }

    /// How many texts had no result.
    pub(crate) fn failures(&self) -> usize {
        self.failures
    }
}

/// Prints and flushes. A reader that is gone ends the program, as it ends others.
fn print(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == IoErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Error::io(Path::new("standard output"), error)),
        Ok(()) => Ok(()),
    }
}
