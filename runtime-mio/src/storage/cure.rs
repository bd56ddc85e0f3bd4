//! Makes sled's flush a flush.
//!
//! On Linux sled 0.34 ends every flush with `sync_file_range`, which neither empties the drive's
//! cache nor records the file's new size: after a power cut acknowledged data is gone, or the store
//! cannot be opened. This module defines the C symbol that sled calls, so that the linker binds
//! sled's call to it, and does what the caller meant: `fdatasync`. Whether the linker did so is
//! checked each time a store is opened, by [`flushes`].
//!
//! The only unsafe code of the project.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

static FLUSHES: AtomicU64 = AtomicU64::new(0);

/// How often sled's flush has reached the disk through this module.
#[inline(never)]
pub(crate) fn flushes() -> u64 {
    FLUSHES.load(Ordering::SeqCst)
}

/// Stands in for the system's `sync_file_range` in the whole program: everything written to `fd`
/// is on stable storage when it returns 0. Returns -1 and sets `errno` like the original.
// SAFETY: the name and the signature are those of the C function that it replaces, and a full
// flush keeps everything that the original promises. No other crate defines this symbol; the C
// library's definition is in a shared object, over which the program's own takes precedence.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn sync_file_range(
    fd: libc::c_int,
    _offset: libc::off64_t,
    _count: libc::off64_t,
    _flags: libc::c_uint,
) -> libc::c_int {
    FLUSHES.fetch_add(1, Ordering::SeqCst);
    // SAFETY: takes a number and touches no memory of ours; a number that is no open file is
    // answered with an error.
    unsafe { libc::fdatasync(fd) }
}
