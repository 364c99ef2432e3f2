//! A network device and what XDP programs it runs.

use nix::net::if_::if_nametoindex;

use crate::error::{Error, Result};
use crate::follow::Firmware;
use crate::netns::Netns;
use crate::sys;

/// Longest name of a device, without the end (`IFNAMSIZ` in `linux/if.h`).
const MAX_NAME: usize = 15;

/// A network device, found by name.
#[derive(Debug, Clone)]
pub struct Device {
    name: String,
    ifindex: u32,
    netns: Netns,
}

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

impl Device {
    /// The device `name` in `netns`.
    ///
    /// # Errors
    /// [`Error::NoDevice`]; [`Error::BadDevice`] for what is no device's name.
    pub fn find(name: &str, netns: Netns) -> Result<Device> {
        let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0';
        if name.is_empty() || name.len() > MAX_NAME || name == "." || name == ".." || name.contains(bad) {
            return Err(Error::BadDevice(name.to_owned()));
        }
        let missing = || Error::NoDevice { device: name.to_owned(), netns: netns.name().map(str::to_owned) };
        let ifindex = netns.run(|| if_nametoindex(name).map_err(|_| missing()))?;
        Ok(Device { name: name.to_owned(), ifindex, netns })
    }

    /// Its name, at the time it was found.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number in its namespace.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The namespace it is in.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its driver and firmware, as `ethtool -i` has them (`ETHTOOL_GDRVINFO`; ethtool's netlink family has no such
    /// message).
    ///
    /// # Errors
    /// What the kernel says, for instance when the driver tells nothing.
    pub fn firmware(&self) -> Result<Firmware> {
        let what = format!("{}: cannot ask for its driver", self.name);
        self.netns.run(|| sys::driver_info(&self.name).map_err(Error::system(what)))
    }

    /// The XDP programs it runs now.
    ///
    /// # Errors
    /// What the kernel says, for instance when the device is gone.
    pub fn programs(&self) -> Result<Programs> {
        self.netns.run(|| {
            sys::xdp_query(self.ifindex)
                .map_err(Error::system(format!("{}: cannot ask for its XDP programs", self.name)))
        })
    }
}

impl Programs {
    /// Ids of all of them.
    pub fn ids(self) -> impl Iterator<Item = u32> {
        [self.native, self.generic, self.offloaded].into_iter().filter(|id| *id != 0)
    }
}
