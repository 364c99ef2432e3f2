//! What a device offers.

use std::io;

use crate::error::{Error, Result};
use crate::ethtool::{DriverInfo, Ethtool, Offloads};
use crate::module::{Module, module};
use crate::netdev::{XdpSupport, xdp_support};
use crate::rtnl::{Parent, Rtnl};
use crate::virtio;
use crate::xdp::{self, Programs, name_of};

/// What a device, its driver and the kernel tell of what it offers to XDP programs. What is `None` they do not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Driver, firmware and bus; `None` for lo, say, which has no driver.
    pub driver: Option<DriverInfo>,
    /// The device on a bus that it hangs on; `None` if it is made of software.
    pub parent: Option<Parent>,
    /// What the driver is part of.
    pub module: Option<Module>,
    /// The features of a virtio device, by their bits' numbers.
    pub virtio: Option<Vec<u32>>,
    /// What it can do with XDP.
    pub xdp: Option<XdpSupport>,
    /// What it does to received packets.
    pub offloads: Offloads,
    /// Whether it tells when packets came.
    pub rx_timestamps: Option<bool>,
    /// What runs on it.
    pub programs: Programs,
}

impl Facts {
    /// Asks the device `ifindex` of the caller's network namespace. Nothing changes by that.
    ///
    /// # Errors
    /// What the kernel says; `ENODEV` if there is no such device, or not any more.
    pub fn of(ifindex: u32) -> Result<Facts> {
        let name = named(ifindex)?;
        let ethtool = Ethtool::open().map_err(Error::system("opening a socket"))?;
        let driver = match ethtool.driver(&name) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => None,
            other => Some(other.map_err(Error::system(format!("{name}: cannot ask for its driver")))?),
        };
        let offloads =
            ethtool.offloads(&name).map_err(Error::system(format!("{name}: cannot ask for its offloads")))?;
        let rx_timestamps = ethtool.rx_timestamps(&name);
        let rx_timestamps = rx_timestamps.map_err(Error::system(format!("{name}: cannot ask for its timestamps")))?;
        let parent = Rtnl::open()?.parent(ifindex)?;
        let programs =
            xdp::query(ifindex).map_err(Error::system(format!("{name}: cannot ask for its XDP programs")))?;
        let facts = Facts {
            module: driver.as_ref().map(|driver| module(&driver.driver, parent.as_ref())).transpose()?.flatten(),
            virtio: parent.as_ref().map(virtio::features).transpose()?.flatten(),
            xdp: xdp_support(ifindex)?,
            driver,
            parent,
            offloads,
            rx_timestamps,
            programs,
        };
        // Some was asked of the name: it must have been the same device's all the time.
        match named(ifindex)? == name {
            true => Ok(facts),
            false => Err(Error::system(name)(io::Error::other("was renamed meanwhile; ask again"))),
        }
    }

    /// The driver's name, as `ethtool -i` has it.
    pub fn driver_name(&self) -> Option<&str> {
        self.driver.as_ref().map(|info| info.driver.as_str())
    }
}

fn named(ifindex: u32) -> Result<String> {
    let gone = || io::Error::from_raw_os_error(libc::ENODEV);
    name_of(ifindex).ok_or_else(gone).map_err(Error::system(format!("asking for the name of link {ifindex}")))
}
