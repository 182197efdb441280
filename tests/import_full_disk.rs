//! A full disk while a model directory is written: an error, and nothing left behind.

#![cfg(all(target_os = "linux", feature = "import"))]
#![allow(clippy::unwrap_used, reason = "helpers of a test may panic")]

use std::path::Path;
use std::process::Command;

use edgeslm::ErrorKind;
use edgeslm::import::{SynthOptions, synthesise};

/// Says to the test, run again inside a mount namespace, where the small disk is.
const SMALL_DISK: &str = "EDGESLM_TEST_SMALL_DISK";

#[test]
fn a_full_disk_leaves_nothing_behind() {
    if let Some(disk) = std::env::var_os(SMALL_DISK) {
        return write_to(Path::new(&disk));
    }
    let disk = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=512k none \"$0\" && exec \"$@\"";
    let this_test = ["--exact", "a_full_disk_leaves_nothing_behind", "--nocapture"];
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", mount]).arg(disk.path());
    command.arg(std::env::current_exe().unwrap()).args(this_test).env(SMALL_DISK, disk.path());
    let output = command.output().expect("unshare of util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn write_to(disk: &Path) {
    let options = SynthOptions { tiny: true, ..SynthOptions::default() };
    let error = synthesise("llama-3.2-1b", &disk.join("model"), &options, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.file().is_some_and(|file| file.starts_with(disk.join("model"))), "{error}");
    assert_eq!(std::fs::read_dir(disk).unwrap().count(), 0);
}
