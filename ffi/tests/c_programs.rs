//! The header and the shared library as C and C++ programs see them.

#![allow(clippy::expect_used, reason = "helpers of a test may panic")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]
#![cfg(unix)]

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{
    assert_cases, assert_interrupt_stops_the_answer, assert_triage, behaviour_cases, compile, example,
    ffi_directory, fixture, has, header, library_directory, models, program, run, text, xtask,
};
use edgeslm::kernels::KernelTable;

#[test]
fn the_committed_header_is_what_the_sources_say() {
    run(xtask().args(["header", "--check"]));
}

#[test]
fn what_programs_rely_on_is_as_committed_and_as_released() {
    if !has("cc") || !has("git") {
        return;
    }
    run(xtask().args(["abi", "--check"]));
    run(xtask().args(["abi", "--against"]));
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
fn memory_is_used_as_it_should_be() {
    if !has("cc") || !has("valgrind") {
        return;
    }
    let contract = compile("cc", "gnu11", &ffi_directory().join("tests/contract.c"), &["-g"]);
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
    valgrind.args(["--errors-for-leak-kinds=definite", "--show-leak-kinds=definite"]);
    if cfg!(target_arch = "x86_64") {
        // Valgrind knows no AVX-512.
        valgrind.env("EDGESLM_KERNELS", "avx2");
    }
    let output = run(valgrind.arg(&contract).arg(fixture()).env("LD_LIBRARY_PATH", library_directory()));
    assert_eq!(text(&output.stdout), "every promise holds\n");
}

#[test]
fn eight_threads_get_the_answers_of_one() {
    if !has("cc") {
        return;
    }
    let threads = compile("cc", "c11", &ffi_directory().join("tests/threads.c"), &["-pthread"]);
    let output = run(program(&threads).arg(fixture()));
    assert_eq!(text(&output.stdout), "8000 answers are right\n");
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
    let chat = compile("cc", "c11", &example("c/chat.c"), &[]);
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

#[test]
fn the_shared_cases_in_c_with_every_kernel_row() {
    if !has("cc") {
        return;
    }
    let behaviour = compile("cc", "c11", &ffi_directory().join("tests/behaviour.c"), &[]);
    for row in KernelTable::supported() {
        let output =
            run(program(&behaviour).arg(behaviour_cases()).arg(models()).env("EDGESLM_KERNELS", row.name()));
        assert_cases(text(&output.stdout), 0);
    }
}

#[test]
fn every_promise_of_the_header_for_c_plus_plus_holds() {
    if !has("g++") {
        return;
    }
    let contract = ffi_directory().join("tests/contract.cpp");
    for (standard, more) in [("c++17", vec![]), ("c++20", vec!["-fsanitize=address", "-g"])] {
        let output = run(program(&compile("g++", standard, &contract, &more)).arg(fixture()));
        assert_eq!(text(&output.stdout), "every promise holds\n");
    }
}

#[test]
fn the_triage_example_in_c() {
    if !has("cc") {
        return;
    }
    let triage = compile("cc", "c17", &example("c/triage.c"), &["-fsanitize=address", "-g"]);
    assert_triage(|| program(&triage));
    assert_interrupt_stops_the_answer(program(&triage));
}

#[test]
fn the_triage_example_in_c_plus_plus() {
    if !has("g++") {
        return;
    }
    let triage = compile("g++", "c++17", &example("cpp/triage.cpp"), &[]);
    assert_triage(|| program(&triage));
    assert_interrupt_stops_the_answer(program(&triage));
}
