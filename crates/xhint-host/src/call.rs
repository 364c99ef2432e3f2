//! What libbpf's calls return: a descriptor or nothing, or a negative errno.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A descriptor that a call has just opened for its caller alone.
pub(crate) fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    done(fd)?;
    // SAFETY: the call has just opened it for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn done(code: i32) -> io::Result<()> {
    match code {
        0.. => Ok(()),
        error => Err(io::Error::from_raw_os_error(error.wrapping_neg())),
    }
}
