//! What the library is made of: a CycloneDX document (version 1.5, <https://cyclonedx.org/docs/1.5/json/>) and a list of licences.

use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::demo::workspace;

/// A crate that is linked into the library.
struct Component {
    name: String,
    version: String,
    license: String,
}

/// The crates of the library for `target`, apart from the workspace's own.
fn components(target: Option<&str>) -> anyhow::Result<Vec<Component>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["tree", "--package", "edgeslm-ffi", "--edges", "normal", "--prefix", "none", "--no-dedupe"]);
    cargo.args(["--format", "{p}|{l}"]).args(target.map(|target| ["--target", target]).into_iter().flatten());
    let output = cargo.current_dir(workspace()).output().context("starting cargo tree")?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    let mut lines: Vec<&str> =
        text.lines().filter(|line| !line.contains(" (/") && !line.is_empty()).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
        .into_iter()
        .map(|line| {
            let (package, license) = line.split_once('|').context("a line of cargo tree has a licence")?;
            let mut words = package.split_whitespace();
            let name = words.next().context("a line of cargo tree has a name")?.to_owned();
            let version = words.next().context("a line of cargo tree has a version")?;
            let version = version.trim_start_matches('v').to_owned();
            Ok(Component { name, version, license: license.trim().replace('/', " OR ") })
        })
        .collect()
}

/// The document.
pub(super) fn document(target: &str) -> anyhow::Result<String> {
    let components: Vec<Value> = components(Some(target))?
        .iter()
        .map(|Component { name, version, license }| {
            json!({
                "type": "library",
                "bom-ref": format!("pkg:cargo/{name}@{version}"),
                "name": name,
                "version": version,
                "purl": format!("pkg:cargo/{name}@{version}"),
                "licenses": [{"expression": license}],
            })
        })
        .collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "library",
            "name": "edgeslm",
            "version": env!("CARGO_PKG_VERSION"),
            "purl": format!("pkg:cargo/edgeslm@{}", env!("CARGO_PKG_VERSION")),
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
            "properties": [{"name": "target", "value": target}],
        }},
        "components": components,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// A line for each crate.
pub(super) fn licenses() -> anyhow::Result<String> {
    let lines = components(None)?;
    let lines =
        lines.iter().map(|Component { name, version, license }| format!("{name} {version}: {license}\n"));
    Ok(format!("Crates that are linked into edgeslm, and their licences.\n\n{}", lines.collect::<String>()))
}
