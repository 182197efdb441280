//! The commands and programs of a document, run as its reader would run them: from an empty folder.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::command::{checked, has, starts};

/// What a part of a document, under a heading of the second level, tells its reader to do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Section {
    pub(super) title: String,
    /// Names and contents of the files to write: blocks behind a line that is a name in backquotes and a colon.
    files: Vec<(String, String)>,
    /// The blocks of shell commands.
    commands: Vec<String>,
}

impl Section {
    pub(super) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Whether all `tools` are there, of which CI must have those that Debian has.
    pub(super) fn can_run(&self, tools: &[&str]) -> anyhow::Result<bool> {
        for tool in tools {
            let present = if *tool == "dotnet" { starts(tool) } else { has(tool)? };
            if !present {
                super::say(&format!("skipped: {} ({tool} is missing)", self.title));
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the files into `folder` and runs the commands there; what the last block prints.
    pub(super) fn run(&self, folder: &Path) -> anyhow::Result<String> {
        for (name, content) in &self.files {
            fs::write(folder.join(name), content)?;
        }
        let (last, before) = self.commands.split_last().context("a section without commands")?;
        let script = format!("set -eu\n{{\n:\n{}}} >&2\n{last}", before.concat());
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(folder).env("LC_ALL", "C.UTF-8");
        for name in
            ["LD_LIBRARY_PATH", "PKG_CONFIG_PATH", "CMAKE_PREFIX_PATH", "PYTHONPATH", "EDGESLM_LIBRARY"]
        {
            shell.env_remove(name);
        }
        let output = checked(&mut shell).with_context(|| format!("section {:?}", self.title))?;
        String::from_utf8(output.stdout).with_context(|| format!("section {:?}", self.title))
    }
}

/// The sections of a document in Markdown.
pub(super) fn sections(document: &str) -> anyhow::Result<Vec<Section>> {
    let mut sections = Vec::new();
    let mut file = None;
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title: title.to_owned(), ..Section::default() });
        } else if let Some(language) = line.strip_prefix("```") {
            let mut block = String::new();
            loop {
                match lines.next().context("a block has no end")? {
                    "```" => break,
                    line => block += &format!("{line}\n"),
                }
            }
            let section: &mut Section = sections.last_mut().context("a block before the first section")?;
            match (file.take(), language) {
                (Some(name), _) => section.files.push((name, block)),
                (None, "sh") => section.commands.push(block),
                (None, language) => bail!("a block in {language:?} is neither a named file nor commands"),
            }
        } else if !line.is_empty() {
            file = line.strip_prefix('`').and_then(|rest| rest.strip_suffix("`:")).map(str::to_owned);
        }
    }
    ensure!(sections.iter().any(Section::has_commands), "the document has no commands");
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_names_and_commands_have_none() {
        let document = "# Title\n\n## One\n\n`a.c`:\n\n```c\nint a;\n\n```\n\nThen `this`:\n\n```sh\nx\ny\n```\n## Two\n";
        let one = Section {
            title: "One".to_owned(),
            files: vec![("a.c".to_owned(), "int a;\n\n".to_owned())],
            commands: vec!["x\ny\n".to_owned()],
        };
        let two = Section { title: "Two".to_owned(), ..Section::default() };
        assert_eq!(sections(document).unwrap(), [one, two]);
        for bad in ["## One\n```c\nint a;\n```\n", "## One\n```sh\nx\n", "```sh\nx\n```\n", "## One\n"] {
            assert!(sections(bad).is_err(), "{bad}");
        }
    }
}
