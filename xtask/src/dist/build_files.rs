//! What tells pkg-config and CMake where the library is. Both find it from their own place, so the folder can be moved.

use std::fs;
use std::path::Path;

use crate::cross::windows::MICROSOFT_IMPORT_LIBRARY;

/// What a program that links the static library needs besides.
fn system_libraries(target: &str) -> &'static [&'static str] {
    if target.contains("windows") {
        &["kernel32", "ntdll", "userenv", "ws2_32", "dbghelp", "bcrypt"]
    } else if target.contains("apple") {
        &["System", "c", "m"]
    } else if target.contains("musl") {
        &[]
    } else {
        &["gcc_s", "util", "rt", "pthread", "m", "dl", "c"]
    }
}

pub(super) fn write(folder: &Path, target: &str) -> anyhow::Result<()> {
    let (pkgconfig, cmake) = (folder.join("lib/pkgconfig"), folder.join("lib/cmake/edgeslm"));
    fs::create_dir_all(&pkgconfig)?;
    fs::create_dir_all(&cmake)?;
    fs::write(pkgconfig.join("edgeslm.pc"), pkg_config(target))?;
    fs::write(cmake.join("edgeslmConfig.cmake"), cmake_config(target))?;
    Ok(fs::write(cmake.join("edgeslmConfigVersion.cmake"), cmake_version())?)
}

fn pkg_config(target: &str) -> String {
    let private: String = system_libraries(target).iter().map(|library| format!(" -l{library}")).collect();
    format!(
        "prefix=${{pcfiledir}}/../..\n\
         includedir=${{prefix}}/include\n\
         libdir=${{prefix}}/lib\n\n\
         Name: edgeslm\n\
         Description: Runs quantised small language models on the device and without a network\n\
         Version: {}\n\
         Cflags: -I${{includedir}}\n\
         Libs: -L${{libdir}} -ledgeslm\n\
         Libs.private:{private}\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn cmake_config(target: &str) -> String {
    let shared = if target.contains("windows") {
        "bin/edgeslm.dll"
    } else if target.contains("apple") {
        "lib/libedgeslm.dylib"
    } else {
        "lib/libedgeslm.so"
    };
    let mut text = "# Defines edgeslm::edgeslm, the shared library, and edgeslm::static.\n\
        get_filename_component(_edgeslm_prefix \"${CMAKE_CURRENT_LIST_DIR}/../../..\" ABSOLUTE)\n"
        .to_owned();
    if !target.contains("musl") {
        text += "\nif(NOT TARGET edgeslm::edgeslm)\n  add_library(edgeslm::edgeslm SHARED IMPORTED)\n  \
                 set_target_properties(edgeslm::edgeslm PROPERTIES\n    \
                 INTERFACE_INCLUDE_DIRECTORIES \"${_edgeslm_prefix}/include\"\n";
        if target.contains("windows") {
            text += &format!(
                "    IMPORTED_IMPLIB \"${{_edgeslm_prefix}}/lib/$<IF:$<BOOL:${{MSVC}}>,{MICROSOFT_IMPORT_LIBRARY},libedgeslm.dll.a>\"\n"
            );
        } else if !target.contains("apple") {
            text += "    IMPORTED_SONAME \"libedgeslm.so.0\"\n";
        }
        text += &format!("    IMPORTED_LOCATION \"${{_edgeslm_prefix}}/{shared}\")\nendif()\n");
    }
    text += &format!(
        "\nif(NOT TARGET edgeslm::static)\n  add_library(edgeslm::static STATIC IMPORTED)\n  \
         set_target_properties(edgeslm::static PROPERTIES\n    \
         INTERFACE_INCLUDE_DIRECTORIES \"${{_edgeslm_prefix}}/include\"\n    \
         INTERFACE_COMPILE_DEFINITIONS SLM_STATIC\n    \
         INTERFACE_LINK_LIBRARIES \"{}\"\n    \
         IMPORTED_LOCATION \"${{_edgeslm_prefix}}/lib/libedgeslm.a\")\nendif()\n\n\
         unset(_edgeslm_prefix)\n",
        system_libraries(target).join(";")
    );
    text
}

/// Before 1.0 a minor version may break the interface.
fn cmake_version() -> String {
    format!(
        "set(PACKAGE_VERSION {version})\n\
         if(PACKAGE_FIND_VERSION_MAJOR EQUAL {major} AND PACKAGE_FIND_VERSION_MINOR EQUAL {minor}\n\
         \x20  AND NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)\n  \
         set(PACKAGE_VERSION_COMPATIBLE TRUE)\n  \
         if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)\n    \
         set(PACKAGE_VERSION_EXACT TRUE)\n  endif()\nelse()\n  \
         set(PACKAGE_VERSION_COMPATIBLE FALSE)\nendif()\n",
        version = env!("CARGO_PKG_VERSION"),
        major = env!("CARGO_PKG_VERSION_MAJOR"),
        minor = env!("CARGO_PKG_VERSION_MINOR"),
    )
}
