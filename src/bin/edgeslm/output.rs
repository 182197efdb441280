//! Text for people.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use edgeslm::model::ModelInfo;

/// The text on one line, without what a terminal would obey.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    replace(text, |c| c.is_control() || is_direction_mark(c))
}

/// The text without what a terminal would obey but line breaks and tabs.
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    replace(text, |c| (c.is_control() && c != '\n' && c != '\t') || is_direction_mark(c))
}

/// Whether the character changes the order in which others are shown, so that text looks like other text.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn replace(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.contains(&is_bad) { Cow::Owned(text.replace(is_bad, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Writes text of a model: to a terminal only what is safe there, elsewhere exactly.
pub(crate) fn write_text(out: &mut dyn Write, text: &str) -> io::Result<()> {
    let text = if io::stdout().is_terminal() { printable_lines(text) } else { Cow::Borrowed(text) };
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A value as JSON with a line break at the end.
pub(crate) fn write_json(out: &mut dyn Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    out.flush()
}

/// Writes a line to standard error; with that closed there is nobody to tell.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Columns as wide as their widest cell, the first to the left and the others to the right.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(titles: &[&str]) -> Self {
        let mut table = Self::default();
        table.row(titles.iter().copied());
        table
    }

    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line += &if index == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// What computes, and in which numbers.
pub(crate) fn engine_of(info: &ModelInfo) -> String {
    let cache =
        info.cache_format.as_ref().map_or_else(String::new, |format| format!(", KV cache in {format}"));
    format!("{}, {} accuracy{cache}", info.engine, info.accuracy)
}

/// Lines of a name and what it is.
pub(crate) fn write_facts(out: &mut dyn Write, facts: &[(&str, String)]) -> io::Result<()> {
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, fact) in facts {
        writeln!(out, "{name:<width$}  {}", printable(fact))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        for (text, line, lines) in [
            ("plain ü", "plain ü", "plain ü"),
            ("a\tb\nc", "a\u{fffd}b\u{fffd}c", "a\tb\nc"),
            (
                "\u{1b}]0;x\u{7}\r\u{9b}",
                "\u{fffd}]0;x\u{fffd}\u{fffd}\u{fffd}",
                "\u{fffd}]0;x\u{fffd}\u{fffd}\u{fffd}",
            ),
            ("a\u{202e}b", "a\u{fffd}b", "a\u{fffd}b"),
        ] {
            assert_eq!((printable(text).as_ref(), printable_lines(text).as_ref()), (line, lines));
        }
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["case", "tokens"]);
        table.row(["short", "8"]);
        table.row(["ä", "12345678"]);
        let mut text = Vec::new();
        table.write(&mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "case     tokens\nshort         8\nä      12345678\n");
    }
}
