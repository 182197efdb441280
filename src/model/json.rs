//! JSON files with values looked up by path, whose errors name the file and that path.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files::check_fetched;
use crate::error::{Error, ErrorKind, Result};

/// The whole of a file that is at most `limit` bytes long.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let io = |error| Error::io(path, error);
    // Before opening, because to open a pipe is to wait for its writer.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        let error = Error::new(ErrorKind::InvalidModel, "this is not a regular file");
        return Err(error.with_file(path));
    }
    if metadata.len() > limit {
        return Err(too_long(path, limit));
    }
    let mut bytes = Vec::new();
    let length = usize::try_from(metadata.len()).map_err(|_| too_long(path, limit))?;
    bytes.try_reserve_exact(length).map_err(|_| {
        Error::new(ErrorKind::MemoryBudget, format!("no memory for a file of {length} bytes")).with_file(path)
    })?;
    // The file may grow meanwhile.
    File::open(path).map_err(io)?.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(too_long(path, limit));
    }
    check_fetched(&bytes).map_err(|error| error.with_file(path))?;
    Ok(bytes)
}

/// The error for a file that has more than `limit` bytes.
pub(super) fn too_long(path: &Path, limit: u64) -> Error {
    Error::new(ErrorKind::InvalidModel, format!("the file has more than {limit} bytes")).with_file(path)
}

/// A parsed file.
pub(crate) struct JsonFile {
    path: PathBuf,
    root: Value,
}

impl JsonFile {
    /// Parses the contents of the file at `path`. Nesting deeper than 128 is an error.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        // A byte order mark, as some editors write it.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let root = serde_json::from_slice(text).map_err(|error| {
            Error::new(ErrorKind::InvalidModel, format!("this is not valid JSON: {error}"))
                .with_file(path)
                .with_source(error)
        })?;
        Ok(Self { path: path.to_path_buf(), root })
    }

    /// The outermost value.
    pub(crate) fn root(&self) -> Json<'_> {
        Json { file: &self.path, path: String::new(), value: &self.root }
    }
}

/// A value in a file.
#[derive(Debug, Clone)]
pub(crate) struct Json<'a> {
    file: &'a Path,
    /// Such as `model.decoder.filename`; empty for the outermost value.
    path: String,
    value: &'a Value,
}

impl<'a> Json<'a> {
    /// The value of `key`, or `None` where it is missing or null.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Json<'a>>> {
        let Value::Object(entries) = self.value else { return Err(self.mismatch("an object")) };
        Ok(entries.get(key).filter(|value| !value.is_null()).map(|value| self.child(key, value)))
    }

    /// An [`ErrorKind::InvalidModel`] error about this value.
    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        self.error_of(ErrorKind::InvalidModel, message)
    }

    /// An error about this value.
    pub(crate) fn error_of(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        let error = Error::new(kind, message).with_file(self.file);
        if self.path.is_empty() { error } else { error.with_node(&self.path) }
    }

    /// The string.
    pub(crate) fn string(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.mismatch("a string"))
    }

    /// The truth value.
    pub(crate) fn boolean(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.mismatch("true or false"))
    }

    /// The integer, which must lie in `range`.
    pub(crate) fn integer(&self, range: RangeInclusive<i64>) -> Result<i64> {
        let Value::Number(number) = self.value else { return Err(self.mismatch("a whole number")) };
        number.as_i64().filter(|value| range.contains(value)).ok_or_else(|| {
            self.error(format!("{number} is not a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// The integer, or the one that a string spells, which must lie in `range`.
    pub(crate) fn integer_or_text(&self, range: RangeInclusive<i64>) -> Result<i64> {
        let Value::String(text) = self.value else { return self.integer(range) };
        let value = text.trim().parse().ok().filter(|value| range.contains(value));
        value.ok_or_else(|| {
            self.error(format!("{text:?} is not a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// The integer, which must lie between 1 and `maximum`.
    pub(crate) fn count(&self, maximum: u32) -> Result<usize> {
        let value = self.integer(1..=i64::from(maximum))?;
        usize::try_from(value).map_err(|_| self.error(format!("{value} is too large")))
    }

    /// The number, which must lie in `range`.
    pub(crate) fn float(&self, range: RangeInclusive<f64>) -> Result<f32> {
        let value = self.value.as_f64().ok_or_else(|| self.mismatch("a number"))?;
        if !range.contains(&value) {
            return Err(self.error(format!("{value} is not from {} to {}", range.start(), range.end())));
        }
        Ok(value as f32)
    }

    /// The token id, or `None` for -1, which some files write for "none".
    pub(crate) fn token_id(&self) -> Result<Option<u32>> {
        let value = self.integer(-1..=i64::from(u32::MAX))?;
        Ok(u32::try_from(value).ok())
    }

    /// The token ids, of a single one or a list.
    pub(crate) fn token_ids(&self) -> Result<Vec<u32>> {
        let Value::Array(list) = self.value else { return Ok(self.token_id()?.into_iter().collect()) };
        let ids = list.iter().enumerate().map(|(index, value)| {
            let item = Json { file: self.file, path: format!("{}[{index}]", self.path), value };
            item.token_id()
        });
        Ok(ids.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// The elements of a list; none of another value.
    pub(crate) fn elements(&self) -> Vec<Json<'a>> {
        let list = self.value.as_array().into_iter().flatten().enumerate();
        list.map(|(index, value)| Json { file: self.file, path: format!("{}[{index}]", self.path), value })
            .collect()
    }

    /// The values of an object that are objects themselves; none of another value.
    pub(crate) fn members(&self) -> Vec<Json<'a>> {
        let entries = self.value.as_object().into_iter().flatten();
        let objects = entries.filter(|(_, value)| value.is_object());
        objects.map(|(key, value)| self.child(key, value)).collect()
    }

    /// Whether it is an empty list or object.
    pub(crate) fn is_empty(&self) -> bool {
        match self.value {
            Value::Array(list) => list.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => false,
        }
    }

    fn child(&self, key: &str, value: &'a Value) -> Json<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Json { file: self.file, path, value }
    }

    fn mismatch(&self, expected: &str) -> Error {
        let found = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.error(format!("{found} in place of {expected}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> JsonFile {
        JsonFile::parse(Path::new("f.json"), text.as_bytes()).unwrap()
    }

    #[test]
    fn values_by_path() {
        let file = parse(r#"{"a": {"b": [1, -1, 2], "c": 3, "n": null, "f": 0.5, "s": "x", "t": true}}"#);
        let a = file.root().get("a").unwrap().unwrap();
        let of = |key: &str| a.get(key).unwrap().unwrap();
        assert!(a.get("n").unwrap().is_none() && a.get("none").unwrap().is_none());
        assert_eq!(of("b").token_ids().unwrap(), [1, 2]);
        assert_eq!(of("c").token_ids().unwrap(), [3]);
        assert_eq!(of("c").count(3).unwrap(), 3);
        assert_eq!(of("c").float(0.0..=4.0).unwrap(), 3.0);
        assert_eq!(of("f").float(0.0..=1.0).unwrap(), 0.5);
        assert_eq!(of("s").string().unwrap(), "x");
        assert!(of("t").boolean().unwrap());
        for (error, text) in [
            (of("c").string().unwrap_err(), "f.json: a.c: a number in place of a string"),
            (of("c").count(2).unwrap_err(), "f.json: a.c: 3 is not a whole number from 1 to 2"),
            (of("f").count(2).unwrap_err(), "f.json: a.f: 0.5 is not a whole number from 1 to 2"),
            (of("f").float(1.0..=2.0).unwrap_err(), "f.json: a.f: 0.5 is not from 1 to 2"),
            (of("s").get("x").unwrap_err(), "f.json: a.s: a string in place of an object"),
            (of("s").token_ids().unwrap_err(), "f.json: a.s: a string in place of a whole number"),
            (of("t").float(0.0..=1.0).unwrap_err(), "f.json: a.t: a truth value in place of a number"),
            (of("b").boolean().unwrap_err(), "f.json: a.b: a list in place of true or false"),
        ] {
            assert_eq!(error.to_string(), text);
        }
        let list = parse("[1]");
        assert_eq!(list.root().get("a").unwrap_err().to_string(), "f.json: a list in place of an object");
    }

    #[test]
    fn damage_is_an_error() {
        for text in ["", "{", "{\"a\": 1,}", "\u{1}", &"[".repeat(100_000), "{\"a\":1} x", "[1e400]"] {
            let error = JsonFile::parse(Path::new("f.json"), text.as_bytes()).err().expect(text);
            assert_eq!(error.kind(), ErrorKind::InvalidModel);
        }
        assert!(JsonFile::parse(Path::new("f.json"), b"\xff{}").is_err());
        assert!(JsonFile::parse(Path::new("f.json"), b"\xef\xbb\xbf{}").is_ok());
    }

    #[test]
    fn files_have_a_size_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, [b' '; 10]).unwrap();
        assert_eq!(read_limited(&path, 10).unwrap().len(), 10);
        let error = read_limited(&path, 9).unwrap_err();
        assert!(error.message().contains("more than 9 bytes"), "{error}");
        std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\n").unwrap();
        assert!(read_limited(&path, 100).unwrap_err().hint().is_some_and(|hint| hint.contains("git lfs")));
        assert_eq!(read_limited(directory.path(), 9).unwrap_err().kind(), ErrorKind::InvalidModel);
        assert_eq!(read_limited(&directory.path().join("g"), 9).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
