//! A box in a factory: what is the matter with a machine, from a few lines of its log? One of `normal`, `wear`, `overheating`,
//! `electrical`, `leak` and `sensor_fault`, with what a technician should do; what is not certain is for the technician to read.
//!
//! `tail -F /var/log/line4.log | cargo run --release --example equipment_logs -- --model DIR`
//! `cargo run --release --example equipment_logs -- --model DIR --watch /var/spool/plc --output findings.jsonl`
//!
//! Made for a model of 0.1 to 1.5 billion parameters and for one answer within a second on four cores; logs come by the minute. The
//! prompt shows six examples, which stay in the KV cache. A model this small has favourite words whatever the log says, so that the
//! probabilities of many words are turned into those of the six labels by a calibration, fitted on labelled examples at the start
//! or read from a file.
//!
//! A text is a block of lines: it ends at an empty line, after twelve lines, or in a stream after two seconds without a line. In
//! files that end in `.jsonl` each line is an object with the field `log`. Results are JSON lines.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

#[path = "common/calibrated.rs"]
mod calibrated;
#[path = "common/exit.rs"]
mod exit;
#[path = "common/results.rs"]
mod results;
#[path = "common/small_model.rs"]
mod small_model;
#[path = "common/sorting.rs"]
mod sorting;
#[path = "common/text_file.rs"]
mod text_file;
#[path = "common/texts.rs"]
mod texts;
#[path = "common/watch.rs"]
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use self::calibrated::ClassifierArguments;
use self::sorting::Application;
use self::texts::{Extent, InputArguments};

/// Says what is the matter with machines from their logs
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    classifier: ClassifierArguments,

    #[command(flatten)]
    input: InputArguments,

    /// The most lines of a log that are looked at together
    #[arg(long, value_name = "N", default_value_t = 12)]
    lines: usize,
}

/// What follows from a label is fixed, so that the model cannot invent it.
const ACTIONS: [(&str, &str); 6] = [
    ("normal", "nothing to do"),
    ("wear", "plan the replacement of the worn part"),
    ("overheating", "reduce the load and check the cooling"),
    ("electrical", "call an electrician; isolate before opening"),
    ("leak", "find the leak and check the level"),
    ("sensor_fault", "check the sensor before the machine"),
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let extent = Extent::Paragraph { lines: arguments.lines.max(1), pause: Duration::from_secs(2) };
    let application = Application {
        task: "equipment",
        extent,
        actions: &ACTIONS,
        otherwise: "a technician should read the log",
    };
    application.run(&arguments.classifier, &arguments.input)
}
