//! The result as Markdown.

use std::fmt::Write;

use super::figures::{Quantity, median};
use super::results::{Length, ModelResult};

/// Tables of one model: the figures of every length of the prompt, what they are to each peer's, and the ratios that count.
pub(super) fn tables(result: &ModelResult, generate: usize, threads: usize, rounds: u64) -> String {
    let mut text = String::new();
    for length in &result.lengths {
        let title = format!(
            "{}: {} tokens of prompt and {generate} of answer, {threads} threads; rounds: {rounds}; median (least to most)",
            result.name, length.prompt_tokens
        );
        text += &format!("\n{title}\n\n{}\n{}", figures(length), compared(length));
    }
    text += "\n| | ratio |\n|---|---|\n";
    for ratio in result.ratios() {
        text += &format!("| {} | {:.2} |\n", ratio.what, ratio.value);
    }
    let gigabytes: Vec<f64> = result
        .lengths
        .iter()
        .flat_map(|length| &length.bandwidth)
        .map(|bandwidth| bandwidth * 1e-9)
        .collect();
    text += &format!(
        "\nMemory bandwidth, {threads} threads reading: {} GB/s. Weights read for a token: {:.0} MB. Private memory as \
         `Model::estimate` says: {:.0} MB.\n",
        spread(&gigabytes),
        result.weight_bytes * 1e-6,
        result.estimate * 1e-6
    );
    text
}

fn header(first: &str) -> String {
    let names = Quantity::ALL.map(Quantity::name).join(" | ");
    format!("| {first} | {names} |\n|---|---|---|---|---|---|\n")
}

fn figures(length: &Length) -> String {
    let mut text = header("");
    for row in &length.rows {
        let cells = match &row.outcome {
            Ok(rounds) => Quantity::ALL.map(|quantity| {
                let figures: Vec<f64> =
                    rounds.all(quantity).iter().map(|figure| figure * quantity.factor()).collect();
                spread(&figures)
            }),
            Err(reason) => [in_a_cell(reason), String::new(), String::new(), String::new(), String::new()],
        };
        let _a_string_takes_all = writeln!(text, "| {} | {} |", row.name, cells.join(" | "));
    }
    text
}

fn compared(length: &Length) -> String {
    let mut text = header("edgeslm / peer");
    for row in length.rows.iter().filter(|row| !row.is_ours && row.outcome.is_ok()) {
        let cells = Quantity::ALL.map(|quantity| {
            length.ratio(row, quantity).map_or_else(String::new, |ratio| format!("{ratio:.2}"))
        });
        let _a_string_takes_all = writeln!(text, "| {} | {} |", row.name, cells.join(" | "));
    }
    text
}

/// A reason on one line, not too long, without bars, which would end the cell.
fn in_a_cell(reason: &str) -> String {
    const LONGEST: usize = 200;
    let line = reason.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/");
    if line.chars().count() <= LONGEST { line } else { line.chars().take(LONGEST).chain(['…']).collect() }
}

/// Three digits where that takes none after the point, else two after it.
pub(super) fn digits(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.2}")
    } else if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// The median, and in brackets the range.
fn spread(figures: &[f64]) -> String {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    let middle = digits(median(figures));
    if figures.len() < 2 { middle } else { format!("{middle} ({} to {})", digits(least), digits(most)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_peers::results::tests::example;

    #[test]
    fn medians_and_ranges() {
        assert_eq!(spread(&[1.0, 30.44, 2.0]), "2.00 (1.00 to 30.4)");
        assert_eq!(spread(&[123.4]), "123");
    }

    #[test]
    fn reasons_fit_a_cell() {
        assert_eq!(in_a_cell("one | two\n  three"), "one / two three");
        assert_eq!(in_a_cell(&"word ".repeat(100)).chars().count(), 201);
    }

    #[test]
    fn every_row_has_its_cells() {
        let text = tables(&example(), 64, 2, 1);
        for line in [
            "model: 512 tokens of prompt and 64 of answer, 2 threads; rounds: 1; median (least to most)",
            "| edgeslm (best) | 100 | 30.0 | 0.50 | 300 | 100 |",
            "| d | it is missing |  |  |  |  |",
            "| b & c | 1.25 | 0.75 | 1.00 | 1.00 | 1.00 |",
            "| b (avx2) | 1.50 | 1.16 | 1.00 | 1.00 | 1.00 |",
            "| peak RSS / files + 150 MB | 0.75 |",
            "Memory bandwidth, 2 threads reading: 8.00 (7.00 to 9.00) GB/s. Weights read for a token: 200 MB. \
             Private memory as `Model::estimate` says: 90 MB.",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let columns = |line: &str| line.matches('|').count();
        assert!(
            text.lines().filter(|line| line.starts_with('|')).all(|line| [3, 7].contains(&columns(line)))
        );
    }
}
