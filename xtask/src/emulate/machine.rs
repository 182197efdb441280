//! The emulated computer: a Sapphire Rapids processor, memory, a boot sector, and the kernel in memory from the start.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use super::frames::{self, Frame};
use super::initramfs::Initramfs;
use super::kernel::{self, Kernel};
use super::parts::{Parts, empty};
use crate::command::{checked, succeed};

/// The computer's memory.
const MEBIBYTES: u64 = 512;
/// Where in memory lie, above the kernel, what it is told and its files.
const START_INFORMATION: u64 = 0x0700_0000;
const FILES: u64 = 0x0800_0000;

/// A computer that runs longer hangs.
const SECONDS: &str = "3600";

const FIRST_PROCESS: &str = include_str!("init.c");
const BOOT_SECTOR: &str = include_str!("boot.s");
/// The length of a disk of 3.5 inches.
const DISK: usize = 1_474_560;

/// Messages on the serial line; no search for devices and no defences, which take time; no measuring of clocks, since emulated ones do
/// not keep time.
const COMMAND_LINE: &str = "console=ttyS0 earlyprintk=ttyS0 acpi=off pci=off nokaslr mitigations=off nopti tsc=reliable \
    clocksource=tsc lpj=4000000 random.trust_cpu=on cryptomgr.notests audit=0 panic=1 rdinit=/init";

/// How a program ended.
pub(super) struct Outcome {
    pub(super) status: u8,
    pub(super) output: String,
}

/// Runs a static program for Linux on x86-64 with nothing in its environment but `environment`; passes on what it prints. `folder` is
/// made empty and then holds the computer's files.
pub(super) fn run(
    parts: &Parts,
    folder: &Path,
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> anyhow::Result<Outcome> {
    empty(folder)?;
    let kernel = Kernel::unpack(&parts.kernel, folder)?;
    let files = files(folder, program, arguments, environment)?;
    fs::write(folder.join("start-information"), start_information(files.len() as u64))?;
    fs::write(folder.join("files"), files)?;
    fs::write(folder.join("kernel"), &kernel.image)?;
    fs::write(folder.join("disk"), disk(folder, kernel.entry)?)?;
    fs::copy(&parts.bios, folder.join("bios"))?;
    fs::copy(&parts.graphics_bios, folder.join("graphics-bios"))?;
    fs::write(folder.join("bochsrc"), settings())?;
    emulate(&parts.bochs, folder).with_context(|| {
        format!(
            "the emulator failed: {0}/serial has what Linux printed, {0}/log what Bochs noted",
            folder.display()
        )
    })
}

fn emulate(bochs: &Path, folder: &Path) -> anyhow::Result<Outcome> {
    let mut command = Command::new("timeout");
    command.args(["--foreground", SECONDS]).arg(bochs).args(["-q", "-f", "bochsrc"]).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(folder.join("errors"))?);
    let mut emulator = command.spawn().context("starting timeout")?;
    let mut stream = BufReader::new(emulator.stdout.take().context("Bochs has no output")?);
    let outcome = listen(&mut stream);
    if outcome.is_err() {
        // `timeout` passes the signal on.
        succeed(Command::new("kill").arg(emulator.id().to_string()))?;
    }
    emulator.wait()?;
    outcome
}

/// Passes on what the program prints until it has ended.
fn listen(stream: &mut impl Read) -> anyhow::Result<Outcome> {
    frames::skip_to_start(stream).context("the program did not start")?;
    let mut output = Vec::new();
    loop {
        match frames::read(stream).context("the program did not end")? {
            Frame::Output(bytes) => {
                std::io::stdout().write_all(&bytes)?;
                std::io::stdout().flush()?;
                output.extend(bytes);
            }
            Frame::Errors(bytes) => std::io::stderr().write_all(&bytes)?,
            Frame::Status(status) => return Ok(Outcome { status, output: String::from_utf8(output)? }),
        }
    }
}

/// What Linux finds: the first process and the program for it.
fn files(
    folder: &Path,
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> anyhow::Result<Vec<u8>> {
    let (source, first_process) = (folder.join("init.c"), folder.join("init"));
    fs::write(&source, FIRST_PROCESS)?;
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c11", "-O2", "-static", "-Wall", "-Wextra", "-Werror"]).arg(source);
    checked(gcc.arg("-o").arg(&first_process))?;
    let mut files = Initramfs::new();
    files.folder("dev");
    // Linux opens it for the first process.
    files.device("dev/console", 5, 1);
    files.program("init", &fs::read(first_process)?);
    files.program("program", &fs::read(program)?);
    files.strings("arguments", &[&["program"], arguments].concat());
    let environment: Vec<_> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    files.strings("environment", &environment);
    Ok(files.finish())
}

/// What the kernel is told at its PVH entry: where its files and its command line are, and what memory there is (Xen, start_info.h).
fn start_information(files_length: u64) -> Vec<u8> {
    const MAGIC: u32 = 0x336e_c578;
    const VERSION: u32 = 1;
    const USABLE: u64 = 1;
    let modules = [FILES, files_length, 0, 0];
    // Below the BIOS's data, and from 1 MiB on.
    let memory = [0, 0x9_f000, USABLE, 0x10_0000, (MEBIBYTES << 20) - 0x10_0000, USABLE];
    let modules_at = START_INFORMATION + 56;
    let memory_at = modules_at + size_of_val(&modules) as u64;
    let text_at = memory_at + size_of_val(&memory) as u64;
    let mut bytes = Vec::new();
    for half in [MAGIC, VERSION, 0, 1] {
        bytes.extend(half.to_le_bytes());
    }
    // The modules, the command line, the tables of a BIOS, which there are none of, and the map of memory with its 2 lines.
    for number in [modules_at, text_at, 0, memory_at, 2].iter().chain(&modules).chain(&memory) {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(COMMAND_LINE.bytes().chain([0]));
    bytes
}

/// A disk with nothing but its boot sector.
fn disk(folder: &Path, entry: u32) -> anyhow::Result<Vec<u8>> {
    let (source, object, sector) = (folder.join("boot.s"), folder.join("boot.o"), folder.join("boot"));
    fs::write(&source, BOOT_SECTOR)?;
    let mut assembler = Command::new("as");
    assembler.args(["--32", "--defsym", &format!("ENTRY={entry}"), "--defsym"]);
    assembler.arg(format!("START_INFORMATION={START_INFORMATION}")).arg(source).arg("-o").arg(&object);
    checked(&mut assembler)?;
    let mut linker = Command::new("ld");
    linker.args(["-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary"]).arg(object);
    checked(linker.arg("-o").arg(&sector))?;
    let mut disk = fs::read(sector)?;
    disk.resize(DISK, 0);
    Ok(disk)
}

/// The file that Bochs reads; names are of files in the same folder.
fn settings() -> String {
    format!(
        "cpu: model=sapphire_rapids, count=1, ips=10000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest={MEBIBYTES}, host={MEBIBYTES}
romimage: file=bios
vgaromimage: file=graphics-bios
optramimage1: file=kernel, address={:#x}
optramimage2: file=start-information, address={START_INFORMATION:#x}
optramimage3: file=files, address={FILES:#x}
floppya: 1_44=disk, status=inserted
boot: floppy
ata0: enabled=0
ata1: enabled=0
speaker: enabled=0
display_library: nogui
port_e9_hack: enabled=1
com1: enabled=1, mode=file, dev=serial
clock: sync=none, time0=utc
log: log
panic: action=fatal
error: action=report
info: action=report
",
        kernel::ADDRESS
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_start_information_leads_to_its_parts() {
        let bytes = start_information(77);
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let at = |field: usize| (number(field) - START_INFORMATION) as usize;
        assert_eq!(bytes[..4], [0x78, 0xc5, 0x6e, 0x33]);
        assert_eq!((number(at(16)), number(at(16) + 8)), (FILES, 77));
        assert_eq!(bytes[at(24)..], [COMMAND_LINE.as_bytes(), &[0]].concat());
        let map: Vec<u64> = (0..6).map(|index| number(at(40) + 8 * index)).collect();
        assert_eq!(map, [0, 0x9f000, 1, 0x100000, 511 << 20, 1]);
    }

    #[test]
    fn what_a_program_prints_is_kept_until_it_ends() {
        let stream =
            [&b"BIOS\n\n=== the program starts\n"[..], b"\x01\x02\0ab\x01\x01\0c\x03\x01\0\x65", b"BIOS"];
        let outcome = listen(&mut &stream.concat()[..]).unwrap();
        assert_eq!((outcome.status, &outcome.output[..]), (101, "abc"));
        for (stream, expected) in
            [(&b"BIOS"[..], "did not start"), (&stream[..1].concat()[..], "did not end")]
        {
            let error = listen(&mut &*stream).map(|outcome| outcome.status).unwrap_err();
            assert!(error.to_string().contains(expected), "{error:#}");
        }
    }
}
