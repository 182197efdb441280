//! Where in a text a cursor stands.

/// The byte before which the cursor stands: line and column from 1, columns counted in characters. Without a line the last, without
/// a column the end of the line.
///
/// # Errors
/// What is wrong with a place outside the text.
pub(crate) fn offset(text: &str, line: Option<usize>, column: Option<usize>) -> Result<usize, String> {
    let mut begin = 0;
    let mut lines = text.split_inclusive('\n').peekable();
    let mut count = 0;
    let mut found = None;
    while let Some(current) = lines.next() {
        count += 1;
        if line == Some(count) || (line.is_none() && lines.peek().is_none() && !current.ends_with('\n')) {
            found = Some(current);
            break;
        }
        begin += current.len();
    }
    // After a last line break there is one more line, which is empty.
    let is_after_end = line.is_none_or(|line| line == count + 1) && (text.is_empty() || text.ends_with('\n'));
    let Some(current) = found.or(is_after_end.then_some("")) else {
        return Err(format!("there is no line {} in {count}", line.unwrap_or_default()));
    };
    let current = current.trim_end_matches(['\r', '\n']);
    let Some(column) = column else { return Ok(begin + current.len()) };
    let mut borders = current.char_indices().map(|(at, _)| at).chain([current.len()]);
    let at = column.checked_sub(1).and_then(|column| borders.nth(column));
    at.map(|at| begin + at).ok_or_else(|| {
        format!("there is no column {column} in a line of {} characters", current.chars().count())
    })
}
