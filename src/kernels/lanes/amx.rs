//! The integer matrix unit of AMX (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18): tiles of up
//! to 16 rows of 64 bytes, of which one instruction multiplies two. Written in assembly, since the intrinsics are not stable.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;

/// The operand of LDTILECFG, in palette 1.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row, by tile.
    row_bytes: [u16; 16],
    /// By tile.
    rows: [u8; 16],
}

/// Tile 0: sums, 16 rows of 16 i32. Tile 1: weights, 16 rows of 16 codes. Tile 2: 4 parts of 4 codes of 16 tokens.
static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 16, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [TILE_ROWS as u8, TILE_ROWS as u8, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// What the CPU or the system lacks, if anything. The first call asks Linux for the permission to use tiles, which holds for
/// the whole process (Linux, Documentation/arch/x86/xstate.rst).
pub(crate) fn missing() -> Option<&'static str> {
    static MISSING: OnceLock<Option<&str>> = OnceLock::new();
    *MISSING.get_or_init(|| {
        let features = __cpuid_count(7, 0).edx;
        let of_system = || {
            // SAFETY: who calls has seen AVX-512, which is detected only where the system has enabled XGETBV.
            unsafe { enabled_states() }
        };
        if features & 1 << 24 == 0 {
            Some("amx-tile")
        } else if features & 1 << 25 == 0 {
            Some("amx-int8")
        } else if of_system() & TILE_STATES != TILE_STATES {
            Some("a system that saves tiles")
        } else if !is_permitted() {
            Some("the system's permission for tiles")
        } else {
            None
        }
    })
}

/// Of XCR0: tile configuration and tile data.
const TILE_STATES: u64 = 0b11 << 17;

#[target_feature(enable = "xsave")]
fn enabled_states() -> u64 {
    // SAFETY: register 0 is there with the instruction.
    unsafe { _xgetbv(0) }
}

fn is_permitted() -> bool {
    const REQUEST_PERMISSION: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: two numbers; no memory is read or written.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 }
}

/// Gives this thread its tiles.
///
/// # Safety
/// [`missing`] has said that nothing is.
#[inline(always)]
pub(crate) unsafe fn configure() {
    // SAFETY: the instruction is there, and reads 64 bytes.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly, preserves_flags))
    };
}

/// Takes them away, so that the system has nothing of them to save.
///
/// # Safety
/// As [`configure`].
#[inline(always)]
pub(crate) unsafe fn release() {
    // SAFETY: the instruction is there.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
}

/// The products of 16 rows of 16 codes, `stride` bytes apart from `weights` on, with `tokens`: `[rows][tokens]`.
///
/// # Safety
/// This thread's tiles are [configured](configure), and the rows can be read.
#[inline(always)]
pub(crate) unsafe fn multiply(
    weights: *const u8,
    stride: usize,
    tokens: &[[i8; 64]; 4],
    to: &mut [[i32; 16]; TILE_ROWS],
) {
    // SAFETY: the caller answers for the tiles and the weights; the rest lies inside the references.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tileloadd tmm1, [{weights} + {stride}]",
            "tileloadd tmm2, [{tokens} + {line}]",
            "tdpbssd tmm0, tmm1, tmm2",
            "tilestored [{to} + {line}], tmm0",
            weights = in(reg) weights,
            stride = in(reg) stride,
            tokens = in(reg) tokens.as_ptr(),
            to = in(reg) to.as_mut_ptr(),
            line = in(reg) 64_usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _,
            options(nostack, preserves_flags),
        );
    }
}
