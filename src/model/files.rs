//! Files mapped or read into memory, and the spans of them that hold weights.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::source::{self, Source};
use crate::error::{Error, ErrorKind, Result};

/// How a model's files get into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Load {
    /// Maps them: loading is immediate, only the pages in use take memory, and processes share them.
    ///
    /// The files must not be shortened or overwritten while the model is open: the operating system then ends the
    /// process that touches a missing page (SIGBUS), which no library can turn into an error.
    #[default]
    Map,
    /// Reads them into memory of this process, which is safe whatever happens to the files later.
    Copy,
}

/// The bytes of a file: mapped read-only, copied, or read from a [`Source`].
pub struct MappedFile {
    path: PathBuf,
    bytes: FileBytes,
}

enum FileBytes {
    Map(memmap2::Mmap),
    Copy(Vec<u8>),
}

impl MappedFile {
    /// Opens a regular file that is not empty.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] or [`ErrorKind::Io`] when it cannot be opened or read;
    /// [`ErrorKind::InvalidModel`] when it is empty, not a regular file, or a Git LFS pointer; [`ErrorKind::MemoryBudget`] when there is
    /// no memory for a copy or no address space for a map.
    pub fn open(path: &Path, load: Load) -> Result<Arc<Self>> {
        let open = || -> Result<FileBytes> {
            // Before opening, because to open a pipe is to wait for its writer.
            check_regular(&std::fs::metadata(path).map_err(|error| Error::io(path, error))?)?;
            let mut file = File::open(path).map_err(|error| Error::io(path, error))?;
            let metadata = file.metadata().map_err(|error| Error::io(path, error))?;
            check_regular(&metadata)?;
            if metadata.len() == 0 {
                return Err(empty());
            }
            let length = usize::try_from(metadata.len()).map_err(|_| too_large(metadata.len()))?;
            match load {
                Load::Map => {
                    // SAFETY: the map is read-only and private to `FileBytes`. What `Mmap::map` asks beyond that, that
                    // nobody shortens or overwrites the file meanwhile, is the host's to keep: the documentation of
                    // `Load::Map` passes it on and offers `Load::Copy` where it cannot be kept.
                    let map = unsafe { memmap2::Mmap::map(&file) };
                    map.map(FileBytes::Map).map_err(|error| match error.kind() {
                        std::io::ErrorKind::OutOfMemory => too_large(metadata.len()),
                        _ => Error::io(path, error),
                    })
                }
                Load::Copy => {
                    let mut bytes = Vec::new();
                    bytes.try_reserve_exact(length).map_err(|_| too_large(metadata.len()))?;
                    // The limit keeps a file that grows meanwhile within the reserved memory.
                    let read = (&mut file).take(metadata.len()).read_to_end(&mut bytes);
                    if read.map_err(|error| Error::io(path, error))? != length {
                        return Err(Error::new(ErrorKind::Io, "the file became shorter while it was read"));
                    }
                    Ok(FileBytes::Copy(bytes))
                }
            }
        };
        let bytes = open().map_err(|error| error.with_file(path))?;
        let file = Self { path: path.to_path_buf(), bytes };
        check_fetched(file.as_bytes()).map_err(|error| error.with_file(path))?;
        Ok(Arc::new(file))
    }

    /// Copies a file of a source.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], or [`ErrorKind::Io`] when the source fails or gives fewer bytes than it has told;
    /// [`ErrorKind::InvalidModel`] and [`ErrorKind::MemoryBudget`] as for [`open`](Self::open).
    pub fn of_source(source: &dyn Source, path: &Path) -> Result<Arc<Self>> {
        let bytes = source::read(source, path, u64::MAX)?;
        if bytes.is_empty() {
            return Err(empty().with_file(path));
        }
        Ok(Arc::new(Self { path: path.to_path_buf(), bytes: FileBytes::Copy(bytes) }))
    }

    /// Whether the contents are in memory of this process alone.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        matches!(self.bytes, FileBytes::Copy(_))
    }

    /// The file's contents.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.bytes {
            FileBytes::Map(map) => map,
            FileBytes::Copy(bytes) => bytes,
        }
    }

    /// The path it was opened at.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks the operating system to read a mapped span ahead of its use; advice, whose failure changes nothing.
    fn prefetch(&self, offset: usize, length: usize) {
        #[cfg(unix)]
        if let FileBytes::Map(map) = &self.bytes {
            let _advice = map.advise_range(memmap2::Advice::WillNeed, offset, length);
        }
        #[cfg(not(unix))]
        let _ = (offset, length);
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedFile({}, {} bytes)", self.path.display(), self.as_bytes().len())
    }
}

fn check_regular(metadata: &std::fs::Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let found = if metadata.is_dir() { "a directory" } else { "not a regular file" };
    Err(Error::new(ErrorKind::InvalidModel, format!("this is {found} where a file belongs")))
}

/// Refuses the text that stands in place of a large file in a Git repository that was cloned without its large files.
pub(super) fn check_fetched(bytes: &[u8]) -> Result<()> {
    if !bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidModel, "this is a Git LFS pointer in place of the file itself")
        .with_hint("fetch the file with `git lfs pull`"))
}

fn empty() -> Error {
    Error::new(ErrorKind::InvalidModel, "the file is empty")
        .with_hint("the model's download or copy is incomplete")
}

pub(super) fn too_large(length: u64) -> Error {
    Error::new(ErrorKind::MemoryBudget, format!("no memory for a file of {length} bytes"))
}

/// Bytes of a weight: a span of a file, or owned. Cloning shares them.
#[derive(Clone)]
pub struct WeightBytes {
    holder: Holder,
    offset: usize,
    length: usize,
}

#[derive(Clone)]
enum Holder {
    File(Arc<MappedFile>),
    Owned(Arc<Vec<u8>>),
}

impl WeightBytes {
    /// `length` bytes of `file` from `offset` on, or `None` when the file is shorter.
    #[must_use]
    pub fn of_file(file: Arc<MappedFile>, offset: usize, length: usize) -> Option<Self> {
        let end = offset.checked_add(length)?;
        (end <= file.as_bytes().len()).then_some(Self { holder: Holder::File(file), offset, length })
    }

    /// The bytes. Those of a file lie at any alignment.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let all = match &self.holder {
            Holder::File(file) => file.as_bytes(),
            Holder::Owned(bytes) => bytes,
        };
        // The constructors checked the span, and neither holder changes its length.
        &all[self.offset..self.offset + self.length]
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The file that holds the bytes and where they begin in it, unless they are owned.
    #[must_use]
    pub fn place(&self) -> Option<(&Path, usize)> {
        match &self.holder {
            Holder::File(file) => Some((file.path(), self.offset)),
            Holder::Owned(_) => None,
        }
    }

    /// The bytes from `start` to `end` of these, or `None` when there are fewer.
    #[must_use]
    pub fn part(&self, start: usize, end: usize) -> Option<Self> {
        let length = end.checked_sub(start)?;
        (end <= self.length).then(|| Self {
            holder: self.holder.clone(),
            offset: self.offset + start,
            length,
        })
    }

    /// Asks the operating system to read mapped bytes ahead of their use.
    pub fn prefetch(&self) {
        if let Holder::File(file) = &self.holder {
            file.prefetch(self.offset, self.length);
        }
    }
}

impl From<Vec<u8>> for WeightBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self { offset: 0, length: bytes.len(), holder: Holder::Owned(Arc::new(bytes)) }
    }
}

impl fmt::Debug for WeightBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            Some((path, offset)) => {
                write!(f, "WeightBytes({} at {offset} of {})", self.length, path.display())
            }
            None => write!(f, "WeightBytes({} owned)", self.length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_loading_give_the_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w");
        let content: Vec<u8> = (0..10_000_u32).map(|value| (value % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        for load in [Load::Map, Load::Copy] {
            let file = MappedFile::open(&path, load).unwrap();
            assert_eq!(file.as_bytes(), content);
            let span = WeightBytes::of_file(Arc::clone(&file), 4_097, 500).unwrap();
            span.prefetch();
            assert_eq!(span.clone().as_bytes(), &content[4_097..4_597]);
            assert_eq!(span.part(10, 20).unwrap().as_bytes(), &content[4_107..4_117]);
            assert_eq!(span.part(10, 20).unwrap().place(), Some((path.as_path(), 4_107)));
            assert!(span.part(490, 501).is_none());
            assert!(span.part(2, 1).is_none());
            assert!(WeightBytes::of_file(Arc::clone(&file), 9_999, 2).is_none());
            assert!(WeightBytes::of_file(Arc::clone(&file), usize::MAX, 1).is_none());
            assert!(WeightBytes::of_file(file, 10_000, 0).unwrap().is_empty());
        }
    }

    #[test]
    fn what_is_not_a_file_with_contents_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().join("empty");
        std::fs::write(&empty, []).unwrap();
        let pointer = directory.path().join("pointer");
        std::fs::write(&pointer, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
            .unwrap();
        for (path, kind, text) in [
            (directory.path().join("none"), ErrorKind::NotFound, "none"),
            (empty, ErrorKind::InvalidModel, "the file is empty"),
            (pointer, ErrorKind::InvalidModel, "git lfs pull"),
            (directory.path().to_path_buf(), ErrorKind::InvalidModel, "a directory"),
            #[cfg(target_os = "linux")]
            (PathBuf::from("/dev/zero"), ErrorKind::InvalidModel, "not a regular file"),
        ] {
            for load in [Load::Map, Load::Copy] {
                let error = MappedFile::open(&path, load).unwrap_err();
                assert_eq!(error.kind(), kind);
                assert_eq!(error.file(), Some(path.as_path()));
                assert!(error.to_string().contains(text), "{error}");
            }
        }
    }

    #[test]
    fn owned_bytes() {
        let bytes = WeightBytes::from(vec![1, 2, 3]);
        assert_eq!(bytes.part(1, 3).unwrap().as_bytes(), [2, 3]);
        assert_eq!(bytes.place(), None);
    }
}
