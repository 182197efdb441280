//! Names the shared library for its users: the soname on Linux, the install name on macOS.

#![allow(clippy::print_stdout, reason = "build scripts talk to Cargo on standard output")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    match target.as_str() {
        // Threads of the library may still run when a program closes it, hence `nodelete`.
        "linux" | "android" => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libedgeslm.so.0");
            println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
        }
        "macos" | "ios" => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libedgeslm.0.dylib");
        }
        _ => {}
    }
}
