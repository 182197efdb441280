//! The result in files: all rounds as JSON, and the chart.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::chart::chart;
use super::contestant::Work;
use super::figures::Quantity;
use super::processor::Processor;
use super::results::{ModelResult, Row};

/// Writes `DATE-PROCESSOR.json` and `.svg` to `folder`; the files.
pub(super) fn write(
    folder: &Path,
    processor: &Processor,
    work: Work,
    rounds: u64,
    results: &[ModelResult],
) -> anyhow::Result<[PathBuf; 2]> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let date = date(seconds / (24 * 60 * 60));
    let Work { generate, threads, .. } = work;
    let json = json!({
        "date": date,
        "processor": processor.name,
        "threads": threads,
        "generated_tokens": generate,
        "rounds": rounds,
        "models": results.iter().map(model).collect::<Vec<_>>(),
    });
    let caption = [
        format!("{}, {threads} threads, {date}", processor.name),
        format!("Median of rounds: {rounds}. Tokens of the answer: {generate}."),
        "edgeslm × is edgeslm's figure divided by the peer's.".to_owned(),
    ];
    let name = format!("{date}-{}", processor.file_name());
    let files = ["json", "svg"].map(|extension| folder.join(format!("{name}.{extension}")));
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let contents = [serde_json::to_string_pretty(&json)? + "\n", chart(&caption, results)];
    for (file, content) in files.iter().zip(contents) {
        fs::write(file, content).with_context(|| file.display().to_string())?;
    }
    Ok(files)
}

fn model(result: &ModelResult) -> Value {
    let lengths = result.lengths.iter().map(|length| {
        let rows: Vec<_> = length.rows.iter().map(row).collect();
        json!({"prompt_tokens": length.prompt_tokens, "results": rows,
            "memory_bandwidth_bytes_per_second": length.bandwidth})
    });
    let together = result.together.as_ref().map(|together| {
        json!({"prompt_tokens": together.prompt_tokens, "sequences": together.sequences,
            "one_decode_tokens_per_second": together.one, "all_decode_tokens_per_second": together.all})
    });
    let ratios: Map<_, _> =
        result.ratios().into_iter().map(|ratio| (ratio.what, json!(ratio.value))).collect();
    json!({
        "model": result.name,
        "file_bytes": result.bytes,
        "weight_bytes_a_token": result.weight_bytes,
        "estimated_private_bytes": result.estimate,
        "lengths": lengths.collect::<Vec<_>>(),
        "together": together,
        "ratios": ratios,
    })
}

/// Every round's figures, or the reason why there are none.
fn row(row: &Row) -> Value {
    let mut all = Map::new();
    all.insert("name".to_owned(), json!(row.name));
    all.insert("limited_to".to_owned(), json!(row.class.limit()));
    match &row.outcome {
        Ok(rounds) => {
            all.extend(
                Quantity::ALL.map(|quantity| (quantity.key().to_owned(), json!(rounds.all(quantity)))),
            );
        }
        Err(reason) => _ = all.insert("missing".to_owned(), json!(reason)),
    }
    Value::Object(all)
}

/// The date in Greenwich, `days` after 1 January 1970.
fn date(days: u64) -> String {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench_peers::results::tests::example;

    #[test]
    fn dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (364, "1970-12-31"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_784, "2026-11-27"),
        ] {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn records_hold_every_round_and_every_reason() {
        let value = model(&example());
        let rows = &value["lengths"][0]["results"];
        assert_eq!(rows[0]["prefill_tokens_per_second"], json!([100.0]));
        assert_eq!(rows[1]["limited_to"], "AVX2");
        assert_eq!(rows[5]["missing"], "it is missing");
        assert_eq!(value["ratios"]["decode after 512 tokens / a"], 1.5);
        assert_eq!(value["lengths"][0]["memory_bandwidth_bytes_per_second"], json!([8e9, 7e9, 9e9]));
    }
}
