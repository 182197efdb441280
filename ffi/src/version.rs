//! Versions and build information.

use std::ffi::{CString, c_char};
use std::sync::LazyLock;

use edgeslm::kernels::KernelTable;

use crate::boundary;

/// The version of the C ABI that this header describes: major number << 16 | minor number. A library serves a program
/// if the major numbers are equal and its minor number is not smaller; while the major number is 0, both must be equal.
pub const SLM_ABI_VERSION: u32 = 0x0000_0001;

/// The library's version, such as `0.1.0`. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn slm_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    boundary::value(c"".as_ptr(), || VERSION.as_ptr().cast())
}

/// The library's `SLM_ABI_VERSION`, to be compared with the header's before anything else is called.
#[unsafe(no_mangle)]
pub extern "C" fn slm_abi_version() -> u32 {
    boundary::value(0, || SLM_ABI_VERSION)
}

/// What the library is and can do on this machine, as a JSON object: `version`, `abi`, `target`, `build`, `kernels`,
/// the kernel rows that this CPU can run, best first, and `engines`. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn slm_build_info() -> *const c_char {
    static INFO: LazyLock<CString> = LazyLock::new(|| CString::new(build_info()).unwrap_or_default());
    boundary::value(c"{}".as_ptr(), || INFO.as_ptr())
}

fn build_info() -> String {
    let kernels: Vec<&str> = KernelTable::supported().map(KernelTable::name).collect();
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "abi": format!("{}.{}", SLM_ABI_VERSION >> 16, SLM_ABI_VERSION & 0xffff),
        "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        "kernels": kernels,
        "engines": if cfg!(feature = "ort") { vec!["cpu", "ort"] } else { vec!["cpu"] },
    })
    .to_string()
}
