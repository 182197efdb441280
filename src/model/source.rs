//! Files that the host program reads for the library.

#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use super::files::{check_fetched, too_large};
use super::json::too_long;
use crate::error::{Error, ErrorKind, Result};

/// How many bytes a source is asked for at a time, and how much memory is touched before a source has given so much.
const PIECE: usize = 1 << 20;

/// Where a model's files come from if not from a directory: an encrypted store, an asset pack, an image in ROM.
///
/// A source holds what a model directory holds, in either layout, under the same names: `genai_config.json`,
/// `model.onnx`, `onnx/model_q4.onnx`. Names are relative, with forward slashes on every system, and never have `.` or
/// `..` as a part. The library asks for files that may be missing.
///
/// [`Model::load_from`](super::Model::load_from) makes all calls on the thread that called it, before it returns.
///
/// ```no_run
/// use std::collections::BTreeMap;
/// use std::io;
///
/// use edgeslm::model::Source;
/// use edgeslm::{LoadOptions, Model};
///
/// struct Pack(BTreeMap<String, Vec<u8>>);
///
/// impl Pack {
///     fn file(&self, name: &str) -> io::Result<&[u8]> {
///         self.0.get(name).map(Vec::as_slice).ok_or_else(|| io::ErrorKind::NotFound.into())
///     }
/// }
///
/// impl Source for Pack {
///     fn size(&self, name: &str) -> io::Result<u64> {
///         Ok(self.file(name)?.len() as u64)
///     }
///
///     fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
///         let rest = self.file(name)?.get(offset as usize..).unwrap_or_default();
///         let count = rest.len().min(buffer.len());
///         buffer[..count].copy_from_slice(&rest[..count]);
///         Ok(count)
///     }
/// }
///
/// let model = Model::load_from(&Pack(BTreeMap::new()), &LoadOptions::default())?;
/// # Ok::<(), edgeslm::Error>(())
/// ```
pub trait Source {
    /// How many bytes the file `name` has.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is no such file. Any other error ends the loading with
    /// [`ErrorKind::Io`].
    fn size(&self, name: &str) -> io::Result<u64>;

    /// Reads bytes of the file `name` from `offset` on into the beginning of `buffer`, and returns how many. They may be
    /// fewer than the buffer has; it reaches no further than the size that the source has told. No bytes mean that the
    /// file ends here, which ends the loading with [`ErrorKind::Io`].
    ///
    /// # Errors
    /// Any error ends the loading with [`ErrorKind::Io`], or [`ErrorKind::NotFound`] as above.
    fn read(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// The size of the file at `path`, or `None` where there is none.
pub(super) fn size(source: &dyn Source, path: &Path) -> Result<Option<u64>> {
    match source.size(name(path)) {
        Ok(size) => Ok(Some(size)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, error)),
    }
}

/// The error for a file that a source does not have.
pub(super) fn not_found(path: &Path) -> Error {
    Error::new(ErrorKind::NotFound, "the source has no such file").with_file(path)
}

/// The whole of the file at `path`, which may have `limit` bytes.
pub(super) fn read(source: &dyn Source, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let size = size(source, path)?.ok_or_else(|| not_found(path))?;
    if size > limit {
        return Err(too_long(path, limit));
    }
    let fill = || -> Result<Vec<u8>> {
        let length = usize::try_from(size).map_err(|_| too_large(size))?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| too_large(size))?;
        let mut filled = 0;
        while filled < length {
            if filled == bytes.len() {
                bytes.resize(length.min(filled + PIECE), 0);
            }
            let room = &mut bytes[filled..];
            let given =
                source.read(name(path), filled as u64, room).map_err(|error| Error::io(path, error))?;
            if given == 0 {
                let text = format!("the file has {size} bytes, says the source, but ends after {filled}");
                return Err(Error::new(ErrorKind::Io, text));
            }
            if given > room.len() {
                let text = format!("the source says it read {given} bytes into room for {}", room.len());
                return Err(Error::new(ErrorKind::Io, text));
            }
            filled += given;
        }
        check_fetched(&bytes)?;
        Ok(bytes)
    };
    fill().map_err(|error| error.with_file(path))
}

/// The name of a file whose path [`ModelRoot`](super::ModelRoot) has made of names.
fn name(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests;
