//! Comma-separated values as RFC 4180 describes them, with the lines on which records begin.

use crate::answer::classify::invalid;
use crate::error::Result;

/// A record: the line on which it begins, from 1, and its values.
pub(super) type Record = (usize, Vec<String>);

/// The records of a text. Lines end in LF or CRLF; empty lines are left out.
pub(super) fn records(text: &str) -> Result<Vec<Record>> {
    let mut reader = Reader { rest: text, line: 1 };
    let mut records = Vec::new();
    while !reader.rest.is_empty() {
        let begin = reader.line;
        let values =
            reader.record().map_err(|message| invalid(message).with_node(format!("line {begin}")))?;
        if values.len() > 1 || values.first().is_some_and(|value| !value.is_empty()) {
            records.push((begin, values));
        }
    }
    Ok(records)
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn record(&mut self) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        loop {
            values.push(if let Some(rest) = self.rest.strip_prefix('"') {
                self.rest = rest;
                self.quoted()?
            } else {
                self.plain()?
            });
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
                continue;
            }
            match line_end(self.rest) {
                Some(rest) => {
                    self.rest = rest;
                    self.line += 1;
                }
                None if self.rest.is_empty() => {}
                None => {
                    return Err(
                        "there is text between a closing quotation mark and the next comma".to_owned()
                    );
                }
            }
            return Ok(values);
        }
    }

    fn plain(&mut self) -> Result<String, String> {
        let end = self
            .rest
            .char_indices()
            .find(|(at, c)| *c == ',' || line_end(&self.rest[*at..]).is_some())
            .map_or(self.rest.len(), |(at, _)| at);
        let (value, rest) = self.rest.split_at(end);
        if value.contains('"') {
            return Err("a quotation mark stands in a value that does not begin with one".to_owned());
        }
        self.rest = rest;
        Ok(value.to_owned())
    }

    /// After the opening quotation mark.
    fn quoted(&mut self) -> Result<String, String> {
        let mut value = String::new();
        loop {
            let end = self.rest.find('"').ok_or("a quotation mark is not closed")?;
            let (piece, rest) = self.rest.split_at(end);
            value += piece;
            self.line += piece.matches('\n').count();
            self.rest = &rest[1..];
            match self.rest.strip_prefix('"') {
                Some(rest) => {
                    value.push('"');
                    self.rest = rest;
                }
                None => return Ok(value),
            }
        }
    }
}

/// What follows the line break with which `text` begins.
fn line_end(text: &str) -> Option<&str> {
    text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_their_lines() {
        let text = "a,b\r\n1,\"x, \"\"y\"\"\nz\"\n\n,\n\"last\",é";
        let found = records(text).unwrap();
        let expected: [(usize, [&str; 2]); 4] =
            [(1, ["a", "b"]), (2, ["1", "x, \"y\"\nz"]), (5, ["", ""]), (6, ["last", "é"])];
        assert_eq!(found.len(), expected.len());
        for ((line, values), (expected_line, expected_values)) in found.iter().zip(expected) {
            assert_eq!((*line, &values[..]), (expected_line, &expected_values.map(str::to_owned)[..]));
        }
        assert_eq!(records("").unwrap(), []);
    }

    #[test]
    fn damage_is_refused_with_its_line() {
        for (text, line, expected) in [
            ("a\n\"b", "line 2", "not closed"),
            ("a\n\nb\"c", "line 3", "does not begin with one"),
            ("\"a\nb\"c", "line 1", "between"),
        ] {
            let error = records(text).unwrap_err();
            assert_eq!(error.node(), Some(line), "{text:?}");
            assert!(error.message().contains(expected), "{error}");
        }
    }
}
