//! A program on a device, as a library.

use std::path::PathBuf;

use xhint_runtime::follow::Follow;
use xhint_runtime::layouts::{Changed, LiveLayout};
use xhint_runtime::status::{Status, status};
use xhint_runtime::{Device, Error, Home, Netns, Result, Source, detach};

use crate::Linker;

/// A program of ours on a device. It stays there when this is dropped, and when the process ends.
#[derive(Debug, Clone)]
pub struct Attached {
    home: Home,
    device: Device,
    warnings: Vec<String>,
}

/// The layouts that an attached program reads.
#[derive(Debug, Clone, Copy)]
pub struct Layouts<'a>(&'a Attached);

impl Attached {
    pub(crate) fn at(home: Home, device: Device, warnings: Vec<String>) -> Attached {
        Attached { home, device, warnings }
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
        Attached::on(Home::system()?, device(ifname, netns)?)
    }

    /// What runs on `device`, with what is kept at `home`.
    ///
    /// # Errors
    /// As [`Attached::open`].
    pub fn on(home: Home, device: Device) -> Result<Attached> {
        let attached = Attached::at(home, device, Vec::new());
        attached.status().map(|_| attached)
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What was worth knowing when it was attached, and stopped nothing. Of what another attached, nothing.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
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

    /// Follows NIC BTFs, files or directories, and the device's firmware: [`Follow::next`] waits for a change, links anew for
    /// it and swaps.
    ///
    /// ```no_run
    /// # fn main() -> xhint::Result<()> {
    /// let linker = xhint::Linker::new()?;
    /// let attached = xhint::Attached::open("eth0")?;
    /// let mut follow = attached.follow(&linker, ["/lib/firmware/mynic"])?;
    /// loop {
    ///     follow.next()?.iter().for_each(|event| println!("{event}"));
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotAttached`]; [`Error::Host`] for what is not there.
    pub fn follow<'a, P: Into<PathBuf>>(
        &'a self,
        linker: &'a Linker,
        nics: impl IntoIterator<Item = P>,
    ) -> Result<Follow<'a>> {
        Follow::start(&self.home, &self.device, linker.runtime(), nics.into_iter().map(Into::into).collect())
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
        self.inner().add(linker.runtime(), Source::read_btf(nic)?)
    }

    /// Takes layouts away: by name, by id (`0x…` or decimal), or by the file they came from. Their packets go to the
    /// fallback from then on.
    ///
    /// # Errors
    /// Any; what ran goes on as it was.
    pub fn remove(&self, linker: &Linker, which: &str) -> Result<Changed> {
        self.inner().remove(linker.runtime(), which)
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
