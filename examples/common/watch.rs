//! Watches a folder for complete files.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use edgeslm::{Error, Result};

/// How often the folder is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// So many looks at a file find it unchanged before it counts as complete.
const QUIET_LOOKS: u32 = 3;

/// A folder and what is known of its files.
pub(crate) struct Watch<'a> {
    folder: &'a Path,
    /// How long files have been as they are.
    seen: HashMap<PathBuf, ((u64, Option<SystemTime>), u32)>,
    /// Keys of files that were handed over.
    done: HashSet<String>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(folder: &'a Path) -> Self {
        Self { folder, seen: HashMap::new(), done: HashSet::new() }
    }

    /// Hands over each file, once it is complete, with its key. Ends when no file came for the time `idle`.
    ///
    /// A key is made of what is in the file and of when that was written, so that a file that is renamed is not read again and
    /// one that is written anew is.
    ///
    /// # Errors
    /// For a folder that cannot be read or vanishes, and what `take` gives.
    pub(crate) fn run(
        mut self,
        idle: Option<Duration>,
        take: &mut dyn FnMut(&Path, &str) -> Result<()>,
    ) -> Result<()> {
        let mut last = Instant::now();
        loop {
            for path in self.complete_files()? {
                let key = key_of(&path);
                // Gone again, or renamed in between and found under its new name.
                let Some(key) = key else { continue };
                if self.done.insert(key.clone()) {
                    take(&path, &key)?;
                    last = Instant::now();
                }
            }
            if idle.is_some_and(|idle| last.elapsed() >= idle) {
                return Ok(());
            }
            sleep(INTERVAL);
        }
    }

    /// Files that have not changed for some looks, each once for as long as it stays as it is, by name.
    fn complete_files(&mut self) -> Result<Vec<PathBuf>> {
        let io = |error| Error::io(self.folder, error).with_hint("the folder to watch has to stay");
        let mut found = HashMap::new();
        let mut complete = Vec::new();
        for entry in fs::read_dir(self.folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let path = entry.path();
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if !metadata.is_file() || is_partial(&path) {
                continue;
            }
            let state = (metadata.len(), metadata.modified().ok());
            let looks = match self.seen.get(&path) {
                Some((before, looks)) if *before == state => looks.saturating_add(1),
                _ => 0,
            };
            if looks == QUIET_LOOKS {
                complete.push(path.clone());
            }
            found.insert(path, (state, looks));
        }
        self.seen = found;
        complete.sort();
        Ok(complete)
    }
}

/// Whether the name says that the file is still being written.
fn is_partial(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || name.ends_with('~') || name.ends_with(".part") || name.ends_with(".tmp")
}

/// Length, time of writing and a checksum of the first bytes; `None` for a file that is gone. A file that cannot be read has no
/// checksum.
fn key_of(path: &Path) -> Option<String> {
    let metadata: Metadata = fs::metadata(path).ok()?;
    let written = metadata.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(1 << 20).read_to_end(&mut bytes));
    let checksum = if read.is_ok() { fnv(&bytes) } else { fnv(path.as_os_str().as_encoded_bytes()) };
    Some(format!("{:x}-{:x}-{checksum:x}", written.as_nanos(), metadata.len()))
}

/// FNV-1a of 64 bits (Fowler, Noll and Vo, RFC 9923): the same everywhere and in every version of this program.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
