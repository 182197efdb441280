//! Where the texts come from: files, the standard input, or a folder that is watched; and which part of them is one text.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use clap::Args;
use edgeslm::{Error, Result};

use crate::results::Results;
use crate::text_file::{self, Lines, MAXIMUM_BYTES};
use crate::watch::Watch;

/// What of a file or a stream is one text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    /// Every line.
    #[allow(dead_code, reason = "each application uses one")]
    Line,
    /// Lines up to an empty one, but at most so many; in a stream also those after which nothing came for the time given.
    #[allow(dead_code, reason = "each application uses one")]
    Paragraph { lines: usize, pause: Duration },
    /// All of a file; in a stream the lines up to one of three hyphens.
    #[allow(dead_code, reason = "each application uses one")]
    File,
}

/// Where to read and write
#[derive(Args)]
pub(crate) struct InputArguments {
    /// Files to read; `-` is the standard input, as are no files
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Watch a folder and read each file in it once it is complete; names that begin with `.` or end in `.part` or `.tmp` are not
    #[arg(long, value_name = "DIR", conflicts_with = "files")]
    watch: Option<PathBuf>,

    /// Stop watching when no file has come for so long
    #[arg(long, value_name = "SECONDS", requires = "watch")]
    idle: Option<f64>,

    /// Append the results to a file; what it holds already is not asked again
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A text, with the name by which its result is found.
pub(crate) struct Entry {
    /// File and line.
    pub(crate) source: String,
    /// The same for the same text in the same file, also after a new start and where the file has got another name.
    pub(crate) key: Option<String>,
    /// What is wrong where there is no text.
    pub(crate) text: Result<String>,
}

impl InputArguments {
    /// Where results go.
    ///
    /// # Errors
    /// For a file that cannot be written, or is not one of results.
    pub(crate) fn results(&self) -> Result<Results> {
        Results::open(self.output.as_deref())
    }

    /// Hands over each text as it comes.
    ///
    /// # Errors
    /// For a folder that cannot be read, and what `take` gives. What is wrong with one text is in its entry.
    pub(crate) fn each(&self, extent: Extent, take: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        if let Some(folder) = &self.watch {
            let idle = self.idle.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
            let watch = Watch::new(folder);
            return watch.run(idle, &mut |path, key| in_file(path, Some(key), extent, take));
        }
        if self.files.is_empty() {
            return in_stream("input", None, Lines::new(std::io::stdin(), MAXIMUM_BYTES), extent, take);
        }
        for path in &self.files {
            if path == Path::new("-") {
                in_stream("input", None, Lines::new(std::io::stdin(), MAXIMUM_BYTES), extent, take)?;
            } else {
                in_file(path, None, extent, take)?;
            }
        }
        Ok(())
    }
}

/// The texts of a file.
fn in_file(
    path: &Path,
    key: Option<&str>,
    extent: Extent,
    take: &mut dyn FnMut(Entry) -> Result<()>,
) -> Result<()> {
    let source = path.display().to_string();
    let is_list = path.extension().is_some_and(|extension| extension == "jsonl");
    if matches!(extent, Extent::File) && !is_list {
        return take(Entry {
            source,
            key: key.map(str::to_owned),
            text: text_file::read(path, MAXIMUM_BYTES),
        });
    }
    match std::fs::File::open(path) {
        Ok(file) => {
            let extent = if is_list { Extent::Line } else { extent };
            in_stream(&source, key, Lines::new(file, MAXIMUM_BYTES), extent, take)
        }
        Err(error) => take(Entry { source, key: key.map(str::to_owned), text: Err(Error::io(path, error)) }),
    }
}

/// The texts in a stream of lines.
fn in_stream<R: std::io::Read + Send + 'static>(
    source: &str,
    key: Option<&str>,
    lines: Lines<R>,
    extent: Extent,
    take: &mut dyn FnMut(Entry) -> Result<()>,
) -> Result<()> {
    // Read on a thread of its own, so that a pause in the stream is seen.
    let (send, receive) = sync_channel(64);
    thread::spawn(move || {
        for line in lines {
            let is_end = line.as_ref().is_err_and(|error| error.kind() == edgeslm::ErrorKind::Io);
            if send.send(line).is_err() || is_end {
                return;
            }
        }
    });
    let mut collected = Collected { source, key, take, extent, texts: Vec::new(), first: 1, count: 0 };
    collected.run(&receive)
}

/// The lines of one text as far as they have come.
struct Collected<'a> {
    source: &'a str,
    key: Option<&'a str>,
    take: &'a mut dyn FnMut(Entry) -> Result<()>,
    extent: Extent,
    texts: Vec<String>,
    /// The number of the first of them.
    first: usize,
    /// Lines read.
    count: usize,
}

impl Collected<'_> {
    fn run(&mut self, lines: &Receiver<Result<String>>) -> Result<()> {
        loop {
            let pause = match self.extent {
                Extent::Paragraph { pause, .. } if !self.texts.is_empty() => pause,
                _ => Duration::MAX,
            };
            let line = match lines.recv_timeout(pause) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    self.hand_over()?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.count += 1;
            match line {
                Ok(line) => self.add(line)?,
                Err(error) => {
                    self.hand_over()?;
                    self.entry(self.count, Err(error))?;
                }
            }
        }
        self.hand_over()?;
        if self.count == 0 {
            self.entry(1, text_file::text_of(Vec::new(), MAXIMUM_BYTES))?;
        }
        Ok(())
    }

    fn add(&mut self, line: String) -> Result<()> {
        let is_border = match self.extent {
            Extent::File => line.trim_end() == "---",
            _ => line.trim().is_empty(),
        };
        if is_border {
            return self.hand_over();
        }
        if self.texts.is_empty() {
            self.first = self.count;
        }
        self.texts.push(line);
        let is_full = match self.extent {
            Extent::Line => true,
            Extent::Paragraph { lines, .. } => self.texts.len() >= lines,
            Extent::File => false,
        };
        let bytes: usize = self.texts.iter().map(|text| text.len() + 1).sum();
        if is_full || bytes as u64 > MAXIMUM_BYTES { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<()> {
        if self.texts.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.texts).join("\n");
        self.entry(self.first, text_file::text_of(text.into_bytes(), MAXIMUM_BYTES))
    }

    fn entry(&mut self, line: usize, text: Result<String>) -> Result<()> {
        let key = self.key.map(|key| format!("{key}:{line}"));
        let source = format!("{}:{line}", self.source);
        (self.take)(Entry { source, key, text })
    }
}
