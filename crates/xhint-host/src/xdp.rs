//! XDP programs on devices: what libbpf-rs has no form for, with descriptors as Rust owns them and errors as the kernel
//! says them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use libbpf_sys as sys;
use nix::net::if_::if_indextoname;

use crate::call::{done, owned};

/// `XDP_FLAGS_SKB_MODE` of `linux/if_link.h`.
pub const GENERIC: u32 = sys::XDP_FLAGS_SKB_MODE;
/// `XDP_FLAGS_DRV_MODE`.
pub const NATIVE: u32 = sys::XDP_FLAGS_DRV_MODE;
/// `XDP_FLAGS_HW_MODE`.
pub const OFFLOADED: u32 = sys::XDP_FLAGS_HW_MODE;
/// `XDP_FLAGS_UPDATE_IF_NOEXIST`: only where nothing is.
pub const IF_NONE: u32 = sys::XDP_FLAGS_UPDATE_IF_NOEXIST;

/// Which XDP programs a device runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Programs {
    /// Program id in the driver, 0 if none.
    pub native: u32,
    /// Program id behind the driver, 0 if none.
    pub generic: u32,
    /// Program id in the device itself, 0 if none.
    pub offloaded: u32,
}

impl Programs {
    /// Whether the program with this id is one of them.
    pub fn has(self, id: u32) -> bool {
        self.ids().any(|i| i == id)
    }

    /// Ids of all of them.
    pub fn ids(self) -> impl Iterator<Item = u32> {
        self.by_mode().map(|(id, _)| id)
    }

    /// The same, each with the flag of the mode it is on in: [`NATIVE`], [`GENERIC`] or [`OFFLOADED`].
    pub fn by_mode(self) -> impl Iterator<Item = (u32, u32)> {
        let all = [(self.native, NATIVE), (self.generic, GENERIC), (self.offloaded, OFFLOADED)];
        all.into_iter().filter(|(id, _)| *id != 0)
    }
}

/// Attaches `program` to the device `ifindex` of the caller's network namespace. The link lasts as long as the
/// descriptor or a pin of it. `flags` are [`GENERIC`] or [`NATIVE`], which [`libbpf_rs::ProgramMut::attach_xdp`] takes
/// none of.
///
/// # Errors
/// As the kernel says it.
pub fn link(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let opts =
        sys::bpf_link_create_opts { sz: size_of::<sys::bpf_link_create_opts>() as u64, flags, ..Default::default() };
    // SAFETY: the descriptor is open while borrowed; `opts` outlives the call and tells its own size.
    owned(unsafe { sys::bpf_link_create(program.as_raw_fd(), number(ifindex)?, sys::BPF_XDP, &opts) })
}

/// Puts `program` in the place of the one that `link` runs, in one step.
///
/// # Errors
/// As the kernel says it.
pub fn update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open while borrowed; null stands for no options.
    done(unsafe { sys::bpf_link_update(link.as_raw_fd(), program.as_raw_fd(), std::ptr::null()) })
}

/// Takes the program off the device; the link stays as an empty thing.
///
/// # Errors
/// As the kernel says it.
pub fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open while borrowed.
    done(unsafe { sys::bpf_link_detach(link.as_raw_fd()) })
}

/// The link with this id (`CAP_SYS_ADMIN`).
///
/// # Errors
/// As the kernel says it.
pub fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes a number.
    owned(unsafe { sys::bpf_link_get_fd_by_id(id) })
}

/// Attaches `program` the old way, without a link; `None` detaches. `flags` as in [`link`]. Only if `there` is what is
/// there, if that is given.
///
/// # Errors
/// As the kernel says it.
pub fn attach(
    ifindex: u32,
    program: Option<BorrowedFd<'_>>,
    there: Option<BorrowedFd<'_>>,
    flags: u32,
) -> io::Result<()> {
    let fd = program.map_or(-1, |p| p.as_raw_fd());
    // 0 stands for none.
    let old_prog_fd = there.map_or(0, |p| p.as_raw_fd());
    let opts = sys::bpf_xdp_attach_opts {
        sz: size_of::<sys::bpf_xdp_attach_opts>() as u64,
        old_prog_fd,
        ..Default::default()
    };
    // SAFETY: the descriptors are open while borrowed, or stand for none; `opts` outlives the call and tells its own size.
    done(unsafe { sys::bpf_xdp_attach(number(ifindex)?, fd, flags, &opts) })
}

/// Whether a bpf_link holds the program that the device `ifindex` of the caller's network namespace runs in the mode of `flags`.
/// Nothing changes by asking: it asks to take off no program while one is there, which the kernel refuses in one way
/// where a link holds it and in another where none does (`dev_xdp_attach` in `net/core/dev.c`).
///
/// # Errors
/// As the kernel says it.
pub fn is_linked(ifindex: u32, flags: u32) -> io::Result<bool> {
    // libbpf asks for the program with this descriptor; the kernel takes one below 0 as none.
    let opts = sys::bpf_xdp_attach_opts {
        sz: size_of::<sys::bpf_xdp_attach_opts>() as u64,
        old_prog_fd: -1,
        ..Default::default()
    };
    // SAFETY: no descriptors are named; `opts` outlives the call and tells its own size.
    match done(unsafe { sys::bpf_xdp_attach(number(ifindex)?, -1, flags, &opts) }) {
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        other => other.map(|()| false),
    }
}

/// Which XDP programs the device `ifindex` of the caller's network namespace runs. [`libbpf_rs::Xdp`] asks this of a
/// program only.
///
/// # Errors
/// As the kernel says it; `ENODEV` if there is no such device.
pub fn query(ifindex: u32) -> io::Result<Programs> {
    let mut opts = sys::bpf_xdp_query_opts { sz: size_of::<sys::bpf_xdp_query_opts>() as u64, ..Default::default() };
    // SAFETY: `opts` outlives the call, tells its own size, and is ours alone to write.
    done(unsafe { sys::bpf_xdp_query(number(ifindex)?, 0, &mut opts) })?;
    let programs = Programs { native: opts.drv_prog_id, generic: opts.skb_prog_id, offloaded: opts.hw_prog_id };
    // Before Linux 6.3, which has the `netdev` family that libbpf asks too, a device that is gone runs no programs.
    if programs == Programs::default() && name_of(ifindex).is_none() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    Ok(programs)
}

/// The name that the device with this number has in the caller's network namespace.
pub fn name_of(ifindex: u32) -> Option<String> {
    // What has no name is no error to nix, which takes null for an address.
    if_indextoname(ifindex).ok()?.into_string().ok().filter(|name| !name.is_empty())
}

fn number(ifindex: u32) -> io::Result<i32> {
    i32::try_from(ifindex).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_no_device_has_is_no_name() {
        assert_eq!(name_of(i32::MAX.cast_unsigned()), None);
        assert_eq!(name_of(1).as_deref(), Some("lo"));
    }
}
