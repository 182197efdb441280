//! Looks at a shared library's file before the system's loader does: the loader may stop the process where the file is
//! cut short, and what it says of a wrong file helps nobody.
//!
//! Formats: ELF as in the System V ABI's generic part, PE/COFF as Microsoft documents it, and Apple's `mach-o/loader.h`.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// A shared library larger than this is none; the largest providers have 3 GB.
const MAXIMUM_BYTES: u64 = 16 << 30;

/// The headers that are read lie in this many bytes at the beginning, but for ELF's section table.
const HEADER_BYTES: usize = 64 << 10;

/// The parts that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Elf,
    Pe,
    MachO,
}

/// The format that this system loads, and its code for this processor.
const EXPECTED: (Format, u64) = {
    let arm = cfg!(target_arch = "aarch64");
    if cfg!(windows) {
        (Format::Pe, if arm { 0xaa64 } else { 0x8664 })
    } else if cfg!(target_vendor = "apple") {
        (Format::MachO, if arm { 0x0100_000c } else { 0x0100_0007 })
    } else {
        (Format::Elf, if arm { 183 } else { 62 })
    }
};

/// Refuses a file that is not a whole shared library for this system and processor, or that does not have `symbol`.
///
/// # Errors
/// [`ErrorKind::EngineUnavailable`] naming the file.
pub(super) fn check(path: &Path, symbol: &str) -> Result<()> {
    inspect(path, symbol).map_err(|message| {
        Error::new(ErrorKind::EngineUnavailable, message)
            .with_file(path)
            .with_hint("give the shared library of a release for this system and processor")
    })
}

fn inspect(path: &Path, symbol: &str) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("this is not a file".to_owned());
    }
    if metadata.len() > MAXIMUM_BYTES {
        return Err("the file is too large for a shared library".to_owned());
    }
    let read = |error: std::io::Error| error.to_string();
    let mut file = File::open(path).map_err(read)?;
    let mut header = Vec::new();
    Read::by_ref(&mut file).take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(read)?;
    let found = parse(&header).ok_or("this is not a shared library")?;
    if (found.format, found.machine) != EXPECTED {
        return Err(format!(
            "this is a shared library for {}, and the process runs on {}",
            describe(found.format, found.machine),
            describe(EXPECTED.0, EXPECTED.1)
        ));
    }
    if !found.is_shared {
        return Err("this is a program or an object file, not a shared library".to_owned());
    }
    if found.end > metadata.len() {
        return Err(format!("the file has {} bytes of {}: it is cut short", metadata.len(), found.end));
    }
    if !contains(&header, file, symbol.as_bytes()).map_err(read)? {
        return Err(format!("the library does not have the function {symbol}"));
    }
    Ok(())
}

/// What a library's headers say.
struct Found {
    format: Format,
    machine: u64,
    is_shared: bool,
    /// Where the last part that the headers name ends.
    end: u64,
}

fn parse(bytes: &[u8]) -> Option<Found> {
    match bytes {
        [0x7f, b'E', b'L', b'F', ..] => elf(bytes),
        [b'M', b'Z', ..] => pe(bytes),
        [0xcf, 0xfa, 0xed, 0xfe, ..] => mach_o(bytes, 0),
        [0xca, 0xfe, 0xba, 0xbe, ..] => universal(bytes),
        _ => None,
    }
}

fn describe(format: Format, machine: u64) -> String {
    let system = match format {
        Format::Elf => "Linux",
        Format::Pe => "Windows",
        Format::MachO => "macOS",
    };
    let processor = match (format, machine) {
        (Format::Elf, 62) | (Format::Pe, 0x8664) | (Format::MachO, 0x0100_0007) => "x86-64".to_owned(),
        (Format::Elf, 183) | (Format::Pe, 0xaa64) | (Format::MachO, 0x0100_000c) => "64-bit ARM".to_owned(),
        (Format::Elf, 3) | (Format::Pe, 0x14c) => "32-bit x86".to_owned(),
        (Format::Elf, 40) | (Format::Pe, 0x1c4) => "32-bit ARM".to_owned(),
        (Format::Elf, 243) => "RISC-V".to_owned(),
        _ => format!("machine {machine}"),
    };
    format!("{system} on {processor}")
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(size)?)?;
    Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn elf(bytes: &[u8]) -> Option<Found> {
    let (class, order) = (*bytes.get(4)?, *bytes.get(5)?);
    let machine = number(bytes, 18, 2)?;
    let wrong = Found { format: Format::Elf, machine, is_shared: false, end: 0 };
    if class != 2 || order != 1 {
        // 32 bits or big-endian: never the machine that is expected.
        return Some(Found { machine: if matches!(machine, 62 | 183) { 0 } else { machine }, ..wrong });
    }
    let is_shared = number(bytes, 16, 2)? == 3;
    let sections = number(bytes, 40, 8)?;
    let mut end = sections.checked_add(number(bytes, 58, 2)? * number(bytes, 60, 2)?)?;
    let (table, size, count) =
        (number(bytes, 32, 8)?, number(bytes, 54, 2)? as usize, number(bytes, 56, 2)? as usize);
    for index in 0..count {
        let at = usize::try_from(table).ok()?.checked_add(index * size)?;
        end = end.max(number(bytes, at + 8, 8)?.checked_add(number(bytes, at + 32, 8)?)?);
    }
    Some(Found { is_shared, end, ..wrong })
}

fn pe(bytes: &[u8]) -> Option<Found> {
    let start = usize::try_from(number(bytes, 0x3c, 4)?).ok()?;
    if bytes.get(start..start.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let machine = number(bytes, start + 4, 2)?;
    let sections = number(bytes, start + 6, 2)? as usize;
    let optional = number(bytes, start + 20, 2)? as usize;
    let is_shared = number(bytes, start + 22, 2)? & 0x2000 != 0;
    let mut end = 0;
    for index in 0..sections {
        let at = start + 24 + optional + index * 40;
        end = end.max(number(bytes, at + 16, 4)? + number(bytes, at + 20, 4)?);
    }
    Some(Found { format: Format::Pe, machine, is_shared, end })
}

fn mach_o(bytes: &[u8], start: usize) -> Option<Found> {
    let machine = number(bytes, start + 4, 4)?;
    let is_shared = matches!(number(bytes, start + 12, 4)?, 6 | 8);
    let mut at = start + 32;
    let mut end = 0;
    for _ in 0..number(bytes, start + 16, 4)? {
        let (command, size) = (number(bytes, at, 4)?, number(bytes, at + 4, 4)?);
        if command == 0x19 {
            end = end.max(number(bytes, at + 40, 8)?.checked_add(number(bytes, at + 48, 8)?)?);
        }
        at = at.checked_add(usize::try_from(size).ok().filter(|size| *size > 0)?)?;
    }
    Some(Found { format: Format::MachO, machine, is_shared, end: end.checked_add(start as u64)? })
}

/// A file of libraries for several processors, of which one may be this one's. Its numbers are big-endian.
fn universal(bytes: &[u8]) -> Option<Found> {
    let big = |at: usize| {
        bytes.get(at..at + 4).map(|field| field.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let mut found = None;
    for index in 0..usize::try_from(big(4)?).ok()?.min(64) {
        let at = 8 + index * 20;
        let end = big(at + 8)? + big(at + 12)?;
        let this = Found { format: Format::MachO, machine: big(at)?, is_shared: true, end };
        if found.is_none() || this.machine == EXPECTED.1 {
            found = Some(this);
        }
    }
    found
}

/// Whether `needle` is in the file that begins with `header` and goes on in `rest`.
fn contains(header: &[u8], rest: File, needle: &[u8]) -> std::io::Result<bool> {
    let find = |bytes: &[u8]| memchr_find(bytes, needle);
    if find(header) {
        return Ok(true);
    }
    let mut reader = BufReader::new(rest);
    let overlap = needle.len().saturating_sub(1);
    let mut piece = header[header.len().saturating_sub(overlap)..].to_vec();
    loop {
        let kept = piece.len();
        piece.resize(kept + (1 << 20), 0);
        let read = reader.read(&mut piece[kept..])?;
        piece.truncate(kept + read);
        if find(&piece) {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        piece.drain(..piece.len().saturating_sub(overlap));
    }
}

/// Skips to each occurrence of the first byte.
fn memchr_find(bytes: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library");
        std::fs::write(&path, bytes).unwrap();
        let error = check(&path, "OrtGetApiBase").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineUnavailable);
        assert_eq!(error.file(), Some(path.as_path()));
        error.message().to_owned()
    }

    /// The headers of a 64-bit little-endian ELF file with one program header.
    fn elf_file(machine: u16, kind: u16, file_bytes: u64) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        bytes[16..18].copy_from_slice(&kind.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..58].copy_from_slice(&[56, 0, 1, 0]);
        bytes[64 + 32..64 + 40].copy_from_slice(&file_bytes.to_le_bytes());
        bytes
    }

    #[test]
    fn what_is_no_shared_library_is_told() {
        assert_eq!(message(b""), "this is not a shared library");
        assert_eq!(message(b"version https://git-lfs.github.com/spec/v1"), "this is not a shared library");
        assert_eq!(message(b"MZ"), "this is not a shared library");
        assert_eq!(message(b"\x7fELF\x02\x01"), "this is not a shared library");
        let folder = tempfile::tempdir().unwrap();
        assert!(check(folder.path(), "x").unwrap_err().message().contains("not a file"));
        assert_eq!(check(&folder.path().join("none"), "x").unwrap_err().kind(), ErrorKind::EngineUnavailable);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn parts_of_a_library_are_checked() {
        let (this, other) = if cfg!(target_arch = "aarch64") { (183, 62) } else { (62, 183) };
        assert!(message(&elf_file(other, 3, 100)).contains("and the process runs on Linux on"));
        assert!(message(&elf_file(this, 2, 100)).contains("not a shared library"));
        assert!(message(&elf_file(this, 3, 1000)).contains("has 120 bytes of 1000"));
        assert!(message(&elf_file(this, 3, 120)).contains("does not have the function OrtGetApiBase"));
        let mut whole = elf_file(this, 3, 120);
        whole.extend(vec![b'O'; 3 << 20]);
        whole.extend(b"OrtGetApiBase");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library");
        std::fs::write(&path, whole).unwrap();
        check(&path, "OrtGetApiBase").unwrap();
    }

    #[test]
    fn headers_of_other_systems_are_read() {
        let mut pe = vec![0; 0x40 + 24 + 40];
        pe[..2].copy_from_slice(b"MZ");
        pe[0x3c] = 0x40;
        pe[0x40..0x44].copy_from_slice(b"PE\0\0");
        pe[0x44..0x48].copy_from_slice(&[0x64, 0x86, 1, 0]);
        pe[0x40 + 22..0x40 + 24].copy_from_slice(&[0, 0x20]);
        pe[0x40 + 24 + 16] = 7;
        pe[0x40 + 24 + 20] = 200;
        let found = parse(&pe).unwrap();
        assert_eq!(
            (found.format, found.machine, found.is_shared, found.end),
            (Format::Pe, 0x8664, true, 207)
        );
        assert_eq!(describe(found.format, found.machine), "Windows on x86-64");

        let mut mach = vec![0; 32 + 72];
        mach[..4].copy_from_slice(&[0xcf, 0xfa, 0xed, 0xfe]);
        mach[4..8].copy_from_slice(&0x0100_000c_u32.to_le_bytes());
        mach[12] = 6;
        mach[16] = 1;
        mach[32] = 0x19;
        mach[36] = 72;
        mach[32 + 48] = 99;
        let found = parse(&mach).unwrap();
        assert_eq!((found.machine, found.is_shared, found.end), (0x0100_000c, true, 99));

        let mut fat = vec![0; 8 + 40];
        fat[..8].copy_from_slice(&[0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 2]);
        fat[8..12].copy_from_slice(&[1, 0, 0, 7]);
        fat[28..32].copy_from_slice(&[1, 0, 0, 0x0c]);
        fat[28 + 15] = 5;
        assert_eq!(parse(&fat).unwrap().format, Format::MachO);
    }
}
