//! `cargo xtask bench-abi`: the time from loading a model to the first token, through the C ABI and in Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::bench_peers::median;
use crate::command::{cargo, succeed};
use crate::demo::{self, workspace};
use crate::dist::{link, target_directory};

/// What `cargo xtask bench-abi` is told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The model directory [default: the demonstration's model in 4 bits]
    directory: Option<PathBuf>,
    /// How often each is measured
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// What the model is asked
    #[arg(
        long,
        default_value = "The door of the cold store is open and an alarm sounds. What should be done first?"
    )]
    question: String,
}

/// Runs both programs in turn, each in processes of its own, and prints medians, minima and their ratios.
#[allow(clippy::print_stdout, reason = "the result of the chore")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let directory = match &arguments.directory {
        Some(directory) => directory.clone(),
        None => demo::models()?.int4,
    };
    cargo(&["build", "--quiet", "--release", "--package", "edgeslm-ffi"])?;
    cargo(&["build", "--quiet", "--release", "--package", "edgeslm", "--example", "first_token"])?;
    let release = target_directory().join("release");
    let programs = [compile(&release)?, release.join("examples/first_token")];
    let mut times = [Vec::new(), Vec::new()];
    let mut token = None;
    for round in 0..=arguments.rounds {
        // Who goes first changes with the round.
        for turn in [round % 2, (round + 1) % 2] {
            let program = usize::try_from(turn)?;
            let (seconds, first) = measure(&programs[program], &directory, arguments, &release)?;
            ensure!(*token.get_or_insert(first) == first, "the programs give different tokens");
            // The first round reads the files into memory.
            if round > 0 {
                times[program].push(seconds * 1e3);
            }
        }
    }
    let least = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let (medians, minima) = (times.each_ref().map(|of| median(of)), times.each_ref().map(|of| least(of)));
    println!(
        "Milliseconds from loading to the first token: {}, {} threads, {} rounds",
        directory.display(),
        arguments.threads,
        arguments.rounds
    );
    println!("| | C | Rust | ratio |\n|---|---|---|---|");
    for (name, [c, rust]) in [("median", medians), ("least", minima)] {
        println!("| {name} | {c:.1} | {rust:.1} | {:.3} |", c / rust);
    }
    Ok(())
}

/// The program in C, linked with the shared library.
fn compile(release: &Path) -> anyhow::Result<PathBuf> {
    let program = release.join("first_token-c");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
    compiler.arg("-I").arg(workspace().join("ffi/include"));
    compiler.arg(workspace().join("benches/abi/first_token.c")).arg("-L").arg(release).arg("-ledgeslm");
    succeed(&mut compiler)?;
    // The library is looked for by its versioned name.
    let library = release.join("libedgeslm.so.0");
    if library.symlink_metadata().is_ok() {
        fs::remove_file(&library)?;
    }
    link("libedgeslm.so", &library)?;
    Ok(program)
}

/// Seconds to the first token, and the token.
fn measure(
    program: &Path,
    directory: &Path,
    arguments: &Arguments,
    release: &Path,
) -> anyhow::Result<(f64, u32)> {
    let mut command = Command::new(program);
    command.arg(directory).arg(arguments.threads.to_string()).arg(&arguments.question);
    let output = command.env("LD_LIBRARY_PATH", release).output()?;
    if !output.status.success() {
        bail!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    let (nanoseconds, token) = text.trim_end().split_once(' ').context("a time and a token")?;
    Ok((nanoseconds.parse::<f64>()? * 1e-9, token.parse()?))
}
