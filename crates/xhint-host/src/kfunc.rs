//! Where a kfunc leads that XDP programs ask a driver by, found by asking the kernel: a program that calls it is loaded for the
//! device (it stands nowhere and sees no packet) and read back.
//!
//! In a program that was loaded for a device the kernel puts the driver's own function in the place of the kfunc; where the
//! driver has none, the kfunc itself stays, which fails with `EOPNOTSUPP` (`bpf_dev_bound_resolve_kfunc` in
//! kernel/bpf/offload.c). Read back, the call's immediate is the distance from `__bpf_call_base` to whichever it is, and
//! `/proc/kallsyms` says what stands there.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use libbpf_rs::btf::{Btf, types::Func};
use libbpf_sys as sys;

use crate::call::done;
use crate::error::{Error, Result};
use crate::program::{self, EXIT, Insn, result};

/// Where the kernel's symbols are listed.
const SYMBOLS: &str = "/proc/kallsyms";
/// The kernel's types.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// What calls are counted from.
const CALL_BASE: &str = "__bpf_call_base";
/// `BPF_JMP | BPF_CALL`
const CALL: u8 = 0x85;
/// More than there are in the program.
const MOST: usize = 64;

/// Where a call leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callee {
    /// To the driver.
    Driver {
        /// Its function.
        function: String,
        /// The module that has it; `None` if it is built in.
        module: Option<String>,
    },
    /// Nowhere: the driver has no such function, and the call fails with `EOPNOTSUPP`.
    Nobody,
    /// To the driver or nowhere: the kernel takes the call but does not show which, since this process may not see its addresses
    /// (`CAP_SYSLOG`, `kernel.kptr_restrict`) or the machine's compiler has no use for them.
    Hidden,
    /// The kernel has no such kfunc.
    Unknown,
    /// The driver runs no XDP programs, and others cannot call it.
    NoXdp,
}

/// Where calls of these kfuncs lead in a program for the device `ifindex` of the caller's network namespace. They take the
/// context and up to three addresses of 8 bytes each to write to.
///
/// # Errors
/// What the kernel says to such a program: without `CAP_BPF` and `CAP_NET_ADMIN`, `EPERM`.
pub fn callees(ifindex: u32, kfuncs: &[&str]) -> Result<Vec<Callee>> {
    // Calls go by ids in it.
    if !Path::new(BTF).exists() {
        return Ok(vec![Callee::Unknown; kfuncs.len()]);
    }
    let btf = Btf::from_vmlinux().map_err(Error::system("reading the kernel's BTF"))?;
    let mut calls = Vec::new();
    for kfunc in kfuncs {
        let id = btf.type_by_name::<Func<'_>>(kfunc).map(|func| u32::from(func.type_id()));
        let call = id.map(|id| call(ifindex, id)).transpose();
        calls.push(call.map_err(Error::system(format!("loading a program for link {ifindex} that calls {kfunc}")))?);
    }
    let shown = calls.iter().any(|call| matches!(call, Some(Call::At(_))));
    let path = Path::new(SYMBOLS);
    let symbols = if shown { fs::read_to_string(path).map_err(Error::file(path))? } else { String::new() };
    Ok(calls.iter().zip(kfuncs).map(|(call, kfunc)| callee(call.as_ref(), kfunc, &symbols)).collect())
}

fn callee(call: Option<&Call>, kfunc: &str, symbols: &str) -> Callee {
    match call {
        None => Callee::Unknown,
        Some(Call::NoXdp) => Callee::NoXdp,
        Some(Call::Hidden) => Callee::Hidden,
        Some(Call::At(distance)) => found(*distance, kfunc, symbols).unwrap_or(Callee::Hidden),
    }
}

/// The symbol so far from where calls are counted; `None` if addresses are not shown.
fn found(distance: i32, kfunc: &str, symbols: &str) -> Option<Callee> {
    // 0 is what those see who may not see them.
    let base = parsed(symbols).find(|symbol| symbol.name == CALL_BASE)?.address;
    let at = base.checked_add_signed(distance.into()).filter(|_| base != 0)?;
    let here: Vec<_> = parsed(symbols).filter(|symbol| symbol.address == at).collect();
    if here.iter().any(|symbol| symbol.name == kfunc) {
        return Some(Callee::Nobody);
    }
    let symbol = here.first()?;
    Some(Callee::Driver { function: symbol.name.to_owned(), module: symbol.module.map(str::to_owned) })
}

/// A line of `/proc/kallsyms`.
struct Symbol<'a> {
    address: u64,
    name: &'a str,
    module: Option<&'a str>,
}

/// `ffffffffc030e2c0 t veth_xdp_rx_timestamp [veth]`, with a tab in front of the module
fn parsed(symbols: &str) -> impl Iterator<Item = Symbol<'_>> {
    symbols.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (address, _kind, name, module) = (words.next()?, words.next()?, words.next()?, words.next());
        let module = module.and_then(|module| module.strip_prefix('[')?.strip_suffix(']'));
        Some(Symbol { address: u64::from_str_radix(address, 16).ok()?, name, module })
    })
}

/// What the kernel made of a call.
enum Call {
    /// To so far from where calls are counted.
    At(i32),
    Hidden,
    NoXdp,
}

/// Loads a program that calls the kfunc with this id in the kernel's BTF, and reads back what became of the call.
fn call(ifindex: u32, id: u32) -> io::Result<Call> {
    let id = i32::try_from(id).map_err(io::Error::other)?;
    let program = match program::load(c"xhint_kfunc", &caller(id), Some(ifindex)) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Call::NoXdp),
        other => other?,
    };
    Ok(match immediate(&program)? {
        // 0 where it is hidden; the id itself where the call's distance needs more than 32 bits, as on arm64.
        Some(immediate) if immediate != 0 && immediate != id => Call::At(immediate),
        _ => Call::Hidden,
    })
}

/// Calls it with the context and the addresses of three places on the stack that hold 0, in a function of its own
/// ([`crate::bound`]).
fn caller(id: i32) -> Vec<Insn> {
    let mut code = vec![(CALL, 0x10, 0, 1), EXIT];
    for (register, place) in [(2, -8), (3, -16), (4, -24)] {
        code.extend([
            (0x7a, 0x0a, place, 0), // *(u64 *)(r10 + place) = 0
            (0xbf, 0xa0 | register, 0, 0),
            (0x07, register, 0, place.into()),
        ]);
    }
    // The second half of the registers says that a kfunc is called (BPF_PSEUDO_KFUNC_CALL).
    code.extend([(CALL, 0x20, 0, id), result(sys::XDP_PASS as i32), EXIT]);
    code
}

/// The immediate of the program's last call, as the kernel has it now; `None` if the program is not shown.
fn immediate(program: &OwnedFd) -> io::Result<Option<i32>> {
    let mut code = [sys::bpf_insn::default(); MOST];
    let size = size_of_val(&code) as u32;
    let mut info =
        sys::bpf_prog_info { xlated_prog_len: size, xlated_prog_insns: code.as_mut_ptr() as u64, ..Default::default() };
    let mut length = size_of_val(&info) as u32;
    // SAFETY: the descriptor is open while borrowed; `info` is `length` bytes, and where it points to is as long as it says;
    // all are ours alone to write, and outlive the call.
    done(unsafe { sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut length) })?;
    let count = (info.xlated_prog_len as usize).checked_div(size_of::<sys::bpf_insn>()).unwrap_or_default();
    let shown = if info.xlated_prog_insns == 0 { 0 } else { count };
    Ok(code.iter().take(shown).rfind(|insn| insn.code == CALL).map(|insn| insn.imm))
}
