//! Wrong libraries and providers: each is an error within a second, and the process goes on with the CPU engine and, when it gets the
//! right library, with ONNX Runtime.

#![cfg(all(feature = "ort", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

#[path = "ort/library.rs"]
mod library;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use edgeslm::engine::{EngineChoice, OrtOptions, Provider, ort};
use edgeslm::session::GenerateOptions;
use edgeslm::{Error, ErrorKind, LoadOptions, Model};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/llama-3.2-1b-int4")
}

fn load(options: OrtOptions) -> Result<Model, Error> {
    Model::load(golden(), &LoadOptions { engine: EngineChoice::Ort(options), ..LoadOptions::default() })
}

fn answers(options: &LoadOptions) {
    let model = Model::load(golden(), options).unwrap();
    let mut session = model.session(Default::default()).unwrap();
    let options = GenerateOptions { max_tokens: 3, ..GenerateOptions::default() };
    let answer = session.generate("The pump", &options).unwrap();
    assert!(answer.outcome.statistics.generated_tokens > 0);
}

/// A shared library of C code.
fn compile(folder: &Path, name: &str, code: &str, arguments: &[&str]) -> PathBuf {
    let (source, library) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
    std::fs::write(&source, code).unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).args(arguments);
    let output = command.output().expect("a C compiler, which Rust needs to link");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// An ONNX Runtime that says it is of a version.
fn of_version(version: &str) -> String {
    format!(
        "static const void *api(unsigned version) {{ return version > 99 ? &api : 0; }}
         static const char *version(void) {{ return {version}; }}
         static struct {{ const void *(*api)(unsigned); const char *(*version)(void); }} base = {{ api, version }};
         const void *OrtGetApiBase(void) {{ return &base; }}"
    )
}

/// A library of the real one's bytes, changed.
fn changed(folder: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = std::fs::read(library::options().unwrap().library.unwrap()).unwrap();
    change(&mut bytes);
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Refuses the library within a second, with an error that has a part of `text`.
fn refused(path: &Path, text: &str) {
    let started = Instant::now();
    let error = load(OrtOptions { library: Some(path.to_owned()), ..OrtOptions::default() }).map(drop);
    let error = error.expect_err(text);
    let took = started.elapsed();
    assert_eq!(error.kind(), ErrorKind::EngineUnavailable, "{error}");
    assert!(error.to_string().contains(text), "{text:?} is not in {error}");
    assert_eq!(error.file(), Some(path), "{error}");
    assert!(took < Duration::from_secs(1), "{took:?}: {error}");
}

fn wrong_libraries(folder: &Path) {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    refused(&folder.join("libmissing.so"), "No such file");
    refused(folder, "not a file");
    refused(&write("empty.so", b""), "not a shared library");
    refused(
        &write("text.so", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
        "not a shared library",
    );
    refused(&changed(folder, "short.so", |bytes| bytes.truncate(bytes.len() / 2)), "cut short");
    refused(&changed(folder, "head.so", |bytes| bytes.truncate(40)), "not a shared library");
    refused(
        &changed(folder, "arm.so", |bytes| bytes[18] = if bytes[18] == 183 { 62 } else { 183 }),
        "runs on Linux",
    );
    refused(&changed(folder, "bits32.so", |bytes| bytes[4] = 1), "runs on Linux");
    refused(&changed(folder, "program.so", |bytes| bytes[16] = 2), "not a shared library");
    let mut windows = vec![0; 512];
    windows[..2].copy_from_slice(b"MZ");
    windows[0x3c] = 0x40;
    windows[0x40..0x46].copy_from_slice(b"PE\0\0\x64\x86");
    refused(&write("windows.dll", &windows), "for Windows");
    refused(
        &compile(folder, "other", "int other(void) { return 1; }", &[]),
        "does not have the function OrtGetApiBase",
    );
    refused(&compile(folder, "old", &of_version("\"1.10.0\""), &[]), "1.10.0 is too old");
    refused(&compile(folder, "two", &of_version("\"2.0.0\""), &[]), "2.0.0 is too old or unknown");
    refused(&compile(folder, "nonsense", &of_version("\"\\xff\\xfe\""), &[]), "too old or unknown");
    refused(&compile(folder, "unversioned", &of_version("0"), &[]), "has no version");
    refused(&compile(folder, "hollow", &of_version("\"1.99.0\""), &[]), "does not have the functions");
    refused(&compile(folder, "nothing", "void *OrtGetApiBase(void) { return 0; }", &[]), "returned nothing");
    // A library that needs another one that is gone.
    let needed = compile(folder, "needed", "int needed(void) { return 1; }", &[]);
    let code =
        format!("int needed(void); int call(void) {{ return needed(); }} {}", of_version("\"1.32.0\""));
    let directory = format!("-L{}", folder.display());
    let needing = compile(folder, "needing", &code, &[&directory, "-lneeded"]);
    std::fs::remove_file(needed).unwrap();
    refused(&needing, "libneeded.so");

    let error = load(OrtOptions { library: Some("libonnxruntime.so".into()), ..OrtOptions::default() });
    assert_eq!(error.map(drop).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

fn wrong_providers(good: &OrtOptions, folder: &Path) {
    let with = |provider| OrtOptions { provider, ..good.clone() };
    let refused = |options: OrtOptions, kind: ErrorKind, text: &str| {
        let started = Instant::now();
        let error = load(options).map(drop).expect_err(text);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{text:?} is not in {error}");
        assert!(started.elapsed() < Duration::from_secs(5), "{error}");
    };
    // Not in this build of ONNX Runtime.
    for provider in [
        Provider::Cuda,
        Provider::TensorRt,
        Provider::DirectMl,
        Provider::CoreMl,
        Provider::Qnn,
        Provider::Xnnpack,
    ] {
        refused(with(provider), ErrorKind::EngineUnavailable, "does not have the provider");
    }
    refused(with(Provider::Cuda), ErrorKind::EngineUnavailable, "onnxruntime-gpu");
    let pair = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let options = OrtOptions { provider_options: pair("arena", "1"), ..good.clone() };
    refused(options, ErrorKind::InvalidArgument, "use_arena");
    let options = OrtOptions { provider_options: pair("use_arena", "many"), ..good.clone() };
    refused(options, ErrorKind::InvalidArgument, "many");
    // Plug-ins.
    let text = folder.join("plugin.so");
    std::fs::write(&text, "not a plug-in").unwrap();
    let plugin =
        |path: &Path| OrtOptions { provider_library: Some(path.to_owned()), ..with(Provider::WebGpu) };
    refused(plugin(&text), ErrorKind::EngineUnavailable, "not a shared library");
    refused(plugin(&folder.join("none.so")), ErrorKind::EngineUnavailable, "No such file");
    refused(plugin(Path::new("plugin.so")), ErrorKind::InvalidArgument, "absolute");
    let wrong = compile(folder, "plain", "int plain(void) { return 1; }", &[]);
    refused(plugin(&wrong), ErrorKind::EngineUnavailable, "CreateEpFactories");
    let code = "void *CreateEpFactories(void) { return 0; } void *ReleaseEpFactory(void) { return 0; }";
    let empty = compile(folder, "empty_plugin", code, &[]);
    refused(plugin(&empty), ErrorKind::EngineUnavailable, "libempty_plugin.so");
    let options = OrtOptions { provider_library: Some(text), ..good.clone() };
    refused(options, ErrorKind::InvalidArgument, "not a plug-in");
}

#[test]
fn wrong_libraries_and_providers_are_errors() {
    let Some(good) = library::options() else { return };
    let folder = tempfile::tempdir().unwrap();
    wrong_libraries(folder.path());
    answers(&LoadOptions::default());

    let options = LoadOptions { engine: EngineChoice::Ort(good.clone()), ..LoadOptions::default() };
    answers(&options);
    wrong_providers(&good, folder.path());
    let copy = changed(folder.path(), "libonnxruntime.so.1.32.0", |_| {});
    let error = load(OrtOptions { library: Some(copy), ..good.clone() }).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineUnavailable);
    assert!(error.message().contains("already uses ONNX Runtime"), "{error}");

    let devices = ort::devices(&good).unwrap();
    assert!(devices.providers.iter().any(|provider| provider.name == "cpu" && provider.library.is_none()));
    assert!(
        devices.devices.iter().any(|device| device.provider == "cpu" && device.kind == "cpu"),
        "{devices:?}"
    );
    // A library that was opened is found again without being named; automatic is the CPU where there is nothing else.
    answers(&LoadOptions { engine: EngineChoice::Ort(OrtOptions::default()), ..LoadOptions::default() });
    answers(&options);
    answers(&LoadOptions::default());
}
