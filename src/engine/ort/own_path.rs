//! Where the library that this code is part of lies.

use std::path::PathBuf;

/// The directories of the shared library or program that this code is part of, and of the program itself.
pub(super) fn directories() -> Vec<PathBuf> {
    let own = own_file().and_then(|file| std::fs::canonicalize(file).ok());
    let program = std::env::current_exe().ok();
    let mut found: Vec<PathBuf> = Vec::new();
    for file in own.into_iter().chain(program) {
        if let Some(directory) =
            file.parent().filter(|directory| !found.iter().any(|known| known == directory))
        {
            found.push(directory.to_path_buf());
        }
    }
    found
}

#[cfg(unix)]
fn own_file() -> Option<PathBuf> {
    use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
    use std::os::unix::ffi::OsStrExt;

    /// `Dl_info` of `dlfcn.h`.
    #[repr(C)]
    struct Information {
        file: *const c_char,
        base: *const c_void,
        symbol: *const c_char,
        address: *const c_void,
    }

    unsafe extern "C" {
        fn dladdr(address: *const c_void, information: *mut Information) -> c_int;
    }

    let null = std::ptr::null();
    let mut information =
        Information { file: std::ptr::null(), base: null, symbol: std::ptr::null(), address: null };
    // SAFETY: dladdr reads no memory at the address, which is a function's, and writes one Dl_info.
    let known = unsafe { dladdr(directories as *const c_void, &raw mut information) };
    if known == 0 || information.file.is_null() {
        return None;
    }
    // SAFETY: dladdr has succeeded: `file` is a string that ends with a zero and lives as long as the library is loaded,
    // and the library is the one that this code runs in.
    let file = unsafe { CStr::from_ptr(information.file) };
    Some(PathBuf::from(OsStr::from_bytes(file.to_bytes())))
}

#[cfg(windows)]
fn own_file() -> Option<PathBuf> {
    use std::ffi::{OsString, c_void};
    use std::os::windows::ffi::OsStringExt;

    const FROM_ADDRESS: u32 = 4;
    const UNCHANGED_COUNT: u32 = 2;

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetModuleHandleExW(flags: u32, address: *const c_void, module: *mut *mut c_void) -> i32;
        fn GetModuleFileNameW(module: *mut c_void, name: *mut u16, size: u32) -> u32;
    }

    let mut module = std::ptr::null_mut();
    let address = directories as *const c_void;
    // SAFETY: with FROM_ADDRESS the pointer is an address in a module, not read as a string; one handle is written.
    if unsafe { GetModuleHandleExW(FROM_ADDRESS | UNCHANGED_COUNT, address, &raw mut module) } == 0 {
        return None;
    }
    let mut name = vec![0_u16; 32_768];
    // SAFETY: at most as many units as `name` has are written.
    let length = unsafe { GetModuleFileNameW(module, name.as_mut_ptr(), name.len() as u32) };
    let name = name.get(..length as usize).filter(|name| !name.is_empty())?;
    Some(PathBuf::from(OsString::from_wide(name)))
}

#[cfg(not(any(unix, windows)))]
fn own_file() -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_found() {
        let program = std::env::current_exe().unwrap();
        assert_eq!(
            directories().first().map(PathBuf::as_path),
            std::fs::canonicalize(program).unwrap().parent()
        );
    }
}
