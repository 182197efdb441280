//! Text from files and standard input.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use edgeslm::{Error, ErrorKind, Result};

/// Reads a file of UTF-8 text with at most `limit` bytes.
pub(crate) fn read_file(path: &Path, limit: usize) -> Result<String> {
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    read(file, path, limit)
}

/// Reads UTF-8 text with at most `limit` bytes; errors call its source `name`.
pub(crate) fn read(source: impl Read, name: &Path, limit: usize) -> Result<String> {
    let mut bytes = Vec::new();
    source.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|error| Error::io(name, error))?;
    let problem = |message: String| Error::new(ErrorKind::InvalidArgument, message).with_file(name);
    if bytes.len() > limit {
        return Err(problem(format!("the text has more than {limit} bytes")));
    }
    String::from_utf8(bytes)
        .map_err(|error| problem(format!("the text is not UTF-8: {}", error.utf8_error())))
}

/// The text without one line break at its end, which editors and `echo` add.
pub(crate) fn without_last_line_break(text: &str) -> &str {
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_dropped() {
        for (text, expected) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("", ""), ("a\r", "a\r")]
        {
            assert_eq!(without_last_line_break(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        let name = Path::new("p.txt");
        assert_eq!(read(&b"four"[..], name, 4).unwrap(), "four");
        for (bytes, expected) in [(&b"a\xff"[..], "not UTF-8"), (b"fives", "more than 4 bytes")] {
            let error = read(bytes, name, 4).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(expected) && error.to_string().contains("p.txt"), "{error}");
        }
        assert_eq!(read_file(Path::new("absent.txt"), 4).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
