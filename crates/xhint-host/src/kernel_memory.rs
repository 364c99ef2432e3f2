//! How XDP programs may read the kernel's memory, found by asking: a few instructions that do so are loaded, stand nowhere and
//! see no packet.
//!
//! From their context programs come to the kernel's own `struct xdp_buff` by `bpf_cast_to_kern_ctx` (since Linux 6.2). What is
//! around it, and what it points to, is read by plain loads where the kernel gives read-only memory for any address
//! (`bpf_rdonly_cast` with type 0, since 6.17), else by the helper `bpf_probe_read_kernel`, which lockdown may forbid.

use std::io;

use libbpf_rs::btf::{Btf, types::Func};

use crate::error::{Error, Result};
use crate::program::{self, EXIT, Insn, result};

/// A way to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelReads {
    /// By plain loads from where `bpf_rdonly_cast(pointer, 0)` leads.
    ByCast,
    /// By `bpf_probe_read_kernel`.
    ByHelper,
}

const CONTEXT: &str = "bpf_cast_to_kern_ctx";
const CAST: &str = "bpf_rdonly_cast";
/// `BPF_JMP | BPF_CALL`
const CALL: u8 = 0x85;
/// `bpf_probe_read_kernel`
const PROBE_READ_KERNEL: i32 = 113;

/// The best way that this kernel lets this process take; else why there is none, in words.
///
/// # Errors
/// What the kernel says to any program of this process: without `CAP_BPF` and `CAP_NET_ADMIN`, `EPERM`.
pub fn kernel_reads() -> Result<std::result::Result<KernelReads, String>> {
    let loading = |error| Error::system("loading a program that reads the kernel's memory")(error);
    // Whoever may load nothing at all is told so.
    program::load(c"xhint_reads", &[result(0), EXIT], None).map_err(loading)?;
    let Ok(btf) = Btf::from_vmlinux() else { return Ok(Err("the kernel has no BTF".to_owned())) };
    let id = |name: &str| {
        let func = btf.type_by_name::<Func<'_>>(name);
        func.and_then(|func| i32::try_from(u32::from(func.type_id())).ok())
    };
    let Some(context) = id(CONTEXT) else { return Ok(Err(format!("the kernel has no {CONTEXT} (Linux 6.2 has)"))) };
    let takes = |code: Vec<Insn>| match program::load(c"xhint_reads", &code, None) {
        Ok(_) => Ok(true),
        Err(error) if refuses(&error) => Ok(false),
        Err(error) => Err(loading(error)),
    };
    if let Some(cast) = id(CAST)
        && takes(by_cast(context, cast))?
    {
        return Ok(Ok(KernelReads::ByCast));
    }
    if takes(by_helper(context))? {
        return Ok(Ok(KernelReads::ByHelper));
    }
    Ok(Err("the kernel takes neither bpf_rdonly_cast(…, 0) nor bpf_probe_read_kernel in XDP programs".to_owned()))
}

/// Whether the verifier says no, rather than the kernel that it has no room.
fn refuses(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES | libc::EPERM))
}

/// `r0 = bpf_rdonly_cast(bpf_cast_to_kern_ctx(context), 0)`, and reads from there.
fn by_cast(context: i32, cast: i32) -> Vec<Insn> {
    vec![
        // The second half of the registers says that a kfunc is called (BPF_PSEUDO_KFUNC_CALL).
        (CALL, 0x20, 0, context),
        (0xbf, 0x01, 0, 0), // r1 = r0
        (0xb7, 0x02, 0, 0), // r2 = 0
        (CALL, 0x20, 0, cast),
        (0x79, 0x00, 0, 0), // r0 = *(u64 *)(r0 + 0)
        result(0),
        EXIT,
    ]
}

/// `bpf_probe_read_kernel(r10 - 8, 8, bpf_cast_to_kern_ctx(context))`
fn by_helper(context: i32) -> Vec<Insn> {
    vec![
        (CALL, 0x20, 0, context),
        (0xbf, 0x03, 0, 0),  // r3 = r0
        (0xbf, 0xa1, 0, 0),  // r1 = r10
        (0x07, 0x01, 0, -8), // r1 += -8
        (0xb7, 0x02, 0, 8),  // r2 = 8
        (CALL, 0x00, 0, PROBE_READ_KERNEL),
        result(0),
        EXIT,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libbpf asks the kernel for the helper in another way, and the kfuncs are listed.
    #[test]
    fn the_kernel_agrees() {
        if !xhint_testkit::may_load() {
            return;
        }
        let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap();
        let has = |name: &str| symbols.lines().any(|line| line.split_ascii_whitespace().nth(2) == Some(name));
        match kernel_reads().unwrap() {
            Ok(way) => {
                assert!(has(CONTEXT) && (has(CAST) || way == KernelReads::ByHelper));
                let (kind, helper) = (libbpf_sys::BPF_PROG_TYPE_XDP, PROBE_READ_KERNEL.cast_unsigned());
                // SAFETY: the last argument may be null (libbpf.h).
                let probed = unsafe { libbpf_sys::libbpf_probe_bpf_helper(kind, helper, std::ptr::null()) };
                assert!(way == KernelReads::ByCast || probed == 1);
            }
            Err(why) => assert!(!has(CONTEXT), "{why}"),
        }
    }
}
