//! Running other programs.

use std::process::{Command, Output};

use anyhow::{Context, bail, ensure};

use crate::demo::workspace;

/// Runs a command that has to succeed.
pub(crate) fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("starting {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{:?}: {status}", command.get_program());
    }
    Ok(())
}

/// Runs a command quietly; shows what it printed if it fails.
pub(crate) fn checked(command: &mut Command) -> anyhow::Result<Output> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{command:?}: {}\n{out}{error}", output.status);
    }
    Ok(output)
}

/// Whether a tool starts.
pub(crate) fn starts(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Whether a tool is there. Without it a check is skipped by name, except where CI must run everything.
#[allow(clippy::print_stderr, reason = "a skipped check says so")]
pub(crate) fn has(tool: &str) -> anyhow::Result<bool> {
    let found = starts(tool);
    if !found {
        ensure!(std::env::var("CI").as_deref() != Ok("true"), "{tool} is missing");
        eprintln!("skipped: {tool} is missing");
    }
    Ok(found)
}

/// Runs Cargo in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let status = cargo_command(arguments).status().context("starting cargo")?;
    if !status.success() {
        bail!("cargo {}: {status}", arguments.join(" "));
    }
    Ok(())
}

/// Cargo, to be run in the workspace.
pub(crate) fn cargo_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace()).env("RUSTDOCFLAGS", "-D warnings");
    command
}
