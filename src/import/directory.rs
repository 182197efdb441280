//! A directory that appears complete or not at all.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// A directory under construction beside its target; dropping it before [`finish`](Self::finish) removes it.
#[derive(Debug)]
pub(super) struct NewDirectory {
    target: PathBuf,
    temporary: PathBuf,
}

impl NewDirectory {
    /// Starts a directory that will be at `target`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when `target` exists and is not an empty directory; [`ErrorKind::Io`].
    pub(super) fn create(target: &Path) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        match fs::read_dir(target) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(Error::new(ErrorKind::InvalidArgument, "the directory is not empty")
                        .with_file(target)
                        .with_hint("name a new or empty directory"));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                return Err(Error::new(ErrorKind::InvalidArgument, "this is a file").with_file(target));
            }
            Err(error) => return Err(Error::io(target, error)),
        }
        let Some(name) = target.file_name() else {
            return Err(Error::new(ErrorKind::InvalidArgument, "the path has no name").with_file(target));
        };
        let parent =
            target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|error| Error::io(parent, error))?;
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary =
            parent.join(format!(".{}.{}-{count}.partial", name.to_string_lossy(), std::process::id()));
        fs::create_dir(&temporary).map_err(|error| Error::io(&temporary, error))?;
        Ok(Self { target: target.to_path_buf(), temporary })
    }

    /// A new file in the directory.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub(super) fn file(&self, name: &str) -> Result<NewFile> {
        let path = self.temporary.join(name);
        let file = File::create_new(&path).map_err(|error| Error::io(&self.target.join(name), error))?;
        Ok(NewFile {
            path: self.target.join(name),
            file: BufWriter::with_capacity(1 << 20, file),
            written: 0,
        })
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.file(name)?;
        file.write_all(bytes).map_err(|error| Error::io(&file.path, error))?;
        file.finish()
    }

    /// Puts the directory in its place.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; then nothing is left behind.
    pub(super) fn finish(self) -> Result<()> {
        // Not every system renames onto an empty directory. When something is in it by now, the rename fails.
        let _absent_or_in_use = fs::remove_dir(&self.target);
        fs::rename(&self.temporary, &self.target).map_err(|error| Error::io(&self.target, error))
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        // After `finish` it is no longer there; on a failure there is nobody left to tell.
        let _absent_or_failed = fs::remove_dir_all(&self.temporary);
    }
}

/// A file of a [`NewDirectory`].
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    file: BufWriter<File>,
    written: u64,
}

impl NewFile {
    /// The path that the file will have.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Flushes the file to the disk, so that a full disk shows now.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub(super) fn finish(self) -> Result<()> {
        let file = self.file.into_inner().map_err(|error| Error::io(&self.path, error.into_error()))?;
        file.sync_all().map_err(|error| Error::io(&self.path, error))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_appears_when_finished_and_only_then() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("a/model");
        let new = NewDirectory::create(&target).unwrap();
        new.write("x", b"1").unwrap();
        assert!(!target.exists());
        new.finish().unwrap();
        assert_eq!(fs::read(target.join("x")).unwrap(), b"1");
        assert_eq!(fs::read_dir(parent.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn an_abandoned_directory_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let new = NewDirectory::create(&parent.path().join("model")).unwrap();
        new.write("x", b"1").unwrap();
        drop(new);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_empty_target_is_taken_and_a_used_one_refused() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        fs::create_dir(&target).unwrap();
        NewDirectory::create(&target).unwrap().finish().unwrap();
        fs::write(target.join("x"), "1").unwrap();
        let error = NewDirectory::create(&target).unwrap_err();
        assert_eq!((error.kind(), error.file()), (ErrorKind::InvalidArgument, Some(&*target)));
        let error = NewDirectory::create(&target.join("x")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
