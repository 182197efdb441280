//! Structs that grow: programs and libraries of different versions understand each other's, since the caller tells the
//! size of its own.

use std::ptr;

use crate::boundary;
use crate::error::{Failure, Outcome, slm_error};
use crate::status::{SLM_STRUCT_SIZE, slm_status};

/// The largest options struct that any version may have; a larger size is a mistake of the caller.
const MAXIMUM_SIZE: usize = 4096;

/// A `repr(C)` struct without padding in front of a field, so that each older version of it is a prefix.
///
/// # Safety
/// Every field is an integer, a float, a raw pointer, a function that may be NULL or such a struct: each bit pattern is a value.
pub(crate) unsafe trait Plain: Copy {}

/// Options: a plain struct whose first field is `struct_size: u32`.
pub(crate) trait Options: Plain {
    /// The defaults, with the full size.
    const DEFAULTS: Self;
}

/// Fills the caller's struct of `size` bytes, its parameter `name`, with the defaults.
///
/// # Safety
/// `options` is NULL or points to `size` writable bytes, `error` is NULL or points to memory for one pointer.
pub(crate) unsafe fn init<T: Options>(
    name: &str,
    options: *mut T,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: passed on.
    unsafe { boundary::status(error, || fill(name, &T::DEFAULTS, options, size)) }
}

/// Fills the caller's struct of `size` bytes with `value` and its own size; what a newer caller has behind it becomes
/// zero.
///
/// # Safety
/// `options` is NULL or points to `size` writable bytes.
pub(crate) unsafe fn fill<T: Options>(name: &str, value: &T, options: *mut T, size: usize) -> Outcome<()> {
    let struct_size = checked_size(size)?;
    // SAFETY: as the caller says; `struct_size` comes first.
    unsafe {
        write(name, value, options, size)?;
        options.cast::<u32>().write_unaligned(struct_size);
    }
    Ok(())
}

/// Reads the caller's struct: its fields over the defaults. NULL gives the defaults.
///
/// # Safety
/// `options` is NULL or points to as many readable bytes as its `struct_size` says.
pub(crate) unsafe fn read<T: Options>(options: *const T) -> Outcome<T> {
    if options.is_null() {
        return Ok(T::DEFAULTS);
    }
    let bytes = options.cast::<u8>();
    // SAFETY: every version of the struct starts with `struct_size`.
    let size = unsafe { bytes.cast::<u32>().read_unaligned() } as usize;
    checked_size(size)?;
    let known = size.min(size_of::<T>());
    // SAFETY: the caller says that `size` bytes are readable, and `known` is no more.
    let unknown = unsafe { std::slice::from_raw_parts(bytes.add(known), size - known) };
    if unknown.iter().any(|byte| *byte != 0) {
        return Err(Failure::new(
            SLM_STRUCT_SIZE,
            format!("the options set a field behind byte {known}, which this version does not know"),
        )
        .with_hint("load a library that is as new as the header"));
    }
    let mut value = T::DEFAULTS;
    // SAFETY: `known` bytes are readable there and writable here; each bit pattern is a value of the fields.
    unsafe { ptr::copy_nonoverlapping(bytes, ptr::from_mut(&mut value).cast::<u8>(), known) };
    Ok(value)
}

/// Writes a result into the caller's struct of `size` bytes; what a newer caller has behind it becomes zero.
///
/// # Safety
/// `output` is NULL or points to `size` writable bytes.
pub(crate) unsafe fn write<T: Plain>(name: &str, value: &T, output: *mut T, size: usize) -> Outcome<()> {
    if output.is_null() {
        return Err(Failure::null(name));
    }
    checked_size(size)?;
    let bytes = output.cast::<u8>();
    // SAFETY: `size` bytes are writable; `value` has `size_of::<T>()` bytes; the two do not overlap.
    unsafe {
        ptr::write_bytes(bytes, 0, size);
        ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>(), bytes, size.min(size_of::<T>()));
    }
    Ok(())
}

/// The size as `struct_size` holds it: room for that field at least.
fn checked_size(size: usize) -> Outcome<u32> {
    match u32::try_from(size) {
        Ok(small) if (size_of::<u32>()..=MAXIMUM_SIZE).contains(&size) => Ok(small),
        _ => Err(Failure::new(SLM_STRUCT_SIZE, format!("a struct_size of {size} bytes is impossible"))
            .with_hint("options are filled by their _init function, which is given their sizeof")),
    }
}
