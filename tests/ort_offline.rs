//! ONNX Runtime as its publisher builds it, telemetry and all, opens no socket and leaves no file behind.

#![cfg(all(feature = "ort", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

#[path = "ort/library.rs"]
mod library;

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn golden() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/llama-3.2-1b-int4")
}

/// The command's answer in ONNX Runtime, with `home` as the place for everything that a program writes for its user, run by `wrapper`.
fn answer(wrapper: &[&str], home: &Path, library: &Path) -> Output {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_edgeslm"));
    command.arg("run").arg(golden()).args(["-n", "3", "--provider", "cpu", "--ort-library"]).arg(library);
    command.arg("The pump").env_remove("ORT_DISABLE_TELEMETRY").stdin(Stdio::null());
    for variable in ["HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"]
    {
        command.env(variable, home);
    }
    let output = command.current_dir(home).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.stdout.is_empty());
    output
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn onnx_runtime_opens_no_socket_and_writes_no_file() {
    let Some(options) = library::options() else { return };
    if Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is missing, and CI needs it");
        eprintln!("skipped: strace is missing");
        return;
    }
    let (home, traces) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trace = traces.path().join("trace");
    let filter = "trace=network,openat,creat,mkdir,mkdirat,rename,renameat2,unlink,unlinkat";
    let wrapper = ["strace", "-f", "--seccomp-bpf", "-e", filter, "-o", trace.to_str().unwrap()];
    let library = options.library.unwrap();
    answer(&wrapper, home.path(), &library);
    let text = std::fs::read_to_string(&trace).unwrap();
    assert!(text.contains("libonnxruntime.so"), "the library was opened under the trace");
    let is_call = |line: &&str, names: &[&str]| names.iter().any(|name| line.contains(&format!(" {name}(")));
    let network = ["socket", "connect", "bind", "sendto", "sendmsg", "getaddrinfo", "socketpair"];
    let sockets: Vec<&str> = text.lines().filter(|line| is_call(line, &network)).collect();
    assert!(sockets.is_empty(), "{sockets:?}");
    let writes = |line: &&str| {
        let opened = line.contains(" openat(")
            && (line.contains("O_WRONLY") || line.contains("O_RDWR") || line.contains("O_CREAT"));
        opened || is_call(line, &["creat", "mkdir", "mkdirat", "rename", "renameat2", "unlink", "unlinkat"])
    };
    let written: Vec<&str> = text.lines().filter(writes).filter(|line| !line.contains("/dev/")).collect();
    assert!(written.is_empty(), "{written:?}");
    assert!(is_empty(home.path()), "no file of a device's identity");
}

#[test]
fn onnx_runtime_answers_without_a_network() {
    let Some(options) = library::options() else { return };
    let wrapper = ["unshare", "--map-root-user", "--net"];
    let allowed = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a network namespace of one's own is not permitted here");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    answer(&wrapper, home.path(), &options.library.unwrap());
    assert!(is_empty(home.path()));
}
