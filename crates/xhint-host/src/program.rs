//! Programs of a few instructions, which are loaded to ask the kernel something and stand nowhere.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

use libbpf_sys as sys;

use crate::call::owned;

/// An instruction: opcode, both registers (the first is the low half), offset, immediate.
pub(crate) type Insn = (u8, u8, i16, i32);

/// `exit`
pub(crate) const EXIT: Insn = (0x95, 0, 0, 0);

/// `r0 = value`
pub(crate) const fn result(value: i32) -> Insn {
    (0xb7, 0, 0, value)
}

/// Loads an XDP program for any device, or for `device` of the caller's network namespace alone.
///
/// # Errors
/// As the kernel says it.
pub(crate) fn load(name: &CStr, code: &[Insn], device: Option<u32>) -> io::Result<OwnedFd> {
    // struct bpf_insn
    let bytes: Vec<u64> = code
        .iter()
        .map(|&(opcode, registers, offset, immediate)| {
            let ([o, p], [i, j, k, l]) = (offset.to_ne_bytes(), immediate.to_ne_bytes());
            // Of the two registers the first in memory is the low half of its byte on little-endian machines.
            let registers = if cfg!(target_endian = "big") { registers.rotate_left(4) } else { registers };
            u64::from_ne_bytes([opcode, registers, o, p, i, j, k, l])
        })
        .collect();
    let mut options = sys::bpf_prog_load_opts {
        sz: size_of::<sys::bpf_prog_load_opts>() as sys::size_t,
        prog_flags: if device.is_some() { sys::BPF_F_XDP_DEV_BOUND_ONLY } else { 0 },
        prog_ifindex: device.unwrap_or(0),
        ..Default::default()
    };
    // SAFETY: `bytes` are as many instructions of 8 bytes as is said, the strings end in 0, `options` tell their own size;
    // all outlive the call.
    let fd = unsafe {
        sys::bpf_prog_load(
            sys::BPF_PROG_TYPE_XDP,
            name.as_ptr(),
            c"Dual BSD/GPL".as_ptr(),
            bytes.as_ptr().cast(),
            bytes.len() as sys::size_t,
            &raw mut options,
        )
    };
    owned(fd)
}
