//! GRO on or off, by the ethtool ioctl.
//!
//! veth runs NAPI when GRO is on, and only then takes redirected frames while it has no XDP program
//! of its own (drivers/net/veth.c, `veth_gro_requested`, `veth_xdp_xmit`). With it on from the start,
//! programs come and go on the device without a packet lost.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::error::{Result, system};

/// include/uapi/linux/ethtool.h
const ETHTOOL_SGRO: u32 = 0x2c;

/// include/uapi/linux/sockios.h
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// struct ethtool_value
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// A socket to ask devices through, in the namespace it was opened in.
pub(crate) struct Ethtool(OwnedFd);

impl Ethtool {
    /// Opens one in the calling thread's namespace.
    pub(crate) fn open() -> Result<Ethtool> {
        socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
            .map(Ethtool)
            .map_err(system("opening a socket for ethtool"))
    }

    /// Switches GRO on for the device of this name.
    pub(crate) fn gro_on(&self, name: &str) -> Result<()> {
        let mut value = EthtoolValue { cmd: ETHTOOL_SGRO, data: 1 };
        // SAFETY: all zeroes is a valid ifreq, a C struct of plain data.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays 0; device names are checked to be shorter.
        let room = request.ifr_name.len().saturating_sub(1);
        for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: SIOCETHTOOL takes an ifreq whose data points to a command; both live past the call, and
        // ETHTOOL_SGRO reads no more than the ethtool_value.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        nix::errno::Errno::result(result).map(drop).map_err(system("switching GRO on"))
    }
}
