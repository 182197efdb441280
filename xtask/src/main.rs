//! Every chore of the workspace: `cargo xtask --help`.

mod abi;
mod accuracy;
mod bench_abi;
mod bench_peers;
mod command;
mod constrained;
mod cross;
mod deadlines;
mod demo;
mod dist;
mod emulate;
mod gpu_check;
mod header;
mod ort;
mod package;
mod progress;
mod python;
mod real_model;
mod size;
mod synth;
mod test;

use clap::{Parser, Subcommand};

/// Every chore of the edgeslm workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Write ffi/abi.txt, what programs built against the header rely on, or compare it
    Abi(abi::Arguments),
    /// Measure how far edgeslm, onnxruntime-genai and llama.cpp are from fp32 arithmetic on the same weights
    Accuracy(accuracy::Arguments),
    /// Measure the time from loading a model to the first token, through the C ABI and in Rust
    BenchAbi(bench_abi::Arguments),
    /// Measure the command `edgeslm` beside onnxruntime-genai, llama.cpp and OpenVINO GenAI, which it sets up
    BenchPeers(bench_peers::Arguments),
    /// Check constrained answers under real-world JSON schemas with an independent validator
    Constrained(constrained::Arguments),
    /// Build the library and the command for another machine: 64-bit ARM Linux or Windows
    Cross(cross::Arguments),
    /// Measure whether constrained answers keep to their time while another process loads the machine
    Deadlines(deadlines::Arguments),
    /// Download a small real model, import it and run the triage example on it
    Demo,
    /// Lay out what is shipped: headers, libraries, the command, build files, licences
    Dist(dist::Arguments),
    /// Run the tests of the kernels for AMX in an emulator, which it builds, on machines without AMX
    Emulate(emulate::Arguments),
    /// Run models in ONNX Runtime's CUDA provider on this machine's GPU and record how fast they are
    GpuCheck(gpu_check::Arguments),
    /// Write ffi/include/edgeslm.h from the C ABI crate
    Header(header::Arguments),
    /// Run the tests of the engine for ONNX Runtime, with libraries from Python packages
    Ort,
    /// Run the tests that need ONNX Runtime and onnxruntime-genai, in an environment under target
    Python,
    /// Pack the library and use the packed result as programs do, with CMake, pkg-config and at run time
    Package,
    /// Run the tests that need the demonstration's model
    RealModel,
    /// Build the release shared library and check its size
    Size,
    /// Write a model directory of a published shape with random weights
    Synth(synth::Arguments),
    /// Run every check and every test
    Test,
    /// Build the Python package around a shared library
    Wheel(dist::WheelArguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().chore {
        Chore::Abi(arguments) => abi::run(&arguments),
        Chore::Accuracy(arguments) => accuracy::run(&arguments),
        Chore::BenchAbi(arguments) => bench_abi::run(&arguments),
        Chore::BenchPeers(arguments) => bench_peers::run(&arguments),
        Chore::Constrained(arguments) => constrained::run(&arguments),
        Chore::Cross(arguments) => cross::run(&arguments),
        Chore::Deadlines(arguments) => deadlines::run(&arguments),
        Chore::Demo => demo::run(),
        Chore::Dist(arguments) => dist::run(&arguments),
        Chore::Emulate(arguments) => emulate::run(&arguments),
        Chore::GpuCheck(arguments) => gpu_check::run(&arguments),
        Chore::Header(arguments) => header::run(&arguments),
        Chore::Ort => ort::run(),
        Chore::Python => python::run(),
        Chore::Package => package::run(),
        Chore::RealModel => real_model::run(),
        Chore::Size => size::run(),
        Chore::Synth(arguments) => synth::run(&arguments),
        Chore::Test => test::run(),
        Chore::Wheel(arguments) => dist::wheel(&arguments),
    }
}
