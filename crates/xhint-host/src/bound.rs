//! What is to be known of programs that are loaded for one device: the kernel loses track of them where it puts another in
//! their place, so they must not be such.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libbpf_sys as sys;

use crate::call::done;

/// 0 if programs are compiled as they are; it is in the first network namespace alone.
const HARDEN: &str = "/proc/sys/net/core/bpf_jit_harden";

/// Whether the kernel may hide a program's constants from whoever would attack by them, for which it puts another in the
/// place of one that is a single function. Yes, too, if this process may not see that.
#[must_use]
pub fn may_be_hardened() -> bool {
    !fs::read_to_string(HARDEN).is_ok_and(|value| value.trim() == "0")
}

/// How many instructions of 8 bytes the kernel made of a program.
///
/// # Errors
/// As the kernel says it.
pub fn length(program: BorrowedFd<'_>) -> io::Result<usize> {
    let mut info = sys::bpf_prog_info::default();
    let mut size = size_of_val(&info) as u32;
    // SAFETY: the descriptor is open while borrowed; `info` is `size` bytes, points nowhere, and outlives the call.
    done(unsafe { sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut size) })?;
    Ok((info.xlated_prog_len as usize).checked_div(size_of::<sys::bpf_insn>()).unwrap_or_default())
}
