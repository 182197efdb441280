//! One file a command: its arguments and its work.

pub(crate) mod bench;
pub(crate) mod calibrate;
pub(crate) mod chat;
pub(crate) mod check;
#[cfg(feature = "ort")]
pub(crate) mod devices;
pub(crate) mod eval;
#[cfg(feature = "import")]
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod perplexity;
pub(crate) mod run;

use crate::arguments::Command;
use crate::failure::{Exit, Failure};

/// Does what was asked for, writing the result to standard output.
pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    let out = &mut std::io::stdout();
    match command {
        Command::Run(arguments) => run::run(arguments, out),
        Command::Chat(arguments) => chat::run(arguments, out),
        Command::Info(arguments) => info::run(arguments, out),
        #[cfg(feature = "ort")]
        Command::Devices(arguments) => devices::run(arguments, out),
        Command::Check(arguments) => check::run(arguments, out),
        Command::Perplexity(arguments) => perplexity::run(arguments, out),
        Command::Bench(arguments) => bench::run(arguments, out),
        Command::Calibrate(arguments) => calibrate::run(arguments, out),
        Command::Eval(arguments) => eval::run(arguments, out),
        #[cfg(feature = "import")]
        Command::Import(arguments) => import::run(arguments, out),
    }
}
