//! Real execution providers: OpenVINO's plug-in, and WebGPU on a Vulkan device in software.

#![cfg(all(feature = "ort", target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a skipped test says so, and figures are told")]

#[path = "ort/library.rs"]
mod library;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use edgeslm::engine::{EngineChoice, OrtOptions, Provider, ort};
use edgeslm::model::Reference;
use edgeslm::session::GenerateOptions;
use edgeslm::{ErrorKind, LoadOptions, Model};
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models").join(name)
}

#[test]
fn the_plug_in_of_openvino() {
    let Some(options) = library::options() else { return };
    let devices = ort::devices(&options).unwrap();
    let plugin =
        devices.providers.iter().find(|provider| provider.name == "openvino").expect("the plug-in's package");
    assert!(plugin.library.is_some() && plugin.error.is_none(), "{plugin:?}");
    let choice = OrtOptions { provider: Provider::OpenVino, ..options };
    let load = |choice: &OrtOptions, name: &str| {
        let options = LoadOptions { engine: EngineChoice::Ort(choice.clone()), ..LoadOptions::default() };
        Model::load(golden(name), &options)
    };
    if !devices.devices.iter().any(|device| device.provider == "openvino") {
        // It knows the processors of one vendor only.
        let error = load(&choice, "llama-3.2-1b-int4").map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineUnavailable, "{error}");
        assert!(error.to_string().contains("no device"), "{error}");
        println!("OpenVINO finds no device on this machine");
        return;
    }
    let model = load(&choice, "llama-3.2-1b-int4").unwrap();
    let info = model.info();
    assert_eq!(info.provider.as_deref(), Some("openvino"));
    let own: usize = info.placement["OpenVINOExecutionProvider"].values().sum();
    let all: usize = info.placement.values().flat_map(|operators| operators.values()).sum();
    assert!(own * 2 > all, "{:?}", info.placement);
    assert!(!model.ort_engine().unwrap().shares_cache());
    let path = golden("llama-3.2-1b-int4").join("reference.safetensors");
    for case in Reference::open(&path).unwrap().cases {
        let comparison = case.compare(model.engine().as_ref()).unwrap();
        assert!(comparison.is_within(0.016), "{}: {comparison:?}", case.name);
        println!("OpenVINO, {}: {:.5}", case.name, comparison.largest());
    }
    let mut session = model.session(Default::default()).unwrap();
    let generate = GenerateOptions { max_tokens: 8, ..GenerateOptions::default() };
    let first = session.generate("Is the pump on?", &generate).unwrap();
    session.rewind(5);
    let again = session.generate("Is the pump on?", &generate).unwrap();
    assert_eq!((again.tokens, again.outcome.statistics.reused_tokens), (first.tokens, 5));

    let with = |key: &str, value: &str| OrtOptions {
        provider_options: vec![(key.to_owned(), value.to_owned())],
        ..choice.clone()
    };
    assert_eq!(
        load(&with("device_kind", "CPU"), "llama-3.2-1b-int4").map(drop).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    load(&with("device_type", "CPU"), "llama-3.2-1b-int4").unwrap();
    let missing = load(&with("device_id", "99"), "llama-3.2-1b-int4").map(drop).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::EngineUnavailable, "{missing}");
}

/// The command with the WebGPU provider: another library than that of the other tests, so another process.
fn webgpu(arguments: &[&str], model: &str, device: Option<&Path>) -> Option<Output> {
    let library = library::in_packages(&library::packages("webgpu")?);
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeslm"));
    command.arg(arguments[0]).arg(golden(model)).args(&arguments[1..]);
    command.args(["--provider", "webgpu", "--ort-library"]).arg(library);
    for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "LD_LIBRARY_PATH"] {
        command.env_remove(variable);
    }
    match device {
        Some(description) => {
            command.env("VK_DRIVER_FILES", description).env("LD_LIBRARY_PATH", description.parent().unwrap());
        }
        None => {
            command.env("VK_DRIVER_FILES", "/nonexistent");
        }
    }
    Some(command.output().unwrap())
}

#[test]
fn webgpu_without_a_driver_is_an_error() {
    let Some(output) = webgpu(&["info"], "llama-3.2-1b-int4", None) else { return };
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("the provider webgpu cannot be used") && error.contains("GPU driver"), "{error}");
}

#[test]
fn webgpu_on_a_device_in_software() {
    let Some(device) = std::env::var_os("EDGESLM_TEST_VULKAN").map(PathBuf::from) else {
        eprintln!("skipped: a software device for Vulkan is missing; cargo xtask ort fetches it");
        return;
    };
    // In 32-bit floats: the device has no others.
    let model = "llama-3.2-1b-int4";
    let Some(output) = webgpu(&["info", "--json"], model, Some(&device)) else { return };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info["provider"], "webgpu");
    let placed = &info["placement"]["WebGpuExecutionProvider"];
    assert_eq!(placed["GroupQueryAttention"], info["layers"], "{placed}");
    assert!(placed["MatMulNBits"].as_u64() > info["layers"].as_u64(), "{placed}");
    // It runs. The device's own arithmetic is known to be wrong, so that the figures are told and not judged.
    let output = webgpu(&["check", "--json", "--bound", "1000"], model, Some(&device)).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for case in report["cases"].as_array().unwrap() {
        println!(
            "WebGPU in software, {}: prompt {}, next {}",
            case["name"], case["prompt_error"], case["next_error"]
        );
    }
}
