//! What the tests of all languages share: the library as programs find it, and programs that are compiled and run.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"];

pub(crate) fn ffi_directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn header() -> String {
    std::fs::read_to_string(ffi_directory().join("include/edgeslm.h")).expect("edgeslm.h")
}

/// The directory of the golden models.
pub(crate) fn models() -> PathBuf {
    ffi_directory().join("../tests/data/models")
}

pub(crate) fn fixture() -> PathBuf {
    models().join("llama-3.2-1b-int4")
}

/// The list of behaviour cases that all languages share.
pub(crate) fn behaviour_cases() -> PathBuf {
    ffi_directory().join("../tests/data/behaviour.txt")
}

pub(crate) fn example(path: &str) -> PathBuf {
    ffi_directory().join("../examples").join(path)
}

/// Whether a tool is there. Without it a test is skipped by name, except where CI must run everything.
pub(crate) fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var("CI").as_deref() != Ok("true"), "{tool} is missing");
    if !found {
        println!("skipped: {tool} is missing");
    }
    found
}

pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// What Cargo makes of the workspace's libraries, programs and examples: its messages.
///
/// With everything at once, so that features are those of `cargo test --workspace` and nothing is built twice.
fn built() -> &'static [serde_json::Value] {
    static MESSAGES: OnceLock<Vec<serde_json::Value>> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--offline", "--workspace", "--lib", "--bins", "--examples"]);
        cargo.args(["--message-format", "json-render-diagnostics"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let output = run(cargo.current_dir(ffi_directory()));
        text(&output.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    })
}

/// The file of kind `kind` that Cargo has built, whose name ends like this.
fn built_file(kind: &str, ending: &str) -> PathBuf {
    built()
        .iter()
        .filter(|message| {
            message["target"]["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|of| of == kind))
        })
        .filter_map(|message| message["filenames"].as_array())
        .flatten()
        .filter_map(|file| file.as_str())
        .find(|file| file.ends_with(ending))
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("cargo built no {kind} *{ending}"))
}

/// The chore runner.
pub(crate) fn xtask() -> Command {
    Command::new(built_file("bin", "/xtask"))
}

/// The shared library as programs find it, in a directory with both of its names.
pub(crate) fn library_directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        // Cargo builds a cdylib for no test, and tells here what it has built.
        let library = built_file("cdylib", "/libedgeslm.so");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("library");
        std::fs::create_dir_all(&directory).expect("a directory for the library");
        for name in ["libedgeslm.so", "libedgeslm.so.0"] {
            let link = directory.join(name);
            let _absent = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(&library, &link).expect("a link to the library");
        }
        directory
    })
}

/// Compiles a program against the header and the library.
pub(crate) fn compile(compiler: &str, standard: &str, source: &Path, more: &[&str]) -> PathBuf {
    let name = source.file_stem().expect("a file name").to_string_lossy();
    let program =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", standard.replace('+', "p")));
    run(Command::new(compiler)
        .arg(format!("-std={standard}"))
        .args(WARNINGS)
        .args(more)
        .arg("-I")
        .arg(ffi_directory().join("include"))
        .arg(source)
        .arg("-L")
        .arg(library_directory())
        .args(["-ledgeslm", "-lm", "-o"])
        .arg(&program));
    program
}

/// A command that runs a compiled program.
pub(crate) fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env("LD_LIBRARY_PATH", library_directory());
    command
}

/// Checks the count that every runner of the behaviour cases prints.
pub(crate) fn assert_cases(output: &str, skipped: usize) {
    let listed = std::fs::read_to_string(behaviour_cases()).expect("the list of cases");
    let listed = listed.lines().filter(|line| line.starts_with("case ")).count();
    assert!(listed > 30);
    let expected = format!("{} cases, {skipped} skipped", listed - skipped);
    assert_eq!(output.lines().last(), Some(expected.as_str()), "{output}");
}

/// What the triage example in C prints of some statements, or `None` without a compiler.
fn triage_in_c() -> Option<&'static str> {
    static OUTPUT: OnceLock<Option<String>> = OnceLock::new();
    let output = OUTPUT.get_or_init(|| {
        if !has("cc") {
            return None;
        }
        let triage = compile("cc", "c11", &example("c/triage.c"), &[]);
        Some(triage_of(program(&triage)))
    });
    output.as_deref()
}

/// Runs a triage example on statements from its input and from its arguments.
fn triage_of(mut command: Command) -> String {
    let model = models().join("gemma-2-2b-int4");
    let input = "My chest hurts.\n\nI need a new réçipé, please.\r\nMy arm is broken.\n";
    let mut child = command
        .arg(&model)
        .args(["--max-tokens", "24"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("the statements");
    let output = child.wait_with_output().expect("the example ends");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    text(&output.stdout).to_owned()
}

/// Runs a triage example, and checks its lines and that every language prints the same.
pub(crate) fn assert_triage(command: impl Fn() -> Command) {
    let output = triage_of(command());
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 3, "a line a statement: {output}");
    for line in lines {
        let (label, rest) = line.split_once(' ').expect("a label");
        assert!(["emergency", "urgent", "routine"].contains(&label), "{line}");
        let (probability, advice) = rest.trim_start().split_once(' ').expect("a probability");
        let probability: f32 = probability.parse().expect("a number");
        assert!((0.333..=1.0).contains(&probability), "the most probable of three: {line}");
        assert!(!advice.trim().is_empty() && !line.contains(char::is_control), "{line:?}");
    }
    if let Some(expected) = triage_in_c() {
        assert_eq!(output, expected, "as in C");
    }

    let arguments =
        ["--statement", "My chest hurts.", "--max-tokens", "24", "--statement", "My arm is broken."];
    let given = run(command().arg(models().join("gemma-2-2b-int4")).args(arguments));
    let expected: Vec<&str> = output.lines().step_by(2).collect();
    assert_eq!(text(&given.stdout).lines().collect::<Vec<_>>(), expected, "statements as arguments");

    let failed = command().arg("/nowhere").output().expect("the example starts");
    assert!(
        !failed.status.success() && text(&failed.stderr).contains("/nowhere: No such file"),
        "{failed:?}"
    );
    let usage = command().output().expect("the example starts");
    assert!(!usage.status.success() && text(&usage.stderr).contains("usage: "), "{usage:?}");
}

/// Interrupts a triage example in the middle of its first answer: it goes on with the next statement.
pub(crate) fn assert_interrupt_stops_the_answer(mut command: Command) {
    let mut child = command
        .arg(fixture())
        .args(["--max-tokens", "5000", "--statement", "My chest hurts.", "--statement", "My arm is broken."])
        // The slowest kernels: the answer takes a second or more, and the signal comes after milliseconds.
        .env("EDGESLM_KERNELS", "scalar")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut stdout = child.stdout.take().expect("its output");
    let mut output = vec![0; "emergency 0.123 some".len()];
    stdout.read_exact(&mut output).expect("the beginning of an answer");
    run(Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]));
    stdout.read_to_end(&mut output).expect("the rest");
    let status = child.wait().expect("the example ends");
    let output = String::from_utf8_lossy(&output);
    let lines: Vec<&str> = output.lines().collect();
    assert!(status.success() && lines.len() == 2, "{status}: {output}");
    assert!(lines[0].ends_with(" (stopped)") && lines[0].len() < lines[1].len(), "{output}");
    assert!(!lines[1].contains("(stopped)"), "{output}");
}
