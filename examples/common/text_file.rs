//! Reads text that a stranger wrote: with limits, and with errors that say what to do.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use edgeslm::{Error, ErrorKind, Result};

/// The longest text in bytes that a person or a machine is expected to write.
#[allow(dead_code, reason = "programs are longer")]
pub(crate) const MAXIMUM_BYTES: u64 = 64 << 10;

/// The text of a whole file of at most so many bytes.
///
/// # Errors
/// For a file that cannot be read, is empty, too long or not UTF-8.
#[allow(dead_code, reason = "a kiosk reads lines only")]
pub(crate) fn read(path: &Path, maximum: u64) -> Result<String> {
    let io = |error| Error::io(path, error);
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(maximum + 1).read_to_end(&mut bytes).map_err(io)?;
    text_of(bytes, maximum).map_err(|error| error.with_file(path))
}

/// The bytes as text, if they are.
///
/// # Errors
/// For bytes that are empty, too many or not UTF-8.
pub(crate) fn text_of(bytes: Vec<u8>, maximum: u64) -> Result<String> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidArgument, message);
    if bytes.len() as u64 > maximum {
        return Err(invalid(format!("the text is longer than {maximum} bytes"))
            .with_hint("hand over a shorter one; programs and pictures are no text"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        invalid(format!("the text is not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
            .with_hint("convert other encodings with `iconv -t utf-8`; pictures and programs are no text")
    })?;
    if text.contains('\0') {
        return Err(invalid("there is a null character in the text".to_owned()));
    }
    if text.trim().is_empty() {
        return Err(invalid("there is no text".to_owned()));
    }
    Ok(text)
}

/// The lines of a stream, without their ends. A line that is too long or no text is an error, and the next line follows it.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    maximum: u64,
}

impl<R: Read> Lines<R> {
    /// With at most so many bytes a line.
    pub(crate) fn new(reader: R, maximum: u64) -> Self {
        Self { reader: BufReader::new(reader), maximum }
    }

    /// Skips what is left of a line.
    fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let (count, is_done) = end.map_or((buffer.len(), buffer.is_empty()), |at| (at + 1, true));
            self.reader.consume(count);
            if is_done {
                return Ok(());
            }
        }
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let io = |error: std::io::Error| {
            Error::new(ErrorKind::Io, format!("the input cannot be read: {error}")).with_source(error)
        };
        let mut bytes = Vec::new();
        match (&mut self.reader).take(self.maximum + 1).read_until(b'\n', &mut bytes) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(io(error))),
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if bytes.len() as u64 > self.maximum
            && let Err(error) = self.skip_line()
        {
            return Some(Err(io(error)));
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        // An empty line ends a text here and is no mistake.
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Some(Ok(String::new()));
        }
        Some(text_of(bytes, self.maximum))
    }
}
