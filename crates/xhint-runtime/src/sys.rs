//! The few calls of the kernel that libbpf-rs has no safe form for, and what they tell of a device.
//!
//! Each takes and gives descriptors as Rust owns them, and an error as the kernel said it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libbpf_sys as raw;
use nix::net::if_::if_indextoname;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde::Serialize;

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
    pub(crate) fn has(self, id: u32) -> bool {
        self.ids().any(|i| i == id)
    }

    /// Ids of all of them.
    pub fn ids(self) -> impl Iterator<Item = u32> {
        [self.native, self.generic, self.offloaded].into_iter().filter(|id| *id != 0)
    }
}

/// A device's driver and the version of its firmware, as `ethtool -i` has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// The driver.
    pub driver: String,
    /// Its version; mostly the kernel's.
    pub driver_version: String,
    /// The firmware's version, empty if the driver tells none.
    pub version: String,
}

impl Firmware {
    /// As one reads it.
    pub(crate) fn words(&self) -> String {
        let version = if self.version.is_empty() { "unknown" } else { &self.version };
        format!("{} {} with firmware {version}", self.driver, self.driver_version)
    }
}

/// `XDP_FLAGS_SKB_MODE` of `linux/if_link.h`.
pub const XDP_GENERIC: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`.
pub const XDP_NATIVE: u32 = 1 << 2;

/// `XDP_FLAGS_UPDATE_IF_NOEXIST`: only where nothing is.
pub const XDP_IF_NONE: u32 = 1 << 0;

/// Attaches `program` to the device `ifindex` of the caller's network namespace. The link lasts as long as the
/// descriptor or a pin of it.
pub fn xdp_link(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let target = i32::try_from(ifindex).map_err(io::Error::other)?;
    let opts =
        raw::bpf_link_create_opts { sz: size_of::<raw::bpf_link_create_opts>() as u64, flags, ..Default::default() };
    // SAFETY: the descriptor is open while borrowed; `opts` outlives the call and tells its own size.
    let fd = unsafe { raw::bpf_link_create(program.as_raw_fd(), target, raw::BPF_XDP, &opts) };
    owned(fd)
}

/// Puts `program` in the place of the one that `link` runs, in one step.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open while borrowed; null stands for no options.
    done(unsafe { raw::bpf_link_update(link.as_raw_fd(), program.as_raw_fd(), std::ptr::null()) })
}

/// Takes the program off the device; the link stays as an empty thing.
pub fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open while borrowed.
    done(unsafe { raw::bpf_link_detach(link.as_raw_fd()) })
}

/// The link with this id (`CAP_SYS_ADMIN`).
pub fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes a number.
    owned(unsafe { raw::bpf_link_get_fd_by_id(id) })
}

/// Attaches `program` the old way, without a link; `None` detaches. `flags` as in [`xdp_link`]. Only if `there` is what
/// is there, if that is given.
pub fn xdp_attach(
    ifindex: u32,
    program: Option<BorrowedFd<'_>>,
    there: Option<BorrowedFd<'_>>,
    flags: u32,
) -> io::Result<()> {
    let target = i32::try_from(ifindex).map_err(io::Error::other)?;
    let fd = program.map_or(-1, |p| p.as_raw_fd());
    // 0 stands for none.
    let old_prog_fd = there.map_or(0, |p| p.as_raw_fd());
    let opts = raw::bpf_xdp_attach_opts {
        sz: size_of::<raw::bpf_xdp_attach_opts>() as u64,
        old_prog_fd,
        ..Default::default()
    };
    // SAFETY: the descriptors are open while borrowed, or stand for none; `opts` outlives the call and tells its own size.
    done(unsafe { raw::bpf_xdp_attach(target, fd, flags, &opts) })
}

/// Pins what `fd` stands for at `path` in a BPF file system.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the descriptor is open while borrowed; the path is a C string that outlives the call.
    done(unsafe { raw::bpf_obj_pin(fd.as_raw_fd(), path.as_ptr()) })
}

/// Opens what is pinned at `path`.
pub fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a C string that outlives the call.
    owned(unsafe { raw::bpf_obj_get(path.as_ptr()) })
}

/// The name that the device with this number has in the caller's network namespace.
pub(crate) fn name_of(ifindex: u32) -> Option<String> {
    if_indextoname(ifindex).ok()?.into_string().ok()
}

/// Which XDP programs the device `ifindex` of the caller's network namespace runs.
pub fn xdp_query(ifindex: u32) -> io::Result<Programs> {
    let target = i32::try_from(ifindex).map_err(io::Error::other)?;
    let mut opts = raw::bpf_xdp_query_opts { sz: size_of::<raw::bpf_xdp_query_opts>() as u64, ..Default::default() };
    // SAFETY: `opts` outlives the call, tells its own size, and is ours alone to write.
    done(unsafe { raw::bpf_xdp_query(target, 0, &mut opts) })?;
    let programs = Programs { native: opts.drv_prog_id, generic: opts.skb_prog_id, offloaded: opts.hw_prog_id };
    // Before Linux 6.3, which has the `netdev` family that libbpf asks too, a device that is gone runs no programs.
    if programs == Programs::default() && name_of(ifindex).is_none() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    Ok(programs)
}

/// `SO_NETNS_COOKIE` of `asm-generic/socket.h`.
const NETNS_COOKIE: libc::c_int = 71;

/// The number that the caller's network namespace has to itself until the next start; `None` before Linux 5.14.
pub fn netns_cookie() -> io::Result<Option<u64>> {
    let any = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let (mut cookie, mut size) = (0u64, libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?);
    // SAFETY: the descriptor is open; the kernel writes at most `size` bytes to `cookie`, which is that large, and both
    // outlive the call.
    let result = unsafe {
        let to = (&raw mut cookie).cast();
        libc::getsockopt(any.as_raw_fd(), libc::SOL_SOCKET, NETNS_COOKIE, to, &raw mut size)
    };
    match result {
        0 => Ok(Some(cookie)),
        _ => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(None),
            e => Err(e),
        },
    }
}

/// `ETHTOOL_GDRVINFO` of `linux/ethtool.h`.
const GET_DRIVER_INFO: u32 = 3;
/// `SIOCETHTOOL` of `linux/sockios.h`.
const ETHTOOL: libc::c_ulong = 0x8946;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware: [u8; 32],
    rest: [u8; 96],
}

/// Driver and firmware of the device `name` of the caller's network namespace.
pub fn driver_info(name: &str) -> io::Result<Firmware> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut info =
        DriverInfo { command: GET_DRIVER_INFO, driver: [0; 32], version: [0; 32], firmware: [0; 32], rest: [0; 96] };
    // SAFETY: all zeroes is a valid ifreq, a C struct of plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0.
    let room = request.ifr_name.len().saturating_sub(1);
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: SIOCETHTOOL takes an ifreq whose data points to a command; both outlive the call, and this command writes
    // no more than a struct ethtool_drvinfo, which is 196 bytes as DriverInfo is.
    let result = unsafe { libc::ioctl(any.as_raw_fd(), ETHTOOL, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
    };
    Ok(Firmware { driver: text(&info.driver), driver_version: text(&info.version), version: text(&info.firmware) })
}

/// libbpf's calls return a descriptor, or a negative errno.
fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    done(fd)?;
    // SAFETY: the call has just opened it for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn done(code: i32) -> io::Result<()> {
    if code < 0 { Err(io::Error::from_raw_os_error(code.saturating_neg())) } else { Ok(()) }
}

/// Bytes of a page.
pub fn page_size() -> Option<u32> {
    // SAFETY: sysconf takes a number and touches no memory of ours.
    u32::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()
}
