//! The shipped packages contain no network code: no banned crate in their dependency tree.
//!
//! The list of banned crates is `bans.deny` in deny.toml. `clippy.toml` bans the standard library's sockets.

#![allow(clippy::expect_used, reason = "helpers of a test may panic")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The crate names of `bans.deny`, which holds one `{ crate = "name", … }` a line.
fn banned_crates() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    let text = std::fs::read_to_string(&path).expect("deny.toml");
    let (_, list) = text.split_once("\ndeny = [\n").expect("deny.toml has a list bans.deny");
    let (list, _) = list.split_once("\n]").expect("the list bans.deny ends");
    list.lines()
        .map(|line| {
            let name = line.trim().strip_prefix("{ crate = \"").and_then(|rest| rest.split_once('"'));
            name.unwrap_or_else(|| panic!("deny.toml: expected one crate a line, found {line:?}"))
                .0
                .to_owned()
        })
        .collect()
}

/// The names of the packages that the command's and the C ABI's default builds are made of.
fn shipped_crates() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none"])
        .args(["--package", "edgeslm", "--package", "edgeslm-ffi", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree starts");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn no_shipped_crate_has_network_code() {
    let (banned, shipped) = (banned_crates(), shipped_crates());
    for expected in ["reqwest", "tokio", "openssl", "rustls", "socket2"] {
        assert!(banned.contains(expected), "deny.toml no longer bans {expected}");
    }
    for expected in ["edgeslm", "edgeslm-ffi", "tokenizers", "memmap2"] {
        assert!(shipped.contains(expected), "cargo tree did not list {expected}: {shipped:?}");
    }
    let found: Vec<_> = shipped.intersection(&banned).collect();
    assert!(found.is_empty(), "network crates in the default build: {found:?}");
}
