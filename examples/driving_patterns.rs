//! A box in a vehicle: how does somebody drive, from a summary that the telematics unit writes every few minutes? One of `calm`,
//! `hurried`, `aggressive`, `drowsy` and `distracted`, with what the vehicle should do; where that is not certain it does nothing.
//!
//! `telematics | cargo run --release --example driving_patterns -- --model DIR`
//! `cargo run --release --example driving_patterns -- --model DIR --watch /run/trips --output patterns.jsonl`
//!
//! Made for a model of 0.5 to 4 billion parameters, int4, and for one answer within three seconds on two cores beside other work;
//! summaries come every ten minutes. It advises and never acts: a pattern is no measurement, and with the small demonstration model
//! it is a demonstration. The prompt shows five examples, which stay in the KV cache, and a calibration says how far to rely on
//! the answer, as in `equipment_logs`.
//!
//! Each line is one summary, as text or JSON in whatever form the unit writes; in files that end in `.jsonl`, and for objects with
//! the field `summary`, that field is. Results are JSON lines.

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

use clap::Parser;

use self::calibrated::ClassifierArguments;
use self::sorting::Application;
use self::texts::{Extent, InputArguments};

/// Says how somebody drives from summaries of telematics
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    classifier: ClassifierArguments,

    #[command(flatten)]
    input: InputArguments,
}

/// What follows from a label is fixed, so that the model cannot invent it.
const ACTIONS: [(&str, &str); 5] = [
    ("calm", "nothing to do"),
    ("hurried", "show the time of arrival, and that it is not later at the limit"),
    ("aggressive", "show the distance to the vehicle ahead; note the drive for coaching"),
    ("drowsy", "propose a break at the next rest area, by voice"),
    ("distracted", "hold back messages until the vehicle stands"),
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let application = Application {
        task: "driving",
        extent: Extent::Line,
        actions: &ACTIONS,
        otherwise: "nothing: the pattern is not certain",
    };
    application.run(&arguments.classifier, &arguments.input)
}
