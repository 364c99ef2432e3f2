//! How much metadata may stand in front of a packet.
//!
//! The length is counted in words of 4 bytes, and how many there may be is the kernel's to say: 8 in Linux 6.1, 63 in
//! later ones (`xdp_metalen_invalid`). What is written by `bpf_xdp_adjust_meta` shares the headroom with the kernel's
//! own frame header besides, whose size is no constant either. So both are asked for, of programs that run once
//! (`BPF_PROG_TEST_RUN`) and stand nowhere.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

use libbpf_sys as sys;

use crate::call::done;
use crate::program::{self, EXIT, Insn, result};

/// Bytes in front of a packet on veth, and in a test run (`XDP_PACKET_HEADROOM`).
pub const HEADROOM: u32 = 256;

/// The most words of 4 bytes that are tried: the kernel counts them in a byte.
const WORDS: u32 = 63;

/// A packet with an Ethernet header, as test runs want it.
const PACKET: u32 = 64;

/// The most bytes of metadata, as this kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// That a program may find in front of a packet. None where the kernel takes no metadata in a test run (before
    /// Linux 5.14), so that it cannot be asked.
    pub found: Option<u32>,
    /// That a program may put there by `bpf_xdp_adjust_meta` with [`HEADROOM`]: all that a packet on veth can carry.
    pub written: u32,
}

/// Asks the kernel, once for this process.
///
/// # Errors
/// What it says to a program of a few instructions: without `CAP_BPF` and `CAP_NET_ADMIN`, `EPERM`.
pub fn room() -> io::Result<Room> {
    static ROOM: OnceLock<Room> = OnceLock::new();
    if let Some(known) = ROOM.get() {
        return Ok(*known);
    }
    let found = found(&load(&[MOV_R0_PASS, EXIT])?);
    let written = written(&load(&writer())?)?;
    Ok(*ROOM.get_or_init(|| Room { found, written }))
}

/// The longest metadata that a test run takes.
fn found(program: &OwnedFd) -> Option<u32> {
    lengths().find(|&length| {
        let mut context = sys::xdp_md { data: length, data_end: length.saturating_add(PACKET), ..Default::default() };
        run(program, length.saturating_add(PACKET), Some(&mut context)).is_ok()
    })
}

/// The longest metadata that the program could put there.
fn written(program: &OwnedFd) -> io::Result<u32> {
    run(program, PACKET, None)
}

/// Longest first.
fn lengths() -> impl Iterator<Item = u32> {
    (1..=WORDS).rev().map(|words| words.saturating_mul(4))
}

const MOV_R0_PASS: Insn = result(sys::XDP_PASS as i32);
const MOV_R6_R1: Insn = (0xbf, 0x16, 0, 0);
const MOV_R1_R6: Insn = (0xbf, 0x61, 0, 0);
const CALL_ADJUST_META: Insn = (0x85, 0, 0, sys::BPF_FUNC_xdp_adjust_meta as i32);

/// Tries each length, and returns the first that is taken.
fn writer() -> Vec<Insn> {
    let mut code = vec![MOV_R6_R1];
    for length in lengths() {
        let length = i32::try_from(length).unwrap_or(0);
        code.extend([
            MOV_R1_R6,
            (0xb7, 2, 0, length.saturating_neg()),
            CALL_ADJUST_META,
            (0x55, 0, 2, 0), // if it was refused, the next
            result(length),
            EXIT,
        ]);
    }
    code.extend([result(0), EXIT]);
    code
}

fn load(code: &[Insn]) -> io::Result<OwnedFd> {
    program::load(c"xhint_room", code, None)
}

/// Runs the program once on `length` zeroes; what it returns.
fn run(program: &OwnedFd, length: u32, context: Option<&mut sys::xdp_md>) -> io::Result<u32> {
    let packet = vec![0u8; length as usize];
    let context_size = if context.is_some() { size_of::<sys::xdp_md>() as u32 } else { 0 };
    let mut options = sys::bpf_test_run_opts {
        sz: size_of::<sys::bpf_test_run_opts>() as sys::size_t,
        data_in: packet.as_ptr().cast(),
        data_size_in: length,
        ctx_in: context.map_or(std::ptr::null(), |context| std::ptr::from_mut(context).cast_const().cast()),
        ctx_size_in: context_size,
        repeat: 1,
        ..Default::default()
    };
    // SAFETY: the descriptor is open while borrowed; packet and context outlive the call with the sizes given, and the
    // kernel writes to neither.
    let status = unsafe { sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    done(status).map(|()| options.retval)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each length by itself, told by the kernel in another way: what a program puts there must be what a test run of
    /// it gives back in front of the packet.
    #[test]
    fn the_kernel_agrees() {
        if !xhint_testkit::may_load() {
            return;
        }
        let room = room().unwrap();
        assert!(room.written >= 4 && room.written < HEADROOM && room.written.is_multiple_of(4), "{room:?}");
        assert!(room.found.is_none_or(|found| found >= room.written), "{room:?}");
        let writes = |length: u32| {
            let length = i32::try_from(length).unwrap();
            let code = [(0xb7, 2, 0, -length), CALL_ADJUST_META, (0xb7, 1, 0, 0), (0x1d, 0x10, 1, 0), result(1), EXIT];
            run(&load(&code).unwrap(), PACKET, None).unwrap() == 0
        };
        for length in lengths() {
            assert_eq!(writes(length), length <= room.written, "{length} of {room:?}");
        }
    }
}
