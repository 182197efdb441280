//! A till: turns the text of receipts into JSON, and the data of items into lines that customers can read.
//!
//! `cargo run --release --example receipts -- parse --model DIR --watch /var/spool/scans --output receipts.jsonl`
//! `cargo run --release --example receipts -- describe --model DIR items.txt`
//!
//! Made for a model of 1 to 4 billion parameters, int4: a receipt within ten seconds on four cores, beside the till's own work, and
//! a description within two. The small model of the demonstration always gives JSON that follows the schema, and only values that are
//! printed on the receipt; it does not find them all.
//!
//! `parse` reads whole files (`.txt` as OCR gives them), or in `.jsonl` files the field `receipt` of each line; on the standard
//! input receipts are parted by lines of three hyphens. A field that the receipt does not print is null. `describe` reads one item a
//! line, or the field `item`. It says what the till knows in at most 80 characters; where the model's line has a number or a
//! word that the item does not, the line is made by rule instead.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

mod describe;
#[path = "../common/exit.rs"]
mod exit;
mod parse;
#[path = "../common/results.rs"]
mod results;
#[path = "../common/small_model.rs"]
mod small_model;
#[path = "../common/text_file.rs"]
mod text_file;
#[path = "../common/texts.rs"]
mod texts;
#[path = "../common/watch.rs"]
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use edgeslm::Result;
use serde_json::{Map, Value, json};

use self::exit::finish;
use self::small_model::ModelArguments;
use self::texts::InputArguments;

/// Reads receipts and describes items
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Turns the text of receipts into JSON
    Parse(Work),
    /// Writes a line for customers about each item
    Describe(Work),
}

#[derive(Args)]
struct Work {
    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    input: InputArguments,

    /// The longest time for one text
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 60_000)]
    deadline: u64,

    /// Of examples with a split take those of one: `calibration` or `test`
    #[arg(long, value_name = "SPLIT")]
    split: Option<String>,

    /// Take the first N texts
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

fn main() -> ExitCode {
    finish(match Arguments::parse().command {
        Command::Parse(work) => parse::run(&work),
        Command::Describe(work) => describe::run(&work),
    })
}

/// A file in `examples/data`.
fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name)
}

impl Work {
    /// The fields of a text: a JSON object that has the field, otherwise the text is the field. `None` for an example of another
    /// split.
    fn fields(&self, text: &str, name: &str) -> Option<Map<String, Value>> {
        let fields = match serde_json::from_str(text) {
            Ok(Value::Object(fields)) if fields.get(name).is_some_and(Value::is_string) => fields,
            _ => Map::from_iter([(name.to_owned(), json!(text))]),
        };
        let own = fields.get("split").and_then(Value::as_str);
        let is_other = matches!((own, self.split.as_deref()), (Some(own), Some(split)) if own != split);
        (!is_other).then_some(fields)
    }

    /// Hands over the fields of each text and writes what `answer` makes of them.
    fn each(
        &self,
        extent: texts::Extent,
        name: &str,
        answer: &mut dyn FnMut(&Map<String, Value>) -> Result<Value>,
    ) -> Result<usize> {
        let mut results = self.input.results()?;
        let mut count = 0;
        self.input.each(extent, &mut |entry| {
            if results.has(entry.key.as_deref()) || count >= self.limit.unwrap_or(usize::MAX) {
                return Ok(());
            }
            let result = entry.text.and_then(|text| match self.fields(&text, name) {
                Some(fields) => answer(&fields).map(|found| Some((fields, found))),
                None => Ok(None),
            });
            match result {
                Ok(None) => Ok(()),
                Ok(Some((fields, found))) => {
                    count += 1;
                    let mut result = json!({ "source": entry.source });
                    if let Some(key) = &entry.key {
                        result["key"] = json!(key);
                    }
                    if let Some(id) = fields.get("id") {
                        result["id"] = id.clone();
                    }
                    if let (Some(result), Value::Object(found)) = (result.as_object_mut(), found) {
                        result.extend(found);
                    }
                    results.write(&result)
                }
                Err(error) => results.write_error(&entry.source, entry.key.as_deref(), &error),
            }
        })?;
        Ok(results.failures())
    }
}
