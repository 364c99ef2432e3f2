//! A program on a device, as a library.

use std::path::PathBuf;

use xhint_runtime::layouts::{Changed, LiveLayout};
use xhint_runtime::status::{Status, status};
use xhint_runtime::{Device, Error, Home, Netns, Result, Source, detach};

use crate::Linker;

/// A program of ours on a device. It stays there when this is dropped, and when the process ends.
#[derive(Debug, Clone)]
pub struct Attached {
    home: Home,
    device: Device,
}

/// The layouts that an attached program reads.
#[derive(Debug, Clone, Copy)]
pub struct Layouts<'a>(&'a Attached);

impl Attached {
    pub(crate) fn at(home: Home, device: Device) -> Attached {
        Attached { home, device }
    }

    /// What runs on the device `ifname` of this network namespace.
    ///
    /// # Errors
    /// [`Error::NotAttached`] if nothing of ours does.
    pub fn open(ifname: &str) -> Result<Attached> {
        Attached::open_in(None, ifname)
    }

    /// The same in the network namespace `netns`, by its name for `ip netns` or a path.
    ///
    /// # Errors
    /// As [`Attached::open`].
    pub fn open_in(netns: Option<&str>, ifname: &str) -> Result<Attached> {
        let attached = Attached { home: Home::system()?, device: device(ifname, netns)? };
        attached.status().map(|_| attached)
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What runs, and how many packets came of each layout and of unknown ids.
    ///
    /// # Errors
    /// [`Error::NotAttached`] if it was taken off since.
    pub fn status(&self) -> Result<Status> {
        status(&self.home, &self.device)
    }

    /// Where the program's map `name` is pinned, for whoever reads it. Ask again after a swap: a map of another shape
    /// would be another one.
    ///
    /// # Errors
    /// [`Error::NoMap`] if the program has no such map.
    pub fn map_path(&self, name: &str) -> Result<PathBuf> {
        let status = self.status()?;
        let have = || status.maps.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", ");
        let none = || Error::NoMap { map: name.to_owned(), have: have() };
        status.map_path(name).ok_or_else(none)
    }

    /// The layouts that it reads.
    pub fn layouts(&self) -> Layouts<'_> {
        Layouts(self)
    }

    /// Takes it off the device, with its maps and all that was kept for it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn detach(self) -> Result<()> {
        detach::detach(&self.home, &self.device).map(drop)
    }
}

impl Layouts<'_> {
    /// Lists them.
    ///
    /// # Errors
    /// [`Error::NotAttached`] if the program was taken off since.
    pub fn list(&self) -> Result<Vec<LiveLayout>> {
        self.inner().list()
    }

    /// Adds the layouts of a NIC's BTF: linked and verified first, then live in one step.
    ///
    /// # Errors
    /// Any; what ran goes on as it was.
    pub fn add(&self, linker: &Linker, nic: impl Into<PathBuf>) -> Result<Changed> {
        self.inner().add(&linker.inner, Source::read_btf(nic)?)
    }

    /// Takes layouts away: by name, by id (`0x…` or decimal), or by the file they came from. Their packets go to the
    /// fallback from then on.
    ///
    /// # Errors
    /// Any; what ran goes on as it was.
    pub fn remove(&self, linker: &Linker, which: &str) -> Result<Changed> {
        self.inner().remove(&linker.inner, which)
    }

    fn inner(&self) -> xhint_runtime::layouts::Layouts<'_> {
        xhint_runtime::layouts::Layouts::of(&self.0.home, &self.0.device)
    }
}

pub(crate) fn device(ifname: &str, netns: Option<&str>) -> Result<Device> {
    let netns = match netns {
        Some(name) => Netns::named(name)?,
        None => Netns::current()?,
    };
    Device::find(ifname, netns)
}
