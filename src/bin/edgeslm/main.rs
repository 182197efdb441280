//! The `edgeslm` command: runs, inspects, checks and measures models.

#![forbid(unsafe_code)]

mod answer;
mod arguments;
mod commands;
mod failure;
mod form;
mod input;
mod interrupt;
mod output;
mod process_memory;
mod progress;
mod task_files;
mod units;

use std::process::ExitCode;

use clap::Parser;

use self::arguments::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    failure::exit_code(commands::run(&cli.command))
}
