//! `cargo xtask abi`: what programs that are built against the header rely on, and whether it stays.

mod compare;
mod declarations;
mod measure;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::demo::workspace;
use compare::breaks;

const FILE: &str = "ffi/abi.txt";

const TITLE: &str = "\
# What programs rely on that are built against edgeslm.h, on machines with 64-bit longs and pointers.
# Written by `cargo xtask abi`, which compiles a C program against the header and runs it; do not edit.
";

/// Arguments of the chore.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if the committed file is not what would be written
    #[arg(long)]
    check: bool,
    /// Write nothing; fail if a program built against the library at this Git reference would break [default: the
    /// last tag v*, if there is one]
    #[arg(long, value_name = "GIT_REF", conflicts_with = "check")]
    against: Option<Option<String>>,
}

/// Writes `ffi/abi.txt`, or compares it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let root = workspace();
    let measured = measure::measure(&root.join("ffi/include"))?;
    match &arguments.against {
        Some(reference) => compare_with(root, reference.as_deref(), &measured),
        None if arguments.check => {
            let committed = fs::read_to_string(root.join(FILE)).with_context(|| FILE)?;
            if committed != measured.to_text() {
                bail!("{FILE} is not what the header says: look at what `cargo xtask abi` changes in it");
            }
            Ok(())
        }
        None => fs::write(root.join(FILE), measured.to_text()).with_context(|| FILE),
    }
}

#[allow(clippy::print_stdout, reason = "the chore's result")]
fn compare_with(root: &Path, reference: Option<&str>, measured: &Snapshot) -> anyhow::Result<()> {
    let git = |arguments: &[&str]| -> anyhow::Result<Option<String>> {
        let output =
            Command::new("git").args(arguments).current_dir(root).output().context("starting git")?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let reference = match reference {
        Some(given) => given.to_owned(),
        None => match git(&["describe", "--tags", "--abbrev=0", "--match", "v*"])? {
            Some(tag) => tag.trim().to_owned(),
            None => {
                println!("there is no release to compare with");
                return Ok(());
            }
        },
    };
    let text = git(&["show", &format!("{reference}:{FILE}")])?;
    let text = text.with_context(|| format!("there is no {FILE} at {reference}"))?;
    let old = Snapshot::parse(&text).with_context(|| format!("{FILE} at {reference}"))?;
    let found = breaks(&old, measured);
    if found.is_empty() {
        println!("programs built against {reference} go on working");
        return Ok(());
    }
    let list = found.join("\n  ");
    if old.announces_break(measured) {
        println!("SLM_ABI_VERSION tells programs built against {reference} of:\n  {list}");
        return Ok(());
    }
    bail!("programs built against {reference} break, and SLM_ABI_VERSION does not tell them:\n  {list}");
}

/// Facts about the ABI by what they are about, such as `struct slm_str` and `16 bytes`, in the header's order.
#[derive(Debug, Default, PartialEq)]
struct Snapshot {
    facts: Vec<(String, String)>,
}

impl Snapshot {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let facts = lines.map(|line| {
            let (subject, fact) = line.split_once(": ").with_context(|| format!("cannot read {line:?}"))?;
            Ok((subject.to_owned(), fact.to_owned()))
        });
        Ok(Self { facts: facts.collect::<anyhow::Result<_>>()? })
    }

    fn to_text(&self) -> String {
        let lines = self.facts.iter().map(|(subject, fact)| format!("{subject}: {fact}\n"));
        TITLE.to_owned() + &lines.collect::<String>()
    }

    fn add(&mut self, subject: String, fact: String) {
        self.facts.push((subject, fact));
    }

    fn by_subject(&self) -> BTreeMap<&str, &str> {
        self.facts.iter().map(|(subject, fact)| (&**subject, &**fact)).collect()
    }

    /// Whether a program that checks the version, as the header asks, refuses to run with the newer library.
    fn announces_break(&self, newer: &Self) -> bool {
        let version = |snapshot: &Self| snapshot.by_subject().get(compare::VERSION)?.parse::<u32>().ok();
        match (version(self), version(newer)) {
            (Some(old), Some(new)) if old >> 16 == 0 => old != new,
            (Some(old), Some(new)) => old >> 16 != new >> 16,
            _ => false,
        }
    }
}

/// The functions that a header declares.
pub(crate) fn functions(header: &str) -> anyhow::Result<Vec<String>> {
    Ok(declarations::Declarations::parse(header)?.functions.into_iter().map(|(name, _)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_survive_being_written() {
        let text = format!("{TITLE}struct slm_str: 16 bytes\nconstant SLM_OK: 0\n");
        let snapshot = Snapshot::parse(&text).unwrap();
        assert_eq!(snapshot.facts[0], ("struct slm_str".to_owned(), "16 bytes".to_owned()));
        assert_eq!(snapshot.to_text(), text);
        assert!(Snapshot::parse("struct slm_str 16 bytes").is_err());
    }

    #[test]
    fn a_version_announces_a_break() {
        let of = |version: u32| Snapshot::parse(&format!("constant SLM_ABI_VERSION: {version}")).unwrap();
        for (old, new, announced) in [
            (1, 1, false),
            (1, 2, true),
            (1, 1 << 16, true),
            (1 << 16, 1 << 16 | 1, false),
            (1 << 16, 2 << 16, true),
        ] {
            assert_eq!(of(old).announces_break(&of(new)), announced, "{old:#x} {new:#x}");
        }
        assert!(!Snapshot::default().announces_break(&of(1)));
    }
}
