//! Every chore of the workspace: `cargo xtask --help`.

mod header;
mod size;
mod test;

use clap::{Parser, Subcommand};

/// Every chore of the edgeslm workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Write ffi/include/edgeslm.h from the C ABI crate
    Header(header::Arguments),
    /// Build the release shared library and check its size
    Size,
    /// Run every check and every test
    Test,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().chore {
        Chore::Header(arguments) => header::run(&arguments),
        Chore::Size => size::run(),
        Chore::Test => test::run(),
    }
}
