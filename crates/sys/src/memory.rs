//! Memory that processes share.

use std::ffi::CStr;
use std::fs::File;
use std::io;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Allocates `size` bytes of zeros behind a descriptor that is closed on exec. They are allocated up front, so that a lack of
/// memory is an error here and not a SIGBUS in the process that writes to them.
///
/// # Errors
/// The system is out of descriptors or memory.
pub(crate) fn allocate(name: &CStr, size: usize) -> io::Result<File> {
    let memory = memfd_create(name, MFdFlags::MFD_CLOEXEC)?;
    fallocate(&memory, FallocateFlags::empty(), 0, i64::try_from(size).unwrap_or(i64::MAX))?;
    Ok(File::from(memory))
}
