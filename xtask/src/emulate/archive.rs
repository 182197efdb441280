//! Debian's archive as apt-get sees it through lists and settings of the emulator's own, so that the system's stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::command::checked;

/// Signs Debian's lists of packages.
pub(super) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Bochs 3.0 comes from Debian 13, the kernel from Debian 12.
const SUITES: [(&str, &str); 2] = [("deb deb-src", "trixie"), ("deb", "bookworm")];

pub(super) struct Archive {
    root: PathBuf,
}

impl Archive {
    /// Reads the lists of packages.
    pub(super) fn open(root: &Path) -> anyhow::Result<Self> {
        let root = root.join("apt");
        for folder in ["lists/partial", "cache/archives/partial", "sources"] {
            fs::create_dir_all(root.join(folder))?;
        }
        let mirror = mirror()?;
        for (types, suite) in SUITES {
            let text = format!(
                "Types: {types}\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nArchitectures: amd64\n\
                 Signed-By: {KEYRING}\n"
            );
            fs::write(root.join("sources").join(suite).with_extension("sources"), text)?;
        }
        // No package counts as installed.
        fs::write(root.join("status"), "")?;
        let path = root.display();
        let settings = format!(
            "Dir::State \"{path}\";\nDir::State::status \"{path}/status\";\nDir::Cache \"{path}/cache\";\n\
             Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{path}/sources\";\nAPT::Sandbox::User \"root\";\n\
             APT::Update::Error-Mode \"any\";\nAcquire::Languages \"none\";\n"
        );
        fs::write(root.join("apt.conf"), settings)?;
        let archive = Self { root };
        checked(archive.command("apt-get").args(["update", "-qq"]))
            .context("reading Debian's lists of packages, which needs the network")?;
        Ok(archive)
    }

    /// Downloads packages into `folder` and unpacks them there.
    pub(super) fn unpack(&self, packages: &[&str], folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        let mut download = self.command("apt-get");
        checked(download.args(["download", "-qq"]).args(packages).current_dir(folder))
            .with_context(|| format!("downloading {}, which needs the network", packages.join(", ")))?;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                checked(Command::new("dpkg-deb").arg("-x").arg(&path).arg(folder))?;
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Downloads the source of a package, as its authors wrote it, into `folder`.
    pub(super) fn source(&self, package: &str, folder: &Path) -> anyhow::Result<()> {
        let mut source = self.command("apt-get");
        source.args(["source", "-qq", "--download-only", "--tar-only", package]).current_dir(folder);
        checked(&mut source)
            .with_context(|| format!("downloading the source of {package}, which needs the network"))?;
        Ok(())
    }

    /// The names of the packages that a regular expression describes.
    pub(super) fn names(&self, expression: &str) -> anyhow::Result<Vec<String>> {
        let output = checked(self.command("apt-cache").args(["search", "--names-only", expression]))?;
        let text = String::from_utf8(output.stdout)?;
        let names: Vec<_> =
            text.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
        ensure!(!names.is_empty(), "Debian has no package {expression}");
        Ok(names)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.root.join("apt.conf"));
        command
    }
}

/// Where this system gets its packages from. Each mirror has all of Debian's releases; security updates have an archive of their own.
fn mirror() -> anyhow::Result<String> {
    let output =
        checked(Command::new("apt-get").args(["indextargets", "--format", "$(ORIGIN) $(SITE)"]))?.stdout;
    let text = String::from_utf8(output)?;
    let mut sites = text.lines().filter_map(|line| line.strip_prefix("Debian "));
    let mirror = sites.find(|site| !site.ends_with("-security"));
    Ok(mirror.context("the emulator is made of Debian's packages, and this system's are others")?.to_owned())
}
