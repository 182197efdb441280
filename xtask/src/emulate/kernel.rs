//! The kernel as it lies in memory once it is unpacked, so that the emulator need not emulate the unpacking.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::command::checked;

/// The lowest address of the image.
pub(super) const ADDRESS: u64 = 0x0100_0000;

pub(super) struct Kernel {
    /// Memory from [`ADDRESS`] on.
    pub(super) image: Vec<u8>,
    /// The address of the PVH entry.
    pub(super) entry: u32,
}

impl Kernel {
    /// Unpacks a kernel's file; `scratch` is a folder for what comes in between.
    pub(super) fn unpack(file: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let file_bytes = fs::read(file).with_context(|| file.display().to_string())?;
        let packed = scratch.join("vmlinux.lz4");
        fs::write(&packed, payload(&file_bytes).with_context(|| format!("{} is damaged", file.display()))?)?;
        let unpacked = checked(Command::new("lz4").args(["-d", "-c"]).arg(&packed))?.stdout;
        let kernel = Self::from_elf(&unpacked).context("the kernel has no PVH entry or is damaged")?;
        ensure!(!kernel.image.is_empty(), "the kernel is empty");
        Ok(kernel)
    }

    /// `None` where a part is missing (System V ABI, chapter 5; Xen, `XEN_ELFNOTE_PHYS32_ENTRY`).
    fn from_elf(elf: &[u8]) -> Option<Self> {
        const LOAD: u64 = 1;
        const NOTE: u64 = 4;
        let (table, count) = (number(elf, 32, 8)?, number(elf, 56, 2)?);
        let (mut image, mut entry) = (Vec::new(), None);
        for index in 0..count {
            let head = table.checked_add(56 * index)?;
            let field = |offset: u64| number(elf, head.checked_add(offset)?, 8);
            let content = slice(elf, field(8)?, field(32)?)?;
            match number(elf, head, 4)? {
                LOAD => {
                    let start = usize::try_from(field(24)?.checked_sub(ADDRESS)?).ok()?;
                    let end = start.checked_add(content.len()).filter(|end| *end < 1 << 28)?;
                    image.resize(image.len().max(end), 0);
                    image[start..end].copy_from_slice(content);
                }
                NOTE => entry = entry.or(pvh_entry(content)),
                _ => {}
            }
        }
        Some(Self { image, entry: entry? })
    }
}

/// The packed kernel in a file for boot loaders (Linux, Documentation/arch/x86/boot.rst), without the length at its end.
fn payload(file: &[u8]) -> Option<&[u8]> {
    let sectors = match number(file, 0x1f1, 1)? {
        0 => 4,
        sectors => sectors,
    };
    let (start, length) = (number(file, 0x248, 4)?, number(file, 0x24c, 4)?);
    slice(file, (sectors + 1) * 512 + start, length.checked_sub(4)?)
}

/// Of notes, the address in the one of Xen's of kind 18.
fn pvh_entry(mut notes: &[u8]) -> Option<u32> {
    loop {
        let (name, content) = (number(notes, 0, 4)?, number(notes, 4, 4)?);
        let content_at = 12 + name.next_multiple_of(4);
        if number(notes, 8, 4)? == 18 && slice(notes, 12, name)? == b"Xen\0" {
            return u32::try_from(number(notes, content_at, content.min(8))?).ok();
        }
        notes = notes.get(usize::try_from(content_at + content.next_multiple_of(4)).ok()?..)?;
    }
}

/// A number of up to 8 bytes, the lowest first.
fn number(bytes: &[u8], start: u64, length: u64) -> Option<u64> {
    let bytes = slice(bytes, start, length)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn slice(bytes: &[u8], start: u64, length: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(start).ok()?..usize::try_from(start.checked_add(length)?).ok()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// An ELF file with a segment of three bytes at 16 MiB + 2 and notes, of which the second has the entry.
    fn elf() -> Vec<u8> {
        let mut elf = vec![0; 64];
        elf[32] = 64;
        elf[56] = 2;
        let notes = b"\x04\0\0\0\x01\0\0\0\x06\0\0\0Xen\0!\0\0\0\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0\x40\0\x01\x01\0\0\0\0";
        for (kind, start, address, length) in [(1, 176, ADDRESS + 2, 3), (4, 179, 0, notes.len() as u64)] {
            for field in [kind, start, 0, address, length, length, 0] {
                elf.extend(u64::to_le_bytes(field));
            }
        }
        elf.extend(b"abc");
        elf.extend(notes);
        elf
    }

    #[test]
    fn segments_and_the_entry_are_found() {
        let kernel = Kernel::from_elf(&elf()).unwrap();
        assert_eq!(kernel.image, b"\0\0abc");
        assert_eq!(kernel.entry, 0x0101_0040);
    }

    #[test]
    fn damaged_kernels_are_refused() {
        let elf = elf();
        for length in 0..elf.len() {
            assert!(Kernel::from_elf(&elf[..length]).is_none(), "{length}");
        }
        let mut low = elf.clone();
        low[64 + 24 + 3] = 0;
        assert!(Kernel::from_elf(&low).is_none());
        assert!(payload(&[0; 600]).is_none());
    }

    #[test]
    fn the_payload_lies_behind_the_sectors_for_the_setup() {
        let mut file = vec![0; 2 * 512];
        file[0x1f1] = 1;
        file[0x248] = 2;
        file[0x24c] = 7;
        file.extend(b"..abclen!..");
        assert_eq!(payload(&file).unwrap(), b"abc");
    }
}
