//! The result as a bar chart: a column for each model, below each other what was measured.

use super::figures::Quantity;
use super::results::{Length, ModelResult, Row};
use super::table::digits;

const MARGIN: usize = 24;
const COLUMN: usize = 560;
/// Where the bars begin, after the names.
const NAMES: usize = 190;
/// The longest bar.
const BAR: usize = 210;
const LINE: usize = 22;
const TITLE: usize = 30;

const OURS: &str = "#1a66c9";
const OURS_LIMITED: &str = "#86b3ea";
const PEERS: &str = "#a3abb5";

/// An SVG image. `caption` stands above, a line for each.
pub(super) fn chart(caption: &[String], results: &[ModelResult]) -> String {
    let columns: Vec<(String, usize)> =
        results.iter().enumerate().map(|(index, result)| column(result, MARGIN + index * COLUMN)).collect();
    let top = MARGIN + caption.len() * LINE;
    let height = top + columns.iter().map(|(_, height)| *height).max().unwrap_or(0) + MARGIN;
    let width = 2 * MARGIN + results.len() * COLUMN;
    let mut image = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#1c2430\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (index, line) in caption.iter().enumerate() {
        image +=
            &text(MARGIN, MARGIN + index * LINE, line, if index == 0 { "font-weight=\"bold\"" } else { "" });
    }
    for (column, _) in columns {
        image += &format!("<g transform=\"translate(0 {top})\">\n{column}</g>\n");
    }
    image + "</svg>\n"
}

/// The panels of one model, and their height.
fn column(result: &ModelResult, left: usize) -> (String, usize) {
    let mut image = text(left, 14, &result.name, "font-weight=\"bold\" font-size=\"15\"");
    let mut top = LINE;
    let mut add = |length: &Length, quantity: Quantity, title: &str| {
        let rows: Vec<&Row> = length.rows.iter().filter(|row| row.outcome.is_ok()).collect();
        image += &panel(length, &rows, quantity, title, left, top);
        top += TITLE + rows.len() * LINE;
    };
    for (index, length) in result.lengths.iter().enumerate() {
        let tokens = length.prompt_tokens;
        if index == 0 {
            add(
                length,
                Quantity::Prefill,
                &format!("prefill of {tokens} tokens, tokens a second (more is better)"),
            );
        }
        add(
            length,
            Quantity::Decode,
            &format!("decode after {tokens} tokens, tokens a second (more is better)"),
        );
    }
    if let Some(first) = result.lengths.first() {
        add(first, Quantity::Load, "load, seconds (less is better)");
        add(first, Quantity::PeakResident, "peak resident memory, MB (less is better)");
    }
    (image, top)
}

fn panel(length: &Length, rows: &[&Row], quantity: Quantity, title: &str, left: usize, top: usize) -> String {
    let mut image = text(left, top + 20, title, "fill=\"#4a5563\"");
    let most = rows.iter().filter_map(|row| row.median(quantity)).fold(0.0, f64::max);
    for (index, row) in rows.iter().enumerate() {
        let Some(value) = row.median(quantity) else { continue };
        let y = top + TITLE + index * LINE;
        let width = if most > 0.0 { BAR as f64 * value / most } else { 0.0 };
        let color = match (row.is_ours, row.class.limit()) {
            (true, None) => OURS,
            (true, Some(_)) => OURS_LIMITED,
            (false, _) => PEERS,
        };
        image += &text(left, y + 12, &row.name, "");
        image += &format!(
            "<rect x=\"{}\" y=\"{y}\" width=\"{width:.1}\" height=\"16\" fill=\"{color}\"/>\n",
            left + NAMES
        );
        let ratio = length.ratio(row, quantity);
        let ratio = ratio.map_or_else(String::new, |ratio| format!("   edgeslm × {ratio:.2}"));
        let label = format!("{}{ratio}", digits(value * quantity.factor()));
        image += &text(left + NAMES + width as usize + 6, y + 12, &label, "xml:space=\"preserve\"");
    }
    image
}

fn text(x: usize, y: usize, content: &str, attributes: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<text x=\"{x}\" y=\"{y}\" {attributes}>{content}</text>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_peers::results::tests::example;

    #[test]
    fn a_bar_for_each_row_that_has_figures() {
        let image = chart(&["a <run>".to_owned(), "more".to_owned()], &[example(), example()]);
        // Two models, four panels each, five rows with figures.
        assert_eq!(image.matches("height=\"16\"").count(), 2 * 4 * 5);
        assert!(image.contains("a &lt;run&gt;") && image.contains("b &amp; c"), "{image}");
        // The longest of the prefill's bars, and one half as long.
        let bar = |width: &str, color: &str| format!("width=\"{width}\" height=\"16\" fill=\"{color}\"");
        assert!(image.contains(&bar("210.0", OURS)) && image.contains(&bar("105.0", PEERS)), "{image}");
        assert!(image.contains(">50.0   edgeslm × 2.00</text>"), "{image}");
        assert_eq!(image.matches('<').count(), image.matches('>').count());
    }
}
