//! The header and the shared library as C and C++ programs see them.

#![allow(clippy::expect_used, reason = "helpers of a test may panic")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]
#![cfg(unix)]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"];

fn ffi_directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header() -> String {
    std::fs::read_to_string(ffi_directory().join("include/edgeslm.h")).expect("edgeslm.h")
}

fn fixture() -> PathBuf {
    ffi_directory().join("../tests/data/models/llama-3.2-1b-int4")
}

/// Whether a tool is there. Without it a test is skipped by name, except where CI must run everything.
fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var("CI").as_deref() != Ok("true"), "{tool} is missing");
    if !found {
        println!("skipped: {tool} is missing");
    }
    found
}

fn run(command: &mut Command) -> Output {
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

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// The shared library as programs find it, in a directory with both of its names.
fn library_directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        // Cargo builds a cdylib for no test, and tells here what it has built.
        let output = run(Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--lib", "--message-format", "json"])
            .current_dir(ffi_directory()));
        let library = text(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["kind"][0] == "cdylib")
            .filter_map(|message| {
                let files = message["filenames"].as_array()?;
                files
                    .iter()
                    .filter_map(|file| file.as_str())
                    .find(|file| file.ends_with(".so"))
                    .map(PathBuf::from)
            })
            .next()
            .expect("cargo built libedgeslm.so");
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
fn compile(compiler: &str, standard: &str, source: &Path, more: &[&str]) -> PathBuf {
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
fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env("LD_LIBRARY_PATH", library_directory());
    command
}

#[test]
fn the_committed_header_is_what_the_sources_say() {
    run(Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--package", "xtask", "--", "header", "--check"])
        .current_dir(ffi_directory().join("..")));
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    if !has("nm") {
        return;
    }
    let header = header();
    let declared: BTreeSet<&str> = header
        .lines()
        .filter(|line| line.starts_with("SLM_API "))
        .filter_map(|line| line.split('(').next()?.rsplit([' ', '*']).next())
        .collect();
    assert!(declared.len() > 30, "{declared:?}");
    let library = library_directory().join("libedgeslm.so");
    let output = run(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(library));
    let exported: BTreeSet<&str> =
        text(&output.stdout).lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(exported, declared);
}

#[test]
fn the_library_has_its_versioned_name() {
    if !has("readelf") {
        return;
    }
    let output = run(Command::new("readelf").arg("-d").arg(library_directory().join("libedgeslm.so")));
    let dynamic = text(&output.stdout);
    assert!(dynamic.contains("[libedgeslm.so.0]"), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
}

#[test]
fn every_promise_of_the_header_holds_in_c() {
    if !has("cc") {
        return;
    }
    let contract = compile("cc", "c11", &ffi_directory().join("tests/contract.c"), &[]);
    let output = run(program(&contract).arg(fixture()));
    assert_eq!(text(&output.stdout), "every promise holds\n");
}

#[test]
fn nothing_leaks() {
    if !has("cc") {
        return;
    }
    let source = ffi_directory().join("tests/contract.c");
    let contract = compile("cc", "c17", &source, &["-fsanitize=address", "-g"]);
    let output = run(program(&contract).arg(fixture()).env("ASAN_OPTIONS", "detect_leaks=1"));
    assert_eq!(text(&output.stdout), "every promise holds\n");
}

#[test]
fn the_program_in_the_header_answers() {
    if !has("cc") {
        return;
    }
    let header = header();
    let lines: Vec<&str> = header
        .lines()
        .map_while(|line| (!line.starts_with(" */")).then_some(line))
        .filter_map(|line| line.strip_prefix(" *     "))
        .collect();
    let count = lines.iter().filter(|line| !line.is_empty()).count();
    assert!((10..=20).contains(&count), "{count} lines: {lines:#?}");
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header_program.c");
    std::fs::write(&source, lines.join("\n") + "\n").expect("the program's file");
    let answering = compile("cc", "c11", &source, &[]);
    let output = run(program(&answering).arg(fixture()).arg("Is the door open?"));
    assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    let failing = program(&answering).arg("/nowhere").output().expect("the program starts");
    assert!(failing.stdout.is_empty() && text(&failing.stderr).contains("o such file"), "{failing:?}");
}

#[test]
fn the_chat_example_converses() {
    if !has("cc") {
        return;
    }
    let chat = compile("cc", "c11", &ffi_directory().join("../examples/c/chat.c"), &[]);
    let mut child = program(&chat)
        .arg(fixture())
        .arg("8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    child
        .stdin
        .take()
        .expect("its input")
        .write_all(b"Is the door open?\nAnd now?\n")
        .expect("two questions");
    let output = child.wait_with_output().expect("the example ends");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answers: Vec<&str> = text(&output.stdout).lines().filter(|line| line.starts_with("[")).collect();
    assert_eq!(answers.len(), 2, "{}", text(&output.stdout));
    assert!(answers[0].contains(" 0 of them reused"), "{answers:?}");
    assert!(
        !answers[1].contains(" 0 of them reused"),
        "the second turn keeps the first's cache: {answers:?}"
    );
}

#[test]
fn the_header_is_c_plus_plus_too() {
    if !has("g++") {
        return;
    }
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header.cpp");
    let program_text = "#include <edgeslm.h>\n#include <edgeslm.h>\n#include <cstdio>\n\
                        int main() { std::puts(slm_version()); return slm_abi_version() == SLM_ABI_VERSION ? 0 : 1; }\n";
    std::fs::write(&source, program_text).expect("the program's file");
    let output = run(&mut program(&compile("g++", "c++17", &source, &[])));
    assert_eq!(text(&output.stdout).trim(), env!("CARGO_PKG_VERSION"));
}
