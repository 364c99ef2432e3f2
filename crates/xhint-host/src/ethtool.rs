//! What the ioctls behind the program ethtool tell of a device and set on it (ethtool's netlink family has no
//! `ETHTOOL_GDRVINFO`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `SIOCETHTOOL` of `linux/sockios.h`.
const IOCTL: libc::c_ulong = 0x8946;
/// `ETHTOOL_GDRVINFO` of `linux/ethtool.h`.
const GET_DRIVER_INFO: u32 = 3;
/// `ETHTOOL_GFLAGS`.
const GET_FLAGS: u32 = 0x25;
/// `ETHTOOL_SGRO`.
const SET_GRO: u32 = 0x2c;
/// `ETH_FLAG_RXVLAN`.
const RX_VLAN: u32 = 1 << 8;
/// `ETH_FLAG_RXHASH`.
const RX_HASH: u32 = 1 << 28;
/// `SIOCGHWTSTAMP` of `linux/sockios.h`.
const GET_TIMESTAMPING: libc::c_ulong = 0x89b1;

/// A device's driver and the version of its firmware, as `ethtool -i` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverInfo {
    /// The driver.
    pub driver: String,
    /// Its version; mostly the kernel's.
    pub driver_version: String,
    /// The firmware's version, empty if the driver tells none.
    pub firmware: String,
    /// Where the device is, in words of the driver's; empty if it tells none.
    pub bus: String,
}

/// What a device does to received packets, as far as it can be switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offloads {
    /// Whether packets come with their hash (`rxhash`).
    pub rx_hash: bool,
    /// Whether VLAN tags are taken out of packets (`rxvlan`).
    pub rx_vlan: bool,
}

impl std::fmt::Display for DriverInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let firmware = if self.firmware.is_empty() { "unknown" } else { &self.firmware };
        write!(f, "{} {} with firmware {firmware}", self.driver, self.driver_version)
    }
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct Info {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware: [u8; 32],
    bus: [u8; 32],
    rest: [u8; 64],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct hwtstamp_config` of `linux/net_tstamp.h`.
#[repr(C)]
struct Timestamping {
    flags: i32,
    tx_type: i32,
    rx_filter: i32,
}

/// What an ioctl takes, as the kernel has it: the kernel reads and writes no more of it. For `SIOCETHTOOL` it begins with the
/// command.
///
/// # Safety
/// All must be so.
unsafe trait Command {
    /// The ioctl.
    const IOCTL: libc::c_ulong = IOCTL;
}

// SAFETY: GDRVINFO writes a struct ethtool_drvinfo, which is 196 bytes as this is.
unsafe impl Command for Info {}
// SAFETY: SGRO reads and GFLAGS writes a struct ethtool_value, which is 8 bytes as this is.
unsafe impl Command for Value {}
// SAFETY: SIOCGHWTSTAMP writes a struct hwtstamp_config, which is 12 bytes as this is.
unsafe impl Command for Timestamping {
    const IOCTL: libc::c_ulong = GET_TIMESTAMPING;
}

/// A socket to ask devices through, in the namespace it was opened in.
#[derive(Debug)]
pub struct Ethtool(OwnedFd);

impl Ethtool {
    /// Opens one in the calling thread's namespace.
    ///
    /// # Errors
    /// As the kernel says it.
    pub fn open() -> io::Result<Ethtool> {
        Ok(Ethtool(socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?))
    }

    /// Driver and firmware of the device of this name.
    ///
    /// # Errors
    /// As the kernel says it.
    pub fn driver(&self, name: &str) -> io::Result<DriverInfo> {
        let mut info = Info {
            command: GET_DRIVER_INFO,
            driver: [0; 32],
            version: [0; 32],
            firmware: [0; 32],
            bus: [0; 32],
            rest: [0; 64],
        };
        self.call(name, &mut info)?;
        let text = |bytes: &[u8]| {
            let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        Ok(DriverInfo {
            driver: text(&info.driver),
            driver_version: text(&info.version),
            firmware: text(&info.firmware),
            bus: text(&info.bus),
        })
    }

    /// What the device of this name does to received packets.
    ///
    /// # Errors
    /// As the kernel says it.
    pub fn offloads(&self, name: &str) -> io::Result<Offloads> {
        let mut flags = Value { command: GET_FLAGS, data: 0 };
        self.call(name, &mut flags)?;
        Ok(Offloads { rx_hash: flags.data & RX_HASH != 0, rx_vlan: flags.data & RX_VLAN != 0 })
    }

    /// Whether the device of this name tells when packets came; `None` if it cannot, or does not say.
    ///
    /// # Errors
    /// As the kernel says it.
    pub fn rx_timestamps(&self, name: &str) -> io::Result<Option<bool>> {
        let mut config = Timestamping { flags: 0, tx_type: 0, rx_filter: 0 };
        match self.call(name, &mut config) {
            Ok(()) => Ok(Some(config.rx_filter != 0)),
            // ENOTTY, EINVAL: what drivers say that know no ioctls of their own.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::EINVAL)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Switches GRO on for the device of this name.
    ///
    /// # Errors
    /// As the kernel says it.
    pub fn gro_on(&self, name: &str) -> io::Result<()> {
        self.call(name, &mut Value { command: SET_GRO, data: 1 })
    }

    fn call<C: Command>(&self, name: &str, command: &mut C) -> io::Result<()> {
        // SAFETY: all zeroes is a valid ifreq, a C struct of plain data.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays 0.
        let [room @ .., _end] = &mut request.ifr_name;
        if name.len() > room.len() {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        for (to, from) in room.iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_data = std::ptr::from_mut(command).cast();
        // SAFETY: the ioctl takes an ifreq whose data points to a command; both outlive the call, and a Command is
        // what the kernel takes it for.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), C::IOCTL, &raw mut request) };
        Ok(Errno::result(result).map(drop)?)
    }
}
