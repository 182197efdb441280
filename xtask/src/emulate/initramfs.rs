//! The files that the emulated computer starts with: a cpio archive in the format "newc" (Linux,
//! Documentation/driver-api/early-userspace/buffer-format.rst).

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Names have no slash at their start, and come after the folders that they are in.
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
}

impl Initramfs {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), entries: 0 }
    }

    pub(super) fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER, (0, 0), &[]);
    }

    pub(super) fn device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, CHARACTER_DEVICE, (major, minor), &[]);
    }

    pub(super) fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, (0, 0), content);
    }

    /// A file with strings that each end in a zero byte.
    pub(super) fn strings<S: AsRef<str>>(&mut self, name: &str, strings: &[S]) {
        let content: Vec<u8> = strings.iter().flat_map(|string| string.as_ref().bytes().chain([0])).collect();
        self.entry(name, FILE, (0, 0), &content);
    }

    /// The archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let (owner, group, links, modified, check) = (0, 0, 1, 0, 0);
        let length = content.len() as u32;
        let name_length = name.len() as u32 + 1;
        self.bytes.extend(b"070701");
        for number in [
            self.entries,
            mode,
            owner,
            group,
            links,
            modified,
            length,
            0,
            0,
            device.0,
            device.1,
            name_length,
            check,
        ] {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Zero bytes up to a multiple of 4.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a head: serial number, mode, owner, group, links, time, length, device (2), device that it stands for (2), length of
    /// the name, check.
    #[test]
    fn an_entry_is_a_head_a_name_and_a_content() {
        let mut archive = Initramfs::new();
        archive.strings("words", &["ab", "", "c"]);
        archive.device("dev/console", 5, 1);
        let expected = [
            "070701 00000001 000081a4 00000000 00000000 00000001 00000000 00000006 00000000 00000000 00000000 00000000 ",
            "00000006 00000000 words! ab!!c!!!",
            "070701 00000002 00002180 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000005 00000001 ",
            "0000000c 00000000 dev/console!!!",
            "070701 00000003 00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 ",
            "0000000b 00000000 TRAILER!!!!!!!",
        ];
        let expected = expected.concat().replace(' ', "");
        let bytes = archive.finish();
        assert!(bytes.len().is_multiple_of(4));
        assert_eq!(String::from_utf8_lossy(&bytes).replace('\0', "!"), expected);
    }
}
