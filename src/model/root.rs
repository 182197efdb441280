//! The place of a model's files, outside of which no file is read.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::config::TextFile;
use super::files::{Load, MappedFile};
use super::json::read_limited;
use super::source::{self, Source};
use crate::error::{Error, ErrorKind, Result};

/// The most bytes of a file's name, above what file systems take.
const MAXIMUM_NAME_BYTES: usize = 4096;

/// A directory whose files a model may name, or a [`Source`] of such files.
///
/// A model names files itself: external weights in the graph, the graph in `genai_config.json`. Such a name must
/// be a relative path with forward slashes and without `..`. In a directory a symbolic link may lead to another place in
/// it, and from a Hugging Face cache (`…/snapshots/<revision>/`) to its `blobs`; a link to anywhere else is
/// an error unless the caller allows links.
#[derive(Clone)]
pub struct ModelRoot<'a> {
    /// In a source the part of names up to the last slash; empty for the source itself.
    directory: PathBuf,
    place: Place<'a>,
}

#[derive(Clone)]
enum Place<'a> {
    Disk {
        canonical: PathBuf,
        /// The `blobs` beside the `snapshots` of a Hugging Face cache.
        blobs: Option<PathBuf>,
        follow_links: bool,
    },
    Source(&'a dyn Source),
}

impl<'a> ModelRoot<'a> {
    /// The root at `directory`, itself a link or not. With `follow_links` its files may be links to anywhere.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] or [`ErrorKind::Io`] when it cannot be read, [`ErrorKind::InvalidArgument`] when it
    /// is not a directory.
    pub fn new(directory: &Path, follow_links: bool) -> Result<Self> {
        // The parent of a bare file name is the empty path.
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let canonical = directory.canonicalize().map_err(|error| Error::io(directory, error))?;
        if !canonical.is_dir() {
            let error = Error::new(ErrorKind::InvalidArgument, "this is a file where a directory belongs");
            return Err(error.with_file(directory));
        }
        let snapshots = canonical.ancestors().skip(1).find(|path| path.ends_with("snapshots"));
        let blobs = snapshots.and_then(Path::parent).map(|cache| cache.join("blobs"));
        let blobs = blobs.and_then(|blobs| blobs.canonicalize().ok()).filter(|blobs| blobs.is_dir());
        let place = Place::Disk { canonical, blobs, follow_links };
        Ok(Self { directory: directory.to_path_buf(), place })
    }

    /// The root of a source's files. Their paths are the names that the source knows them by.
    #[must_use]
    pub fn of_source(source: &'a dyn Source) -> Self {
        Self { directory: PathBuf::new(), place: Place::Source(source) }
    }

    /// The root for what the file at `path`, one of this root's, names in turn: the directory in which it lies.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn beside(&self, path: &Path) -> Result<Self> {
        let directory = path.parent().unwrap_or(Path::new(""));
        match self.place {
            Place::Disk { follow_links, .. } => Self::new(directory, follow_links),
            Place::Source(source) => {
                Ok(Self { directory: directory.to_path_buf(), place: Place::Source(source) })
            }
        }
    }

    /// The directory, as given; empty for a source.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Names the directory in an error about all of it.
    pub(super) fn blame(&self, error: Error) -> Error {
        match self.place {
            Place::Disk { .. } => error.with_file(&self.directory),
            Place::Source(_) => error,
        }
    }

    /// The path of the file called `location`, which exists.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] when the name or a link leads outside, [`ErrorKind::NotFound`] when there is no
    /// such file, [`ErrorKind::Io`] when the source fails.
    pub fn file(&self, location: &str) -> Result<PathBuf> {
        let path = self.join(location)?;
        let Place::Disk { canonical, blobs, follow_links } = &self.place else {
            return self.find(location)?.ok_or_else(|| source::not_found(&path));
        };
        let target = self.target(&path)?;
        let is_blob = blobs.as_ref().is_some_and(|blobs| target.starts_with(blobs));
        if *follow_links || is_blob || target.starts_with(canonical) {
            return Ok(path);
        }
        let text = format!("the link leads to {}, outside the model's directory", target.display());
        Err(Error::new(ErrorKind::InvalidModel, text)
            .with_file(&path)
            .with_hint("set follow_links when opening the model if the link is your own"))
    }

    /// The path of the file called `location`, or `None` when there is no such file.
    ///
    /// # Errors
    /// As [`file`](Self::file), a missing file aside.
    pub fn find(&self, location: &str) -> Result<Option<PathBuf>> {
        let path = self.join(location)?;
        if let Place::Source(source) = self.place {
            return Ok(source::size(source, &path)?.map(|_| path));
        }
        // Of the link itself: one that leads nowhere exists, and is worth an error.
        match path.symlink_metadata() {
            Ok(_) => self.file(location).map(Some),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(Error::io(&path, error)),
        }
    }

    /// What all names of the file at `path`, one of this root's, have in common: the path without links and dots.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] or [`ErrorKind::Io`].
    pub fn target(&self, path: &Path) -> Result<PathBuf> {
        match self.place {
            Place::Disk { .. } => path.canonicalize().map_err(|error| Error::io(path, error)),
            Place::Source(_) => Ok(path.to_path_buf()),
        }
    }

    /// Opens the file at `path`, one of this root's. Files of a source are copied whatever `load` says.
    ///
    /// # Errors
    /// Those of [`MappedFile::open`].
    pub fn open(&self, path: &Path, load: Load) -> Result<Arc<MappedFile>> {
        match self.place {
            Place::Disk { .. } => MappedFile::open(path, load),
            Place::Source(source) => MappedFile::of_source(source, path),
        }
    }

    /// Reads the file at `path`, one of this root's, which may have `limit` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] when it has more or is no regular file, [`ErrorKind::NotFound`] or
    /// [`ErrorKind::Io`] when it cannot be read.
    pub fn read(&self, path: &Path, limit: u64) -> Result<TextFile> {
        let text = match self.place {
            Place::Disk { .. } => read_limited(path, limit)?,
            Place::Source(source) => source::read(source, path, limit)?,
        };
        Ok(TextFile { path: path.to_path_buf(), text })
    }

    fn join(&self, location: &str) -> Result<PathBuf> {
        let parts = Path::new(location).components();
        // Backslash and colon have a meaning on Windows; a model that uses them would differ between systems.
        let is_plain = location.len() <= MAXIMUM_NAME_BYTES && !location.contains(['\\', ':', '\0']);
        let is_inside = parts.clone().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let names_a_file = parts.clone().any(|part| matches!(part, Component::Normal(_)));
        if !(is_plain && is_inside && names_a_file) {
            let shown: String = location.chars().take(200).collect();
            let text = format!("the file name {shown:?} is not a plain path inside the model's directory");
            return Err(Error::new(ErrorKind::InvalidModel, text));
        }
        Ok(match self.place {
            Place::Disk { .. } => self.directory.join(location),
            Place::Source(_) => {
                let names = self.directory.components().chain(parts).filter_map(|part| match part {
                    Component::Normal(name) => name.to_str(),
                    _ => None,
                });
                names.collect::<Vec<_>>().join("/").into()
            }
        })
    }
}

impl fmt::Debug for ModelRoot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.place {
            Place::Disk { .. } => "directory",
            Place::Source(_) => "source",
        };
        write!(f, "ModelRoot({kind} {:?})", self.directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_outside_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("inner")).unwrap();
        std::fs::write(directory.path().join("secret"), "x").unwrap();
        std::fs::write(directory.path().join("inner/w"), "x").unwrap();
        let root = ModelRoot::new(&directory.path().join("inner"), false).unwrap();
        assert!(root.file("w").is_ok());
        assert!(root.file("./w").is_ok());
        let absolute = directory.path().join("secret");
        for location in [
            "",
            "../secret",
            "a/../../secret",
            "..",
            "/etc/passwd",
            "a\\b",
            "C:w",
            "w\0",
            absolute.to_str().unwrap(),
        ] {
            let error = root.file(location).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidModel, "{location}: {error}");
            assert!(root.find(location).is_err());
        }
        assert_eq!(root.file("none").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(root.find("none").unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn links() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let snapshot = directory.path().join("hub/models--a--b/snapshots/0123");
        std::fs::create_dir_all(snapshot.join("onnx")).unwrap();
        std::fs::create_dir_all(directory.path().join("hub/models--a--b/blobs")).unwrap();
        std::fs::write(directory.path().join("hub/models--a--b/blobs/f00d"), "x").unwrap();
        std::fs::write(directory.path().join("secret"), "x").unwrap();
        std::fs::write(snapshot.join("own"), "x").unwrap();
        symlink("../../../blobs/f00d", snapshot.join("onnx/blob")).unwrap();
        symlink("../own", snapshot.join("onnx/up")).unwrap();
        symlink("own", snapshot.join("same")).unwrap();
        symlink("../../../../../secret", snapshot.join("onnx/out")).unwrap();
        symlink("nowhere", snapshot.join("onnx/dangling")).unwrap();

        let root = ModelRoot::new(&snapshot, false).unwrap();
        for location in ["own", "same", "onnx/up", "onnx/blob"] {
            assert!(root.file(location).is_ok(), "{location}");
        }
        assert_eq!(root.file("onnx/out").unwrap_err().kind(), ErrorKind::InvalidModel);
        assert_eq!(root.find("onnx/dangling").unwrap_err().kind(), ErrorKind::NotFound);
        assert!(ModelRoot::new(&snapshot, true).unwrap().file("onnx/out").is_ok());
        let inner = ModelRoot::new(&snapshot.join("onnx"), false).unwrap();
        assert!(inner.file("blob").is_ok());
        assert_eq!(inner.file("up").unwrap_err().kind(), ErrorKind::InvalidModel);
    }

    #[test]
    fn a_root_is_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("w");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(ModelRoot::new(&file, false).unwrap_err().kind(), ErrorKind::InvalidArgument);
        let missing = directory.path().join("none");
        assert_eq!(ModelRoot::new(&missing, false).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(ModelRoot::new(Path::new(""), false).unwrap().directory(), Path::new("."));
    }
}
