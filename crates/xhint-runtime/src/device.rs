//! A network device and what XDP programs it runs.

use std::io;

use crate::error::{Error, Result};
use xhint_host::ethtool::Ethtool;
use xhint_host::rtnl::{MAX_NAME, Rtnl};
use xhint_host::xdp::{self, name_of};
use xhint_host::{DriverInfo, Netns, Programs};

/// A network device. Which one it is its number and its namespace say; a name may be another's by now.
#[derive(Debug, Clone)]
pub struct Device {
    name: String,
    ifindex: u32,
    netns: Netns,
}

impl Device {
    /// The device in `netns` that has `name`, or has it as an alternative one (`ip link property add`).
    ///
    /// # Errors
    /// [`Error::NoDevice`]; [`Error::BadDevice`] for what is no device's name.
    pub fn find(name: &str, netns: Netns) -> Result<Device> {
        if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
            return Err(Error::BadDevice(name.to_owned()));
        }
        let link = netns.run(|| Rtnl::open()?.by_name(name))?;
        let none = || Error::NoDevice { device: name.to_owned(), netns: netns.name().map(str::to_owned) };
        let ifindex = link.ok_or_else(none)?.index;
        Ok(Device { name: name.to_owned(), ifindex, netns })
    }

    /// One of which this is known.
    pub(crate) fn known(name: String, ifindex: u32, netns: Netns) -> Device {
        Device { name, ifindex, netns }
    }

    /// The name it was found by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What to call it now: as it was found, if that still leads to it, else by the name it has.
    pub fn known_as(&self) -> String {
        let asked = || self.name.clone();
        let now = || match Rtnl::open()?.by_name(&self.name)? {
            Some(link) if link.index == self.ifindex => Ok::<_, Error>(asked()),
            _ => Ok(name_of(self.ifindex).unwrap_or_else(asked)),
        };
        self.netns.run(now).unwrap_or_else(|_| asked())
    }

    /// The name it has now, whatever it was found by: that, if it has none any more.
    pub fn own_name(&self) -> String {
        let now = self.netns.run(|| Ok::<_, Error>(name_of(self.ifindex)));
        now.ok().flatten().unwrap_or_else(|| self.name.clone())
    }

    /// Its number in its namespace.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The namespace it is in.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its driver and firmware, as `ethtool -i` has them.
    ///
    /// # Errors
    /// What the kernel says, for instance when the driver tells nothing.
    pub fn driver(&self) -> Result<DriverInfo> {
        let ask = || {
            let name = name_of(self.ifindex).ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
            Ethtool::open()?.driver(&name)
        };
        self.netns.run(|| ask().map_err(|e| failed(&self.name, &self.netns, "cannot ask for its driver", e)))
    }

    /// The XDP programs it runs now.
    ///
    /// # Errors
    /// What the kernel says, for instance when the device is gone.
    pub fn programs(&self) -> Result<Programs> {
        let ask = || xdp::query(self.ifindex);
        self.netns.run(|| ask().map_err(|e| failed(&self.name, &self.netns, "cannot ask for its XDP programs", e)))
    }
}

fn failed(device: &str, netns: &Netns, what: &str, cause: io::Error) -> Error {
    if cause.raw_os_error() == Some(libc::ENODEV) {
        return Error::NoDevice { device: device.to_owned(), netns: netns.name().map(str::to_owned) };
    }
    Error::system(format!("{device}: {what}"))(cause)
}
