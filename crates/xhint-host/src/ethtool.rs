//! What the ethtool ioctl tells of a device and sets on it (ethtool's netlink family has no `ETHTOOL_GDRVINFO`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `SIOCETHTOOL` of `linux/sockios.h`.
const IOCTL: libc::c_ulong = 0x8946;
/// `ETHTOOL_GDRVINFO` of `linux/ethtool.h`.
const GET_DRIVER_INFO: u32 = 3;
/// `ETHTOOL_SGRO`.
const SET_GRO: u32 = 0x2c;

/// A device's driver and the version of its firmware, as `ethtool -i` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverInfo {
    /// The driver.
    pub driver: String,
    /// Its version; mostly the kernel's.
    pub driver_version: String,
    /// The firmware's version, empty if the driver tells none.
    pub firmware: String,
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
    rest: [u8; 96],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// A command's struct, as the kernel has it: it begins with the command, and the kernel reads and writes no more of it.
///
/// # Safety
/// Both must be so.
unsafe trait Command {}

// SAFETY: GDRVINFO writes a struct ethtool_drvinfo, which is 196 bytes as this is.
unsafe impl Command for Info {}
// SAFETY: SGRO reads a struct ethtool_value, which is 8 bytes as this is.
unsafe impl Command for Value {}

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
        let mut info =
            Info { command: GET_DRIVER_INFO, driver: [0; 32], version: [0; 32], firmware: [0; 32], rest: [0; 96] };
        self.call(name, &mut info)?;
        let text = |bytes: &[u8]| {
            let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        Ok(DriverInfo {
            driver: text(&info.driver),
            driver_version: text(&info.version),
            firmware: text(&info.firmware),
        })
    }

    /// Switches GRO on for the device of this name.
    ///
    /// # Errors
    /// As the kernel says it.
    pub fn gro_on(&self, name: &str) -> io::Result<()> {
        self.call(name, &mut Value { command: SET_GRO, data: 1 })
    }

    fn call(&self, name: &str, command: &mut impl Command) -> io::Result<()> {
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
        // SAFETY: SIOCETHTOOL takes an ifreq whose data points to a command; both outlive the call, and a Command is
        // what the kernel takes it for.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), IOCTL, &raw mut request) };
        Ok(Errno::result(result).map(drop)?)
    }
}
